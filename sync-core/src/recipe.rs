//! Recipes: how a large content is made of chunks, and what of it is missing.
//!
//! A [`Chunker`] cuts a stream with FastCDC (v2020), so that an insertion moves
//! cut points only near itself. Runs of about 64 chunks, ended by the chunks'
//! own ids, form groups with an id each: two nodes compare groups first and
//! chunks only inside the groups that differ, so that a small edit in 1 GiB
//! exchanges kilobytes. What of a peer's content is missing here, [`Missing`]
//! finds out.

mod missing;

use std::{collections::BTreeMap, sync::LazyLock};

use fastcdc::v2020::{self, Normalization};

pub use missing::{Missing, Run};

use crate::{
    content::ContentId,
    limits::{
        CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, GROUP_CHUNKS_MAX, GROUP_CHUNKS_MIN,
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
    cutter: Cutter,
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
        self.cutter.push(bytes);
    }

    /// The recipe of all bytes pushed.
    #[must_use]
    pub fn finish(self) -> Recipe {
        self.cutter.finish(self.whole.finalize().into())
    }
}

/// The part of a [`Chunker`] that finds the chunks, for those who hash the whole
/// elsewhere.
#[derive(Default)]
pub struct Cutter {
    /// Bytes after the last cut: less than [`CERTAIN_BYTES`] between calls.
    held: Vec<u8>,
    offset: u64,
    groups: Vec<Group>,
    open: Vec<Chunk>,
    expected: Expected,
}

/// Once so many bytes are held, their first cut depends on no later byte.
const CERTAIN_BYTES: usize = 2 * CHUNK_BYTES_MAX as usize;

impl Cutter {
    /// At the beginning of a content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At the beginning of a content that probably is much like `old`. Gives
    /// the same recipe as [`Cutter::new`], but where nothing changed it hashes
    /// at the old cuts, which is faster than looking for cuts.
    #[must_use]
    pub fn expecting(old: &Recipe) -> Self {
        Self {
            expected: Expected::new(old),
            ..Self::default()
        }
    }

    /// The next bytes of the content, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_BYTES_MAX as usize) {
            self.held.extend_from_slice(piece);
            self.cut_while(|left| left >= CERTAIN_BYTES);
        }
    }

    /// The recipe of all bytes pushed, whose hash is `content`.
    #[must_use]
    pub fn finish(mut self, content: ContentId) -> Recipe {
        self.cut_while(|left| left > 0);
        self.close_group();
        Recipe {
            content,
            length: self.offset,
            groups: self.groups,
        }
    }

    fn cut_while(&mut self, enough: impl Fn(usize) -> bool) {
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while enough(rest.len()) {
            let (id, length) = self.expected.first_chunk(rest).unwrap_or_else(|| {
                let length = first_cut(rest);
                (ContentId::of(&rest[..length]), length)
            });
            self.expected.came(id);
            self.add(id, length);
            rest = &rest[length..];
        }
        let cut = held.len() - rest.len();
        self.held = held;
        self.held.drain(..cut);
    }

    fn add(&mut self, id: ContentId, length: usize) {
        let length = u32::try_from(length).expect("a chunk has at most 256 KiB");
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

/// The chunks of an older content, to be looked for before cuts are.
///
/// FastCDC begins anew at every cut, and a cut depends on the bytes of its
/// chunk and the one byte after it. So an old chunk is one again where its
/// bytes are followed by those of the next old chunk.
#[derive(Default)]
struct Expected {
    chunks: Vec<(ContentId, usize)>,
    positions: BTreeMap<ContentId, usize>,
    /// Position of the old chunk that may begin where the last one ended.
    next: Option<usize>,
    /// Whether that chunk's bytes were already found there.
    found: bool,
}

impl Expected {
    fn new(old: &Recipe) -> Self {
        let chunks: Vec<(ContentId, usize)> = old
            .chunks()
            .map(|chunk| (chunk.id, chunk.length as usize))
            .collect();
        let numbered = chunks.iter().enumerate();
        Self {
            positions: numbered.map(|(at, (id, _))| (*id, at)).collect(),
            chunks,
            next: Some(0),
            found: false,
        }
    }

    /// The chunk at the start of `bytes`, if it is the one expected.
    fn first_chunk(&mut self, bytes: &[u8]) -> Option<(ContentId, usize)> {
        let found_before = std::mem::take(&mut self.found);
        let (chunk, after) = (self.chunk(self.next?)?, self.chunk(self.next? + 1)?);
        let found = found_before || starts_with(bytes, chunk);
        self.found = found && starts_with(&bytes[chunk.1..], after);
        self.found.then_some(chunk)
    }

    fn chunk(&self, position: usize) -> Option<(ContentId, usize)> {
        self.chunks.get(position).copied()
    }

    /// Notes the chunk that came, and so which may follow.
    fn came(&mut self, id: ContentId) {
        self.next = match self.next {
            Some(next) if self.found => Some(next + 1),
            _ => self.positions.get(&id).map(|position| position + 1),
        };
    }
}

fn starts_with(bytes: &[u8], (id, length): (ContentId, usize)) -> bool {
    bytes
        .get(..length)
        .is_some_and(|start| ContentId::of(start) == id)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pseudo-random bytes, the same in every run.
    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    /// Other cut points would make every file known so far new.
    #[test]
    fn cut_points_and_groups_stay_what_they_are() {
        let recipe = Recipe::of(&noise(1, 1 << 20));
        let lengths: Vec<u32> = recipe.chunks().map(|chunk| chunk.length).collect();
        assert_eq!(
            lengths,
            [
                65856, 36180, 68588, 58570, 66883, 80636, 63701, 108783, 41880, 62876, 68887,
                89704, 90182, 32733, 68679, 25527, 18911
            ]
        );
        let groups: Vec<String> = recipe.group_list().map(|(id, _)| id.to_string()).collect();
        assert_eq!(
            groups,
            ["7c1263eab6c4afba3d69dea4d9e2cd245779fbbf78daeb876c9f55b4c43a0a3e"]
        );
    }

    #[test]
    fn chunks_and_groups_keep_their_bounds() {
        for content in [
            noise(2, 8 << 20),
            vec![0; 80 << 20],
            noise(3, 100),
            Vec::new(),
        ] {
            let recipe = Recipe::of(&content);
            assert_eq!(recipe.content, ContentId::of(&content));
            let mut missing = Missing::new(
                recipe.length,
                recipe.group_list().collect(),
                &[] as &[Recipe],
            )
            .unwrap();
            let mut offset = 0;
            for (index, group) in (0..).zip(&recipe.groups) {
                missing.chunks(index, group.chunk_list()).unwrap();
                for chunk in &group.chunks {
                    assert_eq!(chunk.offset, offset);
                    offset += u64::from(chunk.length);
                }
            }
            assert_eq!(offset, recipe.length);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_pieces_pushed_do_not_matter(lengths in prop::collection::vec(1..300_000_usize, 1..12)) {
            let content = noise(4, lengths.iter().sum());
            let mut chunker = Chunker::new();
            let mut rest = &content[..];
            for length in lengths {
                chunker.push(&rest[..length]);
                rest = &rest[length..];
            }
            prop_assert_eq!(chunker.finish(), Recipe::of(&content));
        }

        #[test]
        fn expecting_an_old_content_changes_no_cut(
            length in 0..3_000_000_usize,
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), 0..100_000_usize, 0..100_000_usize),
                0..4,
            ),
        ) {
            let old = noise(5, length);
            let mut new = old.clone();
            for (seed, (at, removed, added)) in (6..).zip(edits) {
                let start = at.index(new.len() + 1);
                let end = new.len().min(start + removed);
                new.splice(start..end, noise(seed, added));
            }
            let mut cutter = Cutter::expecting(&Recipe::of(&old));
            cutter.push(&new);
            prop_assert_eq!(cutter.finish(ContentId::of(&new)), Recipe::of(&new));
        }
    }

    #[test]
    fn a_cut_that_the_byte_after_it_made_goes_with_that_byte() {
        let old = noise(12, 1 << 20);
        let recipe = Recipe::of(&old);
        for next in recipe.chunks().skip(1) {
            let mut new = old.clone();
            new[usize::try_from(next.offset).unwrap()] ^= 1;
            let mut cutter = Cutter::expecting(&recipe);
            cutter.push(&new);
            assert_eq!(cutter.finish(ContentId::of(&new)), Recipe::of(&new));
        }
    }
}
