//! Why a connection is not there: one classification of everything that QUIC
//! and TLS report, so that callers decide by kind and never by text.

use quinn::{ConnectionError, TransportErrorCode, VarInt};
use thiserror::Error;

use super::address::Address;
use crate::{
    failure::{Failure, FailureKind},
    identity::NodeId,
};

/// TLS alerts (RFC 8446 section 6.2) by which a peer says «I do not trust your
/// key»: what our verifier causes first, then what other causes of a refused
/// key look like.
const DISTRUST_ALERTS: [u8; 8] = [
    49,  // access_denied
    42,  // bad_certificate
    43,  // unsupported_certificate
    45,  // certificate_expired
    46,  // certificate_unknown
    48,  // unknown_ca
    51,  // decrypt_error
    116, // certificate_required
];

/// How a node ends a connection on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing more to say.
    Done,
    /// The node is shutting down.
    Stopping,
    /// The peer's key is not pinned (any more).
    Untrusted,
    /// The peer broke the protocol, or speaks no common version.
    Protocol,
    /// Too many connections.
    Busy,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Stopping,
        Self::Untrusted,
        Self::Protocol,
        Self::Busy,
    ];

    /// The application error code on the wire; part of the protocol.
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Done => 0,
            Self::Stopping => 1,
            Self::Untrusted => 2,
            Self::Protocol => 3,
            Self::Busy => 4,
        })
    }

    fn of_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.code() == code)
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Loss {
    /// The peer refused this node's key.
    #[error("the peer does not trust this node's key")]
    Refused,
    /// The peer did not prove the pinned key.
    #[error("the peer did not prove the pinned key")]
    Impostor,
    /// The peer's key was unpinned here.
    #[error("the peer's key was removed from the trusted peers")]
    Revoked,
    /// No answer, or the answer of a peer that knows nothing of the connection.
    #[error("the peer fell silent: it or the network is down")]
    Silent,
    /// The peer has no room for another connection.
    #[error("the peer has too many connections at the moment")]
    Busy,
    /// The peer shut down.
    #[error("the peer stopped")]
    Stopped,
    /// The peer had nothing more to say.
    #[error("the peer closed the connection")]
    Done,
    /// This node closed it.
    #[error("this node closed the connection")]
    ClosedHere,
    /// The other side is no apim-sync, speaks another protocol or broke it.
    #[error("the peers do not speak one protocol: {reason}")]
    Protocol {
        /// What happened.
        reason: String,
    },
}

impl From<&ConnectionError> for Loss {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut | ConnectionError::Reset => Self::Silent,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            // This process has used up its connection identifiers.
            ConnectionError::CidsExhausted => Self::Busy,
            ConnectionError::ConnectionClosed(close) => closed_by_peer(close.error_code, error),
            ConnectionError::TransportError(cause) if is_distrust(cause.code) => Self::Impostor,
            ConnectionError::ApplicationClosed(close) => match Ending::of_code(close.error_code) {
                Some(Ending::Done) => Self::Done,
                Some(Ending::Stopping) => Self::Stopped,
                Some(Ending::Untrusted) => Self::Refused,
                Some(Ending::Busy) => Self::Busy,
                Some(Ending::Protocol) | None => protocol(error),
            },
            ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
                protocol(error)
            }
        }
    }
}

impl From<ConnectionError> for Loss {
    fn from(error: ConnectionError) -> Self {
        Self::from(&error)
    }
}

fn closed_by_peer(code: TransportErrorCode, error: &ConnectionError) -> Loss {
    if is_distrust(code) {
        Loss::Refused
    } else if code == TransportErrorCode::CONNECTION_REFUSED {
        Loss::Busy
    } else {
        protocol(error)
    }
}

fn is_distrust(code: TransportErrorCode) -> bool {
    DISTRUST_ALERTS
        .iter()
        .any(|alert| code == TransportErrorCode::crypto(*alert))
}

/// The peer's words are shown, so they must not reach a terminal as they are.
fn protocol(error: &ConnectionError) -> Loss {
    Loss::Protocol {
        reason: error.to_string().escape_debug().take(200).collect(),
    }
}

/// What is wrong with the keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Distrust {
    /// The peer has not pinned this node.
    #[error("it does not trust this node's key {own}")]
    Refused {
        /// This node's id.
        own: NodeId,
    },
    /// Somebody else answers at the address.
    #[error("it has the key {found} instead of the pinned {expected}")]
    Impostor {
        /// The pinned key.
        expected: NodeId,
        /// The key it showed.
        found: NodeId,
    },
    /// The peer could not show a key of the pinned kind, or not prove it.
    #[error("it did not prove the pinned key {expected}")]
    Unproven {
        /// The pinned key.
        expected: NodeId,
    },
    /// The key is not pinned here.
    #[error("its key {id} is not pinned here")]
    NotPinned {
        /// The key.
        id: NodeId,
    },
}

impl Distrust {
    fn hint(&self) -> String {
        match self {
            Self::Refused { own } => format!("there: `apim-sync trust add NAME --id {own}`"),
            Self::Impostor { .. } => {
                "if the node was set up anew, `apim-sync trust remove` its old key and pair \
                 again; if not, somebody else answers at its address"
                    .into()
            }
            Self::Unproven { .. } => "check what answers at this address".into(),
            Self::NotPinned { id } => format!("here: `apim-sync trust add NAME --id {id}`"),
        }
    }
}

/// Why a peer cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// One side does not trust the other's key.
    #[error("cannot connect to {address}: {distrust}")]
    Untrusted {
        /// The peer's address.
        address: Address,
        /// Who does not trust whom.
        distrust: Distrust,
    },
    /// Nobody answers now.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// The peer's address.
        address: Address,
        /// What happened.
        reason: String,
    },
    /// Somebody answers who speaks otherwise.
    #[error("cannot talk to {address}: {reason}")]
    Protocol {
        /// The peer's address.
        address: Address,
        /// What happened.
        reason: String,
    },
    /// The address cannot be dialled from here at all.
    #[error("cannot dial {address}: {reason}")]
    Address {
        /// The peer's address.
        address: Address,
        /// Why not.
        reason: String,
    },
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let (kind, hint) = match &error {
            ConnectError::Untrusted { distrust, .. } => (FailureKind::Trust, distrust.hint()),
            ConnectError::Unreachable { address, .. } => (
                FailureKind::Unreachable,
                format!(
                    "check that `apim-sync daemon` runs there and that UDP port {} is open",
                    address.port()
                ),
            ),
            ConnectError::Protocol { .. } => (
                FailureKind::Protocol,
                "compare `apim-sync --version` on both nodes".into(),
            ),
            ConnectError::Address { .. } => (
                FailureKind::Usage,
                "correct the peer's address or `listen` in [node]".into(),
            ),
        };
        Self::new(kind, error.to_string()).hint(hint)
    }
}

/// The two ends of an attempt to connect, to tell in errors.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) address: Address,
    pub(crate) own: NodeId,
    pub(crate) expected: NodeId,
}

impl Attempt {
    /// What `loss` means for a connection that was being set up, with the key
    /// the other side `showed`.
    pub(crate) fn failed(&self, loss: &Loss, showed: Option<NodeId>) -> ConnectError {
        match loss {
            Loss::Refused => self.untrusted(Distrust::Refused { own: self.own }),
            Loss::Revoked => self.untrusted(Distrust::NotPinned { id: self.expected }),
            Loss::Impostor => self.untrusted(self.impostor(showed)),
            Loss::Protocol { reason } => self.protocol(reason.clone()),
            Loss::Silent | Loss::Busy | Loss::Stopped | Loss::Done | Loss::ClosedHere => {
                self.unreachable(loss.to_string())
            }
        }
    }

    pub(crate) fn untrusted(&self, distrust: Distrust) -> ConnectError {
        ConnectError::Untrusted {
            address: self.address.clone(),
            distrust,
        }
    }

    pub(crate) fn unreachable(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Unreachable {
            address: self.address.clone(),
            reason: reason.into(),
        }
    }

    pub(crate) fn protocol(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Protocol {
            address: self.address.clone(),
            reason: reason.into(),
        }
    }

    fn impostor(&self, showed: Option<NodeId>) -> Distrust {
        match showed {
            Some(found) if found != self.expected => Distrust::Impostor {
                expected: self.expected,
                found,
            },
            _ => Distrust::Unproven {
                expected: self.expected,
            },
        }
    }
}
