//! One tree on the passive: a handle to the thread that owns its replica.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sync_core::{
    Generation, Manifest, Position, RelPath, TreeName,
    deploy::Covered,
    drift::Policy,
    guard::Verdict,
    wire::{PlanId, Refusal, TreeStatus},
};
use sync_fs::{
    Replica,
    replica::{
        AdoptError, Applied, CheckpointError, Committed, Drifted, Held, Intake, LargeIntake,
        Tentative, Unsaved,
    },
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::warn;

mod intake;

use super::{
    NodeMode,
    deploying::{DeployedState, Deploying},
    directories::directories,
    error::with_causes,
    healing::Healing,
    peers::Halt,
    releases::Releases,
};
use crate::{
    failure::{Failure, FailureKind},
    tree_thread::{Stopped, TreeThread},
};

/// What to say of a root that is not the directory that was synchronised.
const REPLACED: &str = "another directory stands in the tree's place; mount the right file system and \
     restart the daemon, or replace what is there with `apim-sync bootstrap --confirm <this node's name>`";
/// What the tree's thread owns.
pub(super) struct ReplicaThread {
    pub(super) replica: Replica,
    intake: Option<Intake>,
    large: Option<LargeIntake>,
    committed: Option<Committed>,
    /// A generation of a span that waits for the lead's.
    tentative: Option<Tentative>,
    /// What the generation under way puts.
    covered: Covered,
    /// Those of its paths that were not as agreed before it.
    drifted: Vec<RelPath>,
    /// Whether the tree's root is not the directory that was synchronised.
    replaced: bool,
    /// What is done about what a hand changed.
    policy: Policy,
}

/// How far a generation has come in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IntakeState {
    /// Files that the generation puts.
    pub(super) wanted: u64,
    /// Of those, the ones whose contents are here.
    pub(super) arrived: u64,
    /// Content bytes that came over the wire.
    pub(super) bytes: u64,
}

/// What is known of a passive tree without asking its thread.
#[derive(Clone, Debug)]
pub(super) struct PassiveState {
    pub(super) position: Position,
    pub(super) agreed: Manifest,
    pub(super) staged: u64,
    /// Whether what stands there was an active's, and not agreed.
    pub(super) returning: bool,
    pub(super) intake: IntakeState,
    /// The plan that this node's guard halted last.
    pub(super) halt: Option<Halt>,
    /// Why generations cannot be applied now.
    pub(super) problem: Option<String>,
    /// What the last generation was refused with, until one is taken.
    pub(super) refused: Option<Refusal>,
    /// What is not as agreed, as far as is known.
    pub(super) drift: BTreeMap<RelPath, Drifted>,
    /// Generations that have had the deployer's interval.
    pub(super) deployed: DeployedState,
    /// Counts the changes of `drift` and `deployed`: what others are told of.
    pub(super) news: u64,
}

/// A handle to one tree of the passive. Cheap to clone.
#[derive(Clone)]
pub(super) struct PassiveTree {
    pub(super) name: TreeName,
    pub(super) thread: TreeThread<ReplicaThread>,
    /// Generations are taken in one after the other.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) state: Arc<watch::Sender<PassiveState>>,
    /// Asks the tree's drift watch to look now; none where no daemon runs.
    pub(super) looks: Option<mpsc::Sender<Look>>,
    /// Watches over the deployer; none where no deployer reads the tree, or no
    /// daemon runs.
    pub(super) deploying: Option<Arc<Deploying>>,
    /// What was healed lately; none where the policy is not to heal.
    pub(super) healing: Option<Arc<Healing>>,
    /// Whether files that were never synchronised may be replaced.
    replacing: Arc<AtomicBool>,
}

/// What the drift watch is asked for.
pub(super) enum Look {
    /// To look at everything that happened before; answered when that is done.
    Now(oneshot::Sender<()>),
    /// To look at paths of which it knows that they were not as agreed: a generation
    /// has changed what is agreed, and where nothing had to be done no event tells.
    At(Vec<RelPath>),
}

/// Who may have released a halted plan: the active's operator, or this node's.
pub(super) struct Released {
    pub(super) by_active: Option<PlanId>,
    pub(super) here: Arc<Releases>,
}

impl Released {
    /// Whether this plan was released.
    fn has(&self, plan: PlanId) -> bool {
        self.by_active == Some(plan) || self.here.contains(plan)
    }

    /// The id under which the plan just judged was released.
    fn of(&self, verdict: &Verdict) -> Option<PlanId> {
        match verdict {
            Verdict::Halt { plan, .. } if self.here.contains(*plan) => Some(*plan),
            _ => self.by_active,
        }
    }
}

/// A generation that every name shows.
#[derive(Clone, Debug)]
pub(super) struct AppliedGeneration {
    pub(super) position: Position,
    pub(super) kept_aside: u32,
}

/// The outer error: the thread is gone. The inner: the replica will not.
type Answer<T> = Result<Result<T, Refusal>, Stopped>;

impl ReplicaThread {
    pub(super) fn new(replica: Replica, replaced: bool, policy: Policy) -> Self {
        Self {
            replica,
            intake: None,
            large: None,
            committed: None,
            tentative: None,
            covered: Covered::everything(),
            drifted: Vec::new(),
            replaced,
            policy,
        }
    }

    pub(super) fn state(&self) -> PassiveState {
        PassiveState {
            position: self.replica.position(),
            agreed: self.replica.agreed().clone(),
            staged: self.replica.staged_contents(),
            returning: self.replica.is_returning(),
            intake: IntakeState::default(),
            halt: None,
            problem: self.problem(),
            refused: None,
            drift: BTreeMap::new(),
            deployed: DeployedState::default(),
            news: 0,
        }
    }

    /// The directories of the agreed state.
    pub(super) fn directories(&self) -> Vec<RelPath> {
        directories(self.replica.agreed())
    }

    fn problem(&self) -> Option<String> {
        if self.replaced {
            return Some(REPLACED.to_owned());
        }
        let failure = self.replica.degraded()?;
        Some(format!("the journal has failed: {failure}"))
    }

    /// Takes a root that was replaced as it is; its differences are then
    /// replaced like those of a tree that was never synchronised.
    fn take_replaced_root(&mut self) -> Result<(), AdoptError> {
        if self.replaced {
            self.replica.adopt(&mut |_| ControlFlow::Continue(()))?;
            self.replaced = false;
        }
        Ok(())
    }

    /// Refuses a generation that would undo what somebody changed here, where that is
    /// for a person to decide and nobody has.
    fn hold(&mut self, intake: &Intake, released: &Released) -> Result<(), Refusal> {
        if self.policy != Policy::Hold {
            return Ok(());
        }
        let undone = self.replica.undone_by(intake);
        match undone.map_err(|error| unable(&error))? {
            Some(Held { plan, paths }) if !released.has(plan) => Err(Refusal::Held { plan, paths }),
            _ => Ok(()),
        }
    }

    /// Whether a generation was applied at last.
    fn resume(&mut self) -> Result<bool, String> {
        let resumed = self.replica.resume();
        let resumed = resumed.map_err(|error| with_causes(&error))?;
        Ok(resumed.is_some())
    }

    fn tend(&mut self, due: impl FnOnce(Unsaved) -> bool) -> Result<(), String> {
        let replica = &mut self.replica;
        let unsaved = replica.unsaved().map_err(|error| with_causes(&error))?;
        if replica.wants_checkpoint() || unsaved.is_some_and(due) {
            replica.checkpoint().map_err(|error| with_causes(&error))?;
        }
        replica.archive().tidy();
        Ok(())
    }

    fn save(&mut self, mode: NodeMode) -> Result<(), CheckpointError> {
        let replica = &mut self.replica;
        if mode == NodeMode::Daemon || !replica.can_be_redone() {
            return replica.checkpoint();
        }
        if replica.is_long_to_redo()
            && let Err(error) = replica.checkpoint()
        {
            // What the command did is durable all the same.
            warn!("the next start will take long: {}", with_causes(&error));
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<Applied, Refusal> {
        let committed = self.committed.take().ok_or_else(no_generation)?;
        self.replica
            .apply(committed)
            .map_err(|error| unable(&error))
    }
}

fn no_generation() -> Refusal {
    Refusal::Protocol("no generation is under way".to_owned())
}

impl PassiveTree {
    pub(super) fn new(
        name: TreeName,
        thread: TreeThread<ReplicaThread>,
        state: PassiveState,
    ) -> Self {
        Self {
            name,
            thread,
            turn: Arc::default(),
            state: Arc::new(watch::Sender::new(state)),
            looks: None,
            deploying: None,
            healing: None,
            replacing: Arc::default(),
        }
    }

    /// Has the drift watch look at everything that happened before. Returns
    /// `false` where there is none: then only a scan knows.
    pub(super) async fn look(&self) -> Result<bool, Stopped> {
        let Some(looks) = &self.looks else {
            return Ok(false);
        };
        let (asker, answered) = oneshot::channel();
        looks.send(Look::Now(asker)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)?;
        Ok(true)
    }

    /// Takes a root that was replaced as it is. Returns whether it was.
    pub(super) async fn take_replaced_root(&self) -> Result<Result<bool, AdoptError>, Stopped> {
        let (taken, state) = self
            .thread
            .run(|tree| {
                let replaced = tree.replaced;
                (tree.take_replaced_root().map(|()| replaced), tree.state())
            })
            .await?;
        self.publish(state, None);
        Ok(taken)
    }

    /// Whether what stands there was an active's, and not agreed.
    pub(super) fn is_returning(&self) -> bool {
        self.state.borrow().returning
    }

    /// Says what the active knows to be agreed.
    pub(super) async fn know_agreed(&self, known: Manifest) -> Result<(), Stopped> {
        self.thread
            .run(move |tree| tree.replica.know_agreed(known))
            .await
    }

    /// Allows or forbids to replace files that were never synchronised.
    pub(super) fn allow_replacing(&self, allow: bool) {
        self.replacing.store(allow, Ordering::Relaxed);
    }

    pub(super) fn tree_status(&self) -> TreeStatus {
        let state = self.state.borrow();
        TreeStatus {
            name: self.name.clone(),
            position: state.position,
            entries: state.agreed.totals().entries,
            staged: state.staged,
        }
    }

    /// Finishes what could not be applied and writes a checkpoint where one is
    /// `due`, or waits no longer.
    pub(super) async fn tend(
        &self,
        due: impl FnOnce(Unsaved) -> bool + Send + 'static,
    ) -> Result<Result<(), String>, Stopped> {
        let (resumed, result, state) = self
            .thread
            .run(move |tree| {
                let resumed = tree.resume();
                let result = resumed.clone().and_then(|_| tree.tend(due));
                (resumed, result, tree.state())
            })
            .await?;
        if resumed == Ok(true) {
            self.note_applied(state.position.generation, Covered::everything());
            let drifted = self.state.borrow().drift.keys().cloned().collect();
            self.look_at(drifted).await?;
        }
        let problem = result
            .as_ref()
            .err()
            .map(|problem| Refusal::Unable(problem.clone()));
        self.publish(state, problem.as_ref());
        Ok(result)
    }

    /// Saves what was observed and applied. After one command's work that is only
    /// what the journal does not have, or what the next start would take long to
    /// take up from it.
    pub(super) async fn save(&self, mode: NodeMode) -> Result<(), Failure> {
        let doing = format!("saving the state of {}", self.name);
        let failed =
            |error: &dyn std::error::Error| Failure::caused_by(FailureKind::Failed, &*doing, error);
        let saved = self.thread.run(move |tree| tree.save(mode)).await;
        saved
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }

    /// The paths to ask the active for, where the policy is to heal what a hand
    /// changed; each counts as healed once more.
    pub(super) fn to_heal(&self) -> Vec<RelPath> {
        let healing = self.healing.as_ref();
        healing.map_or_else(Vec::new, |healing| healing.admit(&self.state.borrow()))
    }

    /// Has the generation watched until the deployer has had its interval.
    fn note_applied(&self, generation: Generation, covered: Covered) {
        if let Some(deploying) = &self.deploying {
            deploying.applied(generation, covered);
        }
    }

    /// Has the drift watch look again at `paths`.
    async fn look_at(&self, paths: Vec<RelPath>) -> Result<(), Stopped> {
        match &self.looks {
            Some(looks) if !paths.is_empty() => {
                looks.send(Look::At(paths)).await.map_err(|_| Stopped)
            }
            _ => Ok(()),
        }
    }

    /// Takes up what the tree's thread says of itself; the rest stays.
    fn publish(&self, new: PassiveState, refusal: Option<&Refusal>) {
        self.state.send_modify(|state| {
            state.problem = refusal.map(super::error::describe).or(new.problem);
            state.position = new.position;
            state.agreed = new.agreed;
            state.staged = new.staged;
            state.returning = new.returning;
        });
    }
}

fn unable(error: &dyn std::error::Error) -> Refusal {
    Refusal::Unable(with_causes(error))
}
