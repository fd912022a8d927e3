//! Making the tree itself durable, so that the journal can forget.
//!
//! In this order, each step only after the one before succeeded: what was
//! applied is synced, the snapshot is replaced, the journal begins a new
//! segment. A kill in between leaves the journal as it was, and doing what it
//! says again changes nothing.

use std::collections::{BTreeSet, HashSet};

use sync_core::{Entry, FileEntry, RelPath};
use thiserror::Error;

use super::{
    Replica,
    aside::Aside,
    contents::{dress, has_content, write_out},
    judge::seen_after_put,
    with_causes,
};
use crate::{
    journal::JournalError,
    observed::Sighting,
    root::{AbsentIsNone, Cause, DiskError, HeldFile, Target},
    state::Snapshot,
};

/// More paths than this are synced at once with the whole file system: one
/// `syncfs` then costs less than so many `fsync`s, even when others write.
const SINGLE_SYNCS_MAX: usize = 256;
/// A journal of this size waits no longer for a quiet moment.
const JOURNAL_BYTES_AIM: u64 = 64 << 20;
/// A start that redoes the journal compares each path with the disk, in some 20 us
/// and 1.2 kB of memory: 5 s and 300 MB for so many.
const REDO_PATHS_MAX: usize = 250_000;
/// And it reads the journal, and as much of the tree.
const REDO_BYTES_MAX: u64 = 1 << 30;

/// What a checkpoint has to do with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsaved {
    /// Bytes of the snapshot that would be written anew, whatever changed.
    pub snapshot_bytes: u64,
    /// Bytes in the journal, which a restart reads and compares.
    pub journal_bytes: u64,
}

/// Why a checkpoint was not made. The journal keeps everything; try again later.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A generation is not wholly applied.
    #[error("a checkpoint has to wait until the durable generation is applied")]
    Pending,
    /// The disk failed while applied files were synced. They will be written
    /// anew before the next attempt: a failed sync cannot be repeated.
    #[error("cannot make the applied files durable; they will be written again")]
    Sync(#[source] DiskError),
    /// Applied files could not be written anew after a failed sync.
    #[error("cannot write an applied file again after a failed sync")]
    Rewrite(#[source] DiskError),
    /// The snapshot could not be written.
    #[error("cannot write the snapshot of the tree")]
    Snapshot(#[source] DiskError),
    /// The journal could not begin a new segment.
    #[error("cannot recycle the journal")]
    Journal(#[from] JournalError),
}

/// What was changed in the tree since it was last durable.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    paths: HashSet<RelPath>,
    /// Directories of the work directory where something was kept aside.
    asides: BTreeSet<RelPath>,
    /// Whether a sync failed since: the paths then have to be written anew.
    failed: bool,
    /// Whether something outside the journal changed what the snapshot says.
    snapshot_due: bool,
}

impl Unsynced {
    pub(super) fn note(&mut self, path: &RelPath) {
        self.paths.insert(path.clone());
    }

    /// Every directory on the way to something kept aside has a new name in it.
    pub(super) fn note_aside(&mut self, kept: &Aside) {
        let mut above = kept.kept_at.parent();
        while let Some(directory) = above {
            above = directory.parent();
            self.asides.insert(directory);
        }
    }

    pub(super) fn note_snapshot(&mut self) {
        self.snapshot_due = true;
    }
}

impl Replica {
    /// Whether the journal has grown so that a checkpoint should wait no longer.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.contents.journal().used() > JOURNAL_BYTES_AIM || self.degraded().is_some()
    }

    /// Whether a checkpoint would make a restart quicker: worth a quiet moment.
    #[must_use]
    pub fn has_unsaved(&self) -> bool {
        self.contents.journal().has_commits() || self.unsynced.snapshot_due
    }

    /// What a checkpoint would cost, and spare a restart; `None` where there is
    /// nothing to save.
    ///
    /// # Errors
    /// Where the last snapshot cannot be looked at.
    pub fn unsaved(&self) -> Result<Option<Unsaved>, DiskError> {
        if !self.has_unsaved() {
            return Ok(None);
        }
        Ok(Some(Unsaved {
            snapshot_bytes: Snapshot::bytes(&self.work)?,
            journal_bytes: self.contents.journal().used(),
        }))
    }

    /// Whether the next [`Replica::open`] comes to what stands here without a
    /// checkpoint: the journal has all that the snapshot has not.
    #[must_use]
    pub fn can_be_redone(&self) -> bool {
        !self.unsynced.snapshot_due && self.degraded().is_none()
    }

    /// Whether the next [`Replica::open`] would take long to redo the journal:
    /// longer than a checkpoint now.
    #[must_use]
    pub fn is_long_to_redo(&self) -> bool {
        is_long_to_redo(self.unsynced.paths.len(), self.contents.journal().used())
    }

    /// Makes everything applied durable in the tree, writes the snapshot and
    /// recycles the journal. Contents of an interrupted transfer are kept. A
    /// journal that failed is replaced.
    ///
    /// # Errors
    /// Where any of it fails; nothing is forgotten then.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        if self.pending.is_some() || self.tentative {
            return Err(CheckpointError::Pending);
        }
        if self.unsynced.failed {
            self.write_anew().map_err(CheckpointError::Rewrite)?;
        }
        self.sync_applied()?;
        self.archive.sync();
        self.save_snapshot()?;
        self.contents
            .journal_mut()
            .reset(&self.work, self.position)?;
        self.unsynced = Unsynced::default();
        self.forget_return().map_err(CheckpointError::Snapshot)?;
        // The checkpoint stands; what is left over only takes space.
        let cleaned = self.contents.remove_applied(&self.work);
        let reserved = self.reserve.take(&self.work);
        if let Err(error) = cleaned.and(reserved) {
            tracing::warn!(
                error = with_causes(&error),
                "cannot tidy the work directory"
            );
        }
        Ok(())
    }

    fn sync_applied(&mut self) -> Result<(), CheckpointError> {
        let all_at_once = || self.root.sync_file_system();
        let synced = if self.unsynced.paths.len() > SINGLE_SYNCS_MAX {
            all_at_once()
        } else {
            self.sync_each()
                .or_else(|error| error.map_or_else(all_at_once, Err))
        };
        synced.map_err(|error| {
            self.unsynced.failed = true;
            CheckpointError::Sync(error)
        })
    }

    /// `Err(None)` where something may not be opened, and so not be synced alone.
    fn sync_each(&self) -> Result<(), Option<DiskError>> {
        let mut directories = BTreeSet::new();
        for path in &self.unsynced.paths {
            directories.insert(path.parent());
            match self.agreed.manifest().get(path) {
                Some(Entry::File(_)) => synced(self.root.sync_file(path))?,
                Some(Entry::Directory { .. }) => {
                    directories.insert(Some(path.clone()));
                }
                Some(Entry::Symlink { .. }) | None => {}
            }
        }
        for directory in &directories {
            synced(self.root.sync_directory(directory.as_ref()))?;
        }
        for directory in &self.unsynced.asides {
            synced(self.work.sync_directory(Some(directory)))?;
        }
        Ok(())
    }

    pub(super) fn save_snapshot(&mut self) -> Result<(), CheckpointError> {
        let saved = self.try_save_snapshot();
        let full = matches!(&saved, Err(error) if error.cause() == Cause::Full);
        let saved = match full && self.reserve.give_up(&self.work).unwrap_or(false) {
            true => self.try_save_snapshot(),
            false => saved,
        };
        saved.map_err(CheckpointError::Snapshot)?;
        self.unsynced.snapshot_due = false;
        Ok(())
    }

    fn try_save_snapshot(&self) -> Result<(), DiskError> {
        let snapshot = Snapshot {
            position: self.position,
            identity: self.root.identity()?,
            agreed: &self.agreed,
        };
        snapshot.save(&self.work)
    }

    /// Puts a new file in the place of every unsynced one, with the same content
    /// and times. The operating system may have dropped the old one's bytes from
    /// memory without having written them.
    fn write_anew(&mut self) -> Result<(), DiskError> {
        let paths: Vec<RelPath> = self.unsynced.paths.iter().cloned().collect();
        for path in paths {
            let Some(file) = self.agreed.manifest().file(&path) else {
                continue;
            };
            self.write_one_anew(&path, &file)?;
        }
        Ok(())
    }

    fn write_one_anew(&mut self, path: &RelPath, file: &FileEntry) -> Result<(), DiskError> {
        let Some(old) = self.root.open_file(path).absent_is_none()? else {
            return Ok(());
        };
        // What is not as agreed is somebody else's, and theirs to sync.
        if !has_content(&old, file.content)? {
            return Ok(());
        }
        let name = self.contents.scratch_name();
        let new = if self.contents.has(&file.content) {
            write_out(&self.contents, &self.work, &name, file)?
        } else {
            self.copy_out(&old, &name, file)?
        };
        self.work
            .rename(&name, &self.root, path, Target::Replaced)?;
        let seen = seen_after_put(&new.stat()?);
        self.agreed.put(Sighting {
            path: path.clone(),
            entry: Entry::File(*file),
            seen,
        });
        Ok(())
    }

    fn copy_out(
        &self,
        old: &HeldFile,
        name: &RelPath,
        file: &FileEntry,
    ) -> Result<HeldFile, DiskError> {
        let new = self.work.create_file(name)?;
        new.copy_from(old, 0, 0, file.length)?;
        dress(&new, file)?;
        Ok(new)
    }
}

/// What somebody removed since needs no sync.
fn synced(result: Result<(), DiskError>) -> Result<(), Option<DiskError>> {
    match result {
        Err(error) if error.cause() == Cause::Absent => Ok(()),
        Err(error) if error.cause() == Cause::Denied => Err(None),
        result => result.map_err(Some),
    }
}

fn is_long_to_redo(paths: usize, journal_bytes: u64) -> bool {
    paths > REDO_PATHS_MAX || journal_bytes > REDO_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_paths_or_many_bytes_are_long_to_redo() {
        for (paths, mebibytes, is_long) in [
            (10_000, 22, false),
            (100_000, 220, false),
            (1_000_000, 1_000, true),
            (300_000, 60, true),
            (20_000, 1_200, true),
        ] {
            assert_eq!(is_long_to_redo(paths, mebibytes << 20), is_long, "{paths}");
        }
    }
}
