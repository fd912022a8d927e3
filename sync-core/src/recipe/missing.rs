//! What of a peer's large content is missing here.
//!
//! Takes the peer's lists of groups and chunks, trusts none of their numbers,
//! and ends in the [`Run`]s that build the content: copies from files the node
//! already has, and bytes to fetch. Whether the result is right is proved by
//! the content's hash, not here.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use super::{Chunk, Group, Recipe, group_id};
use crate::{
    codec::Malformed,
    content::ContentId,
    limits::{
        CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FILE_BYTES_MAX, GROUP_CHUNKS_MAX, GROUP_CHUNKS_MIN,
    },
};

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
        local: &[impl Borrow<Recipe>],
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
            missing.index(source, recipe.borrow());
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

/// What the peer says of its content, made a recipe of one's own.
impl Missing {
    /// The recipe of the peer's content, once no group is unknown. `local` are
    /// the recipes that were compared. The lists were checked against each
    /// other; the bytes are proved by the hash of the whole.
    #[must_use]
    pub fn recipe(&self, content: ContentId, local: &[impl Borrow<Recipe>]) -> Option<Recipe> {
        let mut offset = 0;
        let mut groups = Vec::with_capacity(self.groups.len());
        for (index, group) in (0..).zip(&self.groups) {
            let list = match self.chunks.get(&index) {
                Some(chunks) => chunks.clone(),
                None => self.local_list(group, local)?,
            };
            let chunks = list.into_iter().map(|(id, length)| {
                let chunk = Chunk { id, offset, length };
                offset += u64::from(length);
                chunk
            });
            groups.push(Group::of(chunks.collect()));
        }
        Some(Recipe {
            content,
            length: offset,
            groups,
        })
    }

    fn local_list(
        &self,
        group: &(ContentId, u64),
        local: &[impl Borrow<Recipe>],
    ) -> Option<Vec<(ContentId, u32)>> {
        let place = self.local_groups.get(group)?;
        let groups = &local.get(place.source)?.borrow().groups;
        let starts = |group: &Group| group.chunks.first().map_or(0, |chunk| chunk.offset);
        let at = groups.partition_point(|group| starts(group) < place.offset);
        groups.get(at).map(Group::chunk_list)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: &[Recipe] = &[];

    /// Pseudo-random bytes, the same in every run.
    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    /// The whole conversation of a fetch, both sides honest.
    fn missing_between(new: &Recipe, local: &[Recipe]) -> (Missing, usize) {
        let mut missing = Missing::new(new.length, new.group_list().collect(), local).unwrap();
        let unknown: Vec<u32> = missing.unknown_groups().collect();
        for group in &unknown {
            let chunks = new.groups[*group as usize].chunk_list();
            missing.chunks(*group, chunks).unwrap();
        }
        (missing, unknown.len())
    }

    fn runs_between(new: &Recipe, local: &[Recipe]) -> (Vec<Run>, usize) {
        let (missing, unknown) = missing_between(new, local);
        (missing.runs(), unknown)
    }

    fn build(runs: &[Run], peer: &[u8], local: &[&[u8]]) -> Vec<u8> {
        let mut built = Vec::new();
        for run in runs {
            let (from, start, offset, length) = match *run {
                Run::Copy {
                    source,
                    local_offset,
                    offset,
                    length,
                } => (local[source], local_offset, offset, length),
                Run::Fetch { offset, length } => (peer, offset, offset, length),
            };
            assert_eq!(offset, built.len() as u64);
            let start = usize::try_from(start).unwrap();
            built.extend_from_slice(&from[start..start + usize::try_from(length).unwrap()]);
        }
        built
    }

    fn fetched(runs: &[Run]) -> u64 {
        runs.iter()
            .map(|run| match run {
                Run::Fetch { length, .. } => *length,
                Run::Copy { .. } => 0,
            })
            .sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_edit_is_rebuilt_from_copies_and_fetches(
            length in 0..2_000_000_usize,
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), 0..200_000_usize, 0..100_000_usize),
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
            let (recipe, local) = (Recipe::of(&new), [Recipe::of(&old)]);
            let (missing, _) = missing_between(&recipe, &local);
            prop_assert_eq!(missing.recipe(recipe.content, &local), Some(recipe));
            prop_assert_eq!(build(&missing.runs(), &new, &[&old]), new);
        }
    }

    #[test]
    fn twenty_bytes_inserted_in_64_mib_fetch_little() {
        let old = noise(7, 64 << 20);
        let mut new = old.clone();
        new.splice(30_000_000..30_000_000, *b"twenty bytes more...");
        let local = [Recipe::of(&old)];
        let recipe = Recipe::of(&new);
        let (runs, unknown) = runs_between(&recipe, &local);
        assert_eq!(build(&runs, &new, &[&old]), new);
        assert!(fetched(&runs) < 600 << 10, "{} bytes", fetched(&runs));
        assert!(
            unknown <= 2 && runs.len() == 3,
            "{unknown} groups, {runs:?}"
        );
        assert!(recipe.groups.len() < 40, "{} groups", recipe.groups.len());
    }

    #[test]
    fn contents_may_come_from_several_files() {
        let (one, two) = (noise(8, 600_000), noise(9, 600_000));
        let both = [&one[..], &two].concat();
        let (runs, _) = runs_between(&Recipe::of(&both), &[Recipe::of(&one), Recipe::of(&two)]);
        assert_eq!(build(&runs, &both, &[&one, &two]), both);
        assert!(fetched(&runs) < 500_000);
    }

    #[test]
    fn an_equal_content_is_one_copy() {
        let content = noise(10, 20 << 20);
        let recipe = Recipe::of(&content);
        let (runs, unknown) = runs_between(&recipe, std::slice::from_ref(&recipe));
        assert_eq!((runs.len(), fetched(&runs), unknown), (1, 0, 0));
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        let id = ContentId([1; 32]);
        let longest = 64 << 20;
        let groups: &[(u64, &[u64])] = &[
            (10, &[]),
            (10, &[9]),
            (10, &[10, 0]),
            (10, &[u64::MAX, 11]),
            (longest + 1, &[longest + 1]),
            (3, &[1, 1, 1]),
            (FILE_BYTES_MAX + 1, &[longest]),
        ];
        for (length, lengths) in groups {
            let list = lengths.iter().map(|length| (id, *length)).collect();
            assert!(
                Missing::new(*length, list, NONE).is_err(),
                "{length} {lengths:?}"
            );
        }
        let recipe = Recipe::of(&noise(11, 300_000));
        let honest = recipe.groups[0].chunk_list();
        let mut missing = Missing::new(recipe.length, recipe.group_list().collect(), NONE).unwrap();
        let mut swapped = honest.clone();
        swapped.swap(0, 1);
        let mut longer = honest.clone();
        longer[0].1 += 1;
        for chunks in [Vec::new(), swapped, longer, honest[1..].to_vec()] {
            assert!(missing.chunks(0, chunks).is_err());
        }
        assert!(missing.chunks(7, honest.clone()).is_err());
        missing.chunks(0, honest.clone()).unwrap();
        assert!(missing.chunks(0, honest).is_err());
    }
}
