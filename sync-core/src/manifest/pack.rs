//! The entries of a small part of the trie, sorted by key, in one allocation.
//!
//! In memory the trie ends earlier than by the rule that gives it its hashes (16
//! entries a leaf): what is below is found by counting. So there are few nodes,
//! and a search among 100,000 entries misses the cache three times.
//!
//! ```text
//! 1      number of items
//! 8 each tag: the first bytes of the key, big-endian
//! 4 each where the record ends, counted from the first record
//! n      records
//! ```
//!
//! An empty pack has no bytes. A pack is never changed, only made anew.

use std::cmp::Ordering;

use super::{Key, key_of, record::Record};

/// Entries of one pack: an edit writes all of them anew, a microsecond's work.
pub(super) const PACK_ENTRIES_MAX: usize = 64;

const TAG_BYTES: usize = 8;
const END_BYTES: usize = 4;
/// Nibbles in a tag.
const TAG_NIBBLES: usize = 2 * TAG_BYTES;

/// A record and the beginning of its key, which nearly always tells it apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) tag: u64,
    pub(super) record: Record<'a>,
}

/// The first bytes of a key, in its order.
pub(super) fn tag_of(key: &Key) -> u64 {
    u64::from_be_bytes(*key.first_chunk().expect("a key is longer"))
}

impl<'a> Item<'a> {
    pub(super) fn new(record: Record<'a>) -> Self {
        Self {
            tag: tag_of(&key_of(record.path_bytes())),
            record,
        }
    }

    /// By key.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.record.path_bytes(), other.record.path_bytes());
        self.tag.cmp(&other.tag).then_with(|| {
            if ours == theirs {
                Ordering::Equal
            } else {
                key_of(ours).cmp(&key_of(theirs))
            }
        })
    }

    /// The nibble of the key at `depth`.
    pub(super) fn nibble(&self, depth: usize) -> usize {
        if depth < TAG_NIBBLES {
            nibble_of_tag(self.tag, depth)
        } else {
            nibble_of(&key_of(self.record.path_bytes()), depth)
        }
    }
}

fn nibble_of_tag(tag: u64, depth: usize) -> usize {
    (tag >> (4 * (TAG_NIBBLES - 1 - depth))) as usize & 0xf
}

/// The nibble of a whole key at `depth`.
pub(super) fn nibble_of(key: &Key, depth: usize) -> usize {
    let byte = key[depth / 2];
    usize::from(if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0xf
    })
}

#[derive(Clone, Default)]
pub(super) struct Pack(Box<[u8]>);

impl Pack {
    /// `items` sorted by key, distinct, at most [`PACK_ENTRIES_MAX`].
    pub(super) fn of(items: &[Item<'_>]) -> Self {
        debug_assert!(items.len() <= PACK_ENTRIES_MAX);
        if items.is_empty() {
            return Self::default();
        }
        let records: usize = items.iter().map(|item| item.record.as_bytes().len()).sum();
        let mut bytes = Vec::with_capacity(records_at(items.len()) + records);
        bytes.push(u8::try_from(items.len()).expect("at most 64"));
        for item in items {
            bytes.extend_from_slice(&item.tag.to_be_bytes());
        }
        let mut end = 0;
        for item in items {
            end += item.record.as_bytes().len();
            let end = u32::try_from(end).expect("64 records are small");
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for item in items {
            bytes.extend_from_slice(item.record.as_bytes());
        }
        Self(bytes.into())
    }

    /// This pack but for `path`.
    pub(super) fn without(&self, path: &[u8]) -> Self {
        let others = self.items().filter(|it| it.record.path_bytes() != path);
        Self::of(&others.collect::<Vec<_>>())
    }

    pub(super) fn len(&self) -> usize {
        self.0.first().map_or(0, |&count| count.into())
    }

    pub(super) fn item(&self, at: usize) -> Item<'_> {
        let start = at.checked_sub(1).map_or(0, |before| self.end(before));
        let records = &self.0[records_at(self.len())..];
        Item {
            tag: self.tag(at),
            record: Record::whole(&records[start..self.end(at)]),
        }
    }

    pub(super) fn items(&self) -> impl ExactSizeIterator<Item = Item<'_>> {
        (0..self.len()).map(|at| self.item(at))
    }

    /// The record of `path`, whose key begins with `tag`.
    pub(super) fn find(&self, tag: u64, path: &[u8]) -> Option<Record<'_>> {
        self.search(tag)?.finish(path)
    }

    /// Begins to look for a path whose key begins with `tag`.
    pub(super) fn search(&self, tag: u64) -> Option<Search<'_>> {
        let at = self.first_of(tag);
        (at < self.len() && self.tag(at) == tag).then(|| Search {
            pack: self,
            first: at,
            record: self.item(at).record,
        })
    }

    /// The first item whose tag is not below `tag`.
    fn first_of(&self, tag: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.tag(middle) < tag {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn tag(&self, at: usize) -> u64 {
        let start = 1 + at * TAG_BYTES;
        u64::from_be_bytes(*self.0[start..].first_chunk().expect("a pack is whole"))
    }

    fn end(&self, at: usize) -> usize {
        let start = 1 + self.len() * TAG_BYTES + at * END_BYTES;
        u32::from_le_bytes(*self.0[start..].first_chunk().expect("a pack is whole")) as usize
    }
}

/// A search that has come to the first record that may be the one.
pub(super) struct Search<'a> {
    pack: &'a Pack,
    first: usize,
    record: Record<'a>,
}

impl<'a> Search<'a> {
    /// The record of `path`, if it is there.
    pub(super) fn finish(self, path: &[u8]) -> Option<Record<'a>> {
        if self.record.path_bytes() == path {
            return Some(self.record);
        }
        // Another path with the same tag: nearly never.
        let others = (self.first + 1..self.pack.len()).map(|at| self.pack.item(at));
        others
            .map(|item| item.record)
            .find(|record| record.path_bytes() == path)
    }
}

/// Where the records of a pack begin.
fn records_at(count: usize) -> usize {
    1 + count * (TAG_BYTES + END_BYTES)
}
