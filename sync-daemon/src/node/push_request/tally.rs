//! What a push did to one tree of one peer, as it is told.

use sync_core::{Position, plan};
use tokio::{sync::mpsc::Sender, time::Instant};

use super::{Goal, tell};
use crate::{
    events::{ChangeAction, ChangeReport, Event, PathText, Summary, TransferSummary},
    node::report::{PushReport, Reported},
};

/// What was done, in numbers.
#[derive(Default)]
pub(super) struct Tally {
    files: u64,
    bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    /// Whether the deployer took all of it, where that was waited for.
    pub(super) deployed: Option<bool>,
}

impl Tally {
    /// Tells every change of `reports`.
    pub(super) async fn tell_all(
        &mut self,
        goal: &Goal,
        reports: &[PushReport],
        events: &Sender<Event>,
    ) {
        for report in reports {
            for change in &report.changes {
                self.tell(goal, change, events).await;
            }
            self.sent_bytes += report.sent_bytes;
            self.received_bytes += report.received_bytes;
        }
    }

    /// Tells one change.
    pub(super) async fn tell(&mut self, goal: &Goal, change: &Reported, events: &Sender<Event>) {
        self.files += u64::from(!change.is_directory);
        self.bytes += change.summary.bytes;
        tell(events, Event::Change(change_event(goal, change))).await;
    }

    /// Tells the end: where both stand, or, for a dry run, where it starts from.
    pub(super) async fn tell_summary(
        self,
        goal: &Goal,
        position: Position,
        begun: Instant,
        dry_run: bool,
        events: &Sender<Event>,
    ) {
        let summary = TransferSummary {
            tree: goal.tree.to_string(),
            peer: goal.peer_name.clone(),
            files: self.files,
            bytes: self.bytes,
            sent_bytes: self.sent_bytes,
            received_bytes: self.received_bytes,
            generation: position.generation.0,
            root: position.root.to_string(),
            seconds: begun.elapsed().as_secs_f64(),
            dry_run,
            deployed: self.deployed,
        };
        tell(events, Event::Summary(Summary::Transfer(summary))).await;
    }
}

fn change_event(goal: &Goal, change: &Reported) -> ChangeReport {
    let summary = &change.summary;
    ChangeReport {
        tree: goal.tree.to_string(),
        peer: goal.peer_name.clone(),
        path: PathText::from(&summary.path),
        action: action(summary.action),
        from: summary.from.as_ref().map(sync_core::RelPath::escaped),
        itemized: change.itemized.clone(),
        bytes: summary.bytes,
        sent_bytes: change.sent_bytes,
    }
}

fn action(kind: plan::SummaryAction) -> ChangeAction {
    match kind {
        plan::SummaryAction::Create => ChangeAction::Create,
        plan::SummaryAction::Update => ChangeAction::Update,
        plan::SummaryAction::Delete => ChangeAction::Delete,
        plan::SummaryAction::Metadata => ChangeAction::Metadata,
        plan::SummaryAction::Rename => ChangeAction::Rename,
    }
}
