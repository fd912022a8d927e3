//! The record of a generation in the history of the tree, made as it is applied.

use sync_core::{
    Action, Manifest, Position, Root as TreeRoot,
    history::{Counts, GenerationRecord, Origin, PathChange, Step, Time},
    journal::{Commit, Placed},
    plan::apply_changes,
};

use super::{Replica, apply::Pending};
use crate::archive::now;

/// What is known of a generation before it is applied.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) origin: Origin,
    base: TreeRoot,
    times: Vec<Time>,
}

impl Draft {
    /// One that begins to come in now.
    pub(super) fn received(base: TreeRoot) -> Self {
        Self {
            origin: Origin::peer(""),
            base,
            times: vec![now(Step::Received)],
        }
    }

    /// The same, now that it is durable.
    pub(super) fn durable(&self) -> Self {
        let mut draft = self.clone();
        draft.times.push(now(Step::Durable));
        draft
    }
}

impl Replica {
    /// What the record will say; asked while `agreed` is as it was before.
    pub(super) fn begin_record(&self, pending: &Pending) -> Option<GenerationRecord> {
        let draft = pending.draft.as_ref().filter(|_| self.archive.is_kept())?;
        let agreed = self.agreed.manifest();
        let (position, base) = (pending.position, draft.base);
        let mut record = record(
            agreed,
            position,
            base,
            draft.origin.clone(),
            &pending.changes,
        );
        record.times.clone_from(&draft.times);
        Some(record)
    }

    /// Records it, now that every name shows it.
    pub(super) fn finish_record(&mut self, mut record: GenerationRecord) {
        record.position.root = self.position.root;
        record.times.push(now(Step::Applied));
        self.archive.record(&record);
    }

    /// Records the commits that an interruption left without a record. `agreed` is
    /// what they started from.
    pub(super) fn record_commits(&mut self, mut agreed: Manifest, commits: &[Commit]) {
        for commit in commits {
            let (position, base) = (commit.position(), commit.header.base);
            if agreed.root() != base {
                return; // rebuilt from the disk: what changed is not known
            }
            if !self.archive.has(position.generation, position.root) {
                let changes = &commit.changes;
                let mut record = record(&agreed, position, base, Origin::Journal, changes);
                record.times.push(now(Step::Applied));
                self.archive.record(&record);
            }
            let changes: Vec<_> = commit.changes.iter().map(|it| it.change.clone()).collect();
            agreed = apply_changes(&agreed, &changes);
        }
    }
}

fn record(
    agreed: &Manifest,
    position: Position,
    base: TreeRoot,
    origin: Origin,
    changes: &[Placed],
) -> GenerationRecord {
    if agreed.is_empty() {
        // A first fill: there is nothing to go back to but an empty tree.
        let counts = Counts {
            created: changes.len() as u64,
            ..Counts::default()
        };
        return GenerationRecord::unlisted(position, base, origin, counts);
    }
    let changes = changes.iter().map(|Placed { change, .. }| PathChange {
        path: change.path.clone(),
        before: agreed.get(&change.path),
        after: match &change.action {
            Action::Put(entry) => Some(entry.clone()),
            Action::Delete => None,
        },
    });
    GenerationRecord::new(position, base, origin, changes)
}
