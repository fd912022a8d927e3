//! The manifest: everything known about one tree, as a Merkle trie.
//!
//! The trie is keyed by BLAKE3(path), not by directory: real trees hold 100,000
//! files in one directory, where a directory-shaped tree would resend the whole
//! listing for one edit. Fan-out 16 (a nibble a level); a node with at most 16
//! entries is a leaf, so the shape, and with it the [`Root`], depends only on
//! the entries. Nodes are shared: cloning a manifest costs nothing and an update
//! copies one path from the root.
//!
//! The root covers path, kind, mode and content (or link text), each hash
//! domain-separated; modification times are carried but not covered.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    entry::Entry,
    limits::{TRIE_DEPTH_MAX, TRIE_FANOUT, TRIE_LEAF_ENTRIES_MAX},
    path::RelPath,
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

#[derive(Clone)]
struct Item {
    key: Key,
    path: RelPath,
    entry: Entry,
}

/// Where a prefix leads: to a node, or to some entries of a leaf above it.
enum Descent<'a> {
    Node(&'a Arc<Node>),
    Within(Vec<(RelPath, Entry)>),
}

struct Node {
    kind: Kind,
    hash: OnceLock<Root>,
}

#[derive(Clone)]
enum Kind {
    Leaf(Vec<Item>),
    /// Boxed: most nodes are leaves, and as large as the largest kind.
    Inner {
        children: Box<[Option<Arc<Node>>; TRIE_FANOUT]>,
        count: usize,
    },
}

impl Clone for Node {
    /// A copy is made to be changed, so its hash is forgotten.
    fn clone(&self) -> Self {
        Self::new(self.kind.clone())
    }
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
            top: Arc::new(Node::new(Kind::Leaf(Vec::new()))),
            totals: Totals::default(),
        }
    }

    /// Builds a manifest at once; of entries with the same path the last counts.
    pub fn from_entries(entries: impl IntoIterator<Item = (RelPath, Entry)>) -> Self {
        let mut items: Vec<Item> = entries
            .into_iter()
            .map(|(path, entry)| Item {
                key: key_of(&path),
                path,
                entry,
            })
            .collect();
        items.sort_by_key(|item| item.key); // stable: the last of equals stays last
        items.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let mut totals = Totals::default();
        for item in &items {
            totals.add(&item.entry);
        }
        Self {
            top: Arc::new(Node::build(items, 0)),
            totals,
        }
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        let key = key_of(path);
        let mut node = &*self.top;
        let mut depth = 0;
        loop {
            match &node.kind {
                Kind::Leaf(items) => {
                    return items
                        .iter()
                        .find(|item| item.key == key)
                        .map(|item| &item.entry);
                }
                Kind::Inner { children, .. } => {
                    node = children[nibble(&key, depth)].as_deref()?;
                    depth += 1;
                }
            }
        }
    }

    /// Sets the entry at `path`; gives back what stood there.
    pub fn insert(&mut self, path: RelPath, entry: Entry) -> Option<Entry> {
        self.totals.add(&entry);
        let item = Item {
            key: key_of(&path),
            path,
            entry,
        };
        let old = Arc::make_mut(&mut self.top).insert(item, 0);
        if let Some(old) = &old {
            self.totals.subtract(old);
        }
        old
    }

    /// Removes the entry at `path`; gives back what stood there.
    pub fn remove(&mut self, path: &RelPath) -> Option<Entry> {
        self.get(path)?;
        let old = Arc::make_mut(&mut self.top).remove(&key_of(path), 0)?;
        self.totals.subtract(&old);
        Some(old)
    }

    /// The hash over all entries.
    #[must_use]
    pub fn root(&self) -> Root {
        self.top.hash()
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
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        Items::of(&self.top).map(|item| (&item.path, &item.entry))
    }

    /// The node at a prefix of key nibbles (each below 16, at most 64 of them).
    ///
    /// Below a leaf, the leaf's entries under the prefix are given, so that two
    /// tries of different depth can be compared.
    #[must_use]
    pub fn node(&self, prefix: &[u8]) -> NodeView {
        match self.descend(prefix) {
            Descent::Node(node) => match &node.kind {
                Kind::Leaf(items) => NodeView::Leaf(items.iter().map(Item::pair).collect()),
                Kind::Inner { children, .. } => {
                    NodeView::Inner(Box::new(std::array::from_fn(|slot| {
                        children[slot].as_deref().map(Node::hash)
                    })))
                }
            },
            Descent::Within(entries) => NodeView::Leaf(entries),
        }
    }

    /// All entries whose keys start with `prefix`, in key order.
    #[must_use]
    pub fn entries_under(&self, prefix: &[u8]) -> Vec<(RelPath, Entry)> {
        match self.descend(prefix) {
            Descent::Node(node) => Items::of(node).map(Item::pair).collect(),
            Descent::Within(entries) => entries,
        }
    }

    fn descend(&self, prefix: &[u8]) -> Descent<'_> {
        let mut node = &self.top;
        for (depth, &step) in prefix.iter().take(TRIE_DEPTH_MAX).enumerate() {
            match &node.kind {
                Kind::Leaf(items) => {
                    let below = |item: &&Item| {
                        (depth..prefix.len().min(TRIE_DEPTH_MAX))
                            .all(|d| nibble(&item.key, d) == usize::from(prefix[d]))
                    };
                    return Descent::Within(items.iter().filter(below).map(Item::pair).collect());
                }
                Kind::Inner { children, .. } => {
                    match children.get(usize::from(step)).and_then(Option::as_ref) {
                        Some(child) => node = child,
                        None => return Descent::Within(Vec::new()),
                    }
                }
            }
        }
        Descent::Node(node)
    }

    /// Every path whose identity (kind, mode, content) differs, sorted by path.
    /// Costs the size of the difference, not of the trees.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        let mut out = Vec::new();
        diff_nodes(Some(&self.top), Some(&other.top), &mut out);
        out.sort_by(|a, b| a.path.cmp(&b.path));
        out
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
    fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        self.files += u64::from(!entry.is_directory());
        self.bytes += entry.as_file().map_or(0, |file| file.length);
    }

    fn subtract(&mut self, entry: &Entry) {
        self.entries -= 1;
        self.files -= u64::from(!entry.is_directory());
        self.bytes -= entry.as_file().map_or(0, |file| file.length);
    }
}

impl Item {
    fn pair(&self) -> (RelPath, Entry) {
        (self.path.clone(), self.entry.clone())
    }
}

impl Node {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            hash: OnceLock::new(),
        }
    }

    /// `items` sorted by key, distinct.
    fn build(items: Vec<Item>, depth: usize) -> Self {
        if items.len() <= TRIE_LEAF_ENTRIES_MAX {
            return Self::new(Kind::Leaf(items));
        }
        let count = items.len();
        let mut rest = items.into_iter();
        // Sorted, so each group is the next stretch, taken without spare room.
        let children = Box::new(std::array::from_fn(|slot| {
            let end = |item: &Item| nibble(&item.key, depth) <= slot;
            let length = rest.as_slice().partition_point(end);
            let group: Vec<Item> = rest.by_ref().take(length).collect();
            (length > 0).then(|| Arc::new(Self::build(group, depth + 1)))
        }));
        Self::new(Kind::Inner { children, count })
    }

    fn insert(&mut self, item: Item, depth: usize) -> Option<Entry> {
        self.hash = OnceLock::new();
        match &mut self.kind {
            Kind::Leaf(items) => match items.binary_search_by(|held| held.key.cmp(&item.key)) {
                Ok(at) => Some(std::mem::replace(&mut items[at], item).entry),
                Err(at) => {
                    items.insert(at, item);
                    if items.len() > TRIE_LEAF_ENTRIES_MAX {
                        *self = Self::build(std::mem::take(items), depth);
                    }
                    None
                }
            },
            Kind::Inner { children, count } => {
                let slot = children[nibble(&item.key, depth)]
                    .get_or_insert_with(|| Arc::new(Self::new(Kind::Leaf(Vec::new()))));
                let old = Arc::make_mut(slot).insert(item, depth + 1);
                *count += usize::from(old.is_none());
                old
            }
        }
    }

    fn remove(&mut self, key: &Key, depth: usize) -> Option<Entry> {
        self.hash = OnceLock::new();
        match &mut self.kind {
            Kind::Leaf(items) => {
                let at = items.binary_search_by(|held| held.key.cmp(key)).ok()?;
                Some(items.remove(at).entry)
            }
            Kind::Inner { children, count } => {
                let slot = &mut children[nibble(key, depth)];
                let child = Arc::make_mut(slot.as_mut()?);
                let old = child.remove(key, depth + 1)?;
                if child.count() == 0 {
                    *slot = None;
                }
                *count -= 1;
                if *count <= TRIE_LEAF_ENTRIES_MAX {
                    let items = children
                        .iter()
                        .flatten()
                        .flat_map(Items::of)
                        .cloned()
                        .collect();
                    self.kind = Kind::Leaf(items);
                }
                Some(old)
            }
        }
    }

    fn count(&self) -> usize {
        match &self.kind {
            Kind::Leaf(items) => items.len(),
            Kind::Inner { count, .. } => *count,
        }
    }

    fn hash(&self) -> Root {
        *self.hash.get_or_init(|| match &self.kind {
            Kind::Leaf(items) => hash_leaf(items),
            Kind::Inner { children, .. } => hash_inner(children),
        })
    }
}

fn hash_leaf(items: &[Item]) -> Root {
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 manifest leaf");
    for Item { path, entry, .. } in items {
        hash_bytes(&mut hasher, path.as_bytes());
        match entry {
            Entry::Directory { mode } => hash_identity(&mut hasher, b'd', mode.bits(), &[]),
            Entry::File(file) => {
                hash_identity(&mut hasher, b'f', file.mode.bits(), &file.content.0);
            }
            Entry::Symlink { target } => hash_identity(&mut hasher, b'l', 0, target),
        }
    }
    Root(*hasher.finalize().as_bytes())
}

fn hash_identity(hasher: &mut blake3::Hasher, kind: u8, mode: u32, content: &[u8]) {
    hasher.update(&[kind]);
    hasher.update(&mode.to_le_bytes());
    hash_bytes(hasher, content);
}

fn hash_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn hash_inner(children: &[Option<Arc<Node>>; TRIE_FANOUT]) -> Root {
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 manifest inner");
    for child in children {
        match child {
            Some(child) => {
                hasher.update(&[1]);
                hasher.update(&child.hash().0);
            }
            None => {
                hasher.update(&[0]);
            }
        }
    }
    Root(*hasher.finalize().as_bytes())
}

/// The trie key of a path.
fn key_of(path: &RelPath) -> Key {
    *blake3::hash(path.as_bytes()).as_bytes()
}

fn nibble(key: &Key, depth: usize) -> usize {
    let byte = key[depth / 2];
    usize::from(if depth.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0xf
    })
}

struct Items<'a> {
    stack: Vec<&'a Arc<Node>>,
    leaf: std::slice::Iter<'a, Item>,
}

impl<'a> Items<'a> {
    fn of(node: &'a Arc<Node>) -> Self {
        Self {
            stack: vec![node],
            leaf: [].iter(),
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a Item;

    fn next(&mut self) -> Option<&'a Item> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            match &self.stack.pop()?.kind {
                Kind::Leaf(items) => self.leaf = items.iter(),
                Kind::Inner { children, .. } => self.stack.extend(children.iter().rev().flatten()),
            }
        }
    }
}

fn diff_nodes(ours: Option<&Arc<Node>>, theirs: Option<&Arc<Node>>, out: &mut Vec<Difference>) {
    if let (Some(a), Some(b)) = (ours, theirs) {
        if Arc::ptr_eq(a, b) || a.hash() == b.hash() {
            return;
        }
        if let (Kind::Inner { children: a, .. }, Kind::Inner { children: b, .. }) =
            (&a.kind, &b.kind)
        {
            for (a, b) in a.iter().zip(b.iter()) {
                diff_nodes(a.as_ref(), b.as_ref(), out);
            }
            return;
        }
    }
    diff_items(items_of(ours), items_of(theirs), out);
}

fn items_of(node: Option<&Arc<Node>>) -> Items<'_> {
    Items {
        stack: node.into_iter().collect(),
        leaf: [].iter(),
    }
}

/// Both in key order.
fn diff_items<'a>(ours: Items<'a>, theirs: Items<'a>, out: &mut Vec<Difference>) {
    let (mut ours, mut theirs) = (ours.peekable(), theirs.peekable());
    loop {
        let order = match (ours.peek(), theirs.peek()) {
            (Some(a), Some(b)) => a.key.cmp(&b.key),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let a = if order.is_le() { ours.next() } else { None };
        let b = if order.is_ge() { theirs.next() } else { None };
        let same = matches!((a, b), (Some(a), Some(b)) if a.entry.same_identity(&b.entry));
        if let (false, Some(either)) = (same, a.or(b)) {
            out.push(Difference {
                path: either.path.clone(),
                ours: a.map(|item| item.entry.clone()),
                theirs: b.map(|item| item.entry.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests;
