//! The answering side of a reconciliation.

use std::collections::VecDeque;

use super::{Prefix, child_of, malformed};
use crate::{
    codec::Malformed,
    entry::Entry,
    limits::{FRAME_BYTES_MAX, TRIE_FANOUT},
    manifest::{Manifest, NodeView, Root},
    section::SectionWriter,
    wire::{AUDIT_PREFIXES_MAX, AuditAnswer, AuditRequest, Block, HashStart, Probe},
};

/// The frames that answer one request about `manifest`, each below the frame
/// limit, made one by one as they are taken.
///
/// # Errors
/// When the request asks for more than one may.
pub fn answer(
    manifest: &Manifest,
    request: AuditRequest,
) -> Result<Box<dyn Iterator<Item = AuditAnswer> + Send + '_>, Malformed> {
    match request {
        AuditRequest::Nodes(probes) if probes.len() > AUDIT_PREFIXES_MAX => {
            Err(malformed(format!("{} nodes asked at once", probes.len())))
        }
        AuditRequest::Nodes(probes) => Ok(Box::new(NodeFrames::new(manifest, probes))),
        AuditRequest::List => Ok(Box::new(list(manifest).map(AuditAnswer::List))),
    }
}

/// The blocks of a manifest's whole list.
pub fn list(manifest: &Manifest) -> impl Iterator<Item = Block> {
    let mut section = Some(SectionWriter::new());
    let mut entries = manifest.iter();
    let mut ready = VecDeque::new();
    std::iter::from_fn(move || {
        while ready.is_empty() {
            match (entries.next(), section.as_mut()) {
                (Some(record), Some(section)) => {
                    let (path, entry) = record.pair();
                    ready.extend(section.entry(&path, &entry));
                }
                _ => ready.push_back(section.take()?.finish()),
            }
        }
        ready.pop_front()
    })
}

/// Answers probes in frames of moderate size.
struct NodeFrames<'a> {
    manifest: &'a Manifest,
    probes: std::vec::IntoIter<Probe>,
    /// Nodes of probes already looked at, for the next frames.
    nodes: VecDeque<(Prefix, NodeView)>,
    ended: bool,
}

/// A frame is closed at this size; the one node more that it may hold then has
/// at most 16 entries of [`ITEM_BYTES_MAX`](crate::limits::ITEM_BYTES_MAX).
const FRAME_BYTES_AIM: usize = FRAME_BYTES_MAX / 4;

impl<'a> NodeFrames<'a> {
    fn new(manifest: &'a Manifest, probes: Vec<Probe>) -> Self {
        Self {
            manifest,
            probes: probes.into_iter(),
            nodes: VecDeque::new(),
            ended: false,
        }
    }

    fn next_node(&mut self) -> Option<(Prefix, NodeView)> {
        while self.nodes.is_empty() {
            let probe = self.probes.next()?;
            self.nodes.extend(look(self.manifest, probe));
        }
        self.nodes.pop_front()
    }
}

impl Iterator for NodeFrames<'_> {
    type Item = AuditAnswer;

    fn next(&mut self) -> Option<AuditAnswer> {
        if self.ended {
            return None;
        }
        let mut nodes = Vec::new();
        let mut size = 0;
        while size < FRAME_BYTES_AIM {
            let Some(node) = self.next_node() else {
                self.ended = true;
                break;
            };
            size += size_of_node(&node);
            nodes.push(node);
        }
        let last = self.ended;
        Some(AuditAnswer::Nodes { nodes, last })
    }
}

/// The node a probe names, if it is a leaf; else those of its children that
/// differ from the asker's (an absent one as an empty leaf).
fn look(manifest: &Manifest, probe: Probe) -> Vec<(Prefix, NodeView)> {
    let children = match manifest.node(&probe.prefix) {
        NodeView::Inner(children) => children.map(HashStart::of),
        leaf @ NodeView::Leaf(_) => return vec![(probe.prefix, leaf)],
    };
    let equal = |slot: usize| {
        let asker = probe.children.as_ref();
        asker.is_some_and(|asker| asker[slot] == children[slot])
    };
    (0..TRIE_FANOUT)
        .filter(|&slot| !equal(slot))
        .map(|slot| child_of(&probe.prefix, slot))
        .map(|child| (child.clone(), manifest.node(&child)))
        .collect()
}

/// At least as many bytes as the node has on the wire.
fn size_of_node((prefix, node): &(Prefix, NodeView)) -> usize {
    const FIXED: usize = 96; // lengths, kind, mode, time, content id
    let body = match node {
        NodeView::Inner(_) => TRIE_FANOUT * size_of::<Option<Root>>(),
        NodeView::Leaf(entries) => entries
            .iter()
            .map(|(path, entry)| FIXED + path.as_bytes().len() + size_of_link(entry))
            .sum(),
    };
    prefix.len() + FIXED + body
}

fn size_of_link(entry: &Entry) -> usize {
    match entry {
        Entry::Symlink { target } => target.len(),
        Entry::Directory { .. } | Entry::File(_) => 0,
    }
}
