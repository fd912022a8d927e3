//! The nodes of the trie: their shape in memory, and how they are changed.

use std::sync::{Arc, OnceLock};

use super::{
    Key, Root, Totals,
    hash::{self, groups},
    pack::{Item, PACK_ENTRIES_MAX, Pack, nibble_of, tag_of},
    record::Record,
};
use crate::{entry::Entry, limits::TRIE_FANOUT};

#[derive(Default)]
pub(super) struct Node {
    pub(super) kind: Kind,
    hash: OnceLock<Root>,
}

#[derive(Clone)]
pub(super) enum Kind {
    Pack(Pack),
    /// Boxed: most nodes are packs, and as large as the largest kind.
    Inner(Box<Inner>),
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) children: [Option<Arc<Node>>; TRIE_FANOUT],
    /// Entries below.
    pub(super) count: usize,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Pack(Pack::default())
    }
}

impl Clone for Node {
    /// A copy is made to be changed, so its hash is forgotten.
    fn clone(&self) -> Self {
        Self::new(self.kind.clone())
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
    pub(super) fn build(items: &[Item<'_>], depth: usize) -> Self {
        if items.len() <= PACK_ENTRIES_MAX {
            return Self::new(Kind::Pack(Pack::of(items)));
        }
        let children = groups(items, depth)
            .map(|group| (!group.is_empty()).then(|| Arc::new(Self::build(group, depth + 1))));
        Self::inner(children)
    }

    /// A node of `children` that together hold more than a pack could.
    fn inner(children: [Option<Arc<Self>>; TRIE_FANOUT]) -> Self {
        let count = children.iter().flatten().map(|child| child.count()).sum();
        Self::new(Kind::Inner(Box::new(Inner { children, count })))
    }

    /// The node above `children`: a pack where that holds them all.
    pub(super) fn above(children: [Option<Arc<Self>>; TRIE_FANOUT]) -> Self {
        let node = Self::inner(children);
        if node.count() > PACK_ENTRIES_MAX {
            return node;
        }
        Self::new(node.gathered())
    }

    /// The record of `path`, whose key is given.
    pub(super) fn find(&self, key: &Key, path: &[u8]) -> Option<Record<'_>> {
        self.pack(key)?.find(tag_of(key), path)
    }

    /// Where a path with this key would be.
    pub(super) fn pack(&self, key: &Key) -> Option<&Pack> {
        let mut node = self;
        let mut depth = 0;
        loop {
            match &node.kind {
                Kind::Pack(pack) => return Some(pack),
                Kind::Inner(inner) => {
                    node = inner.children[nibble_of(key, depth)].as_deref()?;
                    depth += 1;
                }
            }
        }
    }

    /// Puts `item`; gives back what stood at its path.
    pub(super) fn insert(this: &mut Arc<Self>, item: Item<'_>, depth: usize) -> Option<Entry> {
        if let Kind::Pack(pack) = &this.kind {
            let (node, old) = with(pack, item, depth);
            *this = Arc::new(node);
            return old;
        }
        let inner = Self::changing(this)?;
        let slot = inner.children[item.nibble(depth)].get_or_insert_default();
        let old = Self::insert(slot, item, depth + 1);
        inner.count += usize::from(old.is_none());
        old
    }

    /// Removes `path`, which is there and has this key; gives back its entry.
    pub(super) fn remove(
        this: &mut Arc<Self>,
        key: &Key,
        path: &[u8],
        depth: usize,
    ) -> Option<Entry> {
        if let Kind::Pack(pack) = &this.kind {
            let old = pack.find(tag_of(key), path)?.entry();
            *this = Arc::new(Self::new(Kind::Pack(pack.without(path))));
            return Some(old);
        }
        let inner = Self::changing(this)?;
        let slot = &mut inner.children[nibble_of(key, depth)];
        let child = slot.as_mut()?;
        let old = Self::remove(child, key, path, depth + 1)?;
        if child.count() == 0 {
            *slot = None;
        }
        inner.count -= 1;
        if inner.count <= PACK_ENTRIES_MAX {
            *this = Arc::new(Self::new(this.gathered()));
        }
        Some(old)
    }

    /// What an inner node holds, to be changed; its hash is forgotten.
    fn changing(this: &mut Arc<Self>) -> Option<&mut Inner> {
        let node = Arc::make_mut(this);
        node.hash = OnceLock::new();
        match &mut node.kind {
            Kind::Inner(inner) => Some(inner),
            Kind::Pack(_) => None,
        }
    }

    /// One pack of everything below.
    fn gathered(&self) -> Kind {
        Kind::Pack(Pack::of(&Items::of(self).collect::<Vec<_>>()))
    }

    pub(super) fn count(&self) -> usize {
        match &self.kind {
            Kind::Pack(pack) => pack.len(),
            Kind::Inner(inner) => inner.count,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        Items::of(self).for_each(|item| totals.add(item.record));
        totals
    }

    /// The hash of the node, which is `depth` nibbles below the top.
    pub(super) fn hash(&self, depth: usize) -> Root {
        *self.hash.get_or_init(|| match &self.kind {
            Kind::Pack(pack) => hash::of_items(&pack.items().collect::<Vec<_>>(), depth),
            Kind::Inner(inner) => hash::of_inner(|slot| {
                let child = inner.children[slot].as_deref();
                child.map(|child| child.hash(depth + 1))
            }),
        })
    }
}

/// What holds `pack` and `item`, and what `item` replaces.
fn with(pack: &Pack, item: Item<'_>, depth: usize) -> (Node, Option<Entry>) {
    let mut items: Vec<_> = Vec::with_capacity(pack.len() + 1);
    items.extend(pack.items());
    let old = match items.binary_search_by(|held| held.order(&item)) {
        Ok(at) => Some(std::mem::replace(&mut items[at], item).record.entry()),
        Err(at) => {
            items.insert(at, item);
            None
        }
    };
    (Node::build(&items, depth), old)
}

/// The items below a node, in the order of their keys.
pub(super) struct Items<'a> {
    stack: Vec<&'a Node>,
    pack: Option<&'a Pack>,
    at: usize,
}

impl<'a> Items<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        Self::of_any(Some(node))
    }

    /// Those below the child `slot` of the top node.
    pub(super) fn under(top: &'a Node, slot: usize) -> impl Iterator<Item = Item<'a>> {
        let child = match &top.kind {
            Kind::Pack(_) => Some(top),
            Kind::Inner(inner) => inner.children[slot].as_deref(),
        };
        Self::of_any(child).filter(move |item| item.nibble(0) == slot)
    }

    pub(super) fn of_any(node: Option<&'a Node>) -> Self {
        Self {
            stack: node.into_iter().collect(),
            pack: None,
            at: 0,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(pack) = self.pack.filter(|pack| self.at < pack.len()) {
                self.at += 1;
                return Some(pack.item(self.at - 1));
            }
            match &self.stack.pop()?.kind {
                Kind::Pack(pack) => (self.pack, self.at) = (Some(pack), 0),
                Kind::Inner(inner) => {
                    let children = inner.children.iter().rev().flatten();
                    self.stack.extend(children.map(|child| &**child));
                }
            }
        }
    }
}
