//! The policy `heal`: which paths a passive asks its active for.
//!
//! Only what a hand did is healed. What the deployer rejected or restored it would
//! reject or restore again, so that waits until its source changes.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::{
    Entry, RelPath,
    drift::{Cause, Heals},
    wire::PathBudget,
};
use sync_fs::replica::{DriftKind, Drifted};
use tokio::time::Instant;

use super::passive::PassiveState;

/// What was healed lately in one tree.
pub(super) struct Healing {
    start: Instant,
    heals: Mutex<Heals>,
}

impl Healing {
    /// Nothing yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            heals: Mutex::default(),
        })
    }

    /// The paths to be healed now, as many as one message names. Each counts as
    /// healed once more.
    pub(super) fn admit(&self, state: &PassiveState) -> Vec<RelPath> {
        let now = self.start.elapsed();
        // Every change is one call that leaves them whole.
        let mut heals = self.heals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut budget = PathBudget::default();
        let wanted = state.drift.values().filter(|drift| is_healed(drift));
        wanted
            .filter(|drift| {
                let agreed: Option<Entry> = state.agreed.get(&drift.path);
                budget.admits(&drift.path) && heals.admit(&drift.path, agreed.as_ref(), now)
            })
            .map(|drift| drift.path.clone())
            .collect()
    }
}

/// Whether a hand did it and it can be put right: a time alone makes the deployer
/// read a file again, and a second one would once more; what the deployer moved
/// away stays beside its place, for whoever looks into it.
fn is_healed(drift: &Drifted) -> bool {
    let is_kept = drift.kind == DriftKind::Extra && drift.path.file_name().ends_with(b".back");
    let can_be = !matches!(drift.kind, DriftKind::Touched | DriftKind::Unreadable(_));
    drift.cause == Cause::Edited && can_be && !is_kept
}
