//! What stands on the disk instead of what was agreed, and how a tree that was
//! never synchronised is taken as it is.

use std::collections::BTreeSet;

use sync_core::{
    ContentId, Entry, Epoch, FileEntry, Generation, Manifest, Position, Preset, RelPath,
    drift::{Cause, Evidence, moved_names},
};

use super::{Replica, checkpoint::CheckpointError, contents::has_content};
use crate::{
    observed::Observed,
    root::Kind,
    scan::{
        Inspect, Report, SCAN_THREADS_MAX, Scan, ScanError, ScanOptions, Trouble, scan, scan_paths,
    },
};
use thiserror::Error;

/// How a path differs from what was agreed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriftKind {
    /// Another content, link text or kind.
    Edited,
    /// Agreed, and not there.
    Missing,
    /// There, and not agreed.
    Extra,
    /// Another mode only.
    Metadata,
    /// Another modification time only.
    Touched,
    /// Cannot be looked at, and why.
    Unreadable(String),
}

/// One path that is not as agreed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drifted {
    /// Where.
    pub path: RelPath,
    /// How.
    pub kind: DriftKind,
    /// By whom.
    pub cause: Cause,
    /// What the disk has, if it has and shows anything.
    pub disk: Option<Entry>,
}

/// What a look at the whole tree found.
#[derive(Debug)]
pub struct Drift {
    /// Every path that is not as agreed, by path.
    pub paths: Vec<Drifted>,
    /// The disk as it is; what cannot be read counts as agreed.
    pub disk: Manifest,
    /// Names that cannot be paths, escaped.
    pub illegal_names: Vec<String>,
    /// Names looked at.
    pub entries: u64,
    /// Contents read.
    pub hashed: u64,
    /// Bytes in them.
    pub hashed_bytes: u64,
}

impl Drift {
    /// Whether paths, kinds, modes and contents are as agreed. Times may differ.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.paths
            .iter()
            .all(|path| path.kind == DriftKind::Touched)
    }
}

/// Why a tree was not taken as it is.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// It was synchronised before, and what was agreed then still counts.
    #[error("the tree stands at generation {0} and is not taken as new")]
    NotNew(Generation),
    /// The tree cannot be looked at.
    #[error("cannot take the tree as it is")]
    Scan(#[from] ScanError),
    /// It could not be written down.
    #[error("cannot take the tree as it is")]
    Checkpoint(#[from] CheckpointError),
}

impl Replica {
    /// Compares the disk with what was agreed. `deep` reads every content again;
    /// otherwise only those whose stat proves nothing. Where the content proves
    /// to be the agreed one, that is remembered; nothing else changes.
    ///
    /// # Errors
    /// Where the tree cannot be looked at, or `report` stops it.
    pub fn drift(&mut self, deep: bool, report: &mut Report<'_>) -> Result<Drift, ScanError> {
        let agreed = Some(self.agreed.manifest());
        let mut found = self.scan(&self.agreed, agreed, deep, report)?;
        self.remember(&found);
        Ok(self.compare(&mut found))
    }

    /// Compares the disk with what was agreed at `paths` and below those that are
    /// directories. Gives the directories that stand there, too, in order.
    ///
    /// # Errors
    /// As [`Replica::drift`].
    pub fn drift_at(
        &mut self,
        paths: &[RelPath],
    ) -> Result<(Vec<Drifted>, Vec<RelPath>), ScanError> {
        let options = self.scan_options(Some(self.agreed.manifest()), false);
        let mut found = scan_paths(&self.root, paths, &self.agreed, options, None)?;
        self.remember(&found);
        let directories = std::mem::take(&mut found.directories);
        Ok((self.compare(&mut found).paths, directories))
    }

    fn scan(
        &self,
        previous: &Observed,
        agreed: Option<&Manifest>,
        deep: bool,
        report: &mut Report<'_>,
    ) -> Result<Scan, ScanError> {
        let options = self.scan_options(agreed, deep);
        scan(&self.root, previous, options, report)
    }

    fn scan_options<'a>(&'a self, agreed: Option<&'a Manifest>, deep: bool) -> ScanOptions<'a> {
        ScanOptions {
            exclude: &self.options.exclude,
            preset: self.options.preset,
            deep,
            threads: SCAN_THREADS_MAX,
            inspect: Inspect::Nothing,
            agreed,
        }
    }

    /// Keeps the stats of files that proved to be as agreed, so that they are
    /// not read again. One with another time is to be reported again.
    fn remember(&mut self, found: &Scan) {
        for sighting in &found.refreshed {
            if self.agreed.manifest().get(&sighting.path).as_ref() == Some(&sighting.entry) {
                self.agreed.put(sighting.clone());
            }
        }
    }

    fn compare(&self, found: &mut Scan) -> Drift {
        let mut drift = self.differences(found);
        // A generation that could not be applied to its end shows at some of its
        // names; applying it judges the others.
        if let Some(pending) = &self.pending {
            let changed: BTreeSet<&RelPath> = pending
                .changes
                .iter()
                .map(|placed| &placed.change.path)
                .collect();
            drift
                .paths
                .retain(|drifted| !changed.contains(&drifted.path));
        }
        drift
    }

    fn differences(&self, found: &mut Scan) -> Drift {
        let mut paths = Vec::new();
        let mut disk = self.agreed.manifest().clone();
        for sighting in found.changed.drain(..).chain(found.refreshed.drain(..)) {
            let agreed = self.agreed.manifest().get(&sighting.path);
            if let Some(kind) = difference(agreed.as_ref(), &sighting.entry) {
                let entry = Some(sighting.entry.clone());
                paths.push(self.drifted(sighting.path.clone(), kind, entry));
            }
            disk.insert(sighting.path, sighting.entry);
        }
        for path in found.gone.drain(..) {
            disk.remove(&path);
            paths.push(self.drifted(path, DriftKind::Missing, None));
        }
        for path in found.excluded.drain(..) {
            disk.remove(&path);
        }
        for problem in found.problems.drain(..) {
            paths.push(Drifted {
                path: problem.path,
                kind: DriftKind::Unreadable(problem.trouble.to_string()),
                cause: Cause::Edited,
                disk: None,
            });
        }
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        Drift {
            paths,
            disk,
            illegal_names: found
                .illegal_names
                .drain(..)
                .map(|(name, _)| name)
                .collect(),
            entries: found.work.entries,
            hashed: found.work.hashed,
            hashed_bytes: found.work.hashed_bytes,
        }
    }

    fn drifted(&self, path: RelPath, kind: DriftKind, disk: Option<Entry>) -> Drifted {
        let cause = self.cause(&path, disk.as_ref());
        Drifted {
            path,
            kind,
            cause,
            disk,
        }
    }

    /// Who made `path` differ. Costs a look at a name or two beside it.
    fn cause(&self, path: &RelPath, disk: Option<&Entry>) -> Cause {
        if self.options.preset != Preset::Synapse {
            return Cause::Edited;
        }
        let agreed = self.agreed.manifest().get(path);
        let moved = match &agreed {
            Some(Entry::File(file)) => self.moved_file(path, file),
            _ => None,
        };
        Evidence {
            path,
            agreed: agreed.as_ref(),
            disk,
            moved,
            deleted: self.deleted.content(path),
        }
        .cause()
    }

    /// The content of the file that was put at `path`, where the deployer has
    /// moved it to another name. What cannot be looked at is no evidence.
    fn moved_file(&self, path: &RelPath, file: &FileEntry) -> Option<ContentId> {
        let put = self.agreed.seen(path)?.key.inode;
        for name in moved_names(path) {
            let stat = self.root.stat(&name).ok()??;
            // Where the inode is not known, the content has to do.
            let is_same = put == 0 || stat.key.inode == put;
            if stat.kind == Kind::File && stat.length == file.length && is_same {
                let held = self.root.open_file(&name).ok()?;
                if has_content(&held, file.content).unwrap_or(false) {
                    return Some(file.content);
                }
            }
        }
        None
    }

    /// The very first contact: takes what is on the disk as agreed, at no
    /// generation, so that the active can work out what differs.
    ///
    /// # Errors
    /// Where the tree was synchronised before, cannot be looked at, or the result
    /// cannot be written.
    pub fn adopt(&mut self, report: &mut Report<'_>) -> Result<(), AdoptError> {
        let Position {
            epoch, generation, ..
        } = self.durable();
        if generation != Generation(0) {
            return Err(AdoptError::NotNew(generation));
        }
        self.take_disk_as_agreed(epoch, Generation(0), report)?;
        self.save_snapshot()?;
        self.contents
            .journal_mut()
            .reset(&self.work, self.position)
            .map_err(CheckpointError::from)?;
        Ok(())
    }

    /// What is on the disk becomes what was agreed. Its root is that of the
    /// disk, so that a peer who knows better sees that it differs.
    pub(super) fn take_disk_as_agreed(
        &mut self,
        epoch: Epoch,
        generation: Generation,
        report: &mut Report<'_>,
    ) -> Result<(), ScanError> {
        let mut observed = Observed::new();
        let mut found = self.scan(&observed, None, false, report)?;
        // What cannot be read would count as not there, and never be deleted.
        if let Some(problem) = found
            .problems
            .iter()
            .find(|problem| is_unknown(&problem.trouble))
        {
            return Err(ScanError::Unknown(problem.clone()));
        }
        found.apply_to(&mut observed);
        self.agreed = observed;
        self.position = Position {
            epoch,
            generation,
            root: self.agreed.manifest().root(),
        };
        self.unsynced.note_snapshot();
        Ok(())
    }
}

/// How the disk's entry differs from the agreed one, if it does.
fn difference(agreed: Option<&Entry>, disk: &Entry) -> Option<DriftKind> {
    match (agreed, disk) {
        (None, _) => Some(DriftKind::Extra),
        (Some(Entry::File(agreed)), Entry::File(disk)) => file_difference(agreed, disk),
        (Some(Entry::Directory { mode }), Entry::Directory { mode: disk }) => {
            (mode != disk).then_some(DriftKind::Metadata)
        }
        (Some(agreed), disk) => (agreed != disk).then_some(DriftKind::Edited),
    }
}

fn file_difference(agreed: &FileEntry, disk: &FileEntry) -> Option<DriftKind> {
    if agreed.content != disk.content {
        Some(DriftKind::Edited)
    } else if agreed.mode != disk.mode {
        Some(DriftKind::Metadata)
    } else if agreed.mtime != disk.mtime {
        Some(DriftKind::Touched)
    } else {
        None
    }
}

/// Whether nobody can tell what stands there.
fn is_unknown(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Unreadable(_) | Trouble::Unstable)
}
