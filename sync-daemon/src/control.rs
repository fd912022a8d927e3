//! The control socket: how commands on this machine talk to the running node.
//!
//! One connection carries one [`Request`] and, back, any number of
//! [`Event`]s and the outcome, as JSON lines over `control.sock` in the state
//! directory. Whoever may open the socket (mode 0600 in a directory of mode
//! 0700) may ask everything. What a request does is the [`Handler`]'s concern:
//! a node answers the same requests in process where no daemon runs.

use std::pin::Pin;

use serde::{Deserialize, Serialize};
use sync_core::exclude::{RuleError, Rules};
use tokio::sync::mpsc;

use crate::{events::Event, failure::Failure};

mod client;
mod line;
mod local;
mod place;
mod server;

pub use client::{Client, connect};
pub use local::answer;
pub use server::ControlSocket;

/// Requests answered at one time; the seventeenth is told so.
pub const CLIENTS_MAX: usize = 16;
/// Events between a handler and a slow client, before the handler waits.
pub const EVENTS_QUEUED_MAX: usize = 256;
/// Bytes in a line from a client: the longest request is a few hundred filter
/// rules.
const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Bytes in a line from the node: the longest is a status that names many
/// drifted paths.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A future that is returned as a value.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can be asked of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// One [`Event::Status`].
    Status,
    /// Send everything that differs, now.
    Push(Push),
    /// Compare with peers; changes nothing.
    Verify(Verify),
    /// Fill this passive node from the active.
    Bootstrap(Bootstrap),
    /// Stop sending.
    Pause(Pause),
    /// Send again.
    Resume(Part),
    /// Approve a plan that the deletion guard halted.
    Release {
        /// The plan's id, sixteen hexadecimal digits.
        plan: String,
    },
    /// Make this passive node the active.
    Promote(RoleChange),
    /// Make this active node a passive.
    Demote(RoleChange),
    /// Tell what would be lost if the roles changed now.
    Ready,
    /// Compare both sides with the last agreed state.
    Diff {
        /// Only this path and what is below it.
        path: Option<String>,
    },
    /// Make the content of an earlier generation a new one.
    Rollback(Rollback),
    /// Tell the life of one path.
    Trace(Trace),
    /// Check the audit log.
    CheckHistory,
    /// List generations.
    History(History),
    /// Take up changed trust and configuration.
    Reload,
}

/// How a push waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Until everything is on its way.
    None,
    /// Until it survives power loss on the passive.
    #[default]
    Durable,
    /// Until every name on the passive shows it.
    Applied,
    /// Until the passive's hot deployer has taken it, or not.
    Deployed,
}

/// A part of a node's trees: all of them, one, or one tenant of one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Only this tree.
    #[serde(default)]
    pub tree: Option<String>,
    /// Only this tenant of it, or of the only tree of tenants.
    #[serde(default)]
    pub tenant: Option<String>,
}

impl Part {
    /// Whether nothing narrower than everything is named.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.tree.is_none() && self.tenant.is_none()
    }
}

/// What to pause, and for how long.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Go on by itself after so many seconds.
    pub seconds: Option<u64>,
    /// What is not sent.
    #[serde(default)]
    pub part: Part,
}

/// Options of a push.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Only this tree.
    pub tree: Option<String>,
    /// Only this tenant of a tree of tenants.
    #[serde(default)]
    pub tenant: Option<String>,
    /// How to wait.
    pub wait: Wait,
    /// Report what would change and change nothing.
    pub dry_run: bool,
    /// `50` or `20%`, in place of the configured limit.
    pub max_delete: Option<String>,
}

/// Options of a verify.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Only this peer.
    pub peer: Option<String>,
    /// Only this tree.
    pub tree: Option<String>,
    /// Only this tenant of a tree of tenants.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Put the result into the audit log, signed.
    #[serde(default)]
    pub sign: bool,
    /// Compare roots instead of reading every byte.
    pub quick: bool,
    /// Report equal paths too.
    pub combined: bool,
    /// Paths to leave out.
    pub filter: Vec<FilterRule>,
}

/// Options of a bootstrap.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The peer to fill from, where there are several.
    pub from: Option<String>,
    /// Only this tree.
    pub tree: Option<String>,
    /// This node's name, typed by someone who accepts that a non-empty,
    /// different tree is replaced.
    pub confirm: Option<String>,
}

/// Options of a change of role.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// This node's name, typed by someone who accepts what stands in the way.
    pub confirm: Option<String>,
    /// Report what would be done and change nothing.
    pub dry_run: bool,
}

/// Whose life is told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The path below a tree.
    pub path: String,
    /// Only of this tree.
    pub tree: Option<String>,
}

/// Where to go back to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The generation whose content is wanted.
    pub generation: u64,
    /// Of this tree, where there are several.
    pub tree: Option<String>,
    /// Only this path and what is below it.
    pub only: Option<String>,
    /// Only this tenant, of the tree whose top directories are tenants.
    pub tenant: Option<String>,
    /// Report what would change and change nothing.
    pub dry_run: bool,
}

/// What of the past is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Only this tree.
    pub tree: Option<String>,
    /// Only what touched this path or something below it.
    pub path: Option<String>,
    /// At most so many generations of each tree.
    pub limit: Option<usize>,
}

/// One rsync filter rule; the first that matches a path decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterRule {
    /// Paths that match stay in.
    Include(String),
    /// Paths that match are left out.
    Exclude(String),
    /// The text of a file of patterns; paths that match one are left out.
    ExcludeLines(String),
}

/// The rules of one request.
///
/// # Errors
/// When a pattern is malformed or there are too many.
pub fn rules(filter: &[FilterRule]) -> Result<Rules, RuleError> {
    let mut rules = Rules::new();
    for rule in filter {
        match rule {
            FilterRule::Include(pattern) => rules.include(pattern.as_bytes())?,
            FilterRule::Exclude(pattern) => rules.exclude(pattern.as_bytes())?,
            FilterRule::ExcludeLines(text) => rules.exclude_lines(text.as_bytes())?,
        }
    }
    Ok(rules)
}

/// Carries out requests.
pub trait Handler: Send + Sync + 'static {
    /// Does `request`, reporting to `events`. Dropping the future cancels the
    /// request at the next safe point; what was committed stays. The outcome
    /// is told once every clone of `events` is dropped.
    fn handle(
        &self,
        request: Request,
        events: mpsc::Sender<Event>,
    ) -> BoxFuture<'_, Result<(), Failure>>;
}

/// One line from the node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Event(Event),
    Done,
    Failed(Failure),
}

#[cfg(test)]
mod tests;
