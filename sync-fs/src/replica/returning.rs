//! A passive whose tree was an active's before: what stands there may be known
//! to nobody else.

use sync_core::{Manifest, RelPath};

use super::{Replica, checkpoint::CheckpointError};
use crate::{
    root::{AbsentIsNone, DiskError, Root},
    state::Snapshot,
    stint::{AGREED, RETURNING, name},
};

/// The tree as it stands until the first generation is applied.
#[derive(Debug, Default)]
pub(super) struct Returning {
    /// What is known to have been agreed, whatever the disk has.
    pub(super) known: Manifest,
}

impl Returning {
    /// Whether `work` says that the tree is one.
    pub(super) fn of(work: &Root) -> Result<Option<Self>, DiskError> {
        let marked = work.stat(&name(RETURNING))?.is_some();
        Ok(marked.then(Self::default))
    }
}

impl Replica {
    /// Whether the tree was an active's, and no generation was applied since: what
    /// a generation replaces or deletes is then kept aside, unless it is known to
    /// be agreed.
    #[must_use]
    pub fn is_returning(&self) -> bool {
        self.returning.is_some()
    }

    /// Says what was agreed, as the active knows it. Of no use to a tree that is
    /// not returning.
    pub fn know_agreed(&mut self, known: Manifest) {
        if let Some(returning) = &mut self.returning {
            returning.known = known;
        }
    }

    /// The tree is as the active wants it: from now on what was applied is ours.
    pub(super) fn has_returned(&mut self) {
        if self.returning.take().is_some() {
            self.unsynced.note_snapshot();
        }
    }

    /// Forgets, once that is saved, that the tree was an active's.
    pub(super) fn forget_return(&self) -> Result<(), DiskError> {
        if self.returning.is_some() || self.work.stat(&name(RETURNING))?.is_none() {
            return Ok(());
        }
        self.work.remove_file(&name(RETURNING)).absent_is_none()?;
        self.work.sync_directory(None)
    }

    /// Brings everything to the disk, and puts on record what is agreed, for an
    /// active to take over.
    pub(crate) fn hand_over(&mut self) -> Result<(), CheckpointError> {
        self.checkpoint()?;
        let recorded = if self.returning.is_some() {
            self.work
                .remove_file(&name(AGREED))
                .absent_is_none()
                .map(drop)
        } else {
            self.record_agreed()
        };
        recorded.map_err(CheckpointError::Snapshot)
    }

    fn record_agreed(&self) -> Result<(), DiskError> {
        let snapshot = Snapshot {
            position: self.position,
            identity: self.root.identity()?,
            agreed: &self.agreed,
        };
        snapshot.save_as(&self.work, AGREED)
    }

    /// The tree's root, for an error.
    pub(crate) fn shown_root(&self) -> String {
        self.root.place(None).to_string()
    }

    /// What this replica itself put there, or took over: a path of it is not
    /// somebody else's. `None` for all that is agreed.
    pub(super) fn owned(&self) -> Option<&Manifest> {
        self.returning.as_ref().map(|returning| &returning.known)
    }
}

/// Whether the file at `path` is the one that `known` says.
pub(super) fn is_known_content(
    known: &Manifest,
    path: &RelPath,
    content: sync_core::ContentId,
) -> bool {
    known.file(path).is_some_and(|file| file.content == content)
}
