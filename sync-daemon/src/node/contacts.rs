//! The peers as they are at this moment: asked again, not remembered.

use std::{sync::Arc, time::Duration};

use sync_core::wire::View;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Shared,
    audit::{self, Looks},
    error::SessionError,
    fencing::Greeting,
    network,
    peers::Peer,
    session,
};
use crate::{
    failure::{Failure, FailureKind},
    identity::NodeId,
    transport::{Connection, Ending},
};

/// How long an active may take to hear that its time is over.
const FENCE_WITHIN: Duration = Duration::from_secs(15);
/// How long a live peer may take to answer from memory.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether it has heard.
const FENCE_RETRY: Duration = Duration::from_millis(200);

/// A peer that was asked what it is.
pub(super) struct Contact {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) answer: Result<(Connection, Greeting), Failure>,
}

impl Contact {
    /// What the peer said of itself.
    pub(super) fn greeting(&self) -> Option<&Greeting> {
        self.answer.as_ref().ok().map(|(_, greeting)| greeting)
    }
}

/// Every trusted peer, asked at the same time, and the sessions with those that
/// had none yet; these end when `sessions` is dropped.
pub(super) struct Contacts {
    pub(super) peers: Vec<Contact>,
    sessions: JoinSet<()>,
}

impl Contacts {
    /// Asks every peer what it is.
    pub(super) async fn ask(shared: &Arc<Shared>) -> Self {
        let mut asking = JoinSet::new();
        for (id, peer) in shared.peers.snapshot() {
            let shared = Arc::clone(shared);
            asking.spawn(async move {
                let answer = ask(&shared, id, &peer).await;
                (id, peer.name, answer)
            });
        }
        let mut contacts = Self {
            peers: Vec::new(),
            sessions: JoinSet::new(),
        };
        while let Some(asked) = asking.join_next().await {
            let Ok((id, name, answer)) = asked else {
                continue; // a panic, told in the log
            };
            let answer = answer.map(|(connection, greeting, new)| {
                if new {
                    contacts.keep(shared, id, connection.clone(), greeting.clone());
                }
                (connection, greeting)
            });
            contacts.peers.push(Contact { id, name, answer });
        }
        contacts
            .peers
            .sort_by(|one, other| one.name.cmp(&other.name));
        contacts
    }

    /// Takes what the peer sends over a connection of this request.
    fn keep(
        &mut self,
        shared: &Arc<Shared>,
        id: NodeId,
        connection: Connection,
        greeting: Greeting,
    ) {
        let shared = Arc::clone(shared);
        self.sessions.spawn(async move {
            session::run(&shared, id, connection, greeting, Looks::new()).await;
        });
    }
}

/// The peer's greeting, and whether it is of a new connection.
async fn ask(
    shared: &Shared,
    id: NodeId,
    peer: &Peer,
) -> Result<(Connection, Greeting, bool), Failure> {
    let doing = format!("asking `{}`", peer.name);
    if let (Some(connection), Some(greeting)) = (peer.connection(), &peer.greeting) {
        if is_alive(shared, connection).await {
            return Ok((connection.clone(), greeting.clone(), false));
        }
        connection.close(Ending::Done);
    }
    let Some(address) = &peer.address else {
        let message = format!("{doing}: it is not connected, and its address is not known here");
        return Err(
            Failure::new(FailureKind::Unreachable, message).hint(format!(
                "`apim-sync trust add {} --id {id} --address HOST:PORT`",
                peer.name
            )),
        );
    };
    let connected = network::connect(shared, id, address, |_| ()).await;
    let (connection, greeting) = connected.map_err(|error| error.failure(&doing))?;
    Ok((connection, greeting, true))
}

/// Whether the peer answers what it knows by heart: the connection with a dead
/// one looks alive for a while.
async fn is_alive(shared: &Shared, connection: &Connection) -> bool {
    let Some(tree) = shared.config.trees.first() else {
        return true;
    };
    let asked = audit::open(connection, &tree.name, View::Agreed, |_, _| {});
    let answer = timeout(ALIVE_WITHIN, asked).await;
    matches!(answer, Ok(Ok(_) | Err(SessionError::Refused(_))))
}

/// Lets an active hear of this node's lineage until it has turned passive.
/// Returns `false` where it cannot be reached to tell.
pub(super) async fn fence_by_greeting(
    shared: &Arc<Shared>,
    id: NodeId,
) -> Result<bool, SessionError> {
    let deadline = Instant::now() + FENCE_WITHIN;
    if let Some(connection) = shared.peers.peer(&id).as_ref().and_then(Peer::connection) {
        // A greeting of before says nothing.
        connection.close(Ending::Done);
    }
    loop {
        let Some(peer) = shared.peers.peer(&id) else {
            return Ok(false);
        };
        let greeted = match &peer.address {
            Some(address) => network::connect(shared, id, address, |_| ())
                .await
                .map(|(_, greeting)| greeting),
            None => match (peer.connection(), &peer.greeting) {
                (Some(connection), Some(greeting)) if connection.ended().is_none() => {
                    Ok(greeting.clone())
                }
                _ => Err(SessionError::protocol("it has not called again yet")),
            },
        };
        match greeted {
            Ok(greeting) if !greeting.leads() => return Ok(true),
            Err(SessionError::Connect(_)) => return Ok(false),
            _ if Instant::now() >= deadline => {
                return Err(SessionError::protocol("it stays active"));
            }
            _ => sleep(FENCE_RETRY).await,
        }
    }
}
