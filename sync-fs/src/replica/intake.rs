//! Taking a generation in: checks, and the contents it lacks.
//!
//! Nothing here changes the tree. What the replica has already, in its journal,
//! its staging directory or under any name of its tree, is never asked for; a
//! content from the tree is copied, so that nothing later depends on a file that
//! somebody may change.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    Change, ContentId, Entry, FileEntry, GenerationHeader, Manifest, RelPath,
    generation::Action,
    guard::{Guard, Verdict},
    limits::SMALL_CONTENT_BYTES_MAX,
    plan::{Plan, Work, apply_changes, check},
    wire::{PlanId, Range, Refusal},
};
use thiserror::Error;

use super::{
    Replica,
    contents::{self, read_small},
    judge::{History, Judge, has_content},
    with_causes,
};
use crate::{
    journal::JournalError,
    root::{AbsentIsNone, Cause, DiskError, Kind},
};

/// Files of the tree that are tried for one content before it is asked for.
const LOCAL_TRIES: usize = 4;
/// Ranges in one answer: a frame holds them with room to spare.
const RANGES_MAX: usize = 10_000;
/// Bytes a journalled content costs beside its own.
const RECORD_OVERHEAD_BYTES: u64 = 96;
/// Bytes a change costs in the commit, generously.
const CHANGE_BYTES: u64 = 256;
/// What files are rounded up to on the disk.
const BLOCK_BYTES: u64 = 4096;
/// Inodes beside the new files: staging, aside, directories.
const SPARE_INODES: u64 = 64;

/// A generation that was accepted and is being completed with contents.
#[derive(Debug)]
pub struct Intake {
    pub(super) header: GenerationHeader,
    pub(super) changes: Vec<Change>,
    /// For every change that needs a content: its position and the file.
    needed: BTreeMap<u32, FileEntry>,
    /// Whether the tree was searched for what is missing.
    searched: bool,
}

/// Why a content was not taken.
#[derive(Debug, Error)]
pub enum IntakeError {
    /// The bytes are not the content that was announced.
    #[error("the content sent for `{path}` is not the one announced")]
    WrongContent {
        /// Whose content it should be.
        path: RelPath,
    },
    /// Nobody asked for it.
    #[error("a content was sent for change {index}, which needs none")]
    NotWanted {
        /// Position in the change list.
        index: u32,
    },
    /// A large content where a small one belongs, or the other way round.
    #[error("the content of `{path}` has {length} bytes and travels another way")]
    WrongSize {
        /// Whose content it is.
        path: RelPath,
        /// Its announced length.
        length: u64,
    },
    /// The journal did not take it.
    #[error("cannot keep the content of `{path}`")]
    Journal {
        /// Whose content it is.
        path: RelPath,
        /// Why not.
        source: JournalError,
    },
    /// The disk did not take it.
    #[error("cannot keep the content of `{path}`")]
    Disk {
        /// Whose content it is.
        path: RelPath,
        /// Why not.
        source: DiskError,
    },
}

impl IntakeError {
    /// What to tell the sender.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::WrongContent { .. } | Self::NotWanted { .. } | Self::WrongSize { .. } => {
                Refusal::Protocol(self.to_string())
            }
            Self::Journal { .. } | Self::Disk { .. } => Refusal::Unable(with_causes(self)),
        }
    }
}

impl Intake {
    /// What the generation is.
    #[must_use]
    pub fn header(&self) -> &GenerationHeader {
        &self.header
    }

    /// Its changes.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The file whose content belongs to the change at `index`.
    pub(super) fn needed(&self, index: u32) -> Result<(&RelPath, FileEntry), IntakeError> {
        let entry = self.needed.get(&index).copied();
        let entry = entry.ok_or(IntakeError::NotWanted { index })?;
        Ok((&self.changes[index as usize].path, entry))
    }

    pub(super) fn all_needed(&self) -> impl Iterator<Item = (&RelPath, &FileEntry)> {
        self.needed
            .iter()
            .map(|(index, entry)| (&self.changes[*index as usize].path, entry))
    }
}

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
        let intake = Intake {
            needed: self.needed(&changes).map_err(|error| unable(&error))?,
            header,
            changes,
            searched: false,
        };
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
        if self.is_new() && !self.options.overwrite {
            self.check_first_contact(changes)?;
        }
        judge(guard, agreed, changes, header, released)
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
        let plan = Plan::new(self.agreed.manifest(), changes, self.options.preset);
        let mut needed = BTreeMap::new();
        for step in plan.steps() {
            let file = match &step.work {
                Work::PutFile(file) => Some(file),
                Work::ReplaceDirectoryByFile(Entry::File(file)) => Some(file),
                Work::Restore(Entry::File(file)) if !self.stands(&step.path, file)? => Some(file),
                _ => None,
            };
            if let Some(file) = file {
                let index = u32::try_from(step.change).expect("changes are counted in 32 bits");
                needed.insert(index, *file);
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
            history: &History::new(),
        };
        Ok(has_content(judge.content(&self.root, path, &stat)?, file))
    }

    /// Refuses before anything is sent what would not fit.
    fn check_space(&mut self, intake: &Intake) -> Result<(), Refusal> {
        self.reserve
            .take(&self.work)
            .map_err(|error| unable(&error))?;
        let space = self.work.space().map_err(|error| unable(&error))?;
        let need = self.space_needed(intake);
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
        Ok(())
    }

    fn space_needed(&self, intake: &Intake) -> crate::root::Space {
        let mut missing = BTreeSet::new();
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
                let old = self.agreed.manifest().get(path).and_then(Entry::as_file);
                grown += on_disk.saturating_sub(old.map_or(0, |old| old.length));
                largest = largest.max(on_disk);
            }
        }
        records += intake.changes.len() as u64 * CHANGE_BYTES;
        crate::root::Space {
            bytes: self.contents.journal().growth(records) + staged + grown + largest,
            inodes: intake.changes.len() as u64 + SPARE_INODES,
        }
    }

    /// The small contents to ask for, as ranges of positions in the change list;
    /// at most as many as one answer may hold. Whatever the tree itself has was
    /// copied before.
    ///
    /// # Errors
    /// Where a content of the tree cannot be kept.
    pub fn wanted_small(&mut self, intake: &mut Intake) -> Result<Vec<Range>, IntakeError> {
        self.search_tree(intake)?;
        let missing = self.missing(intake);
        let small = missing.filter(|(_, file)| file.length <= SMALL_CONTENT_BYTES_MAX);
        let mut ranges: Vec<Range> = Vec::new();
        for (index, _) in small {
            let full = ranges.len() == RANGES_MAX;
            match ranges.last_mut() {
                Some(last) if last.start + last.count == index => last.count += 1,
                _ if full => break,
                _ => ranges.push(Range {
                    start: index,
                    count: 1,
                }),
            }
        }
        Ok(ranges)
    }

    /// The large contents to fetch, each with a position in the change list.
    ///
    /// # Errors
    /// As [`Replica::wanted_small`].
    pub fn wanted_large(
        &mut self,
        intake: &mut Intake,
    ) -> Result<Vec<(u32, FileEntry)>, IntakeError> {
        self.search_tree(intake)?;
        let missing = self.missing(intake);
        Ok(missing
            .filter(|(_, file)| file.length > SMALL_CONTENT_BYTES_MAX)
            .collect())
    }

    /// What is missing, each content once, at its first position.
    fn missing(&self, intake: &Intake) -> impl Iterator<Item = (u32, FileEntry)> {
        let mut met = BTreeSet::from([ContentId::of(b"")]); // needs nobody's help
        intake
            .needed
            .iter()
            .map(|(index, file)| (*index, *file))
            .filter(move |(_, file)| !self.contents.has(&file.content) && met.insert(file.content))
    }

    /// Takes the content of the change at `index`.
    ///
    /// # Errors
    /// Where the content is not the one announced, or cannot be kept.
    pub fn put_small(
        &mut self,
        intake: &Intake,
        index: u32,
        bytes: &[u8],
    ) -> Result<(), IntakeError> {
        let (path, entry) = intake.needed(index)?;
        if entry.length > SMALL_CONTENT_BYTES_MAX {
            let (path, length) = (path.clone(), entry.length);
            return Err(IntakeError::WrongSize { path, length });
        }
        if bytes.len() as u64 != entry.length || ContentId::of(bytes) != entry.content {
            return Err(IntakeError::WrongContent { path: path.clone() });
        }
        self.keep_small(path, &entry, bytes)
    }

    fn keep_small(
        &mut self,
        path: &RelPath,
        entry: &FileEntry,
        bytes: &[u8],
    ) -> Result<(), IntakeError> {
        let put = self.contents.put(entry.content, bytes);
        put.map_err(|source| IntakeError::Journal {
            path: path.clone(),
            source,
        })
    }

    /// Makes what has arrived so far outlive this process.
    ///
    /// # Errors
    /// Where the journal does not take it.
    pub fn pause(&mut self) -> Result<(), JournalError> {
        self.contents.journal_mut().flush()
    }

    /// Copies what is missing from files of the tree that have it. Looks at the
    /// whole manifest, so only once, and only when something is missing.
    fn search_tree(&mut self, intake: &mut Intake) -> Result<(), IntakeError> {
        if intake.searched {
            return Ok(());
        }
        let missing: BTreeMap<ContentId, FileEntry> = self
            .missing(intake)
            .map(|(_, file)| (file.content, file))
            .collect();
        intake.searched = true;
        if missing.is_empty() {
            return Ok(());
        }
        for (content, paths) in self.places_of(&missing) {
            self.copy_from_tree(&missing[&content], &paths)?;
        }
        Ok(())
    }

    fn places_of(
        &self,
        missing: &BTreeMap<ContentId, FileEntry>,
    ) -> BTreeMap<ContentId, Vec<RelPath>> {
        let mut places: BTreeMap<ContentId, Vec<RelPath>> = BTreeMap::new();
        for (path, entry) in self.agreed.manifest().iter() {
            let Entry::File(file) = entry else { continue };
            if missing.contains_key(&file.content) {
                let paths = places.entry(file.content).or_default();
                if paths.len() < LOCAL_TRIES {
                    paths.push(path.clone());
                }
            }
        }
        places
    }

    fn copy_from_tree(&mut self, entry: &FileEntry, paths: &[RelPath]) -> Result<(), IntakeError> {
        for path in paths {
            let copied = if entry.length > SMALL_CONTENT_BYTES_MAX {
                self.copy_large(path, entry)
            } else {
                self.copy_small(path, entry)
            };
            if copied? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn copy_small(&mut self, path: &RelPath, entry: &FileEntry) -> Result<bool, IntakeError> {
        let bytes = readable(self.root.open_file(path))
            .and_then(|file| file.map(|file| read_small(&file, entry)).transpose())
            .map_err(|source| disk(path, source))?
            .flatten();
        match bytes {
            Some(bytes) => self.keep_small(path, entry, &bytes).map(|()| true),
            None => Ok(false),
        }
    }

    fn copy_large(&mut self, path: &RelPath, entry: &FileEntry) -> Result<bool, IntakeError> {
        self.try_copy_large(path, entry)
            .map_err(|source| disk(path, source))
    }

    fn try_copy_large(&mut self, path: &RelPath, entry: &FileEntry) -> Result<bool, DiskError> {
        let Some(source) = readable(self.root.open_file(path))? else {
            return Ok(false);
        };
        if source.stat()?.length != entry.length {
            return Ok(false);
        }
        let copy = self.contents.start(&self.work, entry)?;
        copy.copy_from(&source, 0, 0, entry.length)?;
        // The copy is what counts: the source may change at any time.
        if !contents::has_content(&copy, entry.content)? {
            return Ok(false);
        }
        self.contents.finish(&self.work, &copy, entry.content)?;
        Ok(true)
    }
}

/// The file, unless it is not there or may not be read.
fn readable<T>(opened: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match opened.absent_is_none() {
        Err(error) if error.cause() == Cause::Denied => Ok(None),
        result => result,
    }
}

fn judge(
    guard: &Guard,
    agreed: &Manifest,
    changes: &[Change],
    header: &GenerationHeader,
    released: Option<PlanId>,
) -> Result<(), Refusal> {
    match guard.judge(agreed, changes, &header.tree) {
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

fn disk(path: &RelPath, source: DiskError) -> IntakeError {
    IntakeError::Disk {
        path: path.clone(),
        source,
    }
}

fn unable(error: &DiskError) -> Refusal {
    Refusal::Unable(with_causes(error))
}
