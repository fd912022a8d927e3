//! The object of `status`: what a node knows about itself and its peers.

use serde::{Deserialize, Serialize};

use super::{Drift, HookStatus, PathText};

/// Which way changes flow through a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its trees are the source.
    Active,
    /// Its trees follow the active's.
    Passive,
}

impl Role {
    /// The name, as in the state and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// The state of a node at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The node's id: its public key.
    pub id: String,
    /// Its role.
    pub role: Role,
    /// Its epoch.
    pub epoch: u64,
    /// The other active that this active has found: it sends and takes nothing
    /// until a person has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictStatus>,
    /// Why no node is active, as far as this one knows for sure, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_active: Option<String>,
    /// Whether its daemon runs; if not, this is what the disk knows.
    pub running: bool,
    /// Seconds until sending goes on by itself, if paused for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_seconds: Option<u64>,
    /// Whether sending is paused.
    #[serde(default)]
    pub paused: bool,
    /// What is paused short of everything: trees, tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<PauseStatus>,
    /// Its trees.
    pub trees: Vec<TreeStatus>,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
    /// The deletion guard.
    pub guard: GuardStatus,
    /// Paths that are not what was agreed: on this passive, or on the peers of this
    /// active as they say.
    pub drift: Vec<Drift>,
    /// How many such paths there are in all; `drift` names the first 1,000.
    #[serde(default)]
    pub drifted: u64,
    /// Paths on this active that are not sent for now.
    pub held: Vec<HeldPath>,
    /// The lease that decides which node is active, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// The hooks that were run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookStatus>,
}

/// A part of this active's trees that is not sent for now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PauseStatus {
    /// The tree; everything without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The tenant of it; all of it without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Seconds until sending goes on by itself, if paused for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Another node that was made active without knowing of this one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConflictStatus {
    /// The peer from which this node heard of it.
    pub peer: String,
    /// The epoch of the other.
    pub peer_epoch: u64,
    /// What it means and what to do.
    pub detail: String,
}

/// The lease that decides which node is active.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its key in etcd.
    pub key: String,
    /// Whether this node holds it, and so may send.
    pub held: bool,
    /// Who holds it, as far as is known.
    pub holder: Option<String>,
    /// How long this node may still send without another renewal.
    pub seconds_left: f64,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether a tree can be synchronised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeState {
    /// Known and watched.
    Ready,
    /// Being looked at.
    Scanning,
    /// A safety rule stopped it: the source is missing or unmounted, or a plan
    /// would delete too much.
    Halted,
    /// Generations cannot be applied for a while.
    Unavailable,
    /// Never synchronised.
    Empty,
    /// Not looked at, because the daemon does not run.
    Unwatched,
}

/// One tree of this node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TreeStatus {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// Files in it.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Its root, in hexadecimal.
    pub root: String,
    /// Its generation.
    pub generation: u64,
    /// Whether it can be synchronised.
    pub state: TreeState,
    /// Why, when it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Its tenants, where each of its top directories is one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantStatus>,
}

/// Whether a tenant is in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Nothing is pending and nothing is wrong.
    Ready,
    /// A peer does not have everything yet.
    Pending,
    /// A person has said that it is not sent for now.
    Paused,
    /// The deletion guard holds back what the tenant would lose.
    Halted,
    /// Paths on this passive are not what was agreed.
    Drifted,
    /// Not looked at, because the daemon does not run.
    Unwatched,
}

/// One tenant of a tree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TenantStatus {
    /// Its name: that of its directory, escaped.
    pub tenant: String,
    /// The root that a tree of its directory alone would have, in hexadecimal.
    pub root: String,
    /// Files in it.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Paths that the peer that is furthest behind has not applied.
    pub pending_files: u64,
    /// Age of the oldest change that some peer has not applied.
    pub lag_seconds: f64,
    /// Whether it is in order.
    pub state: TenantState,
    /// The last verify of it, with whichever peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verify: Option<LastVerify>,
}

/// The connection to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Up.
    Connected,
    /// Being made.
    Connecting,
    /// The last attempt failed.
    Unreachable,
    /// One side will not talk to the other.
    Refused,
}

/// One peer of this node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Where it is dialled, if it is.
    pub address: Option<String>,
    /// Its role, once it said so.
    pub role: Option<Role>,
    /// The connection.
    pub state: PeerState,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it applied last.
    pub applied: Vec<AppliedState>,
    /// Age of the oldest change it has not applied; 0 when it has all.
    pub lag_seconds: f64,
    /// Paths it has not applied.
    pub pending_files: u64,
    /// UDP payload bytes sent over the present connection, everything included.
    #[serde(default)]
    pub sent_bytes: u64,
    /// UDP payload bytes received over the present connection.
    #[serde(default)]
    pub received_bytes: u64,
    /// The last verify with it.
    pub last_verify: Option<LastVerify>,
}

/// Where a peer stands with one tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppliedState {
    /// The tree.
    pub tree: String,
    /// The generation.
    pub generation: u64,
    /// The root, in hexadecimal.
    pub root: String,
}

/// The outcome of a verify.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastVerify {
    /// When it ended, in seconds since 1970 (UTC).
    pub unix_seconds: u64,
    /// How many paths differed.
    pub differences: u64,
}

/// What the deletion guard holds back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GuardStatus {
    /// Whether any plan is held back.
    pub halted: bool,
    /// The plans, each waiting for `release`.
    pub plans: Vec<HaltedPlan>,
}

/// A plan that is halted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HaltedPlan {
    /// What `release` takes, in hexadecimal.
    pub plan: String,
    /// The tree.
    pub tree: String,
    /// The peer it was meant for.
    pub peer: String,
    /// The tenant that would lose the files, where the whole tree may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Files it would delete.
    pub deletions: u64,
    /// Files in the tree before.
    pub files: u64,
    /// Paths that somebody changed on the passive and that it would replace, where
    /// that is what halts it, and not the deletion guard.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drifted: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that `skip_serializing_if` wants"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A path of this active that is not sent for now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldPath {
    /// The tree.
    pub tree: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// Why: not well-formed, being deleted, unreadable.
    pub reason: String,
}
