//! The door: takes in callers, a bounded number at a time, each for a bounded
//! while, and hands on those whose key was proved.

use std::{net::IpAddr, sync::Arc, time::Duration};

use quinn::Incoming;
use thiserror::Error;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use super::{
    address::Address,
    connection::{Connection, Stream},
    frame::StreamError,
    loss::{Attempt, Ending, Loss},
    seats::{Guest, Seat, Seats},
    settings::{self, Deadlines},
    tls::{self, Invited},
};
use crate::{identity::NodeId, trust::Trusted};

/// Handshakes under way at once. At a deadline of 5 s this admits twelve
/// callers a second even when all of them stall.
const HANDSHAKES_MAX: usize = 64;
/// From this many on, a caller must first prove that it receives at the address
/// it sends from, which costs this node no memory. One caller too many costs an
/// honest peer one round trip.
const PROVEN_FROM: usize = 16;
/// Handshakes under way from one proven address: leaves room for the others.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;
/// How long a failed handshake keeps its place: quinn remembers a closed
/// connection for three probe timeouts, 3 s before a round trip was measured,
/// and callers that hang up at once must not fill the memory with those.
const FAILED_KEPT: Duration = Duration::from_secs(3);
/// Connections ready for the node to take.
pub(super) const READY_MAX: usize = 16;

/// A connection that somebody else dialled.
#[derive(Debug)]
pub enum Accepted {
    /// A peer whose key is pinned.
    Peer(Connection),
    /// Somebody with an unknown key, let in because an invitation is open.
    Stranger(Stranger),
}

/// A caller with an unknown key. It has one stream and 64 KiB of window; all
/// there is to do with it is [`answer_join`](crate::pairing::answer_join).
#[derive(Debug)]
pub struct Stranger(Connection);

impl Stranger {
    /// The key that the caller proved.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.peer()
    }

    /// Where it calls from.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.remote_address().ip()
    }

    /// Its only stream.
    pub(crate) async fn stream(&self) -> Result<Stream, StreamError> {
        Ok(self.0.accept_stream().await?)
    }

    pub(crate) fn close(&self, ending: Ending) {
        self.0.close(ending);
    }
}

/// What every handshake needs to know.
pub(super) struct Reception {
    pub(super) own: NodeId,
    pub(super) trusted: Trusted,
    pub(super) invited: Invited,
    pub(super) deadlines: Deadlines,
    pub(super) ready: mpsc::Sender<Accepted>,
    pub(super) seats: Seats,
}

/// Takes in callers until the endpoint closes.
pub(super) async fn run(endpoint: quinn::Endpoint, reception: Reception) {
    let mut acceptor = Acceptor {
        reception: Arc::new(reception),
        handshakes: JoinSet::new(),
        proven: Vec::new(),
    };
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => acceptor.admit(incoming),
                None => break,
            },
            // A handshake that panicked is over like any other.
            Some(_) = acceptor.handshakes.join_next() => {}
        }
    }
}

struct Acceptor {
    reception: Arc<Reception>,
    handshakes: JoinSet<()>,
    /// Proven addresses of handshakes under way, one token each: the task has
    /// the other half, so that a token that is alone is over.
    proven: Vec<(IpAddr, Arc<()>)>,
}

impl Acceptor {
    fn admit(&mut self, incoming: Incoming) {
        let ip = incoming.remote_address().ip();
        let proven = incoming.remote_address_validated();
        let busy = self.handshakes.len();
        if !proven && busy >= PROVEN_FROM {
            // Fails for nobody: an address that is not proven may be asked to.
            drop(incoming.retry());
        } else if busy >= HANDSHAKES_MAX || (proven && !self.has_room(ip)) {
            // No answer: an honest caller tries again by itself.
            incoming.ignore();
        } else {
            let token = Arc::new(());
            if proven {
                self.proven.push((ip, Arc::clone(&token)));
            }
            self.handshakes
                .spawn(receive(incoming, Arc::clone(&self.reception), token));
        }
    }

    fn has_room(&mut self, ip: IpAddr) -> bool {
        self.proven
            .retain(|(_, token)| Arc::strong_count(token) > 1);
        let same = self.proven.iter().filter(|(other, _)| *other == ip);
        same.count() < HANDSHAKES_PER_ADDRESS_MAX
    }
}

/// Sees one caller through its handshake and hands it on.
async fn receive(incoming: Incoming, reception: Arc<Reception>, _token: Arc<()>) {
    let from = incoming.remote_address();
    let deadline = reception.deadlines.handshake;
    let outcome = timeout(deadline, reception.welcome(incoming)).await;
    let outcome = outcome.unwrap_or(Err(Rejection::TooSlow));
    if let Err(rejection) = outcome {
        debug!(%from, reason = %rejection, "caller not let in");
        sleep(FAILED_KEPT).await;
    }
}

/// Why a caller was not let in.
#[derive(Debug, Error)]
enum Rejection {
    #[error("its handshake took too long")]
    TooSlow,
    #[error("{0}")]
    Handshake(Loss),
    #[error("it cannot be told who or where it is")]
    Nameless,
    #[error("its key was unpinned during the handshake")]
    Unpinned,
    #[error("it has too many connections")]
    NoSeat,
    #[error("this node is stopping")]
    Stopping,
}

impl Reception {
    async fn welcome(&self, incoming: Incoming) -> Result<(), Rejection> {
        let connection = incoming
            .await
            .map_err(|error| Rejection::Handshake(error.into()))?;
        let accepted = self.place(connection)?;
        let handed_on = self.ready.send(accepted).await;
        handed_on.map_err(|_| Rejection::Stopping)
    }

    /// Decides what the caller is, now that its key is proved.
    fn place(&self, quinn: quinn::Connection) -> Result<Accepted, Rejection> {
        let from = quinn.remote_address();
        let address = Address::of_host(from.ip(), from.port()).map_err(|_| Rejection::Nameless)?;
        let attempt = Attempt {
            address,
            own: self.own,
            expected: tls::peer_of(&quinn).ok_or(Rejection::Nameless)?,
        };
        let id = attempt.expected;
        if self.trusted.trusts(&id) {
            let seat = self.seat(Guest::Peer(id), &quinn)?;
            settings::widen(&quinn);
            let trusted = Some(&self.trusted);
            let connection = Connection::new(quinn, attempt, self.deadlines, trusted, Some(seat));
            Ok(Accepted::Peer(connection))
        } else if (self.invited)() {
            let seat = self.seat(Guest::Stranger, &quinn)?;
            info!(%from, %id, "a caller without a pinned key is let in to redeem an invitation");
            let connection = Connection::new(quinn, attempt, self.deadlines, None, Some(seat));
            Ok(Accepted::Stranger(Stranger(connection)))
        } else {
            quinn.close(Ending::Untrusted.code(), &[]);
            Err(Rejection::Unpinned)
        }
    }

    fn seat(&self, guest: Guest, quinn: &quinn::Connection) -> Result<Seat, Rejection> {
        self.seats.take(guest).ok_or_else(|| {
            quinn.close(Ending::Busy.code(), &[]);
            Rejection::NoSeat
        })
    }
}
