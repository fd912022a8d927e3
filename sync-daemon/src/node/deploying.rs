//! The passive's watch over the hot deployer: each generation is watched for one
//! interval, then it counts as deployed, or some of its paths as rejected.
//!
//! Which generation a rejection counts for is decided in `sync_core::deploy`; that
//! something was rejected, the tree's drift watch finds out. What has ended is kept
//! in the tree's state, for the active and for whoever asks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sync_core::{
    Generation, RelPath,
    deploy::{Covered, Deployed, Deployments},
    drift::Cause,
    wire::{DeployedReport, REPORT_GENERATIONS_MAX},
};
use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};

use super::passive::{PassiveState, PassiveTree};

/// Added to the deployer's interval: what a poll takes, and the look that finds
/// what it did.
const MARGIN: Duration = Duration::from_secs(2);

/// The generations of one tree that wait for the deployer.
pub(super) struct Deploying {
    start: Instant,
    deployments: Mutex<Deployments>,
    /// Wakes the drift watch: there is another deadline.
    pub(super) changed: Notify,
}

/// What has had its interval, as far as it is remembered.
#[derive(Clone, Debug, Default)]
pub(super) struct DeployedState {
    /// How many generations had their interval since the node started.
    pub(super) ended: u64,
    /// How many of them were told apart: where very many came at once, the oldest
    /// count as part of the next.
    pub(super) count: u64,
    /// The latest, oldest first, at most [`REPORT_GENERATIONS_MAX`].
    pub(super) latest: VecDeque<DeployedGeneration>,
}

impl DeployedState {
    /// Those after the first `count`, as far as they are remembered.
    pub(super) fn since(&self, count: u64) -> impl DoubleEndedIterator<Item = &DeployedGeneration> {
        let new = usize::try_from(self.count.saturating_sub(count)).unwrap_or(usize::MAX);
        let skipped = self.latest.len().saturating_sub(new);
        self.latest.range(skipped..)
    }

    fn note(&mut self, over: Vec<Deployed>, ended: u64) {
        self.ended = ended;
        self.count += over.len() as u64;
        let unix_seconds = unix_seconds();
        self.latest
            .extend(over.into_iter().map(|deployed| DeployedGeneration {
                deployed,
                unix_seconds,
            }));
        let surplus = self.latest.len().saturating_sub(REPORT_GENERATIONS_MAX);
        self.latest.drain(..surplus);
    }
}

/// A generation that has had its interval.
#[derive(Clone, Debug)]
pub(super) struct DeployedGeneration {
    /// Which, and what of it was rejected.
    pub(super) deployed: Deployed,
    /// When the interval ended, in seconds since 1970.
    pub(super) unix_seconds: u64,
}

impl Deploying {
    /// Watches each generation for `interval`, the deployer's own.
    pub(super) fn new(interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            deployments: Mutex::new(Deployments::new(interval + MARGIN)),
            changed: Notify::new(),
        })
    }

    /// A generation shows under every name.
    pub(super) fn applied(&self, generation: Generation, covered: Covered) {
        self.lock()
            .applied(generation, covered, self.start.elapsed());
        self.changed.notify_one();
    }

    /// How many generations were applied since the node started.
    pub(super) fn begun(&self) -> u64 {
        self.lock().begun()
    }

    /// When the next generation has had its interval.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadline = self.lock().next_deadline()?;
        Some(self.start + deadline)
    }

    /// Takes those that have had their interval into the state of `tree`, which is
    /// as a look of now found it.
    pub(super) fn take_ended(&self, tree: &PassiveTree) {
        let rejected = rejected(&tree.state.borrow());
        let (over, ended) = {
            let mut deployments = self.lock();
            let over = deployments.due(self.start.elapsed(), &rejected);
            (over, deployments.ended())
        };
        if over.is_empty() {
            return;
        }
        over.iter().for_each(|deployed| tell(tree, deployed));
        tree.state.send_modify(|state| {
            state.news += 1;
            state.deployed.note(over, ended);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Deployments> {
        // Every change is one call that leaves it whole.
        self.deployments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeployedGeneration {
    /// As a peer reported it.
    pub(super) fn told(report: DeployedReport, unix_seconds: u64) -> Self {
        Self {
            deployed: Deployed {
                generation: report.generation,
                rejected: report.rejected,
            },
            unix_seconds,
        }
    }
}

/// The paths that the deployer refuses, as far as is known.
pub(super) fn rejected(state: &PassiveState) -> Vec<RelPath> {
    let drift = state.drift.values();
    let rejected = drift.filter(|drift| drift.cause == Cause::Rejected);
    rejected.map(|drift| drift.path.clone()).collect()
}

/// Seconds since 1970; 0 with a clock before that.
pub(super) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn tell(tree: &PassiveTree, deployed: &Deployed) {
    let generation = deployed.generation;
    match deployed.rejected.len() {
        0 => info!(tree = %tree.name, %generation, "deployed"),
        paths => warn!(tree = %tree.name, %generation, paths, "rejected by the deployer"),
    }
}
