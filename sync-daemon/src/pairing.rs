//! Pairing two nodes with one pasted line.
//!
//! The inviter makes an [`Invitation`](Invitations::create), whose [`Token`]
//! carries its address, its id and a one-time secret. The joiner dials with
//! [`join`]: its TLS verifier expects exactly that id, so the secret goes to
//! nobody else. [`answer_join`] redeems the secret and pins the joiner's proved
//! key. Afterwards both know each other's key and never use the token again.

mod invitations;
mod token;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use sync_core::wire::{Join, JoinAnswer, Opening};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{debug, info, warn};

pub use self::{
    invitations::{InvitationError, Invitations},
    token::{Token, TokenError},
};
use crate::{
    failure::{Failure, FailureKind},
    identity::{Identity, NodeId},
    transport::{
        Address, BindError, ConnectError, Ending, Endpoint, Setup, Stranger, Stream, StreamError,
    },
    trust::{NodeName, Peer, TrustError, Trusted},
};

/// From the first packet of a stranger to the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A join request is an order of magnitude smaller.
const JOIN_BYTES_MAX: usize = 4 << 10;
/// For a joiner to reach the inviter.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// Whom the joiner has pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// What the inviter calls itself.
    pub name: NodeName,
    /// Its key.
    pub id: NodeId,
    /// Where it listens.
    pub address: Address,
}

impl From<Welcome> for Peer {
    fn from(welcome: Welcome) -> Self {
        Self {
            name: welcome.name,
            id: welcome.id,
            address: Some(welcome.address),
        }
    }
}

/// Why joining did not work.
#[derive(Debug, Error)]
pub enum JoinError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The inviter cannot be reached, or is not the one who invited.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The inviter said no.
    #[error(
        "{address} refused it: it was used, has expired, was called back after wrong \
         attempts, or another node has the name `{own_name}` there"
    )]
    Refused {
        /// Where the inviter listens.
        address: Address,
        /// The name asked for.
        own_name: NodeName,
    },
    /// The inviter's key cannot be pinned here.
    #[error("the inviter trusts this node now, but cannot be pinned here")]
    Pin(#[from] TrustError),
    /// The token is this node's own.
    #[error("this node made the invitation itself")]
    OwnInvitation,
    /// The inviter has no usable name.
    #[error("the inviter at {address} gave a name that cannot be used: {name}")]
    BadName {
        /// Where the inviter listens.
        address: Address,
        /// What it said, escaped.
        name: String,
    },
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let (kind, hint) = match error {
            JoinError::Bind(error) => return error.into(),
            JoinError::Connect(error) => return error.into(),
            JoinError::Refused { .. } => (
                FailureKind::Trust,
                "the log there says which; `apim-sync invite` there makes a new one".into(),
            ),
            JoinError::Pin(ref cause) => (
                FailureKind::Failed,
                format!("{}; then join again with the same line", cause.hint()),
            ),
            JoinError::OwnInvitation => (
                FailureKind::Usage,
                "run `apim-sync join` on the other node".into(),
            ),
            JoinError::BadName { .. } => (
                FailureKind::Protocol,
                "pin it by hand with `apim-sync trust add`".into(),
            ),
        };
        Self::caused_by(kind, "redeeming the invitation", &error).hint(hint)
    }
}

/// Redeems `token` for this node, called `own_name` and listening on
/// `own_port` (0: it only dials), and pins the inviter.
///
/// # Errors
/// When the inviter cannot be reached, proves another key, or refuses, or
/// cannot be pinned.
pub async fn join(
    token: &Token,
    identity: &Identity,
    trusted: &Trusted,
    own_name: &NodeName,
    own_port: u16,
) -> Result<Welcome, JoinError> {
    if token.inviter == identity.id() {
        return Err(JoinError::OwnInvitation);
    }
    let endpoint = Endpoint::bind(Setup::new(identity.clone(), trusted.clone()))?;
    let outcome = redeem(&endpoint, token, own_name, own_port).await;
    endpoint.close().await;
    let welcome = outcome?;
    trusted.add(welcome.clone().into())?;
    Ok(welcome)
}

async fn redeem(
    endpoint: &Endpoint,
    token: &Token,
    own_name: &NodeName,
    own_port: u16,
) -> Result<Welcome, JoinError> {
    let connection = endpoint
        .connect_to_inviter(&token.address, token.inviter, JOIN_WITHIN)
        .await?;
    let request = Opening::Join(Join {
        secret: token.secret,
        node: own_name.to_string(),
        port: own_port,
    });
    let answer = connection.exchange(request).await;
    match answer.map_err(|error| connection.connect_error(error))? {
        JoinAnswer::Welcome { node } => Ok(Welcome {
            name: node.parse().map_err(|_| bad_name(token, &node))?,
            id: token.inviter,
            address: token.address.clone(),
        }),
        JoinAnswer::Refused => Err(JoinError::Refused {
            address: token.address.clone(),
            own_name: own_name.clone(),
        }),
    }
}

fn bad_name(token: &Token, name: &str) -> JoinError {
    JoinError::BadName {
        address: token.address.clone(),
        name: name.escape_debug().take(100).collect(),
    }
}

/// Why a caller was not paired.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It was too slow.
    #[error("the caller did not ask to join within {} s", ANSWER_WITHIN.as_secs())]
    TimedOut,
    /// It broke off or sent something else.
    #[error("the caller did not ask to join properly")]
    Stream(#[from] StreamError),
    /// It wanted something that only a peer may have.
    #[error("the caller asked for something else than to join")]
    NotJoin,
    /// Its name is not one.
    #[error("the caller has no usable name")]
    BadName,
    /// No such invitation.
    #[error("the caller's invitation is not valid")]
    Invitation(#[from] InvitationError),
    /// The key cannot be pinned.
    #[error("the caller cannot be pinned")]
    Trust(#[from] TrustError),
}

/// Who redeems invitations on this node.
#[derive(Debug, Clone)]
pub struct Inviter {
    /// What this node is called.
    pub name: NodeName,
    /// Open invitations.
    pub invitations: Invitations,
    /// Where to pin who redeems one.
    pub trusted: Trusted,
}

/// Hears a caller with an unknown key: one join request, in 4 KiB and 5 s. Its
/// connection ends with the answer; the joiner dials again as a peer.
///
/// # Errors
/// When the caller is not pinned; it was told what it may know.
pub async fn answer_join(stranger: Stranger, inviter: &Inviter) -> Result<Peer, AnswerError> {
    let outcome = timeout(ANSWER_WITHIN, hear(&stranger, inviter)).await;
    let outcome = outcome.unwrap_or(Err(AnswerError::TimedOut));
    match &outcome {
        Ok(peer) => {
            info!(name = %peer.name, id = %peer.id, "paired: the caller is trusted now");
            stranger.close(Ending::Done);
        }
        Err(error) => {
            warn!(id = %stranger.id(), ip = %stranger.ip(), error = %chain(error), "not paired");
            stranger.close(Ending::Untrusted);
        }
    }
    outcome
}

async fn hear(stranger: &Stranger, inviter: &Inviter) -> Result<Peer, AnswerError> {
    let mut stream = stranger.stream().await?;
    stream.set_frame_bytes_max(JOIN_BYTES_MAX);
    let Opening::Join(request) = stream.receive().await? else {
        return Err(AnswerError::NotJoin);
    };
    let (id, ip) = (stranger.id(), stranger.ip());
    answer_request(&request, id, ip, &mut stream, inviter).await
}

/// Answers a join request that came from the proved key `id` at `ip`. A caller
/// that is pinned already is welcomed without a secret: its first answer was
/// lost on the way.
///
/// # Errors
/// When the caller is not pinned; it was told so.
pub async fn answer_request(
    request: &Join,
    id: NodeId,
    ip: IpAddr,
    stream: &mut Stream,
    inviter: &Inviter,
) -> Result<Peer, AnswerError> {
    let outcome = match inviter.trusted.find(&id) {
        Some(peer) => Ok(peer),
        None => inviter.pin(request, id, ip),
    };
    let answer = match &outcome {
        Ok(_) => JoinAnswer::Welcome {
            node: inviter.name.to_string(),
        },
        Err(_) => JoinAnswer::Refused,
    };
    // Paired or not, that stands: a joiner whose answer is lost asks again.
    if let Err(error) = tell(stream, &answer).await {
        debug!(%id, %error, "the answer to a join request may be lost");
    }
    outcome
}

async fn tell(stream: &mut Stream, answer: &JoinAnswer) -> Result<(), StreamError> {
    stream.send(answer).await?;
    stream.finish().await?;
    stream.delivered().await
}

impl Inviter {
    fn pin(&self, request: &Join, id: NodeId, ip: IpAddr) -> Result<Peer, AnswerError> {
        let peer = Peer {
            name: request.node.parse().map_err(|_| AnswerError::BadName)?,
            id,
            address: Address::of_host(ip, request.port).ok(),
        };
        // Before the secret is used up: a taken name is put right by the
        // operator, and the same token still works then.
        self.trusted.check_room_for(&peer)?;
        self.invitations.redeem(&request.secret)?;
        self.trusted.add(peer.clone())?;
        Ok(peer)
    }
}

/// The message and its causes, for one line of the log.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
