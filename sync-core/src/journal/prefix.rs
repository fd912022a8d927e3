//! Reading a journal back: as far as its records are believed.

use std::collections::BTreeMap;

use super::{
    Commit, CommitForm, Extent, ID_BYTES, Kind, Lead, LedCommitForm, Place, Placed,
    RECORD_HEAD_BYTES, SegmentHeader, Tail,
};
use crate::{codec, content::ContentId, generation::Action};

/// What the longest valid run of records of a segment says.
///
/// Grown record by record with [`Prefix::read_record`]; where that returns
/// `false`, nothing that follows in the file is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// All contents, by id.
    pub contents: BTreeMap<ContentId, Extent>,
    /// All commits, oldest first.
    pub commits: Vec<Commit>,
    /// Where the next record goes.
    pub tail: Tail,
    /// Where the contents begin that came after the last commit: what an
    /// interrupted transfer left.
    pub uncommitted_at: u64,
    /// Changes whose commit has not been seen.
    open: Vec<Placed>,
    cursor: Tail,
}

impl Prefix {
    /// The empty run of the segment that `header` opens.
    #[must_use]
    pub fn start(header: &SegmentHeader) -> Self {
        let tail = Tail::start(header);
        Self {
            contents: BTreeMap::new(),
            commits: Vec::new(),
            cursor: tail.clone(),
            uncommitted_at: tail.offset,
            tail,
            open: Vec::new(),
        }
    }

    /// Where the record to be read next lies in the file.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor.offset
    }

    /// Takes the next record from `window`, the file's bytes from
    /// [`Prefix::cursor`] on: at least
    /// [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX) of them or all that there are.
    /// `false` when no valid record stands there.
    pub fn read_record(&mut self, window: &[u8]) -> bool {
        let Some((raw, next)) = self.cursor.read(window) else {
            return false;
        };
        let believed = match raw.kind {
            Kind::Content => self.take_content(raw.payload),
            Kind::Changes => self.take_changes(raw.payload),
            Kind::Commit => {
                let form = codec::decode(raw.payload).ok();
                form.and_then(|form| self.take_commit(form, None))
            }
            Kind::LedCommit => {
                let form = codec::decode(raw.payload).ok();
                form.and_then(|form: LedCommitForm| self.take_commit(form.commit, Some(form.lead)))
            }
        };
        if believed.is_none() {
            return false;
        }
        self.cursor = next;
        if raw.kind.ends_a_commit() {
            self.uncommitted_at = self.cursor.offset;
        }
        if raw.kind != Kind::Changes {
            // Changes without their commit are written over by what comes next.
            self.tail = self.cursor.clone();
        }
        true
    }

    /// The longest valid run in a whole file held in memory.
    #[must_use]
    pub fn of(file: &[u8]) -> Option<Self> {
        let mut prefix = Self::start(&SegmentHeader::newest(file)?);
        while usize::try_from(prefix.cursor())
            .ok()
            .and_then(|at| file.get(at..))
            .is_some_and(|window| prefix.read_record(window))
        {}
        Some(prefix)
    }

    fn take_content(&mut self, payload: &[u8]) -> Option<()> {
        let (id, bytes) = payload.split_first_chunk::<ID_BYTES>()?;
        let id = ContentId(*id);
        if ContentId::of(bytes) != id {
            return None;
        }
        self.open.clear();
        let extent = Extent {
            offset: self.cursor.offset + (RECORD_HEAD_BYTES + ID_BYTES) as u64,
            length: bytes.len() as u64,
        };
        self.contents.entry(id).or_insert(extent);
        Some(())
    }

    fn take_changes(&mut self, mut payload: &[u8]) -> Option<()> {
        while !payload.is_empty() {
            let (placed, used) = codec::decode_prefix::<Placed>(payload).ok()?;
            self.open.push(placed);
            payload = &payload[used..];
        }
        Some(())
    }

    fn take_commit(&mut self, form: CommitForm, lead: Option<Lead>) -> Option<()> {
        let complete = form.changes == self.open.len() as u64;
        if !complete || !self.open.iter().all(|placed| self.holds(placed)) {
            return None;
        }
        self.commits.push(Commit {
            header: form.header,
            changes: std::mem::take(&mut self.open),
            lead,
        });
        Some(())
    }

    /// Whether a content said to be in the journal is there.
    fn holds(&self, placed: &Placed) -> bool {
        match (&placed.change.action, placed.place) {
            (Action::Put(entry), Place::Journal) => entry
                .as_file()
                .is_some_and(|file| self.contents.contains_key(&file.content)),
            (Action::Put(entry), Place::Staged) => entry.as_file().is_some(),
            (Action::Delete, Place::Journal | Place::Staged) => false,
            (_, Place::Nowhere) => true,
        }
    }
}
