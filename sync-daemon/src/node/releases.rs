//! Plans that an operator approved although the deletion guard halted them.
//!
//! Kept in the state directory, so that `release` works whether or not a daemon
//! runs, and forgotten once there are many: an old approval can never fit a new
//! plan, because its id covers the base root.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use sync_core::wire::PlanId;
use tokio::sync::watch;

use crate::{
    failure::{Failure, FailureKind},
    private_file::{self, Kept},
};

const FILE_NAME: &str = "released";
/// Approvals kept, the newest ones.
const RELEASES_MAX: usize = 64;

pub(super) struct Releases {
    path: PathBuf,
    plans: Mutex<Vec<PlanId>>,
    changed: watch::Sender<()>,
}

impl Releases {
    /// Those that the state directory holds.
    pub(super) fn load(state_dir: &std::path::Path) -> Result<Self, Failure> {
        let path = state_dir.join(FILE_NAME);
        let bytes = private_file::read(&path, Kept::Unchanged)
            .map_err(|error| {
                Failure::caused_by(FailureKind::Failed, "reading the released plans", &error)
            })?
            .unwrap_or_default();
        // A line that is no plan id approves nothing.
        let plans = String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect();
        Ok(Self {
            path,
            plans: Mutex::new(plans),
            changed: watch::Sender::new(()),
        })
    }

    pub(super) fn contains(&self, plan: PlanId) -> bool {
        self.plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&plan)
    }

    /// Adds one, on the disk first.
    pub(super) fn add(&self, plan: PlanId) -> Result<(), Failure> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = plans.clone();
        next.retain(|held| *held != plan);
        next.push(plan);
        let excess = next.len().saturating_sub(RELEASES_MAX);
        next.drain(..excess);
        let text: String = next.iter().map(|plan| format!("{plan}\n")).collect();
        private_file::replace(&self.path, text.as_bytes()).map_err(|error| {
            Failure::caused_by(FailureKind::Failed, "recording the released plan", &error)
        })?;
        *plans = next;
        self.changed.send_replace(());
        Ok(())
    }

    /// Tells when one is added after this call.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
