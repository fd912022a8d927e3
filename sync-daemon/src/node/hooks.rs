//! Programs of the operator's, run when something happens.
//!
//! Hooks watch what a node publishes anyway ([`mod@observe`]): nothing that is sent,
//! applied or decided waits for one. Each hook runs once at a time; what happens
//! meanwhile is told in one run afterwards, but for changes of role, each of
//! which is told ([`mod@role`]). How a run ended is logged, shown in the status and,
//! where an operator relies on it, kept on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use sync_core::Epoch;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use super::{NodeMode, Shared};
use crate::{
    audit_log::{AuditLog, Said},
    config::{Config, HooksConfig},
    events::{Hook, HookRun, HookStatus, Role, SCHEMA},
    identity::NodeId,
};

mod observe;
mod program;
mod record;
mod role;

pub(super) use observe::observe;
pub(crate) use record::at_rest;
use role::{Done, RoleChange};

/// What a hook is told beside what every hook is told.
type Facts = Map<String, Value>;

/// The hooks of a node, over all its stints.
pub(super) struct Hooks {
    config: HooksConfig,
    node: String,
    id: NodeId,
    state_dir: PathBuf,
    audit: AuditLog,
    /// Each hook runs once at a time; those of a change of role one after the other.
    turns: BTreeMap<Hook, Arc<tokio::sync::Mutex<()>>>,
    known: Mutex<Known>,
    /// The change of role that was told last.
    done: watch::Sender<Option<Done>>,
    /// What runs now. Ended when this is dropped.
    running: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Known {
    runs: BTreeMap<Hook, HookStatus>,
    /// Halts that were told and are not over.
    halts: BTreeSet<String>,
    roles: role::Changes,
}

/// Who the node is when a hook runs.
#[derive(Clone, Copy)]
struct Now {
    role: Role,
    epoch: Epoch,
}

impl Hooks {
    /// With what the last life of the node left.
    pub(super) fn open(config: &Config, id: NodeId, audit: AuditLog) -> Arc<Self> {
        let state_dir = config.node.state_dir.clone();
        let saved = record::load(&state_dir).unwrap_or_else(|error| {
            warn!("what is known of the hooks' last runs is lost: {error}");
            record::Saved::default()
        });
        let runs = saved.runs.into_iter().map(|last| {
            let (runs, failures) = (0, 0);
            let status = HookStatus {
                last,
                runs,
                failures,
            };
            (status.last.hook, status)
        });
        let known = Known {
            runs: runs.collect(),
            roles: role::Changes::resuming(saved.pending),
            ..Known::default()
        };
        Arc::new(Self {
            node: config.node.name.to_string(),
            id,
            state_dir,
            audit,
            turns: turns(),
            config: config.hooks.clone(),
            known: Mutex::new(known),
            done: watch::Sender::new(None),
            running: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_configured(&self, hook: Hook) -> bool {
        self.config.commands.contains_key(&hook)
    }

    /// The last run of each, for the status.
    pub(super) fn status(&self) -> Vec<HookStatus> {
        self.known().runs.values().cloned().collect()
    }

    /// Ends what runs.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.abort_all();
    }

    /// Runs a hook when its turn has come, whatever becomes of the caller. The
    /// receiver hears when it is over.
    fn run(self: &Arc<Self>, hook: Hook, now: Now, facts: Facts) -> oneshot::Receiver<HookRun> {
        let (ended, over) = oneshot::channel();
        let hooks = Arc::clone(self);
        let turn = self.turns.get(&hook).map(Arc::clone);
        self.spawn(async move {
            let _turn = match &turn {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            if let Some(run) = hooks.run_now(hook, now, facts).await {
                // Whoever asked may have gone.
                let _ = ended.send(run);
            }
        });
        over
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
    }

    async fn run_now(&self, hook: Hook, now: Now, facts: Facts) -> Option<HookRun> {
        let command = self.config.commands.get(&hook)?;
        let (unix_seconds, begun) = (unix_seconds(), Instant::now());
        let told = self.told(hook, now, unix_seconds, facts);
        let ended = program::run(command, told, self.config.deadline).await;
        let run = HookRun {
            hook,
            unix_seconds,
            outcome: ended.outcome,
            seconds: begun.elapsed().as_secs_f64(),
        };
        let name = hook.name();
        if run.outcome.succeeded() {
            info!(hook = name, output = ended.output, "{}", run.outcome);
        } else {
            warn!(hook = name, output = ended.output, program = %command.program.display(), "{}", run.outcome);
        }
        self.note(run.clone());
        Some(run)
    }

    /// What stands on the program's standard input.
    fn told(&self, hook: Hook, now: Now, unix_seconds: u64, facts: Facts) -> Vec<u8> {
        let mut object = json!({
            "schema": SCHEMA,
            "hook": hook.name(),
            "node": self.node,
            "id": self.id.to_string(),
            "role": now.role.name(),
            "epoch": now.epoch.0,
            "unix_seconds": unix_seconds,
        });
        if let Some(object) = object.as_object_mut() {
            object.extend(facts);
        }
        format!("{object}\n").into_bytes()
    }

    fn note(&self, run: HookRun) {
        let hook = run.hook;
        // The others happen too often to be written down.
        let counts = matches!(hook, Hook::OnPromote | Hook::OnDemote | Hook::OnHalt);
        if counts {
            self.audit.say(Said::Hook {
                hook: hook.name().to_owned(),
                outcome: run.outcome.to_string(),
            });
        }
        {
            let mut known = self.known();
            let before = known.runs.get(&hook);
            let (runs, failures) = before.map_or((0, 0), |it| (it.runs, it.failures));
            let status = HookStatus {
                runs: runs + 1,
                failures: failures + u64::from(!run.outcome.succeeded()),
                last: run,
            };
            known.runs.insert(hook, status);
        }
        if counts {
            self.save();
        }
    }

    /// Keeps what the next life of the node has to know. A disk that is full must
    /// not keep a node from its role.
    fn save(&self) {
        let saved = {
            let known = self.known();
            record::Saved {
                pending: known.roles.pending().cloned(),
                runs: known.runs.values().map(|it| it.last.clone()).collect(),
            }
        };
        if let Err(error) = record::store(&self.state_dir, &saved) {
            warn!("how the hooks ended is not kept: {error}");
        }
    }
}

fn turns() -> BTreeMap<Hook, Arc<tokio::sync::Mutex<()>>> {
    let mut turns: BTreeMap<_, _> = Hook::ALL.map(|hook| (hook, Arc::default())).into();
    if let Some(turn) = turns.get(&Hook::OnPromote).map(Arc::clone) {
        turns.insert(Hook::OnDemote, turn);
    }
    turns
}

/// Seconds since 1970; 0 with a clock before that.
fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Shared {
    fn now(&self) -> Now {
        let standing = self.standing();
        Now {
            role: standing.role,
            epoch: standing.epoch(),
        }
    }

    /// Whether what happens in the trees is told: a command's own work is its own
    /// report.
    fn tells(&self, hook: Hook) -> bool {
        self.mode == NodeMode::Daemon && self.hooks.is_configured(hook)
    }
}
