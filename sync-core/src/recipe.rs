//! Recipes: how a large content is made of chunks, and what of it is missing.
//!
//! A [`Chunker`] cuts a stream with FastCDC (v2020), so that an insertion moves
//! cut points only near itself. Runs of about 64 chunks, ended by the chunks'
//! own ids, form groups with an id each: two nodes compare groups first and
//! chunks only inside the groups that differ, so that a small edit in 1 GiB
//! exchanges kilobytes. [`Missing`] takes a peer's lists, trusts none of their
//! numbers, and ends in the [`Run`]s that build the content: copies from files
//! the node already has, and bytes to fetch. Whether the result is right is
//! proved by the content's hash, not here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use fastcdc::v2020::{self, Normalization};

use crate::{
    codec::Malformed,
    content::ContentId,
    limits::{
        CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FILE_BYTES_MAX, GROUP_CHUNKS_MAX,
        GROUP_CHUNKS_MIN,
    },
};

/// A piece of a content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// BLAKE3 of its bytes.
    pub id: ContentId,
    /// Where it starts in the content.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u32,
}

/// A run of chunks with an id of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// A domain-separated hash over its chunks' ids and lengths.
    pub id: ContentId,
    /// Bytes in all its chunks.
    pub length: u64,
    /// The chunks, one at least.
    pub chunks: Vec<Chunk>,
}

/// How a content is made of chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// BLAKE3 of the whole content.
    pub content: ContentId,
    /// Bytes in the content.
    pub length: u64,
    /// The groups in order; none for an empty content.
    pub groups: Vec<Group>,
}

impl Recipe {
    /// The recipe of a content held in memory.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut chunker = Chunker::new();
        chunker.push(content);
        chunker.finish()
    }

    /// All chunks in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.groups.iter().flat_map(|group| &group.chunks)
    }

    /// The (id, length) of every group, as they travel.
    pub fn group_list(&self) -> impl Iterator<Item = (ContentId, u64)> {
        self.groups.iter().map(|group| (group.id, group.length))
    }
}

impl Group {
    /// The (id, length) of every chunk, as they travel.
    #[must_use]
    pub fn chunk_list(&self) -> Vec<(ContentId, u32)> {
        self.chunks
            .iter()
            .map(|chunk| (chunk.id, chunk.length))
            .collect()
    }

    fn of(chunks: Vec<Chunk>) -> Self {
        Self {
            id: group_id(chunks.iter().map(|chunk| (chunk.id, chunk.length))),
            length: chunks.iter().map(|chunk| u64::from(chunk.length)).sum(),
            chunks,
        }
    }
}

fn group_id(chunks: impl IntoIterator<Item = (ContentId, u32)>) -> ContentId {
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 recipe group");
    for (id, length) in chunks {
        hasher.update(&id.0);
        hasher.update(&length.to_le_bytes());
    }
    hasher.finalize().into()
}

/// Cuts a stream of bytes into a [`Recipe`].
#[derive(Default)]
pub struct Chunker {
    whole: blake3::Hasher,
    /// Bytes after the last cut: less than a largest chunk between calls.
    held: Vec<u8>,
    offset: u64,
    groups: Vec<Group>,
    open: Vec<Chunk>,
}

impl Chunker {
    /// At the beginning of a content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the content, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        for piece in bytes.chunks(CHUNK_BYTES_MAX as usize) {
            self.held.extend_from_slice(piece);
            self.cut_while(|left| left >= CHUNK_BYTES_MAX as usize);
        }
    }

    /// The recipe of all bytes pushed.
    #[must_use]
    pub fn finish(mut self) -> Recipe {
        self.cut_while(|left| left > 0);
        self.close_group();
        Recipe {
            content: self.whole.finalize().into(),
            length: self.offset,
            groups: self.groups,
        }
    }

    /// A cut is certain once as many bytes are held as a chunk may have.
    fn cut_while(&mut self, enough: impl Fn(usize) -> bool) {
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while enough(rest.len()) {
            let (chunk, later) = rest.split_at(first_cut(rest));
            self.add(chunk);
            rest = later;
        }
        let cut = held.len() - rest.len();
        self.held = held;
        self.held.drain(..cut);
    }

    fn add(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a chunk has at most 256 KiB");
        let id = ContentId::of(bytes);
        self.open.push(Chunk {
            id,
            offset: self.offset,
            length,
        });
        self.offset += u64::from(length);
        let chunks = self.open.len();
        if ends_group(id) && chunks >= GROUP_CHUNKS_MIN || chunks == GROUP_CHUNKS_MAX {
            self.close_group();
        }
    }

    fn close_group(&mut self) {
        if !self.open.is_empty() {
            self.groups.push(Group::of(std::mem::take(&mut self.open)));
        }
    }
}

/// One chunk in 64 ends its group: by its own id, so that boundaries move with
/// the content.
fn ends_group(chunk: ContentId) -> bool {
    chunk.0[0] & 0x3f == 0
}

/// Length of the first chunk of `bytes`.
fn first_cut(bytes: &[u8]) -> usize {
    static MASKS: LazyLock<(u64, u64)> =
        LazyLock::new(|| v2020::select_masks(CHUNK_BYTES_AVERAGE as usize, Normalization::Level1));
    let (small, large) = *MASKS;
    let (_, length) = v2020::cut(
        bytes,
        CHUNK_BYTES_MIN as usize,
        CHUNK_BYTES_AVERAGE as usize,
        CHUNK_BYTES_MAX as usize,
        small,
        large,
        small << 1,
        large << 1,
    );
    length
}

/// One step of building a content, in the order of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// Bytes that a local file has.
    Copy {
        /// Which of the local recipes, by position.
        source: usize,
        /// Where in that file.
        local_offset: u64,
        /// Where in the content.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Bytes that only the peer has.
    Fetch {
        /// Where in the content.
        offset: u64,
        /// How many.
        length: u64,
    },
}

impl Run {
    /// The run that covers this one and `next`, if they touch on both sides.
    fn joined(self, next: Self) -> Option<Self> {
        match (self, next) {
            (
                Self::Copy {
                    source,
                    local_offset,
                    offset,
                    length,
                },
                Self::Copy {
                    source: next_source,
                    local_offset: next_local,
                    length: more,
                    ..
                },
            ) if source == next_source && local_offset + length == next_local => Some(Self::Copy {
                source,
                local_offset,
                offset,
                length: length + more,
            }),
            (Self::Fetch { offset, length }, Self::Fetch { length: more, .. }) => {
                Some(Self::Fetch {
                    offset,
                    length: length + more,
                })
            }
            _ => None,
        }
    }
}

/// A place in a local file.
#[derive(Clone, Copy)]
struct Place {
    source: usize,
    offset: u64,
}

impl Place {
    fn copy(self, offset: u64, length: u64) -> Run {
        Run::Copy {
            source: self.source,
            local_offset: self.offset,
            offset,
            length,
        }
    }
}

/// What of a peer's content is missing here, found out step by step: the groups
/// at once, then the chunks of those groups that no local file has.
pub struct Missing {
    groups: Vec<(ContentId, u64)>,
    /// By id and length: a peer that lies about a length finds nothing.
    local_groups: BTreeMap<(ContentId, u64), Place>,
    local_chunks: BTreeMap<(ContentId, u32), Place>,
    unknown: BTreeSet<u32>,
    chunks: BTreeMap<u32, Vec<(ContentId, u32)>>,
}

impl Missing {
    /// Compares the peer's `groups` of a content of `length` bytes with the
    /// recipes of local files.
    ///
    /// # Errors
    /// When the groups cannot be those of a content of that length.
    pub fn new(
        length: u64,
        groups: Vec<(ContentId, u64)>,
        local: &[Recipe],
    ) -> Result<Self, Malformed> {
        check_groups(length, &groups)?;
        let mut missing = Self {
            groups,
            local_groups: BTreeMap::new(),
            local_chunks: BTreeMap::new(),
            unknown: BTreeSet::new(),
            chunks: BTreeMap::new(),
        };
        for (source, recipe) in local.iter().enumerate() {
            missing.index(source, recipe);
        }
        missing.unknown = (0..)
            .zip(&missing.groups)
            .filter(|(_, group)| !missing.local_groups.contains_key(group))
            .map(|(index, _)| index)
            .collect();
        Ok(missing)
    }

    fn index(&mut self, source: usize, recipe: &Recipe) {
        for group in &recipe.groups {
            let offset = group.chunks.first().map_or(0, |chunk| chunk.offset);
            self.local_groups
                .entry((group.id, group.length))
                .or_insert(Place { source, offset });
        }
        for chunk in recipe.chunks() {
            let offset = chunk.offset;
            self.local_chunks
                .entry((chunk.id, chunk.length))
                .or_insert(Place { source, offset });
        }
    }

    /// Indices of the groups whose chunks are still to be asked for, ascending.
    pub fn unknown_groups(&self) -> impl Iterator<Item = u32> {
        self.unknown.iter().copied()
    }

    /// Takes the chunks of one unknown group.
    ///
    /// # Errors
    /// When the group was not asked for, or these are not its chunks.
    pub fn chunks(&mut self, group: u32, chunks: Vec<(ContentId, u32)>) -> Result<(), Malformed> {
        if !self.unknown.contains(&group) {
            return Err(malformed(format!("chunks of group {group}, not asked for")));
        }
        let (id, length) = self.groups[group as usize];
        check_chunks(length, &chunks)?;
        if group_id(chunks.iter().copied()) != id {
            return Err(malformed(format!(
                "the chunks of group {group} make another"
            )));
        }
        self.unknown.remove(&group);
        self.chunks.insert(group, chunks);
        Ok(())
    }

    /// The runs that build the content. A group still unknown is fetched whole.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let mut runs = Runs::default();
        for (index, group) in (0..).zip(&self.groups) {
            if let Some(chunks) = self.chunks.get(&index) {
                for chunk in chunks {
                    runs.add(self.local_chunks.get(chunk), u64::from(chunk.1));
                }
            } else {
                runs.add(self.local_groups.get(group), group.1);
            }
        }
        runs.done
    }
}

#[derive(Default)]
struct Runs {
    done: Vec<Run>,
    offset: u64,
}

impl Runs {
    fn add(&mut self, place: Option<&Place>, length: u64) {
        let offset = self.offset;
        let next = place.map_or(Run::Fetch { offset, length }, |place| {
            place.copy(offset, length)
        });
        self.offset += length;
        match self.done.last_mut() {
            Some(last) if let Some(joined) = last.joined(next) => *last = joined,
            _ => self.done.push(next),
        }
    }
}

fn check_groups(length: u64, groups: &[(ContentId, u64)]) -> Result<(), Malformed> {
    let longest = GROUP_CHUNKS_MAX as u64 * u64::from(CHUNK_BYTES_MAX);
    let fits = |&(_, length): &(_, u64)| (1..=longest).contains(&length);
    let shortest = GROUP_CHUNKS_MIN as u64 * u64::from(CHUNK_BYTES_MIN);
    // The last group may be shorter; so few groups that no sum overflows.
    let counted = groups.len() as u64 <= length / shortest + 1;
    let sound = length <= FILE_BYTES_MAX
        && counted
        && groups.iter().all(fits)
        && groups.iter().map(|(_, length)| length).sum::<u64>() == length;
    sound.then_some(()).ok_or_else(|| {
        malformed(format!(
            "{} groups do not make a content of {length} bytes",
            groups.len()
        ))
    })
}

fn check_chunks(length: u64, chunks: &[(ContentId, u32)]) -> Result<(), Malformed> {
    let fits = |&(_, length): &(_, u32)| (1..=CHUNK_BYTES_MAX).contains(&length);
    let sound = chunks.len() <= GROUP_CHUNKS_MAX
        && chunks.iter().all(fits)
        && chunks
            .iter()
            .map(|(_, length)| u64::from(*length))
            .sum::<u64>()
            == length;
    sound.then_some(()).ok_or_else(|| {
        malformed(format!(
            "{} chunks do not make a group of {length} bytes",
            chunks.len()
        ))
    })
}

fn malformed(reason: String) -> Malformed {
    Malformed {
        what: "recipe",
        reason,
    }
}
