//! Looking into the other's tree: what [`Opening::Audit`](super::Opening::Audit)
//! is answered by.

use bincode::{Decode, Encode};

use super::{Block, Refusal};
use crate::{
    limits::TRIE_FANOUT,
    manifest::{NodeView, Root},
    path::RelPath,
};

/// Which picture of a tree to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum View {
    /// The last agreed state, from memory. On the active: the current state.
    Agreed,
    /// The tree on the disk, looked at now; unchanged files are not re-read.
    Disk,
    /// The tree on the disk, every byte re-read.
    Deep,
    /// What is known to be agreed: on a passive the last generation, on an active
    /// what it had applied when it was promoted. Refused where neither is known.
    LastAgreed,
}

/// One step of an audit, asked by the opener.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuditRequest {
    /// What differs below these nodes of the trie, at most
    /// [`AUDIT_PREFIXES_MAX`]; answered by [`AuditAnswer::Nodes`].
    Nodes(Vec<Probe>),
    /// Every entry; answered by [`AuditAnswer::List`]s.
    List,
}

/// A node of the trie and what the asker has there, so that the answer can skip
/// a level and all that is equal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Probe {
    /// The node: nibbles of the key, each below 16, at most 64.
    pub prefix: Vec<u8>,
    /// How the hashes of the asker's children of that node begin; `None` where
    /// the asker has a leaf or nothing.
    pub children: Option<Box<[HashStart; TRIE_FANOUT]>>,
}

/// The first eight bytes of a node's hash; zeros for an absent node. Enough to
/// find differences by: the root proves the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HashStart(pub [u8; 8]);

impl HashStart {
    /// The beginning of `hash`.
    #[must_use]
    pub fn of(hash: Option<Root>) -> Self {
        let mut start = [0; 8];
        if let Some(Root(hash)) = hash {
            start.copy_from_slice(&hash[..8]);
        }
        Self(start)
    }
}

/// Probes in one [`AuditRequest::Nodes`]: the request stays below 128 KiB, so
/// that several may wait for their answers within one stream's window.
pub const AUDIT_PREFIXES_MAX: usize = 512;

/// What the other side answers in an audit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuditAnswer {
    /// Still reading.
    Progress {
        /// Files read so far.
        files: u64,
        /// Bytes read so far.
        bytes: u64,
    },
    /// The picture is ready; requests may follow.
    Ready {
        /// Root of the picture.
        root: Root,
        /// Entries in it.
        entries: u64,
        /// Regular files in it.
        files: u64,
        /// Bytes in them.
        bytes: u64,
        /// Paths that could not be read, at most 1,000.
        unreadable: Vec<(RelPath, String)>,
        /// Files whose modification time is not the one that was applied, at
        /// most 1,000.
        touched: Vec<RelPath>,
    },
    /// For every probe the node itself, if it is a leaf, else those of its
    /// children that differ from the asker's (an absent one as an empty leaf).
    Nodes {
        /// The next (prefix, node) pairs.
        nodes: Vec<(Vec<u8>, NodeView)>,
        /// Whether this frame ends the answer to the request.
        last: bool,
    },
    /// A piece of the list: encoded (path, entry) pairs, as many as `Ready`
    /// said.
    List(Block),
    /// Cannot look.
    Refused(Refusal),
}
