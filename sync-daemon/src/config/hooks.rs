//! `[hooks]`: what is run when something happens. Programs and their arguments
//! as they are, never a shell.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    check::{Result, absolute, within},
    file::FileHooks,
    source::{Given, Source},
};
use crate::events::Hook;

/// How long a hook may take unless told otherwise.
const DEADLINE_S_DEFAULT: u64 = 30;
/// The longest deadline: a change of role waits for its hook.
const DEADLINE_S_MAX: u64 = 3_600;
/// Arguments of one hook: what is longer belongs into the program.
const ARGUMENTS_MAX: usize = 64;

/// `[hooks]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HooksConfig {
    /// What each configured hook runs.
    pub commands: BTreeMap<Hook, HookCommand>,
    /// How long each may take.
    pub deadline: Duration,
}

/// A program and what it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookCommand {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self {
            commands: BTreeMap::new(),
            deadline: Duration::from_secs(DEADLINE_S_DEFAULT),
        }
    }
}

pub(super) fn check(source: &Source<'_>, file: FileHooks) -> Result<HooksConfig> {
    let given = [
        (Hook::OnPromote, "hooks.on_promote", file.on_promote),
        (Hook::OnDemote, "hooks.on_demote", file.on_demote),
        (
            Hook::OnGeneration,
            "hooks.on_generation",
            file.on_generation,
        ),
        (Hook::OnHalt, "hooks.on_halt", file.on_halt),
        (Hook::OnDrift, "hooks.on_drift", file.on_drift),
    ];
    let mut commands = BTreeMap::new();
    for (hook, key, words) in given {
        if let Some(words) = words {
            commands.insert(hook, command(source.in_file(key, words))?);
        }
    }
    let deadline_s = source.number("hooks.deadline_s", file.deadline_s)?;
    let deadline_s = within(deadline_s, DEADLINE_S_DEFAULT, 1..=DEADLINE_S_MAX)?;
    Ok(HooksConfig {
        commands,
        deadline: Duration::from_secs(deadline_s),
    })
}

fn command(given: Given<Vec<String>>) -> Result<HookCommand> {
    if given.value.len() > ARGUMENTS_MAX + 1 {
        return Err(given.refused(format!("more than {ARGUMENTS_MAX} arguments")));
    }
    if given.value.iter().any(|word| word.contains('\0')) {
        return Err(given.refused("it holds a NUL"));
    }
    let Some((program, arguments)) = given.value.split_first() else {
        return Err(given.refused("it is empty; write [\"/absolute/program\", \"argument\", ...]"));
    };
    let program = Given {
        key: given.key,
        value: program.clone(),
        origin: given.origin.clone(),
    };
    Ok(HookCommand {
        program: absolute(&program)?,
        arguments: arguments.to_vec(),
    })
}
