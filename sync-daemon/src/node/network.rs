//! Who calls whom: accepting callers, dialling peers, taking up changed trust.
//!
//! The active dials its passives and keeps at it; a passive only listens. One
//! session a peer: a newer connection takes the place of an older one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, warn};

use super::{
    NodeMode, Shared,
    audit::Looks,
    error::SessionError,
    fencing::Greeting,
    peers::{Link, Peer},
    session,
};
use crate::{
    audit_log::Said,
    config::Config,
    failure::{Failure, FailureKind},
    identity::NodeId,
    pairing,
    transport::{Accepted, Address, ConnectError, Connection, Ending},
    trust,
};

/// How long one attempt to connect may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// The first wait after a failed attempt; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait: what a passive's return costs at most.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// A session that lasted so long starts the backoff anew.
const STEADY: Duration = Duration::from_secs(10);
/// Accepted connections that have not greeted yet.
const GREETING_MAX: usize = 32;

/// Begins to talk to peers.
pub(super) fn start(shared: &Arc<Shared>, mode: NodeMode, tasks: &mut JoinSet<()>) {
    take_up_peers(shared);
    if mode == NodeMode::Daemon {
        tasks.spawn(accept(Arc::clone(shared)));
    }
    if shared.leads() {
        tasks.spawn(dial_all(Arc::clone(shared)));
    }
}

/// Reads trust and configuration again.
pub(super) fn reload(shared: &Shared) -> Result<(), Failure> {
    let configured = match &shared.config_file {
        Some(file) => {
            let config = Config::load(file).map_err(|error| {
                Failure::caused_by(FailureKind::Usage, "reloading the configuration", &error)
            })?;
            config.peers
        }
        None => shared.config.peers.clone(),
    };
    let before = shared.trusted_ids();
    let reloaded = shared.trusted.reload(configured);
    reloaded.map_err(|error| {
        Failure::caused_by(FailureKind::Usage, "reloading the trusted peers", &error)
    })?;
    let invitations = shared.inviter.invitations.reload();
    invitations.map_err(|error| {
        Failure::caused_by(FailureKind::Failed, "reloading the invitations", &error)
    })?;
    audit_trust(shared, &before);
    take_up_peers(shared);
    shared.dial_now.notify_waiters();
    Ok(())
}

/// Puts into the audit log whom this node trusts now, and no longer.
fn audit_trust(shared: &Shared, before: &[String]) {
    let now = shared.trusted_ids();
    let other = |ids: &[String], than: &[String]| -> Vec<String> {
        let others = ids.iter().filter(|id| !than.contains(id));
        others.cloned().collect()
    };
    let (added, removed) = (other(&now, before), other(before, &now));
    if !added.is_empty() || !removed.is_empty() {
        shared.audit.say_and_sync(Said::Trust { added, removed });
    }
}

impl Shared {
    /// Ids of all trusted peers.
    pub(super) fn trusted_ids(&self) -> Vec<String> {
        let peers = self.trusted.peers().into_iter();
        peers.map(|peer| peer.id.to_string()).collect()
    }
}

/// Makes the known peers those that are trusted.
fn take_up_peers(shared: &Shared) {
    let trusted = shared.trusted.peers();
    shared.peers.edit(|peers| {
        peers.retain(|id, _| trusted.iter().any(|peer| peer.id == *id));
        for peer in trusted {
            let known = peers
                .entry(peer.id)
                .or_insert_with(|| Peer::new(shared.active.keys()));
            known.name = peer.name.as_str().to_owned();
            known.address = peer.address;
        }
    });
}

async fn accept(shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let greeting = Arc::new(Semaphore::new(GREETING_MAX));
    loop {
        tokio::select! {
            accepted = shared.endpoint.accept() => match accepted {
                Some(Accepted::Peer(connection)) => match Arc::clone(&greeting).try_acquire_owned() {
                    Ok(seat) => {
                        sessions.spawn(answer(Arc::clone(&shared), connection, seat));
                    }
                    Err(_) => connection.close(Ending::Busy),
                },
                Some(Accepted::Stranger(stranger)) => {
                    let shared = Arc::clone(&shared);
                    sessions.spawn(async move { join(&shared, stranger).await });
                }
                None => return,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    connection: Connection,
    seat: tokio::sync::OwnedSemaphorePermit,
) {
    let peer = connection.peer();
    take_up_if_new(&shared, peer);
    let greeted = session::answer_greeting(&shared, &connection).await;
    drop(seat);
    match greeted {
        Ok(theirs) => {
            session::run(&shared, peer, connection, theirs, Looks::new()).await;
        }
        Err(error) => {
            warn!(peer = %shared.peer_name(&peer), "refused a connection: {error}");
            connection.close(ending(&error));
        }
    }
}

/// A key may have been pinned since the peers were last read.
fn take_up_if_new(shared: &Shared, peer: NodeId) {
    if shared.peers.peer(&peer).is_none() {
        take_up_peers(shared);
    }
}

pub(super) fn ending(error: &SessionError) -> Ending {
    if error.is_breach() {
        Ending::Protocol
    } else {
        Ending::Done
    }
}

async fn join(shared: &Shared, stranger: crate::transport::Stranger) {
    // What went wrong was told where it was found.
    if pairing::answer_join(stranger, &shared.inviter)
        .await
        .is_ok()
    {
        take_up_peers(shared);
        shared.dial_now.notify_waiters();
    }
}

/// Keeps one dialling task a peer that has an address.
async fn dial_all(shared: Arc<Shared>) {
    let mut changes = shared.trusted.subscribe();
    let mut diallers: JoinSet<()> = JoinSet::new();
    let mut dialled: Vec<(trust::Peer, AbortHandle)> = Vec::new();
    loop {
        let trusted = shared.trusted.peers();
        dialled.retain(|(peer, task)| {
            let keep = trusted.contains(peer);
            if !keep {
                task.abort();
            }
            keep
        });
        for peer in trusted {
            let known = dialled.iter().any(|(held, _)| *held == peer);
            if let (false, Some(address)) = (known, peer.address.clone()) {
                let task = diallers.spawn(dial(Arc::clone(&shared), peer.id, address));
                dialled.push((peer, task));
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(_) = diallers.join_next() => {}
        }
    }
}

/// Keeps a session with one peer.
async fn dial(shared: Arc<Shared>, peer: NodeId, address: Address) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let begun = tokio::time::Instant::now();
        let mut looks = Looks::new();
        let look = |connection: &Connection| looks = shared.looks_ahead(connection);
        match connect(&shared, peer, &address, look).await {
            Ok((connection, theirs)) => {
                session::run(&shared, peer, connection, theirs, looks).await;
            }
            Err(error) => {
                note_failed(&shared, peer, &address, &error);
                if begun.elapsed() < STEADY {
                    debug!("trying again in {backoff:?}");
                }
            }
        }
        if begun.elapsed() >= STEADY {
            backoff = BACKOFF_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = shared.dial_now.notified() => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Dials and greets; `meanwhile` is what to ask along with that.
pub(super) async fn connect(
    shared: &Shared,
    peer: NodeId,
    address: &Address,
    meanwhile: impl FnOnce(&Connection),
) -> Result<(Connection, Greeting), SessionError> {
    let connection = shared
        .endpoint
        .connect(address, peer, CONNECT_DEADLINE)
        .await?;
    match session::greet(shared, &connection, meanwhile).await {
        Ok(theirs) => Ok((connection, theirs)),
        Err(error) => {
            connection.close(ending(&error));
            Err(error)
        }
    }
}

fn note_failed(shared: &Shared, peer: NodeId, address: &Address, error: &SessionError) {
    let name = shared.peer_name(&peer);
    let failure = error.failure(&format!("connecting to `{name}` at {address}"));
    let refused = matches!(
        error,
        SessionError::Refused(_)
            | SessionError::Connect(ConnectError::Untrusted { .. } | ConnectError::Protocol { .. })
    );
    shared.peers.update(&peer, |known| {
        if known.attempts == 0 || !known.is_down() {
            warn!("{failure}");
        }
        known.attempts += 1;
        known.link = if refused {
            Link::Refused(failure)
        } else {
            Link::Unreachable(failure)
        };
    });
}
