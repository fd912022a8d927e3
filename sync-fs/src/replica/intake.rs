//! The contents a generation lacks: found here, asked for, taken.
//!
//! What the replica has already, in its journal, its staging directory or under
//! any name of its tree, is never asked for; a content from the tree is copied,
//! so that nothing later depends on a file that somebody may change.

use std::{
    collections::{BTreeMap, HashSet},
    ops::RangeBounds,
};

use sync_core::{
    Action, Change, ContentId, Entry, FileEntry, GenerationHeader, Manifest, RelPath,
    history::Origin,
    limits::SMALL_CONTENT_BYTES_MAX,
    wire::{Range, Refusal},
};
use thiserror::Error;

use super::{
    Replica,
    contents::{self, read_small},
    past::Draft,
    prepared::Prepared,
    with_causes,
};
use crate::{
    journal::JournalError,
    root::{AbsentIsNone, Cause, DiskError},
};

/// Files of the tree that are tried for one content before it is asked for.
const LOCAL_TRIES: usize = 4;
/// Ranges in one answer: a frame holds them with room to spare.
const RANGES_MAX: usize = 10_000;

/// A generation that was accepted and is being completed with contents.
#[derive(Debug)]
pub struct Intake {
    pub(super) header: GenerationHeader,
    pub(super) changes: Vec<Change>,
    /// For every change that needs a content: its position and the file.
    needed: BTreeMap<u32, FileEntry>,
    /// Large files that it deletes, with their lengths: contents may be made of
    /// parts of them.
    pub(super) deleted_large: Vec<(u64, RelPath)>,
    /// Whether the tree was searched for what is missing.
    searched: bool,
    pub(super) prepared: Prepared,
    /// What the record of the generation will say of its way here.
    pub(super) draft: Draft,
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
    pub(super) fn new(
        header: GenerationHeader,
        changes: Vec<Change>,
        needed: BTreeMap<u32, FileEntry>,
        agreed: &Manifest,
    ) -> Self {
        Self {
            draft: Draft::received(header.base),
            header,
            needed,
            deleted_large: deleted_large(agreed, &changes),
            searched: false,
            prepared: Prepared::for_changes(agreed, &changes),
            changes,
        }
    }

    /// What the generation is.
    #[must_use]
    pub fn header(&self) -> &GenerationHeader {
        &self.header
    }

    /// Notes which peer sends it.
    pub fn sent_by(&mut self, peer: &str) {
        self.draft.origin = Origin::peer(peer);
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

    /// Whether a content belongs to the change at `index`.
    pub(super) fn is_needed(&self, index: u32) -> bool {
        self.needed.contains_key(&index)
    }

    pub(super) fn all_needed(&self) -> impl Iterator<Item = (&RelPath, &FileEntry)> {
        self.needed
            .iter()
            .map(|(index, entry)| (&self.changes[*index as usize].path, entry))
    }
}

impl Replica {
    /// Whether every content is kept already, in the journal or as a staged file.
    #[must_use]
    pub fn has_all_contents(&self, intake: &Intake) -> bool {
        self.missing(intake, ..).next().is_none()
    }

    /// The small contents to ask for, as ranges of positions in the change list;
    /// at most as many as one answer may hold. Whatever the tree itself has was
    /// copied before.
    ///
    /// # Errors
    /// Where a content of the tree cannot be kept.
    pub fn wanted_small(&mut self, intake: &mut Intake) -> Result<Vec<Range>, IntakeError> {
        self.search_tree(intake)?;
        let mut ranges: Vec<Range> = Vec::new();
        for (index, _) in self.missing(intake, ..=SMALL_CONTENT_BYTES_MAX) {
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
        Ok(self
            .missing(intake, SMALL_CONTENT_BYTES_MAX + 1..)
            .collect())
    }

    /// What is missing of these sizes, each content once, at its first position.
    pub(super) fn missing(
        &self,
        intake: &Intake,
        sizes: impl RangeBounds<u64>,
    ) -> impl Iterator<Item = (u32, FileEntry)> {
        let mut met = HashSet::from([ContentId::of(b"")]); // needs nobody's help
        let needed = intake.needed.iter().map(|(index, file)| (*index, *file));
        needed
            .filter(move |(_, file)| sizes.contains(&file.length))
            .filter(move |(_, file)| !self.contents.has(&file.content) && met.insert(file.content))
    }

    /// Takes the content of the change at `index`.
    ///
    /// # Errors
    /// Where the content is not the one announced, or cannot be kept.
    pub fn put_small(
        &mut self,
        intake: &mut Intake,
        index: u32,
        bytes: Vec<u8>,
    ) -> Result<(), IntakeError> {
        let (path, entry) = intake.needed(index)?;
        if entry.length > SMALL_CONTENT_BYTES_MAX {
            let (path, length) = (path.clone(), entry.length);
            return Err(IntakeError::WrongSize { path, length });
        }
        if bytes.len() as u64 != entry.length || ContentId::of(&bytes) != entry.content {
            return Err(IntakeError::WrongContent { path: path.clone() });
        }
        self.keep_small(path, &entry, &bytes)?;
        let path = path.clone();
        if let Err(error) = self.prepare(intake, index, (&path, &entry), bytes) {
            // It is made later, from the journal.
            tracing::debug!(error = with_causes(&error), "cannot prepare `{path}`");
        }
        Ok(())
    }

    /// Makes the file ready, unless something else than a file is to be replaced.
    fn prepare(
        &self,
        intake: &mut Intake,
        index: u32,
        (path, entry): (&RelPath, &FileEntry),
        bytes: Vec<u8>,
    ) -> Result<(), DiskError> {
        let prepared = &mut intake.prepared;
        match self.agreed.manifest().get(path) {
            None => prepared.write(&self.work, index, (path, entry), bytes),
            Some(Entry::File(_)) => {
                let place = (intake.header.generation, index);
                prepared.write_replacement(&self.work, place, entry, bytes)
            }
            Some(_) => Ok(()),
        }
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

    /// Gives a generation up and makes what has arrived so far outlive this
    /// process.
    ///
    /// # Errors
    /// Where the journal does not take it.
    pub fn give_up(&mut self, intake: Intake) -> Result<(), JournalError> {
        self.discard(intake.prepared);
        if let Err(error) = self.contents.settle() {
            // It is fetched again.
            tracing::warn!(error = with_causes(&error), "a content is not kept");
        }
        self.contents.journal_mut().flush()
    }

    /// Copies what is missing from files of the tree that have it. Looks at the
    /// whole manifest, so only once, and only when something is missing.
    pub(super) fn search_tree(&mut self, intake: &mut Intake) -> Result<(), IntakeError> {
        if intake.searched || self.agreed.is_empty() {
            return Ok(());
        }
        let missing: BTreeMap<ContentId, FileEntry> = self
            .missing(intake, ..)
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
        for record in self.agreed.manifest().iter() {
            let Some(file) = record.file() else { continue };
            if missing.contains_key(&file.content) {
                let paths = places.entry(file.content).or_default();
                if paths.len() < LOCAL_TRIES {
                    paths.push(record.path());
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
        self.contents.finish(&self.work, copy, entry.content)?;
        Ok(true)
    }
}

fn deleted_large(agreed: &Manifest, changes: &[Change]) -> Vec<(u64, RelPath)> {
    changes
        .iter()
        .filter(|change| change.action == Action::Delete)
        .filter_map(|change| {
            let length = agreed.file(&change.path)?.length;
            (length > SMALL_CONTENT_BYTES_MAX).then(|| (length, change.path.clone()))
        })
        .collect()
}

/// The file, unless it is not there or may not be read.
fn readable<T>(opened: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match opened.absent_is_none() {
        Err(error) if error.cause() == Cause::Denied => Ok(None),
        result => result,
    }
}

fn disk(path: &RelPath, source: DiskError) -> IntakeError {
    IntakeError::Disk {
        path: path.clone(),
        source,
    }
}
