//! What ends a conversation with a peer, and how a user hears of it.
//!
//! A broken connection or a lying peer ends that session; nothing here stops
//! the node.

use sync_core::{codec::Malformed, wire::Refusal};
use thiserror::Error;

use crate::{
    failure::{Failure, FailureKind},
    transport::{ConnectError, Loss, StreamError},
    tree_thread::Stopped,
};

/// Why a conversation ended before its purpose.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection or the stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The peer sent what it may not send.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer broke the order of a conversation.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer will not.
    #[error("{}", describe(.0))]
    Refused(Refusal),
    /// The tree's thread is gone.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Something on this node failed.
    #[error("{0}")]
    Local(Failure),
}

impl From<Loss> for SessionError {
    fn from(loss: Loss) -> Self {
        Self::Stream(loss.into())
    }
}

impl SessionError {
    pub(super) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }

    /// Whether the peer is to blame.
    pub(super) fn is_breach(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Protocol(_) => true,
            Self::Stream(error) => error.is_breach(),
            _ => false,
        }
    }

    /// As a failure of `doing`, for whoever asked for it.
    pub(super) fn failure(&self, doing: &str) -> Failure {
        match self {
            Self::Connect(error) => connect_failure(error, doing),
            Self::Refused(refusal) => refusal_failure(refusal, doing),
            Self::Local(failure) => failure.clone(),
            Self::Stream(error) => Failure::caused_by(FailureKind::Unreachable, doing, error)
                .hint("`apim-sync status` shows whether the peer is connected; try again"),
            Self::Malformed(_) | Self::Protocol(_) => {
                Failure::caused_by(FailureKind::Protocol, doing, self)
                    .hint("run the same version of apim-sync on both nodes")
            }
            Self::Stopped(_) => Failure::caused_by(FailureKind::Failed, doing, self)
                .hint("the daemon's log says why the tree stopped; restart the daemon"),
        }
    }
}

/// A peer's refusal in words.
pub(super) fn describe(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Base(position) => format!(
            "the peer stands at generation {} with another root",
            position.generation
        ),
        Refusal::Epoch(epoch) => format!("the peer has seen the higher epoch {epoch}"),
        Refusal::Role { active: true } => "the peer is active too".to_owned(),
        Refusal::Role { active: false } => "the peer is passive".to_owned(),
        Refusal::Version { oldest, newest } => {
            format!("the peer speaks protocol versions {oldest} to {newest} only")
        }
        Refusal::UnknownTree(tree) => format!("the peer has no tree {tree} in its configuration"),
        Refusal::Guard {
            plan,
            deletions,
            files,
        } => format!(
            "the peer's deletion guard halted plan {plan}: it would delete {deletions} of {files} files"
        ),
        Refusal::Held { plan, paths } => format!(
            "plan {plan} is held: it would replace paths that were changed on the passive ({paths})"
        ),
        Refusal::NotEmpty { differences } => format!(
            "the passive's tree was never synchronised and holds other files ({differences} paths would be replaced or deleted)"
        ),
        Refusal::Unable(reason) => format!("the peer cannot now: {}", printable(reason)),
        Refusal::Superseded => "a file changed while it was sent".to_owned(),
        Refusal::Span(tree) => {
            format!("it goes together with {tree}, which was not taken")
        }
        Refusal::Protocol(what) => {
            format!(
                "the peer says that this node broke the protocol: {}",
                printable(what)
            )
        }
    }
}

/// Text of a peer, safe for a terminal and bounded.
pub(super) fn printable(text: &str) -> String {
    const SHOWN_MAX: usize = 400;
    sync_core::path::escape(text.as_bytes())
        .chars()
        .take(SHOWN_MAX)
        .collect()
}

/// A peer's refusal as the failure of `doing`.
pub(super) fn refusal_failure(refusal: &Refusal, doing: &str) -> Failure {
    let (kind, hint) = match refusal {
        Refusal::Epoch(_) | Refusal::Role { .. } => (
            FailureKind::Role,
            Some("`apim-sync status` on both nodes shows their roles and epochs".to_owned()),
        ),
        Refusal::Version { .. } => {
            (FailureKind::Protocol, Some("upgrade the older node".to_owned()))
        }
        Refusal::Protocol(_) => (FailureKind::Protocol, None),
        Refusal::UnknownTree(tree) => (
            FailureKind::Usage,
            Some(format!("add `[[tree]] name = \"{tree}\"` to the peer's configuration")),
        ),
        Refusal::Guard { plan, .. } => (
            FailureKind::Halted,
            Some(format!("if these deletions are meant: `apim-sync release {plan}`")),
        ),
        Refusal::Held { plan, .. } => (
            FailureKind::Halted,
            Some(format!("to replace them, kept aside: `apim-sync release {plan}`")),
        ),
        Refusal::NotEmpty { .. } => (
            FailureKind::Halted,
            Some(
                "to replace what is there, on the passive: `apim-sync bootstrap --confirm <its node name>` \
                 (what is replaced is kept aside)"
                    .to_owned(),
            ),
        ),
        Refusal::Base(_) | Refusal::Superseded | Refusal::Span(_) => (FailureKind::Failed, Some("try again".to_owned())),
        Refusal::Unable(_) => (
            FailureKind::Partial,
            Some("`apim-sync status` on the peer says what it waits for".to_owned()),
        ),
    };
    let failure = Failure::new(kind, format!("{doing}: {}", describe(refusal)));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn connect_failure(error: &ConnectError, doing: &str) -> Failure {
    let (kind, hint) = match error {
        ConnectError::Untrusted { .. } => (
            FailureKind::Trust,
            "`apim-sync trust list` on both nodes shows which ids they trust",
        ),
        ConnectError::Unreachable { .. } => (
            FailureKind::Unreachable,
            "`apim-sync status` on the peer shows whether its daemon runs and where it listens; the way there must let UDP pass",
        ),
        ConnectError::Protocol { .. } => (
            FailureKind::Protocol,
            "run the same version of apim-sync on both nodes",
        ),
        ConnectError::Address { .. } => (
            FailureKind::Usage,
            "`apim-sync trust list` shows the peer's address",
        ),
    };
    Failure::caused_by(kind, doing, error).hint(hint)
}

/// An error with everything that caused it.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
