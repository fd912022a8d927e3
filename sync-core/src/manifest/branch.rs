//! A sixteenth of a manifest, made by itself: so that a large one can be put
//! together by several threads, or piece by piece.

use std::{cmp::Ordering, sync::Arc};

use super::{Manifest, Totals, node::Node, pack::Item, record::Record};
use crate::{codec::Malformed, limits::TRIE_FANOUT};

/// The entries whose keys begin with one nibble, hashed.
pub struct Branch {
    slot: usize,
    node: Option<Arc<Node>>,
    totals: Totals,
}

impl Branch {
    /// `records` in the order of their keys, all of the nibble `slot`.
    ///
    /// # Errors
    /// Where they are not.
    pub fn new<'a>(
        slot: usize,
        records: impl IntoIterator<Item = Record<'a>>,
    ) -> Result<Self, Malformed> {
        let items: Vec<Item<'a>> = records.into_iter().map(Item::new).collect();
        if items.iter().any(|item| item.nibble(0) != slot)
            || !items.is_sorted_by(|a, b| a.order(b) == Ordering::Less)
        {
            return Err(Malformed {
                what: "manifest branch",
                reason: "its entries are out of order".into(),
            });
        }
        let mut totals = Totals::default();
        items.iter().for_each(|item| totals.add(item.record));
        let node = (!items.is_empty()).then(|| Arc::new(Node::build(&items, 1)));
        if let Some(node) = &node {
            node.hash(1);
        }
        Ok(Self { slot, node, totals })
    }
}

impl Manifest {
    /// The manifest of these branches, each of another nibble.
    #[must_use]
    pub fn from_branches(branches: impl IntoIterator<Item = Branch>) -> Self {
        let mut children: [Option<Arc<Node>>; TRIE_FANOUT] = Default::default();
        let mut totals = Totals::default();
        for branch in branches {
            totals.append(branch.totals);
            children[branch.slot] = branch.node;
        }
        Self {
            top: Arc::new(Node::above(children)),
            totals,
        }
    }
}
