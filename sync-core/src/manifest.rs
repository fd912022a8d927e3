//! The manifest: everything known about one tree, as a Merkle trie.
//!
//! The trie is keyed by BLAKE3(path), not by directory: real trees hold 100,000
//! files in one directory, where a directory-shaped tree would resend the whole
//! listing for one edit. Fan-out 16 (a nibble a level); a node with at most 16
//! entries is a leaf, so the shape, and with it the [`Root`], depends only on
//! the entries. Nodes are shared: cloning a manifest costs nothing and an update
//! copies one path from the root. Entries are held packed, see `pack`.
//!
//! The root covers path, kind, mode and content (or link text), each hash
//! domain-separated; modification times, and the stats under which entries were
//! seen, are carried but not covered.

mod beside;
mod branch;
mod hash;
mod node;
mod pack;
mod record;

use std::{fmt, sync::Arc};

use self::{
    beside::differences,
    hash::groups,
    node::{Inner, Items, Kind, Node},
    pack::{Item, tag_of},
};
pub use self::{branch::Branch, record::Record};
use crate::{
    entry::{Entry, FileEntry},
    limits::{TRIE_DEPTH_MAX, TRIE_FANOUT, TRIE_LEAF_ENTRIES_MAX},
    path::RelPath,
    seen::Seen,
};

/// The hash of a manifest or of one node of its trie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub [u8; 32]);

impl Root {
    /// The root of a tree without entries.
    #[must_use]
    pub fn empty() -> Self {
        Manifest::new().root()
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Counts over a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// All entries: files, directories, links.
    pub entries: u64,
    /// Regular files and links.
    pub files: u64,
    /// Bytes in regular files.
    pub bytes: u64,
}

/// One path on which two manifests differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where.
    pub path: RelPath,
    /// The entry in the manifest asked.
    pub ours: Option<Entry>,
    /// The entry in the other one.
    pub theirs: Option<Entry>,
}

/// What one node of the trie holds, for a reconciliation by walk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeView {
    /// At most 16 entries, in key order; none where the node is absent.
    Leaf(Vec<(RelPath, Entry)>),
    /// The hashes of the children; `None` for an absent one.
    Inner(Box<[Option<Root>; TRIE_FANOUT]>),
}

/// A set of entries by path, with a root.
#[derive(Clone)]
pub struct Manifest {
    top: Arc<Node>,
    totals: Totals,
}

type Key = [u8; 32];

/// Where a prefix leads: to a node, or to some of the entries in a pack.
enum Descent<'a> {
    Inner(&'a Inner),
    Within(Vec<Item<'a>>),
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new()
    }
}

impl Manifest {
    /// A manifest without entries.
    #[must_use]
    pub fn new() -> Self {
        Self {
            top: Arc::default(),
            totals: Totals::default(),
        }
    }

    /// Builds a manifest at once; of entries with the same path the last counts.
    pub fn from_entries(entries: impl IntoIterator<Item = (RelPath, Entry)>) -> Self {
        Self::from_seen(entries.into_iter().map(|(path, entry)| (path, entry, None)))
    }

    /// The same of entries and the stats under which they were seen.
    pub fn from_seen(entries: impl IntoIterator<Item = (RelPath, Entry, Option<Seen>)>) -> Self {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for (path, entry, seen) in entries {
            record::append(&mut bytes, &path, &entry, seen.as_ref());
            ends.push(bytes.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut items: Vec<Item<'_>> = starts
            .zip(&ends)
            .map(|(start, &end)| Item::new(Record::whole(&bytes[start..end])))
            .collect();
        items.sort_by(Item::order); // stable: the last of equals stays last
        items.dedup_by(|later, earlier| {
            let same = later.order(earlier).is_eq();
            if same {
                *earlier = *later;
            }
            same
        });
        let top = Arc::new(Node::build(&items, 0));
        let totals = top.totals();
        Self { top, totals }
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<Entry> {
        self.find(path.as_bytes()).map(Record::entry)
    }

    /// The file at `path`, if there is one.
    #[must_use]
    pub fn file(&self, path: &RelPath) -> Option<FileEntry> {
        self.find(path.as_bytes()).and_then(Record::file)
    }

    /// Whether there is a directory at `path`.
    #[must_use]
    pub fn has_directory(&self, path: &RelPath) -> bool {
        self.find(path.as_bytes()).is_some_and(Record::is_directory)
    }

    /// What stands at the path with these bytes, in place.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<Record<'_>> {
        if self.is_empty() {
            return None; // a first fill asks often: the key costs a hash
        }
        self.top.find(&key_of(path), path)
    }

    /// What stands at each of the paths with these bytes.
    ///
    /// One search in a large manifest is a few waits for memory, one after the
    /// other. Here all searches go one step before any goes the next, so that
    /// their waits overlap.
    #[must_use]
    pub fn find_all<'a>(&'a self, paths: &[&[u8]]) -> Vec<Option<Record<'a>>> {
        let keys: Vec<Key> = paths.iter().map(|path| key_of(path)).collect();
        let packs: Vec<_> = keys.iter().map(|key| self.top.pack(key)).collect();
        let begun: Vec<_> = keys
            .iter()
            .zip(packs)
            .map(|(key, pack)| pack?.search(tag_of(key)))
            .collect();
        let searches = paths.iter().zip(begun);
        searches
            .map(|(path, search)| search?.finish(path))
            .collect()
    }

    /// Sets the entry at `path`; gives back what stood there.
    pub fn insert(&mut self, path: RelPath, entry: Entry) -> Option<Entry> {
        self.insert_seen(&path, &entry, None)
    }

    /// The same with the stat under which the entry was seen.
    pub fn insert_seen(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        seen: Option<&Seen>,
    ) -> Option<Entry> {
        let mut bytes = Vec::with_capacity(256);
        record::append(&mut bytes, path, entry, seen);
        let item = Item::new(Record::whole(&bytes));
        self.totals.add(item.record);
        let old = Node::insert(&mut self.top, item, 0);
        if let Some(old) = &old {
            self.totals.subtract(old);
        }
        old
    }

    /// Removes the entry at `path`; gives back what stood there.
    pub fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        let path = path.as_bytes();
        let key = key_of(path);
        self.top.find(&key, path)?;
        let old = Node::remove(&mut self.top, &key, path, 0)?;
        self.totals.subtract(&old);
        Some(old)
    }

    /// The hash over all entries.
    #[must_use]
    pub fn root(&self) -> Root {
        self.top.hash(0)
    }

    /// Whether `other` is a clone of this one, or the other way round: then they
    /// agree in everything, modification times included. Costs nothing.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.top, &other.top)
    }

    /// Counts over all entries.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.totals.entries == 0
    }

    /// All entries in the order of their keys: the same for the same entries,
    /// but not the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        Items::of(&self.top).map(|item| item.record)
    }

    /// The entries whose keys begin with the nibble `slot`, in key order.
    pub fn branch(&self, slot: usize) -> impl Iterator<Item = Record<'_>> {
        Items::under(&self.top, slot).map(|item| item.record)
    }

    /// The node at a prefix of key nibbles (each below 16, at most 64 of them).
    ///
    /// Below a leaf, the leaf's entries under the prefix are given, so that two
    /// tries of different depth can be compared.
    #[must_use]
    pub fn node(&self, prefix: &[u8]) -> NodeView {
        let depth = prefix.len();
        let children = match self.descend(prefix) {
            Descent::Inner(inner) => std::array::from_fn(|slot| {
                let child = inner.children[slot].as_deref();
                child.map(|child| child.hash(depth + 1))
            }),
            Descent::Within(items) if items.len() <= TRIE_LEAF_ENTRIES_MAX => {
                return NodeView::Leaf(items.into_iter().map(pair).collect());
            }
            Descent::Within(items) => groups(&items, depth)
                .map(|group| (!group.is_empty()).then(|| hash::of_items(group, depth + 1))),
        };
        NodeView::Inner(Box::new(children))
    }

    /// All entries whose keys start with `prefix`, in key order.
    #[must_use]
    pub fn entries_under(&self, prefix: &[u8]) -> Vec<(RelPath, Entry)> {
        match self.descend(prefix) {
            Descent::Inner(inner) => {
                let children = inner.children.iter().flatten();
                let items = children.flat_map(|child| Items::of(child));
                items.map(pair).collect()
            }
            Descent::Within(items) => items.into_iter().map(pair).collect(),
        }
    }

    fn descend(&self, prefix: &[u8]) -> Descent<'_> {
        let prefix = &prefix[..prefix.len().min(TRIE_DEPTH_MAX)];
        let mut node = &*self.top;
        for depth in 0..=prefix.len() {
            match &node.kind {
                Kind::Pack(pack) => {
                    let rest = depth..prefix.len();
                    let below = |item: &Item<'_>| {
                        rest.clone()
                            .all(|d| item.nibble(d) == usize::from(prefix[d]))
                    };
                    return Descent::Within(pack.items().filter(below).collect());
                }
                Kind::Inner(inner) => {
                    let Some(step) = prefix.get(depth) else {
                        return Descent::Inner(inner);
                    };
                    match inner.children.get(usize::from(*step)) {
                        Some(Some(child)) => node = child,
                        _ => break,
                    }
                }
            }
        }
        Descent::Within(Vec::new())
    }

    /// Every path whose identity (kind, mode, content) differs, sorted by path.
    /// Costs the size of the difference, not of the trees.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        differences(&self.top, &other.top)
    }
}

impl PartialEq for Manifest {
    /// Equal roots: the same paths, kinds, modes and contents.
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl Eq for Manifest {}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Manifest({} entries, {})",
            self.totals.entries,
            self.root()
        )
    }
}

impl Totals {
    fn add(&mut self, record: Record<'_>) {
        self.entries += 1;
        self.files += u64::from(!record.is_directory());
        self.bytes += record.file_length();
    }

    fn append(&mut self, other: Self) {
        self.entries += other.entries;
        self.files += other.files;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, entry: &Entry) {
        self.entries -= 1;
        self.files -= u64::from(!entry.is_directory());
        self.bytes -= entry.as_file().map_or(0, |file| file.length);
    }
}

fn pair(item: Item<'_>) -> (RelPath, Entry) {
    item.record.pair()
}

/// The trie key of a path.
fn key_of(path: &[u8]) -> Key {
    *blake3::hash(path).as_bytes()
}

#[cfg(test)]
mod tests;
