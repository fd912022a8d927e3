//! What is told of the past of a tree.

use serde::{Deserialize, Serialize};

use super::PathText;

/// Where a generation came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum GenerationOrigin {
    /// The node found it when it began to look at the tree.
    Start,
    /// The node saw the tree change.
    Watch,
    /// `rollback`.
    Rollback {
        /// The generation whose content it has.
        to: u64,
    },
    /// The active sent it.
    Peer {
        /// What the active is called here.
        from: String,
    },
    /// The journal had it when the node started after an interruption.
    Journal,
}

/// What a generation did to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastAction {
    /// It did not exist.
    Create,
    /// Its content changed.
    Update,
    /// It went.
    Delete,
    /// Only its mode changed.
    Metadata,
    /// It was made on the disk again as it was agreed.
    Heal,
}

/// One path of a generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastChange {
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// What happened to it.
    pub action: PastAction,
    /// The content before, where it was a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The content since, where it is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// When a step of a generation was done, by this node's clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastStep {
    /// `seen`, `settled`, `published`, `sent`, `received`, `durable`, `applied`,
    /// `deployed`, `rejected`.
    pub step: String,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// The peer to which it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// One generation of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GenerationReport {
    /// The tree.
    pub tree: String,
    /// Its number.
    pub generation: u64,
    /// The epoch in which it was made.
    pub epoch: u64,
    /// When it was made, or came, by this node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_ms: Option<u64>,
    /// Where it came from.
    #[serde(flatten)]
    pub origin: GenerationOrigin,
    /// The root before, in hexadecimal.
    pub base: String,
    /// The root since.
    pub root: String,
    /// Paths that were not there.
    pub created: u64,
    /// Paths with another content or kind.
    pub updated: u64,
    /// Paths that went.
    pub deleted: u64,
    /// Paths with another mode.
    pub metadata: u64,
    /// Paths that were put right on the disk.
    pub healed: u64,
    /// Whether the paths are known; of too many only their number is.
    pub listed: bool,
    /// The paths, or of them those that were asked for.
    pub changes: Vec<PastChange>,
    /// What was done to it, and when.
    pub steps: Vec<PastStep>,
}

/// Something that is wrong with the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditFindingReport {
    /// `damaged`, `foreign`, `missing`, `reordered`, `unjoined`, `rewritten`,
    /// `cut_off`.
    pub kind: String,
    /// The file, below the state directory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The number of the record, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// What it means, for people.
    pub detail: String,
}

/// The end of a check of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditCheckedReport {
    /// Records that this node signed.
    pub records: u64,
    /// The number of the first that is kept; 0 where there is none.
    pub first: u64,
    /// The number of the newest; 0 where there is none.
    pub newest: u64,
    /// Its hash.
    pub hash: String,
    /// Peers whose memory of the log was compared with it.
    pub witnesses: u64,
    /// Things that are wrong.
    pub findings: u64,
}

/// A step in the life of a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceStep {
    /// `seen`, `settled`, `published`, `sent`, `received`, `durable`, `applied`,
    /// `deployed`, `rejected`.
    pub step: String,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// The node by whose clock.
    pub clock: String,
    /// Whether that node only heard of it, from the one where it happened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heard: bool,
}

/// One generation that touched a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceReport {
    /// The tree.
    pub tree: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// The generation.
    pub generation: u64,
    /// Its root.
    pub root: String,
    /// What was done, node by node, in the order in which each noted it.
    pub steps: Vec<TraceStep>,
}
