//! The moment a generation becomes durable: one record, one sync.

use sync_core::{
    Action, Change, ContentId, Entry, FileEntry, Generation, Mtime, Position, RelPath,
    journal::{Lead, Place, Placed},
    plan::applied_mtime,
    wire::Refusal,
};
use thiserror::Error;

use super::{
    Replica, apply::Pending, contents::STAGING, intake::Intake, judge::History, prepared::Prepared,
    with_causes,
};
use crate::{
    journal::JournalError,
    root::{DiskError, Kind},
};

/// Proof that a generation survives power loss. Apply it next.
#[derive(Debug)]
#[must_use = "a durable generation is applied next"]
pub struct Committed {
    pub(super) position: Position,
}

impl Committed {
    /// Where the tree will stand when it is applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}

/// Why a generation did not become durable. Nothing was changed.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Another generation came first: the one taken in starts from a root that
    /// is not here any more.
    #[error("generation {0} does not start from where the tree stands now")]
    Stale(Generation),
    /// Contents are still missing.
    #[error("{0} contents have not arrived")]
    Incomplete(u64),
    /// The journal did not take it.
    #[error("cannot make the generation durable")]
    Journal(#[from] JournalError),
    /// The disk did not do what it takes.
    #[error("cannot make the generation durable")]
    Disk(#[from] DiskError),
}

impl CommitError {
    /// What to tell the sender.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Stale(_) => Refusal::Superseded,
            Self::Incomplete(_) => Refusal::Protocol(self.to_string()),
            Self::Journal(_) | Self::Disk(_) => Refusal::Unable(with_causes(self)),
        }
    }
}

/// A generation of a span: durable, but it counts only once the lead's does.
/// Confirm it then, or withdraw it.
#[derive(Debug)]
#[must_use = "a generation of a span is confirmed or withdrawn next"]
pub struct Tentative {
    pending: Pending,
}

impl Tentative {
    /// Where the tree will stand when it is confirmed and applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.pending.position
    }
}

impl Replica {
    /// Makes the generation durable. After this returns, and not before, it may
    /// be acknowledged.
    ///
    /// # Errors
    /// Where a content is missing, there is no space, or the disk failed.
    pub fn commit(&mut self, mut intake: Intake) -> Result<Committed, CommitError> {
        let pending = self.make_durable(&mut intake, None)?;
        let position = pending.position;
        self.pending = Some(pending);
        Ok(Committed { position })
    }

    /// Makes the generation durable as one of a span, about which the generation
    /// `lead` of another tree decides. Nothing else is taken until it is confirmed
    /// or withdrawn.
    ///
    /// # Errors
    /// As [`Replica::commit`].
    pub fn commit_led(
        &mut self,
        mut intake: Intake,
        lead: &Lead,
    ) -> Result<Tentative, CommitError> {
        let pending = self.make_durable(&mut intake, Some(lead))?;
        self.tentative = true;
        Ok(Tentative { pending })
    }

    /// The lead's generation is durable, and so this one is.
    pub fn confirm(&mut self, tentative: Tentative) -> Committed {
        let position = tentative.pending.position;
        self.tentative = false;
        self.pending = Some(tentative.pending);
        Committed { position }
    }

    /// The lead's generation did not become durable: this one never was. Its record
    /// counts for nothing, for the lead has not come to it and the next one starts
    /// from another root.
    pub fn withdraw(&mut self, tentative: Tentative) {
        self.tentative = false;
        self.discard(tentative.pending.prepared);
    }

    fn make_durable(
        &mut self,
        intake: &mut Intake,
        lead: Option<&Lead>,
    ) -> Result<Pending, CommitError> {
        let mut prepared = std::mem::take(&mut intake.prepared);
        match self.write_record(intake, lead) {
            Ok((changes, bumped)) => {
                prepared.settle();
                Ok(self.durable_now(intake, changes, prepared, bumped))
            }
            Err(error) => {
                self.discard(prepared);
                Err(error)
            }
        }
    }

    /// Gives the changes as they will be applied, and how many times were moved.
    fn write_record(
        &mut self,
        intake: &mut Intake,
        lead: Option<&Lead>,
    ) -> Result<(Vec<Placed>, u32), CommitError> {
        self.expect_current(intake)?;
        self.expect_complete(intake)?;
        self.contents.settle()?;
        let (changes, bumped) = self.place(intake)?;
        if changes.iter().any(|placed| placed.place == Place::Staged) {
            let staging = RelPath::new(STAGING).expect("a legal name");
            self.work.sync_directory(Some(&staging))?;
        }
        self.contents
            .journal_mut()
            .commit(&intake.header, &changes, lead)?;
        Ok((changes, bumped))
    }

    /// From here on the generation is durable: what is left over of other
    /// transfers must not make it fail.
    fn durable_now(
        &mut self,
        intake: &Intake,
        changes: Vec<Placed>,
        prepared: Prepared,
        bumped: u32,
    ) -> Pending {
        if let Err(error) = self.contents.committed(&self.work) {
            tracing::warn!(
                error = with_causes(&error),
                "cannot clean the staging directory"
            );
        }
        let position = Position {
            epoch: intake.header.epoch,
            generation: intake.header.generation,
            root: intake.header.root,
        };
        Pending {
            position,
            changes,
            prepared,
            history: History::new(),
            draft: Some(intake.draft.durable()),
            bumped,
        }
    }

    fn expect_current(&self, intake: &Intake) -> Result<(), CommitError> {
        if self.pending.is_none() && !self.tentative && intake.header.base == self.position.root {
            Ok(())
        } else {
            Err(CommitError::Stale(intake.header.generation))
        }
    }

    fn expect_complete(&mut self, intake: &Intake) -> Result<(), CommitError> {
        let empty = ContentId::of(b"");
        let mut missing = 0;
        for (_, file) in intake.all_needed() {
            if file.content == empty && file.length == 0 {
                self.contents.put(empty, b"")?;
            } else if !self.contents.has(&file.content) {
                missing += 1;
            }
        }
        match missing {
            0 => Ok(()),
            missing => Err(CommitError::Incomplete(missing)),
        }
    }

    /// The changes as they will be applied, taken out of the intake, and how many
    /// times were moved.
    fn place(&self, intake: &mut Intake) -> Result<(Vec<Placed>, u32), DiskError> {
        let changes = std::mem::take(&mut intake.changes);
        let mut bumped = 0;
        let mut placed = Vec::with_capacity(changes.len());
        // The list is in the order of the paths: what is below follows.
        let mut absent: Option<RelPath> = None;
        for (index, mut change) in (0u32..).zip(changes) {
            let is_below = |absent: &RelPath| change.path.starts_with(absent);
            if !absent.as_ref().is_some_and(is_below) {
                absent = self.absent_directory(&change)?;
            }
            let is_needed = intake.is_needed(index);
            if let Action::Put(Entry::File(file)) = &mut change.action {
                let own = file.mtime.seconds;
                file.mtime = self.mtime_for(&change.path, file, is_needed, absent.is_some())?;
                bumped += u32::from(is_needed && file.mtime.seconds != own);
            }
            let place = self.place_of(&change, is_needed);
            placed.push(Placed { change, place });
        }
        Ok((placed, bumped))
    }

    /// The directory that a change makes where nothing stands: nobody has to look
    /// for files below it.
    fn absent_directory(&self, change: &Change) -> Result<Option<RelPath>, DiskError> {
        let is_new = matches!(change.action, Action::Put(Entry::Directory { .. }))
            && self.agreed.manifest().get(&change.path).is_none();
        let is_absent = is_new && self.root.stat(&change.path)?.is_none();
        Ok(is_absent.then(|| change.path.clone()))
    }

    fn place_of(&self, change: &Change, is_needed: bool) -> Place {
        match &change.action {
            Action::Put(Entry::File(file)) if is_needed => {
                let place = self.contents.place(&file.content);
                place.unwrap_or(Place::Nowhere)
            }
            _ => Place::Nowhere,
        }
    }

    /// The time a file gets: its own while its content stays; the source's when
    /// the content is written, moved on where the deployer would miss the change.
    fn mtime_for(
        &self,
        path: &RelPath,
        file: &FileEntry,
        is_written: bool,
        nothing_there: bool,
    ) -> Result<Mtime, DiskError> {
        let agreed = self.agreed.manifest().file(path);
        let kept = agreed.filter(|agreed| agreed.content == file.content);
        let own = kept.map_or(file.mtime, |kept| kept.mtime);
        if !self.options.preset.is_deployed() || (kept.is_some() && !is_written) {
            return Ok(own);
        }
        let on_disk = match nothing_there {
            true => None,
            false => self.root.stat(path)?,
        };
        let on_disk = on_disk.filter(|stat| stat.kind == Kind::File);
        let mut seen = self.recent.at(path).to_vec();
        // A healed file may have its own time back: that content was seen.
        let replaced = agreed.filter(|agreed| agreed.content != file.content);
        seen.extend(replaced.map(|agreed| agreed.mtime.seconds));
        Ok(applied_mtime(own, on_disk.map(|stat| stat.mtime), &seen))
    }
}
