//! The journal of one tree: one preallocated file, recycled, written in place.
//!
//! A content is appended as it arrives; a commit is one more record and one
//! `fdatasync`, after which the generation survives power loss. What the bytes
//! mean is known to [`sync_core::journal`]; when a generation is committed,
//! applied or forgotten is decided by the replica.
//!
//! A failed sync is final: the operating system forgets it, and asking again
//! can return success for data that is lost. The journal then refuses every
//! append until [`Journal::reset`] has put a new file in its place.

use std::collections::HashMap;

use sync_core::{
    ContentId, GenerationHeader, Position, RelPath, TreeName,
    journal::{
        BLOCK_BYTES, Commit, Extent, Lead, Placed, Prefix, RECORD_BYTES_MAX, RECORDS_AT, Segment,
        SegmentHeader, Tail,
    },
    limits::SMALL_CONTENT_BYTES_MAX,
};
use thiserror::Error;

use crate::root::{AbsentIsNone, Cause, DiskError, HeldFile, Root, Target};

/// What the file is grown by, so that growing is rare.
const GROW_BYTES: u64 = 16 << 20;
/// Contents are gathered to this size before they are written: beyond it a
/// larger write gains nothing.
const GATHER_BYTES: usize = 256 << 10;
/// Read at once while recovering: a largest record and enough beside it.
const WINDOW_BYTES: usize = 2 * RECORD_BYTES_MAX;

/// Why the journal did not take something.
#[derive(Debug, Error)]
pub enum JournalError {
    /// No space; nothing was changed, and trying again later may succeed.
    #[error("no space for the journal")]
    Full(#[source] DiskError),
    /// The disk failed now or earlier. Final until the journal is replaced.
    #[error("the journal has failed and takes nothing until a checkpoint has replaced it: {0}")]
    Failed(Box<str>),
    /// The journal cannot be read, made or replaced.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What was found when the journal was opened.
#[derive(Debug)]
pub struct Found {
    /// Where the tree stood when the segment began; `None` where there was no
    /// journal, or its header was damaged.
    pub base: Option<Position>,
    /// Commits that may not be applied yet, oldest first.
    pub commits: Vec<Commit>,
    /// Whether a file was there whose header could not be believed.
    pub damaged: bool,
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    file: HeldFile,
    header: SegmentHeader,
    /// Where the next record goes.
    tail: Tail,
    /// Records gathered and not written yet; they end at the tail.
    gathered: Vec<u8>,
    /// The tail before the gathered records.
    written: Tail,
    /// Every content by id, with those gathered.
    contents: Contents,
    /// Where the contents of no commit begin.
    uncommitted_at: u64,
    /// Allocated bytes of the file.
    capacity: u64,
    /// What the file is cut back to.
    floor: u64,
    /// Why it takes nothing any more.
    failed: Option<Box<str>>,
    has_commits: bool,
}

/// Looked up for each content several times, and never in order.
type Contents = HashMap<ContentId, Extent>;

impl Journal {
    /// Opens the journal in the work directory, or makes one of `floor` bytes
    /// for `tree`, which starts at `base`.
    ///
    /// # Errors
    /// Where it cannot be read or made.
    pub fn open(
        work: &Root,
        tree: &TreeName,
        base: Position,
        floor: u64,
    ) -> Result<(Self, Found), JournalError> {
        let floor = floor.max(RECORDS_AT + BLOCK_BYTES);
        let file = work.open_file_to_write(&name()).absent_is_none()?;
        let was_there = file.is_some();
        if let Some(file) = file
            && let Some(header) = newest_header(&file)?.filter(|header| header.tree == *tree)
        {
            return Self::continued(file, header, floor);
        }
        let header = SegmentHeader {
            segment: Segment(1),
            tree: tree.clone(),
            base,
        };
        let found = Found {
            base: None,
            commits: Vec::new(),
            damaged: was_there,
        };
        Ok((Self::create(work, header, floor)?, found))
    }

    fn continued(
        file: HeldFile,
        header: SegmentHeader,
        floor: u64,
    ) -> Result<(Self, Found), JournalError> {
        let capacity = file.stat()?.length;
        let mut prefix = read_prefix(&file, &header)?;
        let commits = std::mem::take(&mut prefix.commits);
        let found = Found {
            base: Some(header.base),
            damaged: false,
            commits,
        };
        let journal = Self {
            file,
            header,
            written: prefix.tail.clone(),
            tail: prefix.tail,
            gathered: Vec::new(),
            contents: prefix.contents.into_iter().collect(),
            uncommitted_at: prefix.uncommitted_at,
            capacity,
            floor,
            failed: None,
            has_commits: !found.commits.is_empty(),
        };
        Ok((journal, found))
    }

    /// A new file under another name, whole and durable before it takes the
    /// journal's name.
    fn create(work: &Root, header: SegmentHeader, floor: u64) -> Result<Self, JournalError> {
        let (name, new) = (name(), new_name());
        work.remove_file(&new).absent_is_none()?;
        let file = work.create_file(&new)?;
        file.allocate(floor).map_err(full)?;
        file.set_length(floor)?;
        file.write_all_at(&header.encode(), header.offset())
            .map_err(full)?;
        file.sync_all()?;
        work.rename(&new, work, &name, Target::Replaced)?;
        work.sync_directory(None)?;
        let tail = Tail::start(&header);
        Ok(Self {
            file,
            written: tail.clone(),
            uncommitted_at: tail.offset(),
            tail,
            gathered: Vec::new(),
            contents: Contents::new(),
            header,
            capacity: floor,
            floor,
            failed: None,
            has_commits: false,
        })
    }

    /// Whether the journal has this content.
    #[must_use]
    pub fn has(&self, content: &ContentId) -> bool {
        self.contents.contains_key(content)
    }

    /// Bytes from the start of the file to the end of the last record.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.tail.offset()
    }

    /// Whether there is a commit that no checkpoint has made superfluous.
    #[must_use]
    pub fn has_commits(&self) -> bool {
        self.has_commits
    }

    /// Why the journal takes nothing, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// How many contents came after the last commit.
    #[must_use]
    pub fn uncommitted(&self) -> u64 {
        let fresh = |extent: &&Extent| extent.offset > self.uncommitted_at;
        self.contents.values().filter(fresh).count() as u64
    }

    /// Bytes by which the file has to grow to take `records` more bytes.
    #[must_use]
    pub fn growth(&self, records: u64) -> u64 {
        self.grown(self.tail.offset().saturating_add(records)) - self.capacity
    }

    fn grown(&self, end: u64) -> u64 {
        if end <= self.capacity {
            return self.capacity;
        }
        // The floor as step keeps small journals (of tests) small.
        let step = GROW_BYTES.min(self.floor);
        self.capacity
            .saturating_add((end - self.capacity).next_multiple_of(step))
    }

    /// Takes a content whose bytes the caller has checked against `id`. Not
    /// durable before the next commit.
    ///
    /// # Errors
    /// Where there is no space, or the journal has failed.
    pub fn append(&mut self, id: ContentId, bytes: &[u8]) -> Result<(), JournalError> {
        self.expect_sound()?;
        if self.has(&id) {
            return Ok(());
        }
        let extent = self.tail.content(id, bytes, &mut self.gathered);
        self.contents.insert(id, extent);
        if self.gathered.len() >= GATHER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes a generation durable, or, with a lead, ready to count as soon as that
    /// tree's is durable. All contents it finds in the journal were
    /// appended before.
    ///
    /// # Errors
    /// Where there is no space (nothing was changed), or the disk failed: the
    /// generation must then not be acknowledged.
    pub fn commit(
        &mut self,
        header: &GenerationHeader,
        changes: &[Placed],
        lead: Option<&Lead>,
    ) -> Result<(), JournalError> {
        self.expect_sound()?;
        self.flush()?;
        self.tail.commit(header, changes, lead, &mut self.gathered);
        self.flush()?;
        if let Err(error) = self.file.sync_data() {
            return Err(self.fail(&error));
        }
        self.uncommitted_at = self.tail.offset();
        self.has_commits = true;
        Ok(())
    }

    /// Writes what was gathered, so that a process that ends loses nothing.
    ///
    /// # Errors
    /// Where there is no space: what was gathered is forgotten. Where the disk
    /// failed.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let result = self.write_gathered();
        self.gathered.clear();
        match result {
            Ok(()) => {
                self.written = self.tail.clone();
                Ok(())
            }
            Err(error) => {
                self.forget_gathered();
                match error.cause() {
                    Cause::Full => Err(JournalError::Full(error)),
                    _ => Err(self.fail(&error)),
                }
            }
        }
    }

    fn write_gathered(&mut self) -> Result<(), DiskError> {
        let capacity = self.grown(self.tail.offset());
        if capacity > self.capacity {
            if let Err(error) = self.file.allocate(capacity) {
                // What was reserved before the space ran out is given back.
                self.file.set_length(self.capacity)?;
                return Err(error);
            }
            self.capacity = capacity;
        }
        self.file
            .write_all_at(&self.gathered, self.written.offset())
    }

    fn forget_gathered(&mut self) {
        let end = self.written.offset();
        self.tail = self.written.clone();
        self.contents.retain(|_, extent| extent.offset < end);
    }

    /// The bytes of a content.
    ///
    /// # Errors
    /// Where they cannot be read, or are not there.
    pub fn read(&self, content: &ContentId) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(extent) = self.contents.get(content) else {
            return Ok(None);
        };
        let length = usize::try_from(extent.length.min(SMALL_CONTENT_BYTES_MAX))
            .expect("a small content fits memory");
        if let Some(past) = extent.offset.checked_sub(self.written.offset()) {
            let start = usize::try_from(past).expect("gathered records fit memory");
            return Ok(Some(self.gathered[start..start + length].to_vec()));
        }
        let mut bytes = vec![0; length];
        let count = self.file.read_at(&mut bytes, extent.offset)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }

    /// Forgets every commit and begins a segment at `base`: everything the
    /// commits did is durable elsewhere by now. Contents of no commit are kept.
    /// A journal that has failed is replaced by a new file.
    ///
    /// # Errors
    /// Where the disk fails. What was committed is then still there.
    pub fn reset(&mut self, work: &Root, base: Position) -> Result<(), JournalError> {
        if self.failed.is_some() {
            *self = Self::create(work, self.header.next(base), self.floor)?;
            return Ok(());
        }
        self.flush()?;
        let kept = self.kept_extents();
        let header = self.header.next(base);
        let written = self
            .file
            .write_all_at(&header.encode(), header.offset())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            return Err(self.fail(&error));
        }
        self.tail = Tail::start(&header);
        self.written = self.tail.clone();
        self.header = header;
        self.contents.clear();
        self.uncommitted_at = self.tail.offset();
        self.has_commits = false;
        self.carry_over(kept)?;
        self.cut_back()
    }

    /// The contents of no commit, in the order of the file.
    fn kept_extents(&self) -> Vec<(ContentId, Extent)> {
        let mut kept: Vec<_> = self
            .contents
            .iter()
            .filter(|(_, extent)| extent.offset > self.uncommitted_at)
            .map(|(id, extent)| (*id, *extent))
            .collect();
        kept.sort_unstable_by_key(|(_, extent)| extent.offset);
        kept
    }

    /// Each is read before anything is written over it, for it moves towards the
    /// start of the file; what a power cut spoils is only asked for again.
    fn carry_over(&mut self, kept: Vec<(ContentId, Extent)>) -> Result<(), JournalError> {
        for (id, extent) in kept {
            let length = usize::try_from(extent.length).expect("a small content fits memory");
            let mut bytes = vec![0; length];
            self.file.read_at(&mut bytes, extent.offset)?;
            if ContentId::of(&bytes) == id {
                let at = self.tail.content(id, &bytes, &mut self.gathered);
                self.contents.insert(id, at);
                self.flush()?;
            }
        }
        Ok(())
    }

    fn cut_back(&mut self) -> Result<(), JournalError> {
        let wanted = self.floor.max(self.tail.offset());
        if self.capacity > wanted {
            self.file.set_length(wanted)?;
            self.capacity = wanted;
        }
        Ok(())
    }

    fn expect_sound(&self) -> Result<(), JournalError> {
        match &self.failed {
            Some(reason) => Err(JournalError::Failed(reason.clone())),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: &DiskError) -> JournalError {
        let reason: Box<str> = format!("{error}: {}", error.source).into();
        self.failed = Some(reason.clone());
        JournalError::Failed(reason)
    }
}

fn name() -> RelPath {
    RelPath::new(b"journal").expect("a legal name")
}

fn new_name() -> RelPath {
    RelPath::new(b"journal.new").expect("a legal name")
}

fn full(error: DiskError) -> JournalError {
    match error.cause() {
        Cause::Full => JournalError::Full(error),
        _ => JournalError::Disk(error),
    }
}

fn newest_header(file: &HeldFile) -> Result<Option<SegmentHeader>, DiskError> {
    let mut blocks = [0; 2 * BLOCK_BYTES as usize];
    let count = file.read_at(&mut blocks, 0)?;
    Ok(SegmentHeader::newest(&blocks[..count]))
}

/// Where the tree of this work directory stands at least, as its journal says: at
/// the last commit that decides by itself, or where the segment began. `None` where
/// there is no journal that can be believed.
///
/// Reads beside a journal that is in use: of a segment that is recycled meanwhile
/// nothing is believed.
///
/// # Errors
/// Where the file cannot be read.
pub fn stands_at(work: &Root) -> Result<Option<Position>, DiskError> {
    let Some(file) = work.open_file(&name()).absent_is_none()? else {
        return Ok(None);
    };
    loop {
        let Some(header) = newest_header(&file)? else {
            return Ok(None);
        };
        let prefix = read_prefix(&file, &header)?;
        if newest_header(&file)?.as_ref() == Some(&header) {
            let own = prefix.commits.iter().rev().find(|it| it.lead.is_none());
            return Ok(Some(own.map_or(header.base, Commit::position)));
        }
    }
}

/// The longest valid run of records in the file.
fn read_prefix(file: &HeldFile, header: &SegmentHeader) -> Result<Prefix, DiskError> {
    let mut prefix = Prefix::start(header);
    let mut window = vec![0; WINDOW_BYTES];
    loop {
        let start = prefix.cursor();
        let count = file.read_at(&mut window, start)?;
        let at_end = count < WINDOW_BYTES;
        loop {
            let past = usize::try_from(prefix.cursor() - start).expect("within the window");
            let enough = past + RECORD_BYTES_MAX <= count || at_end;
            let Some(rest) = window[..count].get(past..).filter(|_| enough) else {
                break;
            };
            if !prefix.read_record(rest) {
                return Ok(prefix);
            }
        }
        if prefix.cursor() == start || at_end {
            return Ok(prefix);
        }
    }
}

#[cfg(test)]
mod tests;
