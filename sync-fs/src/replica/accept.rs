//! Whether a generation is taken in at all: it must follow from where the tree
//! stands, make a tree, pass the guard and fit the disk. Nothing is changed here.

use std::collections::{BTreeMap, HashSet};

use sync_core::{
    Action, Change, Entry, FileEntry, GenerationHeader, RelPath,
    guard::{Guard, Verdict},
    limits::SMALL_CONTENT_BYTES_MAX,
    plan::{self, Work, apply_changes, check},
    wire::{PlanId, Refusal},
};

use super::{
    Replica,
    intake::Intake,
    judge::{History, Judge, has_content},
    with_causes,
};
use crate::root::{Cause, DiskError, Kind, Space};

/// Bytes a journalled content costs beside its own.
const RECORD_OVERHEAD_BYTES: u64 = 96;
/// Bytes a change costs in the commit, generously.
const CHANGE_BYTES: u64 = 256;
/// What files are rounded up to on the disk.
const BLOCK_BYTES: u64 = 4096;
/// Inodes beside the new files: staging, aside, directories.
const SPARE_INODES: u64 = 64;

impl Replica {
    /// Accepts a generation, or says why not. Changes nothing.
    ///
    /// # Errors
    /// What to answer to the sender.
    pub fn begin(
        &mut self,
        header: GenerationHeader,
        changes: Vec<Change>,
        guard: &Guard,
        released: Option<PlanId>,
    ) -> Result<Intake, Refusal> {
        self.check_header(&header)?;
        self.check_changes(&header, &changes, guard, released)?;
        let needed = self.needed(&changes).map_err(|error| unable(&error))?;
        let intake = Intake::new(header, changes, needed, self.agreed.manifest());
        self.check_space(&intake)?;
        Ok(intake)
    }

    fn check_header(&self, header: &GenerationHeader) -> Result<(), Refusal> {
        if header.tree != self.options.tree {
            return Err(Refusal::UnknownTree(header.tree.clone()));
        }
        let here = self.durable();
        if header.epoch < here.epoch {
            return Err(Refusal::Epoch(here.epoch));
        }
        if let Some(pending) = &self.pending {
            let number = pending.position.generation;
            return Err(Refusal::Unable(format!(
                "generation {number} is durable here but not applied yet"
            )));
        }
        if self.tentative {
            let why = "a generation of several trees is under way here".to_owned();
            return Err(Refusal::Unable(why));
        }
        if let Some(failure) = self.degraded() {
            return Err(Refusal::Unable(format!(
                "the journal has failed: {failure}"
            )));
        }
        // Only a healing generation, which changes nothing agreed, may have the
        // number that stands here; a lower one was seen before.
        let heals = header.base == header.root;
        let number = (header.epoch, header.generation);
        let ours = (here.epoch, here.generation);
        if header.base != here.root || number < ours || (number == ours && !heals) {
            return Err(Refusal::Base(here));
        }
        Ok(())
    }

    fn check_changes(
        &self,
        header: &GenerationHeader,
        changes: &[Change],
        guard: &Guard,
        released: Option<PlanId>,
    ) -> Result<(), Refusal> {
        let agreed = self.agreed.manifest();
        check(agreed, changes, self.options.preset)
            .map_err(|error| Refusal::Protocol(error.to_string()))?;
        if let Some(change) = changes.iter().find(|change| self.is_hidden(change)) {
            let path = &change.path;
            return Err(Refusal::Unable(format!(
                "`{path}` is excluded on this node; use the same exclude rules on both"
            )));
        }
        if apply_changes(agreed, changes).root() != header.root {
            let claimed = header.root;
            let text = format!("the changes do not lead to the root {claimed}");
            return Err(Refusal::Protocol(text));
        }
        if self.is_new() && !self.options.overwrite && !self.is_returning() {
            self.check_first_contact(changes)?;
        }
        self.judge_plan(guard, changes, header, released)
    }

    fn judge_plan(
        &self,
        guard: &Guard,
        changes: &[Change],
        header: &GenerationHeader,
        released: Option<PlanId>,
    ) -> Result<(), Refusal> {
        let (agreed, preset) = (self.agreed.manifest(), self.options.preset);
        match guard.judge(agreed, changes, &header.tree, preset) {
            Verdict::Halt {
                plan,
                deletions,
                files,
                ..
            } if released != Some(plan) => Err(Refusal::Guard {
                plan,
                deletions,
                files,
            }),
            _ => Ok(()),
        }
    }

    fn is_hidden(&self, change: &Change) -> bool {
        let is_directory = matches!(change.action, Action::Put(Entry::Directory { .. }));
        let is_put = matches!(change.action, Action::Put(_));
        is_put && self.options.exclude.matches(&change.path, is_directory)
    }

    /// A tree that was never synchronised loses nothing unless that is allowed.
    fn check_first_contact(&self, changes: &[Change]) -> Result<(), Refusal> {
        let agreed = self.agreed.manifest();
        let loses = |change: &&Change| match (agreed.get(&change.path), &change.action) {
            (None, _) => false,
            (Some(_), Action::Delete) => true,
            (Some(Entry::Directory { .. }), Action::Put(Entry::Directory { .. })) => false,
            (Some(Entry::File(old)), Action::Put(Entry::File(new))) => old.content != new.content,
            (Some(old), Action::Put(new)) => !old.same_identity(new),
        };
        match changes.iter().filter(loses).count() as u64 {
            0 => Ok(()),
            differences => Err(Refusal::NotEmpty { differences }),
        }
    }

    /// The contents that carrying out `changes` takes.
    fn needed(&self, changes: &[Change]) -> Result<BTreeMap<u32, FileEntry>, DiskError> {
        let agreed = self.agreed.manifest();
        let mut needed = BTreeMap::new();
        for (index, change) in (0u32..).zip(changes) {
            let path = &change.path;
            match plan::file_work(agreed, change) {
                Some(Work::PutFile(file) | Work::ReplaceDirectoryByFile(Entry::File(file))) => {
                    needed.insert(index, file);
                }
                Some(Work::Restore(Entry::File(file))) if !self.stands(path, &file)? => {
                    needed.insert(index, file);
                }
                _ => {}
            }
        }
        Ok(needed)
    }

    /// Whether the disk has this content at `path`.
    fn stands(&self, path: &RelPath, file: &FileEntry) -> Result<bool, DiskError> {
        let Some(stat) = self.root.stat(path)?.filter(|stat| stat.kind == Kind::File) else {
            return Ok(false);
        };
        let judge = Judge {
            agreed: &self.agreed,
            owned: self.owned(),
            history: &History::new(),
        };
        Ok(has_content(judge.content(&self.root, path, &stat)?, file))
    }

    /// Refuses before anything is sent what would not fit.
    fn check_space(&mut self, intake: &Intake) -> Result<(), Refusal> {
        self.take_reserve().map_err(|error| unable(&error))?;
        let need = self.space_needed(intake);
        let mut space = self.work.space().map_err(|error| unable(&error))?;
        let is_short = need.bytes > space.bytes || need.inodes > space.inodes;
        if is_short && self.archive.give_way().map_err(|error| unable(&error))? {
            space = self.work.space().map_err(|error| unable(&error))?;
        }
        if need.bytes > space.bytes {
            return Err(Refusal::Unable(format!(
                "generation {} needs {} bytes in `{}`, where {} are free",
                intake.header.generation,
                need.bytes,
                self.work.place(None),
                space.bytes
            )));
        }
        if need.inodes > space.inodes {
            return Err(Refusal::Unable(format!(
                "generation {} needs {} inodes in `{}`, where {} are free",
                intake.header.generation,
                need.inodes,
                self.work.place(None),
                space.inodes
            )));
        }
        // Half of what the generation leaves is for what it replaces.
        self.archive.set_room(Space {
            bytes: (space.bytes - need.bytes) / 2,
            inodes: (space.inodes - need.inodes) / 2,
        });
        Ok(())
    }

    fn take_reserve(&mut self) -> Result<(), DiskError> {
        match self.reserve.take(&self.work) {
            Err(error) if error.cause() == Cause::Full && self.archive.give_way()? => {
                self.reserve.take(&self.work)
            }
            result => result,
        }
    }

    fn space_needed(&self, intake: &Intake) -> Space {
        let mut missing = HashSet::new();
        let (mut records, mut staged, mut grown, mut largest) = (0, 0, 0, 0);
        for (path, file) in intake.all_needed() {
            let on_disk = file.length.next_multiple_of(BLOCK_BYTES);
            let is_missing = !self.contents.has(&file.content) && missing.insert(file.content);
            if file.length > SMALL_CONTENT_BYTES_MAX {
                staged += if is_missing { on_disk } else { 0 };
            } else {
                records += if is_missing {
                    file.length + RECORD_OVERHEAD_BYTES
                } else {
                    0
                };
                // Each old file goes before the next new one comes.
                let old = self.agreed.manifest().file(path);
                grown += on_disk.saturating_sub(old.map_or(0, |old| old.length));
                largest = largest.max(on_disk);
            }
        }
        records += intake.changes.len() as u64 * CHANGE_BYTES;
        Space {
            bytes: self.contents.journal().growth(records) + staged + grown + largest,
            inodes: intake.changes.len() as u64 + SPARE_INODES,
        }
    }
}

fn unable(error: &DiskError) -> Refusal {
    Refusal::Unable(with_causes(error))
}
