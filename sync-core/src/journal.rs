//! The journal's bytes: how a generation is made durable with one record.
//!
//! A journal is two header blocks and a run of records; docs/journal.md draws
//! it byte by byte. Each record is sealed with a hash over the seal before it,
//! so only an unbroken run that starts at the newest header is ever believed:
//! whatever older segments, abandoned writes or torn blocks left behind does
//! not fit the chain. This module turns records into bytes and back; files,
//! syncs and recovery belong to sync-fs.

mod prefix;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bincode::{Decode, Encode};
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};

use crate::{
    codec,
    content::ContentId,
    generation::{Change, Epoch, Generation, GenerationHeader, Position, TreeName},
    limits::{FRAME_BYTES_MAX, SMALL_CONTENT_BYTES_MAX},
    manifest::Root,
};

pub use prefix::Prefix;

/// The unit that is never written again once it holds acknowledged bytes: the
/// record after a commit starts at the next block.
pub const BLOCK_BYTES: u64 = 4096;
/// Where the records start: after the two header blocks.
pub const RECORDS_AT: u64 = 2 * BLOCK_BYTES;
/// Bytes before a record's payload.
pub const RECORD_HEAD_BYTES: usize = 32;
/// Bytes after a record's payload.
pub const SEAL_BYTES: usize = 32;
/// Largest record as a whole.
pub const RECORD_BYTES_MAX: usize = RECORD_HEAD_BYTES + FRAME_BYTES_MAX + SEAL_BYTES;
/// A record of changes is closed when it passes this size: one more change
/// (two longest paths) still fits a frame.
pub const CHANGES_BYTES_AIM: usize = 512 << 10;

const HEADER_MAGIC: [u8; 8] = *b"asjrnl1\n";
const RECORD_MAGIC: [u8; 4] = *b"asr1";
const HEADER_CONTEXT: &str = "apim-sync 1 journal header";
const ID_BYTES: usize = 32;

static RECORD_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("apim-sync 1 journal record"));

/// The number of a segment: raised each time the journal is recycled, so that
/// records of its earlier lives are not taken for new ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
pub struct Segment(pub u64);

/// What a header block says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SegmentHeader {
    /// Which life of the file the records belong to.
    pub segment: Segment,
    /// The tree the journal serves.
    pub tree: TreeName,
    /// Where the tree stood when the segment began.
    pub base: Position,
}

impl SegmentHeader {
    /// The header of the next segment, which starts at `base`.
    #[must_use]
    pub fn next(&self, base: Position) -> Self {
        Self {
            segment: Segment(self.segment.0 + 1),
            tree: self.tree.clone(),
            base,
        }
    }

    /// Which of the two header blocks holds it: the other one keeps its
    /// predecessor until this one is safely written.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.segment.0 % 2 * BLOCK_BYTES
    }

    /// The header's bytes, less than a disk sector.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = codec::encode(self);
        let mut out = Vec::with_capacity(12 + payload.len() + SEAL_BYTES);
        out.extend_from_slice(&HEADER_MAGIC);
        out.extend_from_slice(&length_of(&payload).to_le_bytes());
        out.extend_from_slice(&payload);
        let seal = self.seal();
        out.extend_from_slice(&seal.0);
        out
    }

    /// The header at the start of `block`, if a valid one stands there.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        let rest = block.strip_prefix(&HEADER_MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let header: Self = codec::decode(payload).ok()?;
        (rest.first_chunk::<SEAL_BYTES>()? == &header.seal().0).then_some(header)
    }

    /// The newest valid header of the two header blocks.
    #[must_use]
    pub fn newest(blocks: &[u8]) -> Option<Self> {
        let block = usize::try_from(BLOCK_BYTES).expect("a block fits memory");
        blocks
            .chunks(block)
            .take(2)
            .filter_map(Self::decode)
            .max_by_key(|header| header.segment)
    }

    fn seal(&self) -> Seal {
        let mut hasher = blake3::Hasher::new_derive_key(HEADER_CONTEXT);
        hasher.update(&codec::encode(self));
        Seal(*hasher.finalize().as_bytes())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seal([u8; SEAL_BYTES]);

/// Where the content of a change waits to be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Place {
    /// No content belongs to the change, or none has to be written.
    Nowhere,
    /// In an earlier content record of the segment.
    Journal,
    /// In a staged file named after its id.
    Staged,
}

/// One change with the modification time it is applied with.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Placed {
    /// The change.
    pub change: Change,
    /// Where its content lies.
    pub place: Place,
}

/// The generation of another tree whose commit decides about this one's: both
/// belong to a span, and count together or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Lead {
    /// The other tree.
    pub tree: TreeName,
    /// The generation's epoch.
    pub epoch: Epoch,
    /// Its number.
    pub generation: Generation,
}

impl Lead {
    /// Whether a tree that stands at `position` has come to the generation.
    #[must_use]
    pub fn is_reached_by(&self, position: &Position) -> bool {
        (position.epoch, position.generation) >= (self.epoch, self.generation)
    }
}

/// A committed generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// What it is.
    pub header: GenerationHeader,
    /// All it does.
    pub changes: Vec<Placed>,
    /// Whose commit decides whether it counts, if it does not decide itself.
    pub lead: Option<Lead>,
}

impl Commit {
    /// Where the tree stands after it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.header.epoch,
            generation: self.header.generation,
            root: self.header.root,
        }
    }
}

/// The commits that count, of a run of them. One that another tree's decides about
/// was given up where the next one does not start from its root; nothing was
/// acknowledged then. If it is the last, the other tree knows: `is_reached` says
/// whether it has come to its generation.
#[must_use]
pub fn counting(commits: Vec<Commit>, is_reached: impl Fn(&Lead) -> bool) -> Vec<Commit> {
    let next_bases = commits.iter().skip(1).map(|next| Some(next.header.base));
    let next_bases: Vec<_> = next_bases.chain([None]).collect();
    let counts = |commit: &Commit, next_base: Option<Root>| match (&commit.lead, next_base) {
        (None, _) => true,
        (Some(_), Some(base)) => base == commit.header.root,
        (Some(lead), None) => is_reached(lead),
    };
    let both = commits.into_iter().zip(next_bases);
    both.filter(|(commit, next_base)| counts(commit, *next_base))
        .map(|(commit, _)| commit)
        .collect()
}

/// The record that ends a commit.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct CommitForm {
    header: GenerationHeader,
    changes: u64,
}

/// The record that ends a commit about which another tree's decides.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct LedCommitForm {
    commit: CommitForm,
    lead: Lead,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Content = 1,
    Changes = 2,
    Commit = 3,
    LedCommit = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Content),
            2 => Some(Self::Changes),
            3 => Some(Self::Commit),
            4 => Some(Self::LedCommit),
            _ => None,
        }
    }

    fn ends_a_commit(self) -> bool {
        matches!(self, Self::Commit | Self::LedCommit)
    }
}

/// Where the next record of a segment goes and what it must be chained to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    segment: Segment,
    sequence: u64,
    seal: Seal,
    offset: u64,
}

impl Tail {
    /// The start of a segment.
    #[must_use]
    pub fn start(header: &SegmentHeader) -> Self {
        Self {
            segment: header.segment,
            sequence: 0,
            seal: header.seal(),
            offset: RECORDS_AT,
        }
    }

    /// Where the next record goes, from the start of the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends a content to `out`, which holds what is to be written from where
    /// the tail stood when `out` was empty. Says where the bytes will lie.
    ///
    /// # Panics
    /// When the content is not a small one: the caller stages those.
    pub fn content(&mut self, id: ContentId, bytes: &[u8], out: &mut Vec<u8>) -> Extent {
        assert!(
            bytes.len() as u64 <= SMALL_CONTENT_BYTES_MAX,
            "a large content is staged, not journalled"
        );
        let offset = self.offset + (RECORD_HEAD_BYTES + ID_BYTES) as u64;
        // The id stands for the bytes in the seal: they are hashed only once.
        self.append(Kind::Content, &id.0, bytes, out);
        Extent {
            offset,
            length: bytes.len() as u64,
        }
    }

    /// Appends a commit to `out` and moves the tail to the next block. One with a
    /// lead counts only where that tree's commit is there too.
    pub fn commit(
        &mut self,
        header: &GenerationHeader,
        changes: &[Placed],
        lead: Option<&Lead>,
        out: &mut Vec<u8>,
    ) {
        let mut payload = Vec::new();
        for placed in changes {
            payload.extend(codec::encode(placed));
            if payload.len() >= CHANGES_BYTES_AIM {
                self.append(Kind::Changes, &payload, &[], out);
                payload.clear();
            }
        }
        if !payload.is_empty() {
            self.append(Kind::Changes, &payload, &[], out);
        }
        let commit = CommitForm {
            header: header.clone(),
            changes: changes.len() as u64,
        };
        match lead.cloned() {
            None => self.append(Kind::Commit, &codec::encode(&commit), &[], out),
            Some(lead) => {
                let form = LedCommitForm { commit, lead };
                self.append(Kind::LedCommit, &codec::encode(&form), &[], out);
            }
        }
        let padded = self.offset.next_multiple_of(BLOCK_BYTES);
        let padding = usize::try_from(padded - self.offset).expect("less than a block");
        out.resize(out.len() + padding, 0);
        self.offset = padded;
    }

    fn append(&mut self, kind: Kind, sealed: &[u8], unsealed: &[u8], out: &mut Vec<u8>) {
        let length = sealed.len() + unsealed.len();
        let head = self.head(kind, u32::try_from(length).expect("a payload fits a frame"));
        let seal = self.seal_over(&head, sealed);
        out.extend_from_slice(&head);
        out.extend_from_slice(sealed);
        out.extend_from_slice(unsealed);
        out.extend_from_slice(&seal.0);
        self.pass(length, seal);
    }

    fn head(&self, kind: Kind, length: u32) -> [u8; RECORD_HEAD_BYTES] {
        let mut head = [0; RECORD_HEAD_BYTES];
        head[0..4].copy_from_slice(&RECORD_MAGIC);
        head[4] = kind as u8;
        head[8..16].copy_from_slice(&self.segment.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        head[24..28].copy_from_slice(&length.to_le_bytes());
        head
    }

    fn seal_over(&self, head: &[u8], sealed: &[u8]) -> Seal {
        let mut hasher = blake3::Hasher::new_from_context_key(&RECORD_CONTEXT);
        hasher.update(&self.seal.0);
        hasher.update(head);
        hasher.update(sealed);
        Seal(*hasher.finalize().as_bytes())
    }

    fn pass(&mut self, payload: usize, seal: Seal) {
        self.sequence += 1;
        self.seal = seal;
        self.offset += (RECORD_HEAD_BYTES + payload + SEAL_BYTES) as u64;
    }

    /// Where the record at the tail ends and what it is, if it is whole and
    /// belongs here.
    fn read<'a>(&self, window: &'a [u8]) -> Option<(Raw<'a>, Self)> {
        let (head, rest) = window.split_at_checked(RECORD_HEAD_BYTES)?;
        let kind = Kind::of(head[4])?;
        let length = u32::from_le_bytes(*head[24..].first_chunk()?);
        if head != self.head(kind, length) {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let sealed = match kind {
            Kind::Content => payload.get(..ID_BYTES)?,
            Kind::Changes | Kind::Commit | Kind::LedCommit => payload,
        };
        let seal = self.seal_over(head, sealed);
        if rest.first_chunk::<SEAL_BYTES>()? != &seal.0 {
            return None;
        }
        let mut next = self.clone();
        next.pass(length, seal);
        if kind.ends_a_commit() {
            next.offset = next.offset.next_multiple_of(BLOCK_BYTES);
        }
        Some((Raw { kind, payload }, next))
    }
}

struct Raw<'a> {
    kind: Kind,
    payload: &'a [u8],
}

/// Bytes of the journal file that are one content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte, from the start of the file.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

fn length_of(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).expect("a header fits a frame")
}
