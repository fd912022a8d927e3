//! The policy `hold`: whether a generation would undo what somebody changed here.

use sync_core::{
    drift::{Actions, Found, held_plan},
    wire::PlanId,
};

use super::{DriftKind, Drifted, Intake, Replica};
use crate::scan::ScanError;

/// What a generation would undo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// What names the decision over it.
    pub plan: PlanId,
    /// How many paths that is.
    pub paths: u64,
}

impl Replica {
    /// What a generation that was accepted would undo of what somebody changed here,
    /// if anything. Costs a look at every path that it changes.
    ///
    /// # Errors
    /// As [`Replica::drift`].
    pub fn undone_by(&mut self, intake: &Intake) -> Result<Option<Held>, ScanError> {
        if self.is_new() {
            // Whether such a tree loses anything is decided otherwise.
            return Ok(None);
        }
        let paths: Vec<_> = intake.changes.iter().map(|it| it.path.clone()).collect();
        let (drifted, _) = self.drift_at(&paths)?;
        let changes: Actions<'_> = intake
            .changes
            .iter()
            .map(|change| (&change.path, &change.action))
            .collect();
        let undone: Vec<Found<'_>> = drifted
            .iter()
            // A time alone is nothing that somebody would miss.
            .filter(|drifted| drifted.kind != DriftKind::Touched)
            .map(found)
            .filter(|found| found.is_undone_by(&changes))
            .collect();
        let paths = undone.len() as u64;
        Ok((paths > 0).then(|| Held {
            plan: held_plan(&self.options.tree, undone),
            paths,
        }))
    }
}

fn found(drifted: &Drifted) -> Found<'_> {
    Found {
        path: &drifted.path,
        disk: drifted.disk.as_ref(),
        cause: drifted.cause,
    }
}
