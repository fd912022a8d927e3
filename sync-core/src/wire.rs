//! Protocol `apim-sync/1`: every message two nodes exchange.
//!
//! One QUIC connection joins a pair. A stream is one conversation: the opener
//! sends an [`Opening`] frame, and the frames that follow are those its
//! documentation names. A frame is a little-endian `u32` length (at most
//! [`FRAME_BYTES_MAX`]) and that many bytes of [`codec`](crate::codec) encoding.
//! Bulk (change lists, contents) travels as [`Block`]s: pieces of one zstd
//! stream, each flushed, each declaring its plain length; what they mean says
//! [`section`](crate::section).
//!
//! [`FRAME_BYTES_MAX`]: crate::limits::FRAME_BYTES_MAX

use std::{fmt, str::FromStr};

use bincode::{Decode, Encode};
use thiserror::Error;

use crate::{
    content::ContentId,
    fence::Lineage,
    generation::{Epoch, GenerationHeader, Position, TreeName},
    history::Time,
    journal::Lead,
    path::RelPath,
};

mod audit;
mod contents;
mod report;

pub use audit::{AUDIT_PREFIXES_MAX, AuditAnswer, AuditRequest, HashStart, Probe, View};
pub use contents::{
    FETCH_GROUP_LIST_MAX, FETCH_GROUPS_MAX, FetchAnswer, FetchRequest, PatchRequest, Piece,
    RECALL_CONTENTS_MAX, RecallAnswer,
};
pub use report::{
    DeployedAnswer, DeployedReport, DriftedPath, PathBudget, REPORT_GENERATIONS_MAX,
    REPORT_PATHS_MAX, TreeReport, deployed_reports,
};

/// Application protocol name in the TLS handshake.
pub const ALPN: &[u8] = b"apim-sync/1";
/// Newest protocol version this build speaks.
pub const VERSION: u16 = 3;
/// Oldest protocol version this build speaks.
pub const VERSION_OLDEST: u16 = 1;
/// From this version on a [`Claim`] follows each [`Hello`], and
/// [`Opening::Handover`], [`Opening::Patch`] and [`View::LastAgreed`] are known.
pub const VERSION_OF_CLAIMS: u16 = 2;
/// From this version on [`Opening::Spanned`] is known.
pub const VERSION_OF_SPANS: u16 = 2;
/// From this version on a passive sends [`Opening::Report`]s and can be asked for
/// [`Opening::Deployed`].
pub const VERSION_OF_REPORTS: u16 = 2;

/// From this version on contents may come as
/// [`Content::Steps`](crate::section::Content::Steps).
pub const VERSION_OF_STEPS: u16 = 3;

/// The first frame on a stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Opening {
    /// From the dialer, once, on the first stream of a connection. Answered by
    /// the other side's [`Hello`].
    Hello(Hello),
    /// From the joiner, on a connection whose key is not pinned yet. Answered
    /// by [`JoinAnswer`].
    Join(Join),
    /// Active to passive. Followed by the [`Block`]s of the change list and of
    /// the contents flagged to follow; then see [`Reply`].
    Generation(Offer),
    /// Passive to active: fetch one large content in the generation under way.
    /// Followed by [`FetchRequest`]s, each answered by [`FetchAnswer`]s.
    Fetch {
        /// Tree of the generation.
        tree: TreeName,
        /// The content wanted.
        content: ContentId,
    },
    /// Either side: look into the other's tree. See [`AuditAnswer`].
    Audit {
        /// Tree to look at.
        tree: TreeName,
        /// Which picture of the tree.
        view: View,
    },
    /// Passive to active: «bring this tree up to date now». Answered by
    /// [`Reply::Applied`] once this passive has everything, or a refusal.
    Catchup {
        /// The tree.
        tree: TreeName,
    },
    /// Passive to active: «I am about to be promoted: send me everything, then
    /// give way». Answered by [`HandoverAnswer`]s; after
    /// [`HandoverAnswer::Flushed`] a [`Fence`] follows, or the stream ends and the
    /// active goes on.
    Handover,
    /// Passive to active: what this passive's tree is beside what was agreed. At
    /// the beginning of a session, and when it changes. Not answered.
    Report(TreeReport),
    /// Active to passive: «tell me when the deployer has had its interval for all
    /// that you have applied». See [`DeployedAnswer`].
    Deployed {
        /// The tree.
        tree: TreeName,
    },
    /// Passive to active: contents of the generation under way, as patches of
    /// what the passive has. Followed by [`PatchRequest`]s; answered by the
    /// [`Block`]s of one section, which holds the [`Step`](crate::patch::Step)s
    /// of one content after the other, flushed after each.
    Patch {
        /// Tree of the generation.
        tree: TreeName,
    },
    /// Either side: contents that the other kept when a generation replaced them.
    /// Answered for each, in their order, by [`RecallAnswer`]s.
    Recall {
        /// The tree.
        tree: TreeName,
        /// The contents wanted, at most [`RECALL_CONTENTS_MAX`].
        contents: Vec<ContentId>,
        /// Whether only to say which are there.
        only_ask: bool,
    },
    /// Passive to active: «send these paths again, at most [`REPORT_PATHS_MAX`]: they
    /// are not as agreed here, and my policy is to heal that». Not answered.
    Mend {
        /// The tree.
        tree: TreeName,
        /// The paths.
        paths: Vec<RelPath>,
    },
    /// Active to passive: as [`Opening::Generation`], one of several that become
    /// durable together or not at all. Each travels on a stream of its own.
    Spanned {
        /// The generation.
        offer: Offer,
        /// What it belongs to.
        span: Span,
    },
    /// Either side: «so far has my audit log come». Answered by a
    /// [`WitnessAnswer`].
    Witness {
        /// The newest record; none where there is no log.
        tip: Option<AuditTip>,
    },
    /// Either side: «what do you know of this path's life?» Answered by a
    /// [`TraceAnswer`].
    Trace {
        /// The tree.
        tree: TreeName,
        /// The path.
        path: RelPath,
    },
}

/// Generations of several trees whose changes settled together.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Span {
    /// Tells it from others of the same peer.
    pub id: u64,
    /// The generation whose commit decides about all.
    pub lead: Lead,
    /// The other trees, each once.
    pub others: Vec<TreeName>,
}

/// What a node knows of a path.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TraceAnswer {
    /// The generations that touched it, newest first, at most [`TRACED_MAX`].
    pub traced: Vec<Traced>,
}

/// Generations in one [`TraceAnswer`].
pub const TRACED_MAX: usize = 5;

/// One generation, as one node took part in it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Traced {
    /// The state it led to.
    pub position: Position,
    /// Whether this node made it: what is durable and applied is then what it heard.
    pub sends: bool,
    /// When what was done, by that node's clock.
    pub times: Vec<Time>,
}

/// The newest record of an audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AuditTip {
    /// Its number.
    pub record: u64,
    /// The BLAKE3 of its line.
    pub hash: [u8; 32],
}

/// What the other had seen of the log until then.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WitnessAnswer {
    /// The records it had heard of, oldest first: the last [`WITNESSED_MAX`].
    pub seen: Vec<AuditTip>,
}

/// Records in one [`WitnessAnswer`]: a log that was written anew differs from the
/// older ones even where it has become as long.
pub const WITNESSED_MAX: usize = 64;

/// What entitles a node to its role. From version 2 on it follows the [`Hello`]:
/// the dialer's always, the other's if the dialer speaks that version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The promotions behind the node's epoch.
    pub lineage: Lineage,
    /// Whether the node is active and has found another active: it sends and
    /// takes nothing until a person has decided.
    pub halted: bool,
}

/// What the active answers to [`Opening::Handover`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum HandoverAnswer {
    /// The work goes on. May come at any time before the others.
    Working,
    /// The asker has applied everything, and until the stream ends nothing more is
    /// sent.
    Flushed,
    /// The active is passive now, and will be after a restart.
    Fenced,
    /// It stays active.
    Refused(Refusal),
}

/// Ends the active's time. The sender has recorded its promotion and is passive
/// still: it becomes active when this is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fence {
    /// The lineage that the promotion is the last of.
    pub lineage: Lineage,
}

/// Who is speaking and where its trees stand.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Oldest protocol version spoken.
    pub version_oldest: u16,
    /// Newest protocol version spoken.
    pub version: u16,
    /// The node's name, for people.
    pub node: String,
    /// Whether the node is the active one.
    pub active: bool,
    /// The node's epoch.
    pub epoch: Epoch,
    /// The trees it is configured with.
    pub trees: Vec<TreeStatus>,
    /// Why this node will not go on with this connection, if so.
    pub refused: Option<Refusal>,
}

/// Where one tree stands, in a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TreeStatus {
    /// Name.
    pub name: TreeName,
    /// Last agreed state.
    pub position: Position,
    /// Entries in that state.
    pub entries: u64,
    /// Contents kept from an interrupted generation, so that asking first pays.
    pub staged: u64,
}

/// Redeems an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Join {
    /// The one-time secret of the invitation.
    pub secret: [u8; 32],
    /// The joiner's name.
    pub node: String,
    /// UDP port the joiner listens on; 0 when it does not.
    pub port: u16,
}

/// What the inviter answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum JoinAnswer {
    /// The joiner's key is pinned now.
    Welcome {
        /// The inviter's name.
        node: String,
    },
    /// The invitation is unknown, used or expired.
    Refused,
}

/// Announces a generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    /// What it is.
    pub header: GenerationHeader,
    /// How many changes the change list has.
    pub changes: u32,
    /// How many of the first small contents of the change list follow at once.
    pub contents_following: u32,
    /// A plan id the active's operator released for this generation.
    pub released: Option<PlanId>,
}

/// Names a halted plan: the first eight bytes of a hash over the tree, the base
/// root and the paths to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PlanId(pub [u8; 8]);

/// Why text is not a [`PlanId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a plan id: 16 hexadecimal digits, as `status` shows them", crate::path::escape(.0.as_bytes()))]
pub struct PlanIdError(String);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for PlanId {
    type Err = PlanIdError;

    fn from_str(text: &str) -> Result<Self, PlanIdError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(number) if digits => Ok(Self(number.to_be_bytes())),
            _ => Err(PlanIdError(text.to_owned())),
        }
    }
}

/// A piece of a zstd stream.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// Bytes this piece adds to the plain stream; at most the frame limit.
    pub plain_length: u32,
    /// The compressed bytes.
    pub compressed: Vec<u8>,
    /// Whether this ends the section.
    pub last: bool,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Block({} plain, {} compressed)",
            self.plain_length,
            self.compressed.len()
        )
    }
}

/// What the passive answers on a generation's stream: any number of `Need`
/// (each answered by the [`Block`]s of those contents), then `Durable` and
/// `Applied`; or one `Refused`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// Small contents wanted, as ranges of positions in the change list, at
    /// most [`NEED_RANGES_MAX`] in one frame.
    Need(Vec<Range>),
    /// The generation survives power loss on the passive.
    Durable(Position),
    /// Every name shows the new state.
    Applied {
        /// Where the passive stands now.
        position: Position,
        /// Files that were not as expected and are kept aside.
        kept_aside: u32,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// The work goes on: so that silence always means trouble. May come at any
    /// time.
    Working,
}

/// Ranges in one [`Reply::Need`]: of the largest numbers they fill two thirds of
/// a frame.
pub const NEED_RANGES_MAX: usize = 64 << 10;

/// Consecutive positions in a change list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Range {
    /// First position.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Refusal {
    /// The base root is not the receiver's: reconcile first.
    Base(Position),
    /// The sender's epoch is lower than this one.
    Epoch(Epoch),
    /// Both nodes claim to be active, or both passive.
    Role {
        /// Whether the refusing node is active.
        active: bool,
    },
    /// No version in common.
    Version {
        /// Oldest spoken here.
        oldest: u16,
        /// Newest spoken here.
        newest: u16,
    },
    /// The tree is not configured here.
    UnknownTree(TreeName),
    /// The receiver's deletion guard halted the plan.
    Guard {
        /// What `release` takes.
        plan: PlanId,
        /// Files that would be deleted.
        deletions: u64,
        /// Files in the tree.
        files: u64,
    },
    /// The passive's tree holds other files and was never synchronised.
    NotEmpty {
        /// Paths that differ.
        differences: u64,
    },
    /// For a while: disk full, tree missing. Nothing is lost.
    Unable(String),
    /// The content changed or went while it was being sent; a newer generation
    /// follows.
    Superseded,
    /// The message broke the protocol.
    Protocol(String),
    /// Version 2: the receiver's policy holds what somebody changed there, until a
    /// person decides.
    Held {
        /// What `release` takes.
        plan: PlanId,
        /// Paths that would be replaced or deleted.
        paths: u64,
    },
    /// Another tree of the span was not taken, so this one was not either.
    Span(TreeName),
}
