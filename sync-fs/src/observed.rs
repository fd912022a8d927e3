//! What was last seen on the disk of one tree: its manifest, and beside every
//! entry the stat under which it was seen.
//!
//! The two are changed together, here. How they come to be is the scan's work;
//! where they are kept is the snapshot's.

use std::collections::HashMap;

use sync_core::{Entry, Manifest, RelPath};

use crate::root::StatKey;

/// How one entry looked when it was last read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its stat then; for a directory the inode alone, for the rest of its stat
    /// changes with every name in it.
    pub key: StatKey,
    /// Whether it had been touched so shortly before that a later edit could
    /// carry the same times: then the stat proves nothing and the content is
    /// read again.
    pub racy: bool,
}

impl Seen {
    /// A stat that no file has: what is behind it is read at the next look.
    pub(crate) const NEVER: Self = Self {
        key: StatKey {
            length: u64::MAX,
            mtime_ns: i64::MIN,
            ctime_ns: i64::MIN,
            inode: 0,
        },
        racy: true,
    };
}

/// The bytes of every directory above `path`, outermost first.
pub(crate) fn above(path: &RelPath) -> impl Iterator<Item = &[u8]> {
    let bytes = path.as_bytes();
    let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &bytes[..at])
}

/// One entry as it was found on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Where.
    pub path: RelPath,
    /// What.
    pub entry: Entry,
    /// Under which stat.
    pub seen: Seen,
}

/// A manifest of the disk and the stats that back it.
///
/// The stats are in a hash table, for a scan asks for every path of the tree
/// and pays for each step of a search; an ordered map was seven times slower.
/// What needs an order sorts.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    manifest: Manifest,
    seen: HashMap<RelPath, Seen>,
}

impl Observed {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All `sightings` at once; cheaper than one by one.
    #[must_use]
    pub fn from_sightings(sightings: Vec<Sighting>) -> Self {
        let seen = sightings
            .iter()
            .map(|sighting| (sighting.path.clone(), sighting.seen))
            .collect();
        let entries = sightings
            .into_iter()
            .map(|sighting| (sighting.path, sighting.entry));
        Self {
            manifest: Manifest::from_entries(entries),
            seen,
        }
    }

    /// A manifest and the stats of exactly its entries.
    pub(crate) fn from_parts(manifest: Manifest, seen: HashMap<RelPath, Seen>) -> Self {
        debug_assert_eq!(manifest.totals().entries, seen.len() as u64);
        Self { manifest, seen }
    }

    /// The stats alone.
    pub(crate) fn into_seen(self) -> HashMap<RelPath, Seen> {
        self.seen
    }

    /// The manifest of the disk.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How the entry at `path` looked.
    #[must_use]
    pub fn seen(&self, path: &RelPath) -> Option<&Seen> {
        self.seen.get(path)
    }

    /// The path with these bytes and how it looked, without making a path.
    #[must_use]
    pub fn known(&self, path: &[u8]) -> Option<(&RelPath, &Seen)> {
        self.seen.get_key_value(path)
    }

    /// Every path and how it looked, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Seen)> {
        self.seen.iter()
    }

    /// Every path below one of the `directories` (sorted), in no order. Costs a
    /// look at every path of the tree.
    pub fn below(&self, directories: &[RelPath]) -> impl Iterator<Item = &RelPath> {
        let listed = |above: &[u8]| {
            directories
                .binary_search_by(|path| path.as_bytes().cmp(above))
                .is_ok()
        };
        self.seen
            .keys()
            .filter(move |path| above(path).any(&listed))
    }

    /// Notes one entry in place of what was known of its path.
    pub fn put(&mut self, sighting: Sighting) {
        self.seen.insert(sighting.path.clone(), sighting.seen);
        self.manifest.insert(sighting.path, sighting.entry);
    }

    /// Forgets one path; gives back its entry.
    pub fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        self.seen.remove(path);
        self.manifest.remove(path)
    }
}
