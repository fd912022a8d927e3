//! Going back to an earlier state of an active's tree.

use std::collections::BTreeSet;

use sync_core::{
    Action, Change, ContentId, Entry, FileEntry, Generation, Manifest, Mtime, Position, Preset,
    journal::{Place, Placed},
    plan::{Plan, Work, applied_mtime},
};

use super::Source;
use crate::{
    replica::{Aside, GoingBack, clear_staging, sort_out_staging},
    root::{DiskError, Kind},
};

/// What going back did.
#[derive(Debug)]
pub struct RolledBack {
    /// What was not as accepted, an edit of this very moment for example, and is
    /// kept.
    pub kept_aside: Vec<Aside>,
    /// The path at which it stopped, and why, if it did. What came before stands.
    pub stopped: Option<(sync_core::RelPath, DiskError)>,
}

/// The files whose contents carrying out `changes` takes.
#[must_use]
pub fn needed_contents(current: &Manifest, changes: &[Change], preset: Preset) -> Vec<FileEntry> {
    let plan = Plan::new(current, changes, preset);
    let files = plan.steps().iter().filter_map(|step| match &step.work {
        Work::PutFile(file) | Work::ReplaceDirectoryByFile(Entry::File(file)) => Some(*file),
        _ => None,
    });
    let mut seen = BTreeSet::new();
    files.filter(|file| seen.insert(file.content)).collect()
}

/// `changes` without those that leave everything as it is: a directory that stays
/// for the deployer's sake though it was emptied.
#[must_use]
pub fn effective_changes(current: &Manifest, changes: Vec<Change>, preset: Preset) -> Vec<Change> {
    let plan = Plan::new(current, &changes, preset);
    let kept = plan
        .steps()
        .iter()
        .filter(|step| step.work == Work::KeepDirectory);
    let kept: BTreeSet<usize> = kept.map(|step| step.change).collect();
    let numbered = changes.into_iter().enumerate();
    numbered
        .filter_map(|(index, change)| (!kept.contains(&index)).then_some(change))
        .collect()
}

impl Source {
    /// Makes the staging directory ready. Gives the contents that an interrupted
    /// attempt left there.
    ///
    /// # Errors
    /// Where the work directory cannot be used.
    pub fn prepare_rollback(
        &mut self,
        generation: Generation,
    ) -> Result<BTreeSet<ContentId>, DiskError> {
        let position = self.position_of(generation);
        sort_out_staging(&self.work, &mut self.archive, position)
    }

    /// Carries `changes` out on the disk, and takes them up as accepted. Every
    /// content they need is in `staged`. A file whose content changes gets the time
    /// `now`, so that the deployer sees it.
    ///
    /// # Errors
    /// Where nothing was changed, because the disk cannot be looked at.
    pub fn roll_back(
        &mut self,
        generation: Generation,
        changes: &[Change],
        staged: BTreeSet<ContentId>,
        now: Mtime,
    ) -> Result<RolledBack, DiskError> {
        let placed = self.placed(changes, &staged, now)?;
        let position = self.position_of(generation);
        let going = GoingBack {
            root: &self.root,
            work: &self.work,
            accepted: &self.accepted,
            preset: self.options.preset,
            exclude: &self.options.exclude,
            archive: &mut self.archive,
        };
        let went = going.carry_out(position, placed, staged.clone());
        self.is_unsaved = true;
        for (path, sighting) in went.effects {
            self.artifacts.remove(&path);
            match sighting {
                Some(sighting) => {
                    self.recipes.note(&path, &sighting.entry);
                    self.accepted.put(sighting);
                }
                None => {
                    self.recipes.forget(&path);
                    self.accepted.remove(&path);
                }
            }
        }
        clear_staging(&self.work, &staged)?;
        Ok(RolledBack {
            kept_aside: went.kept_aside,
            stopped: went.stopped,
        })
    }

    fn position_of(&self, generation: Generation) -> Position {
        Position {
            epoch: sync_core::Epoch(0),
            generation,
            root: self.manifest().root(),
        }
    }

    fn placed(
        &self,
        changes: &[Change],
        staged: &BTreeSet<ContentId>,
        now: Mtime,
    ) -> Result<Vec<Placed>, DiskError> {
        let place = |change: &Change| {
            let mut change = change.clone();
            let mut place = Place::Nowhere;
            if let Action::Put(Entry::File(file)) = &mut change.action {
                let accepted = self.manifest().file(&change.path);
                if accepted.is_none_or(|it| it.content != file.content) {
                    let stat = self.root.stat(&change.path)?;
                    let on_disk = stat.filter(|stat| stat.kind == Kind::File);
                    file.mtime = applied_mtime(now, on_disk.map(|stat| stat.mtime), &[]);
                }
                if staged.contains(&file.content) {
                    place = Place::Staged;
                }
            }
            Ok(Placed { change, place })
        };
        changes.iter().map(place).collect()
    }
}
