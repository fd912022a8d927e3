//! Reconciliation: learning a peer's manifest by walking its trie.
//!
//! The asker holds a manifest of its own and compares it with the peer's, two
//! levels of the trie a message: a [`Probe`] names a node and carries the
//! beginnings of the hashes of the asker's children there, and the answer holds
//! only those children that differ, each with the hashes one level further
//! down. One change among 20,000 entries costs two messages and about a
//! kilobyte. Where a walk would cost more than it saves, the asker takes the
//! whole list instead. The result is believed only when it makes the root that
//! the peer announced.
//!
//! [`Walk`] is the asking side, [`answer()`] the other one. Both are pure: frames
//! in, frames out.

mod answer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

pub use answer::{answer, list};

use crate::{
    blocks::Decompressor,
    codec::Malformed,
    entry::Entry,
    limits::{LIST_ENTRIES_MAX, TREE_ENTRIES_MAX, TRIE_DEPTH_MAX, TRIE_FANOUT},
    manifest::{Manifest, NodeView, Root},
    path::RelPath,
    section::EntryListReader,
    wire::{AUDIT_PREFIXES_MAX, AuditAnswer, AuditRequest, Block, HashStart, Probe},
};

/// Requests that may wait for their answers at once: enough to keep the line
/// busy, few enough that all of them fit a stream's window, so that two sides
/// that both write never wait for each other.
const REQUESTS_IN_FLIGHT_MAX: usize = 4;
/// A list is taken when more than one entry in this many differs (5 %).
const DIFFERENT_ONE_IN: u64 = 20;

/// Where in the trie: one nibble a level.
type Prefix = Vec<u8>;

/// The asking side.
///
/// Send what [`Walk::next_request`] gives, feed what comes to [`Walk::answer`],
/// until neither has anything to do ([`Walk::is_complete`]).
pub struct Walk {
    local: Manifest,
    root: Root,
    entries: u64,
    /// Becomes the peer's manifest.
    theirs: Manifest,
    /// Nodes known to differ, not asked for yet.
    differing: VecDeque<Prefix>,
    asked: VecDeque<Asked>,
    list: ListState,
}

/// A request whose answer is not complete.
struct Asked {
    prefixes: BTreeSet<Prefix>,
    /// How many more nodes its answer may have.
    allowance: usize,
}

enum ListState {
    Unneeded,
    /// To be asked for, once the answers under way have come.
    Needed,
    Coming(Box<List>),
    Done,
}

struct List {
    plain: Decompressor,
    entries: EntryListReader,
    got: Vec<(RelPath, Entry)>,
}

impl Walk {
    /// Begins with what the peer announced: the root over its manifest and the
    /// number of its entries.
    ///
    /// # Errors
    /// When the peer announces more entries than a tree may have.
    pub fn new(local: &Manifest, root: Root, entries: u64) -> Result<Self, Malformed> {
        if entries > TREE_ENTRIES_MAX as u64 {
            return Err(malformed(format!("{entries} entries announced")));
        }
        let mut walk = Self {
            local: local.clone(),
            root,
            entries,
            theirs: local.clone(),
            differing: VecDeque::new(),
            asked: VecDeque::new(),
            list: ListState::Unneeded,
        };
        if local.root() != root {
            walk.begin();
        }
        Ok(walk)
    }

    fn begin(&mut self) {
        let ours = self.local.totals().entries;
        if self.entries == 0 {
            self.theirs = Manifest::new();
        } else if self.entries < LIST_ENTRIES_MAX || self.too_many(ours.abs_diff(self.entries)) {
            self.list = ListState::Needed;
        } else {
            self.differing.push_back(Prefix::new());
        }
    }

    fn too_many(&self, different: u64) -> bool {
        different > self.entries / DIFFERENT_ONE_IN
    }

    /// The next request to send, if there is one now. Several may be sent
    /// before their answers come.
    pub fn next_request(&mut self) -> Option<AuditRequest> {
        if let ListState::Needed = self.list {
            return self.asked.is_empty().then(|| self.ask_list());
        }
        if self.differing.is_empty() || self.asked.len() == REQUESTS_IN_FLIGHT_MAX {
            return None;
        }
        let count = self.differing.len().min(AUDIT_PREFIXES_MAX);
        let prefixes: BTreeSet<Prefix> = self.differing.drain(..count).collect();
        let probes = prefixes.iter().map(|prefix| self.probe(prefix)).collect();
        self.asked.push_back(Asked {
            allowance: prefixes.len() * TRIE_FANOUT,
            prefixes,
        });
        Some(AuditRequest::Nodes(probes))
    }

    fn ask_list(&mut self) -> AuditRequest {
        self.list = ListState::Coming(Box::new(List {
            plain: Decompressor::new(),
            entries: EntryListReader::new(self.entries),
            got: Vec::new(),
        }));
        AuditRequest::List
    }

    fn probe(&self, prefix: &[u8]) -> Probe {
        let children = match self.local.node(prefix) {
            NodeView::Inner(children) => Some(Box::new(children.map(HashStart::of))),
            NodeView::Leaf(_) => None,
        };
        Probe {
            prefix: prefix.to_vec(),
            children,
        }
    }

    /// Takes the next frame of the answers, in the order of the requests.
    ///
    /// # Errors
    /// When the frame does not answer what was asked.
    pub fn answer(&mut self, answer: AuditAnswer) -> Result<(), Malformed> {
        match answer {
            AuditAnswer::Nodes { nodes, last } => self.nodes(nodes, last),
            AuditAnswer::List(block) => self.list_block(&block),
            _ => Err(malformed("an answer that was not asked for")),
        }
    }

    /// Whether all is known: nothing to send and nothing to wait for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let listed = matches!(self.list, ListState::Unneeded | ListState::Done);
        listed && self.differing.is_empty() && self.asked.is_empty()
    }

    /// The peer's manifest. Entries that do not differ keep the modification
    /// times known here.
    ///
    /// # Errors
    /// When answers are missing, or all that came does not make the root that
    /// was announced: the peer lies or changed meanwhile.
    pub fn finish(self) -> Result<Manifest, Malformed> {
        if !self.is_complete() {
            return Err(malformed("answers are missing"));
        }
        if self.theirs.root() != self.root {
            return Err(malformed(format!(
                "the entries make the root {}, not the announced {}",
                self.theirs.root(),
                self.root
            )));
        }
        Ok(self.theirs)
    }

    fn nodes(&mut self, nodes: Vec<(Prefix, NodeView)>, last: bool) -> Result<(), Malformed> {
        if nodes.is_empty() && !last {
            return Err(malformed("an answer without nodes"));
        }
        for (prefix, node) in nodes {
            self.admit(&prefix)?;
            match node {
                NodeView::Leaf(entries) => self.replace(&prefix, entries)?,
                NodeView::Inner(children) => self.compare(&prefix, &children)?,
            }
        }
        if last && self.asked.pop_front().is_none() {
            return Err(malformed("an answer that was not asked for"));
        }
        self.prefer_list();
        Ok(())
    }

    /// Only the nodes asked for and their children, and no more of them than
    /// there can be.
    fn admit(&mut self, prefix: &Prefix) -> Result<(), Malformed> {
        let asked = self.asked.front_mut();
        let parent = prefix.split_last().map_or(&[][..], |(_, parent)| parent);
        match asked {
            Some(asked)
                if asked.allowance > 0
                    && (asked.prefixes.contains(prefix) || asked.prefixes.contains(parent)) =>
            {
                asked.allowance -= 1;
                Ok(())
            }
            _ => Err(malformed(format!("node {prefix:?} was not asked for"))),
        }
    }

    /// What the peer has under `prefix` is exactly `entries`.
    fn replace(&mut self, prefix: &[u8], entries: Vec<(RelPath, Entry)>) -> Result<(), Malformed> {
        for (path, _) in self.local.entries_under(prefix) {
            self.theirs.remove(&path);
        }
        for (path, entry) in entries {
            self.theirs.insert(path, entry);
        }
        let ours = self.local.totals().entries;
        if self.theirs.totals().entries > ours + self.entries {
            return Err(malformed("more entries than announced"));
        }
        Ok(())
    }

    fn compare(
        &mut self,
        prefix: &[u8],
        theirs: &[Option<Root>; TRIE_FANOUT],
    ) -> Result<(), Malformed> {
        if prefix.len() >= TRIE_DEPTH_MAX {
            return Err(malformed("a trie deeper than its keys"));
        }
        let ours = match self.local.node(prefix) {
            NodeView::Inner(children) => Some(children),
            NodeView::Leaf(_) => None,
        };
        for slot in 0..TRIE_FANOUT {
            let child = child_of(prefix, slot);
            match (ours.as_ref().and_then(|ours| ours[slot]), theirs[slot]) {
                (ours, theirs) if ours.is_some() && ours == theirs => {}
                (_, Some(_)) => self.differing.push_back(child),
                // Nothing there on the peer; here perhaps part of a leaf.
                (_, None) => self.replace(&child, Vec::new())?,
            }
        }
        Ok(())
    }

    /// Every differing node holds one different entry at least.
    fn prefer_list(&mut self) {
        let waiting: usize = self.asked.iter().map(|asked| asked.prefixes.len()).sum();
        let many = self.too_many((self.differing.len() + waiting) as u64);
        if many && matches!(self.list, ListState::Unneeded) {
            self.list = ListState::Needed;
        }
        if !matches!(self.list, ListState::Unneeded) {
            self.differing.clear();
        }
    }

    fn list_block(&mut self, block: &Block) -> Result<(), Malformed> {
        let ListState::Coming(list) = &mut self.list else {
            return Err(malformed("a list that was not asked for"));
        };
        let plain = list.plain.push(block)?;
        list.got.extend(list.entries.push(&plain)?);
        if !list.plain.is_ended() {
            return Ok(());
        }
        let ListState::Coming(list) = std::mem::replace(&mut self.list, ListState::Done) else {
            return Ok(());
        };
        if !list.entries.finish()?.is_empty() {
            return Err(malformed("bytes after the last entry"));
        }
        self.theirs = Manifest::from_entries(list.got);
        Ok(())
    }
}

fn child_of(prefix: &[u8], slot: usize) -> Prefix {
    let nibble = u8::try_from(slot).expect("a slot is below 16");
    [prefix, &[nibble]].concat()
}

fn malformed(reason: impl Into<String>) -> Malformed {
    Malformed {
        what: "audit",
        reason: reason.into(),
    }
}
