//! What was last seen on the disk of one tree: its manifest, with the stat of
//! every entry under which it was seen.
//!
//! How it comes to be is the scan's work; where it is kept is the snapshot's.

use std::sync::OnceLock;

pub use sync_core::Seen;
use sync_core::{Entry, Manifest, RelPath, manifest::Record};

mod children;

use children::Children;

/// The bytes of every directory above the path with these bytes, outermost first.
pub(crate) fn above(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
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

/// What is known of one path.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Path and entry.
    pub record: Record<'a>,
    /// The stat under which it was seen.
    pub seen: Seen,
}

impl<'a> Known<'a> {
    fn of(record: Record<'a>) -> Self {
        let seen = record.seen().unwrap_or(Seen::NEVER);
        Self { record, seen }
    }
}

/// A manifest of the disk, each entry of which has the stat that backs it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    manifest: Manifest,
    /// Counted when first asked for, then kept.
    children: OnceLock<Children>,
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
            .into_iter()
            .map(|sighting| (sighting.path, sighting.entry, Some(sighting.seen)));
        Self {
            manifest: Manifest::from_seen(seen),
            children: OnceLock::new(),
        }
    }

    /// A manifest each entry of which has its stat.
    pub(crate) fn of_seen(manifest: Manifest) -> Self {
        debug_assert!(manifest.iter().all(|record| record.seen().is_some()));
        Self {
            manifest,
            children: OnceLock::new(),
        }
    }

    /// The manifest of the disk.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.manifest.totals().entries).unwrap_or(usize::MAX)
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.manifest.is_empty()
    }

    /// How the entry at `path` looked.
    #[must_use]
    pub fn seen(&self, path: &RelPath) -> Option<Seen> {
        self.known(path.as_bytes()).map(|known| known.seen)
    }

    /// What is known of the path with these bytes, without making a path.
    #[must_use]
    pub fn known(&self, path: &[u8]) -> Option<Known<'_>> {
        self.manifest.find(path).map(Known::of)
    }

    /// What is known of each of the paths with these bytes, their stats read.
    #[must_use]
    pub fn known_all(&self, paths: &[&[u8]]) -> Vec<Option<Known<'_>>> {
        let found = self.manifest.find_all(paths).into_iter();
        found.map(|record| record.map(Known::of)).collect()
    }

    /// All that is known, in no order of paths.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.manifest.iter()
    }

    /// What is known below one of the `directories` (sorted), in no order. Costs
    /// a look at every path of the tree.
    pub fn below(&self, directories: &[RelPath]) -> impl Iterator<Item = Record<'_>> {
        let listed = |above: &[u8]| {
            directories
                .binary_search_by(|path| path.as_bytes().cmp(above))
                .is_ok()
        };
        self.iter()
            .filter(move |record| above(record.path_bytes()).any(&listed))
    }

    /// How many entries are known below the `directories`, none of which is below
    /// another. Costs a look at every path of the tree the first time, after that
    /// only at the directories below.
    #[must_use]
    pub fn count_below(&self, directories: &[RelPath]) -> usize {
        if directories.is_empty() {
            return 0;
        }
        let children = self.children.get_or_init(|| Children::of(&self.manifest));
        let directories = directories.iter();
        directories.map(|it| children.below(it.as_bytes())).sum()
    }

    /// Notes one entry in place of what was known of its path.
    pub fn put(&mut self, sighting: Sighting) {
        let Sighting { path, entry, seen } = sighting;
        let old = self.manifest.insert_seen(&path, &entry, Some(&seen));
        if let (None, Some(children)) = (old, self.children.get_mut()) {
            children.added(path.as_bytes());
        }
    }

    /// Forgets one path; gives back its entry.
    pub fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        let old = self.manifest.remove(path);
        if let (Some(_), Some(children)) = (&old, self.children.get_mut()) {
            children.removed(path.as_bytes());
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use sync_core::Mode;

    use super::*;

    fn directory(text: &str) -> Sighting {
        Sighting {
            path: path(text),
            entry: Entry::Directory {
                mode: Mode::new(0o755),
            },
            seen: Seen::NEVER,
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_count_below_a_directory_follows_what_is_put_and_removed() {
        let mut observed = Observed::from_sightings(vec![directory("a"), directory("a/b")]);
        let count = |observed: &Observed| observed.count_below(&[path("a")]);
        assert_eq!(count(&observed), 1);
        observed.put(directory("a/b/c"));
        observed.put(directory("a/b")); // known already
        observed.put(directory("ab"));
        assert_eq!(count(&observed), 2);
        observed.remove(&path("a/b/c"));
        observed.remove(&path("a/never"));
        assert_eq!(count(&observed), 1);
    }
}
