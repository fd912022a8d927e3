//! What the script's `rsync` commands copied, and where to: every command,
//! with every worker in its place.

use std::collections::BTreeSet;

use super::{
    At, ImportError, Note, SourceFile,
    place::{self, Inside, Target},
    rsync::{self, Operand, Rsync},
    script::{Call, Loop, Over, Script},
    values::{Atom, shown},
    workers::Worker,
};

/// Copies of one script: 1,000 workers with several commands each.
const COPIES_MAX: usize = 10_000;

/// Notes of one script: nobody reads more.
const NOTES_MAX: usize = 100;

/// A command that copies something of an `APIM_HOME`.
pub(super) struct Copying {
    pub(super) call: Call,
    pub(super) rsync: Rsync,
    /// What it copies, each with whether the copy begins in it, and not
    /// beside it: the meaning of a slash at the end.
    pub(super) sources: BTreeSet<(Inside, bool)>,
    /// Whether a copy landed one level too deep.
    pub(super) is_nested: bool,
}

/// A node that is copied to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Copied {
    pub(super) target: Target,
    pub(super) home: String,
    pub(super) at: At,
    /// Numbers of the commands that copied to it.
    pub(super) by: BTreeSet<usize>,
}

/// Everything that is copied.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) copying: Vec<Copying>,
    pub(super) targets: Vec<Copied>,
    pub(super) notes: Vec<Note>,
    count: usize,
}

type Gathered<T> = Result<T, ImportError>;

/// Goes through the script's commands.
pub(super) fn gather(script: &Script, workers: &[Worker]) -> Gathered<Copies> {
    one_list(script)?;
    let gatherer = Gatherer {
        loops: &script.loops,
        workers,
    };
    let mut copies = Copies::default();
    for call in &script.calls {
        gatherer.call(call, &mut copies)?;
    }
    Ok(copies)
}

/// Refuses a script that reads two lists: one is given.
fn one_list(script: &Script) -> Gathered<()> {
    let mut lists = script.loops.iter().filter_map(|it| match &it.over {
        Over::List(file) => Some((it.line, file)),
        _ => None,
    });
    let Some((_, first)) = lists.next() else {
        return Ok(());
    };
    match lists.find(|(_, file)| *file != first) {
        None => Ok(()),
        Some((line, other)) => Err(ImportError::Line {
            at: At::script(line),
            reason: format!(
                "the script reads two lists, `{}` and `{}`, and one is given",
                shown(first),
                shown(other)
            ),
            by_hand: "make one script of each loop, and import each with its own list",
        }),
    }
}

/// One round of the loops around a command.
type Round<'a> = Vec<(usize, &'a str, Option<usize>)>;

struct Gatherer<'a> {
    loops: &'a [Loop],
    workers: &'a [Worker],
}

impl<'a> Gatherer<'a> {
    fn call(&self, call: &Call, copies: &mut Copies) -> Gathered<()> {
        let refused = |reason| ImportError::Line {
            at: At::script(call.line),
            reason,
            by_hand: "write the path itself there and import again, or `apim-sync init` on each node",
        };
        let rsync = rsync::read(call).map_err(refused)?;
        if rsync.options.dry_run {
            copies.note(
                call.line,
                "this rsync copies nothing (--dry-run or --list-only)",
            );
            return Ok(());
        }
        let mut copying = Copying {
            call: call.clone(),
            sources: BTreeSet::new(),
            is_nested: false,
            rsync: rsync.clone(),
        };
        for source in &rsync.sources {
            self.source(source, &mut copying, copies)?;
        }
        if !copying.sources.is_empty() {
            copies.copying.push(copying);
        }
        Ok(())
    }

    fn source(&self, source: &Operand, copying: &mut Copying, copies: &mut Copies) -> Gathered<()> {
        let line = copying.call.line;
        let refused = |reason| ImportError::Line {
            at: At::script(line),
            reason,
            by_hand: "write the path itself there and import again, or `apim-sync init` on each node",
        };
        let source = source.as_ref().map_err(|reason| refused(reason.clone()))?;
        if is_elsewhere(source) {
            let text = "this rsync copies nothing of an APIM_HOME; it is left as it is";
            copies.note(line, text);
            return Ok(());
        }
        let target = &copying.rsync.target;
        let target = target.clone().map_err(refused)?;
        for round in self.rounds(source, &target)? {
            copies.count += 1;
            if copies.count > COPIES_MAX {
                return Err(refused(format!("there are more than {COPIES_MAX} copies")));
            }
            self.copy(
                &filled(source, &round),
                &filled(&target, &round),
                &round,
                copying,
                copies,
            )?;
        }
        Ok(())
    }

    /// One copy: the source here, the target there.
    fn copy(
        &self,
        source: &str,
        target: &str,
        round: &Round<'_>,
        copying: &mut Copying,
        copies: &mut Copies,
    ) -> Gathered<()> {
        let line = copying.call.line;
        let worker = round.iter().find_map(|(_, _, line)| *line);
        let at = worker.map_or(At::script(line), |line| At {
            file: SourceFile::Workers,
            line,
        });
        let refused = |at, reason, by_hand| ImportError::Line {
            at,
            reason,
            by_hand,
        };
        let by_hand = "write user@host:/path/to/APIM_HOME/repository/deployment/server there";
        let in_script = |reason| refused(At::script(line), reason, "write an absolute path there");
        let of_target = |reason| refused(at, reason, by_hand);
        let from = place::target(source).map_err(in_script)?;
        let Some(inside) = place::inside(&from.path).map_err(in_script)? else {
            let source = shown(source);
            copies.note(
                line,
                &format!("`{source}` is nothing of an APIM_HOME; it is left as it is"),
            );
            return Ok(());
        };
        if from.host.is_some() {
            return Err(refused(
                At::script(line),
                format!(
                    "`{}` is on another machine: the script pulls",
                    shown(source)
                ),
                "`apim-sync init` on each node; the machine it pulls from is the active one",
            ));
        }
        let to = place::target(target).map_err(of_target)?;
        let begins_in = source.ends_with('/') || source.ends_with("/.");
        let landed = place::inside(&to.path).map_err(of_target)?;
        let Some(landed) = landed else {
            if worker.is_some() || to.host.is_some() {
                let reason = format!(
                    "`{}` leads to no `repository` of an APIM_HOME",
                    shown(target)
                );
                return Err(of_target(reason));
            }
            copies.note(
                line,
                &format!(
                    "the copy to `{}` is no node; it is left as it is",
                    shown(target)
                ),
            );
            return Ok(());
        };
        let mut names = landed.names.clone();
        if !begins_in {
            names.extend(inside.names.last().cloned());
        }
        copying.is_nested |= !begins_in && landed.names == inside.names;
        if names != inside.names && landed.names != inside.names {
            copies.note(
                line,
                &format!(
                    "`{}` goes to another place in `{}`; that is not taken over",
                    shown(source),
                    shown(target)
                ),
            );
            return Ok(());
        }
        copying.sources.insert((inside, begins_in));
        copies.target(to, landed.home, at);
        Ok(())
    }

    /// Every round of the loops that the two paths depend on.
    fn rounds(&self, source: &[Atom], target: &[Atom]) -> Gathered<Vec<Round<'a>>> {
        let items = source.iter().chain(target);
        let loops: BTreeSet<usize> = items
            .filter_map(|atom| match atom {
                Atom::Item(number) => Some(*number),
                Atom::Text(_) => None,
            })
            .collect();
        let mut rounds: Vec<Round<'a>> = vec![Vec::new()];
        for number in loops {
            let items = self.items(number)?;
            if rounds.len().saturating_mul(items.len()) > COPIES_MAX {
                return Err(ImportError::Line {
                    at: At::script(self.loops[number].line),
                    reason: format!("there are more than {COPIES_MAX} copies"),
                    by_hand: "`apim-sync init` on each node",
                });
            }
            let with = |round: &Round<'a>| {
                let round = round.clone();
                let longer = move |&(text, line)| {
                    let mut round = round.clone();
                    round.push((number, text, line));
                    round
                };
                items.iter().map(longer).collect::<Vec<_>>()
            };
            rounds = rounds.iter().flat_map(with).collect();
        }
        Ok(rounds)
    }

    /// What a loop goes over, each with its line in the workers list.
    fn items(&self, number: usize) -> Gathered<Vec<(&'a str, Option<usize>)>> {
        let found = &self.loops[number];
        match &found.over {
            Over::List(_) => {
                let item = |worker: &'a Worker| (worker.text.as_str(), Some(worker.line));
                Ok(self.workers.iter().map(item).collect())
            }
            Over::Words(words) => Ok(words.iter().map(|it| (it.as_str(), None)).collect()),
            Over::Unknown(reason) => Err(ImportError::Line {
                at: At::script(found.line),
                reason: format!("what the loop goes over is not known here: {reason}"),
                by_hand: "put the targets into a list, one a line, and loop over `cat LIST`",
            }),
        }
    }
}

impl Copies {
    fn note(&mut self, line: usize, text: &str) {
        let at = Some(At::script(line));
        let text = text.to_owned();
        let note = Note { at, text };
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn target(&mut self, target: Target, home: String, at: At) {
        let by = self.copying.len();
        let same = |it: &&mut Copied| {
            it.home == home && it.target.host == target.host && it.target.user == target.user
        };
        match self.targets.iter_mut().find(same) {
            Some(known) => {
                known.by.insert(by);
            }
            None => self.targets.push(Copied {
                target,
                home,
                at,
                by: BTreeSet::from([by]),
            }),
        }
    }
}

/// Whether a path, whatever the loops say, is nothing of an `APIM_HOME`.
fn is_elsewhere(atoms: &[Atom]) -> bool {
    match atoms {
        [Atom::Text(text)] => !text.contains(':') && matches!(place::inside(text), Ok(None)),
        _ => false,
    }
}

fn filled(atoms: &[Atom], round: &Round<'_>) -> String {
    let text = |atom: &Atom| match atom {
        Atom::Text(text) => text.clone(),
        Atom::Item(number) => {
            let item = round.iter().find(|(of, ..)| of == number);
            item.map_or_else(String::new, |(_, text, _)| (*text).to_owned())
        }
    };
    atoms.iter().map(text).collect()
}
