//! The contents a replica holds apart from its tree: small ones in the journal,
//! large ones as files in the staging directory, and scratch names beside them.
//!
//! Names in the staging directory say what they hold: `c-<id>` a finished
//! content, `p-<id>` one that is still arriving, `t-<number>` something on its
//! way into or out of the tree, `r-<generation>-<index>` the same, where it was
//! made before its generation was durable. Nothing here touches the tree.

use std::collections::BTreeSet;

use sync_core::{
    ContentId, FileEntry, Generation, Mode, RelPath, journal::Place,
    limits::SMALL_CONTENT_BYTES_MAX,
};

use super::syncer::{Checked, Syncer};
use crate::{
    journal::{Journal, JournalError},
    root::{AbsentIsNone, Cause, DiskError, HeldFile, READ_BYTES, Root},
};

pub(super) const STAGING: &[u8] = b"staging";
/// Only going back works without one, and asks for nothing that needs it.
const REPLICA_HAS_A_JOURNAL: &str = "a replica has a journal";

#[derive(Debug)]
pub(super) struct Contents {
    /// None where contents are only staged.
    journal: Option<Journal>,
    /// Finished files.
    staged: BTreeSet<ContentId>,
    /// Of these, the ones that no commit since they came has used up or can
    /// still need.
    uncommitted: BTreeSet<ContentId>,
    /// Files that are still arriving, or were left in the middle of that.
    partials: BTreeSet<ContentId>,
    scratch: u64,
    /// Of finished files, those that are being made durable.
    syncer: Option<Syncer>,
}

/// What a name in the staging directory holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Staged {
    Finished(ContentId),
    Partial(ContentId),
    /// What is to replace a file of the tree; after its generation is durable,
    /// perhaps what was replaced.
    Replacement(Generation),
    Scratch,
}

impl Staged {
    pub(super) fn of(name: &[u8]) -> Self {
        let id = |hex: &[u8]| blake3::Hash::from_hex(hex).ok().map(ContentId::from);
        let finished = || name.strip_prefix(b"c-").and_then(id).map(Self::Finished);
        let partial = || name.strip_prefix(b"p-").and_then(id).map(Self::Partial);
        let replacement = || {
            let numbers = std::str::from_utf8(name.strip_prefix(b"r-")?).ok()?;
            let generation = numbers.split_once('-')?.0.parse().ok()?;
            Some(Self::Replacement(Generation(generation)))
        };
        finished()
            .or_else(partial)
            .or_else(replacement)
            .unwrap_or(Self::Scratch)
    }
}

impl Contents {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal: Some(journal),
            ..Self::staged_only(BTreeSet::new())
        }
    }

    /// Only these, each as a file.
    pub(super) fn staged_only(staged: BTreeSet<ContentId>) -> Self {
        Self {
            journal: None,
            staged,
            uncommitted: BTreeSet::new(),
            partials: BTreeSet::new(),
            scratch: 0,
            syncer: None,
        }
    }

    /// Notes a file that was found and is not finished.
    pub(super) fn found_partial(&mut self, id: ContentId) {
        self.partials.insert(id);
    }

    /// Notes a finished file that was found and checked.
    pub(super) fn found(&mut self, id: ContentId) {
        self.staged.insert(id);
        self.uncommitted.insert(id);
    }

    pub(super) fn journal(&self) -> &Journal {
        self.journal.as_ref().expect(REPLICA_HAS_A_JOURNAL)
    }

    pub(super) fn journal_mut(&mut self) -> &mut Journal {
        self.journal.as_mut().expect(REPLICA_HAS_A_JOURNAL)
    }

    /// A content of the journal; none where it is not there.
    pub(super) fn read_journalled(
        &self,
        content: &ContentId,
    ) -> Result<Option<Vec<u8>>, DiskError> {
        match &self.journal {
            Some(journal) => journal.read(content),
            None => Ok(None),
        }
    }

    /// Where the content lies, if it is here.
    pub(super) fn place(&self, content: &ContentId) -> Option<Place> {
        if self.journal.as_ref().is_some_and(|it| it.has(content)) {
            Some(Place::Journal)
        } else if self.staged.contains(content) {
            Some(Place::Staged)
        } else {
            None
        }
    }

    pub(super) fn has(&self, content: &ContentId) -> bool {
        self.place(content).is_some()
    }

    /// Contents that no commit has used.
    pub(super) fn uncommitted(&self) -> u64 {
        self.journal().uncommitted() + self.uncommitted.len() as u64
    }

    /// Takes a small content that was checked.
    pub(super) fn put(&mut self, id: ContentId, bytes: &[u8]) -> Result<(), JournalError> {
        self.journal_mut().append(id, bytes)
    }

    /// A name of the staging directory that nobody uses.
    pub(super) fn scratch_name(&mut self) -> RelPath {
        self.scratch += 1;
        staging(format!("t-{}", self.scratch).as_bytes())
    }

    /// Starts a file for a large content, with all its space reserved.
    pub(super) fn start(&mut self, work: &Root, entry: &FileEntry) -> Result<HeldFile, DiskError> {
        self.partials.insert(entry.content);
        let name = partial_name(&entry.content);
        work.remove_file(&name).absent_is_none()?;
        let file = work.create_file(&name)?;
        match file.allocate(entry.length) {
            Ok(()) => Ok(file),
            Err(error) => {
                work.remove_file(&name)?;
                Err(error)
            }
        }
    }

    /// Makes a started file, whose bytes were checked, a finished one, now or soon:
    /// before a commit counts on it, [`Contents::settle`].
    pub(super) fn finish(
        &mut self,
        work: &Root,
        file: HeldFile,
        id: ContentId,
    ) -> Result<(), DiskError> {
        let syncer = self.syncer.get_or_insert_with(Syncer::new);
        syncer.take(work, Checked { id, file })?;
        self.staged.insert(id);
        self.uncommitted.insert(id);
        Ok(())
    }

    /// Waits until every finished file is durable. One that is not has not arrived.
    pub(super) fn settle(&mut self) -> Result<(), DiskError> {
        let failed = self.syncer.take().map_or_else(Vec::new, Syncer::settle);
        for failed in &failed {
            self.moved_away(&failed.id);
        }
        failed
            .into_iter()
            .next()
            .map_or(Ok(()), |one| Err(one.source))
    }

    /// Notes that a commit was made: what it staged is its own, what else
    /// arrived before it is of no use any more.
    pub(super) fn committed(&mut self, work: &Root) -> Result<(), DiskError> {
        self.uncommitted.clear();
        while let Some(id) = self.partials.pop_first() {
            work.remove_file(&partial_name(&id)).absent_is_none()?;
        }
        Ok(())
    }

    /// Notes that the finished file was moved into the tree.
    pub(super) fn moved_away(&mut self, id: &ContentId) {
        self.staged.remove(id);
        self.uncommitted.remove(id);
    }

    /// Removes the finished files that belong to commits: these are applied.
    pub(super) fn remove_applied(&mut self, work: &Root) -> Result<(), DiskError> {
        let applied: Vec<ContentId> = self.staged.difference(&self.uncommitted).copied().collect();
        for id in applied {
            work.remove_file(&finished_name(&id)).absent_is_none()?;
            self.staged.remove(&id);
        }
        Ok(())
    }
}

/// Takes a content that is here into a new file of the staging directory, with
/// its mode and time, ready for its rename. Nothing is left behind on failure.
pub(super) fn write_out(
    contents: &Contents,
    work: &Root,
    at: &RelPath,
    entry: &FileEntry,
) -> Result<HeldFile, DiskError> {
    let file = work.create_file_with(at, entry.mode)?;
    let filled = fill(contents, work, &file, entry);
    match filled.and_then(|()| file.set_mtime(entry.mtime)) {
        Ok(()) => Ok(file),
        Err(error) => {
            work.remove_file(at)?;
            Err(error)
        }
    }
}

fn fill(
    contents: &Contents,
    work: &Root,
    file: &HeldFile,
    entry: &FileEntry,
) -> Result<(), DiskError> {
    match contents.read_journalled(&entry.content)? {
        // A write of this size meets a full disk as early as a reservation.
        Some(bytes) => file.write_all_at(&bytes, 0),
        None => {
            file.allocate(entry.length)?;
            let source = work.open_file(&finished_name(&entry.content))?;
            file.copy_from(&source, 0, 0, entry.length)
        }
    }
}

/// Gives a file that is not in the tree yet the mode and time it will have.
pub(super) fn dress(file: &HeldFile, entry: &FileEntry) -> Result<(), DiskError> {
    file.set_mode(entry.mode)?;
    file.set_mtime(entry.mtime)
}

/// What was read of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hashed {
    pub(super) content: ContentId,
    /// Whether there was no byte but zeros: a name that a power cut left without
    /// its content.
    pub(super) is_blank: bool,
}

/// The hash of an open file; `None` where it does not hold still.
pub(super) fn hash(file: &HeldFile) -> Result<Option<Hashed>, DiskError> {
    let length = file.stat()?.length.saturating_add(1);
    let size = usize::try_from(length).map_or(READ_BYTES, |length| length.min(READ_BYTES));
    let mut buffer = vec![0; size];
    for _ in 0..HASH_TRIES {
        let mut hasher = blake3::Hasher::new();
        let mut is_blank = true;
        let stable = file.read_through(&mut buffer, |bytes| {
            hasher.update(bytes);
            is_blank = is_blank && bytes.iter().all(|byte| *byte == 0);
        })?;
        if stable.is_some() {
            let content = hasher.finalize().into();
            return Ok(Some(Hashed { content, is_blank }));
        }
    }
    Ok(None)
}

/// Whether the file has this content, and holds still.
pub(crate) fn has_content(file: &HeldFile, content: ContentId) -> Result<bool, DiskError> {
    Ok(hash(file)?.is_some_and(|hashed| hashed.content == content))
}

/// How often a file that is being written is read before it is taken for one
/// that nobody knows.
const HASH_TRIES: usize = 3;

/// Reads a whole file that must have the content `entry` says; `None` where it
/// has another one.
pub(super) fn read_small(file: &HeldFile, entry: &FileEntry) -> Result<Option<Vec<u8>>, DiskError> {
    let length = entry.length.min(SMALL_CONTENT_BYTES_MAX);
    let size = usize::try_from(length).expect("a small content fits memory");
    let mut bytes = vec![0; size + 1]; // one more, to see a longer file
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok((ContentId::of(&bytes) == entry.content).then_some(bytes))
}

pub(super) fn staging(name: &[u8]) -> RelPath {
    let path = RelPath::new(STAGING).and_then(|directory| directory.join(name));
    path.expect("names of the staging directory are short and legal")
}

pub(crate) fn finished_name(id: &ContentId) -> RelPath {
    staging(format!("c-{id}").as_bytes())
}

pub(crate) fn partial_name(id: &ContentId) -> RelPath {
    staging(format!("p-{id}").as_bytes())
}

pub(super) fn replacement_name(generation: Generation, index: u32) -> RelPath {
    staging(format!("r-{generation}-{index}").as_bytes())
}

/// Makes the directory `name` of the work directory, unless it is there.
pub(super) fn make_directory(work: &Root, name: &[u8]) -> Result<(), DiskError> {
    let path = RelPath::new(name).expect("a legal name");
    match work.create_directory(&path, Mode::new(0o700)) {
        Err(error) if error.cause() == Cause::Exists => Ok(()),
        result => result,
    }
}
