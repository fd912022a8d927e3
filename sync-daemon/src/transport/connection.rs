//! A connection to a peer whose key was proved, and the streams on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sync_core::{
    codec::{Decode, Encode},
    wire::{Claim, Hello, Opening, VERSION_OF_CLAIMS},
};
use tokio::{task::AbortHandle, time::timeout};

use super::{
    frame::{Heard, Receiver, Sender, StreamError},
    loss::{Attempt, ConnectError, Ending, Loss},
    seats::Seat,
    settings::Deadlines,
};
use crate::{identity::NodeId, trust::Trusted};

/// A live connection. Clones and streams share it; it closes when the last of
/// them is dropped, when the peer's key is unpinned, or by
/// [`Connection::close`].
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    quinn: quinn::Connection,
    deadlines: Deadlines,
    /// How it came about, to tell in errors.
    attempt: Attempt,
    guard: Option<Guard>,
    _seat: Option<Seat>,
}

/// What went over a connection so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// UDP payload bytes sent, everything included.
    pub sent_bytes: u64,
    /// UDP payload bytes received, everything included.
    pub received_bytes: u64,
    /// Packets taken for lost.
    pub lost_packets: u64,
    /// The smoothed round-trip time.
    pub round_trip: Duration,
    /// The UDP payload in use.
    pub mtu_bytes: u16,
}

impl Connection {
    /// A connection that this node accepted, with its place among the
    /// accepted, or dialled. It is cut when `trusted` no longer has the peer.
    pub(super) fn new(
        quinn: quinn::Connection,
        attempt: Attempt,
        deadlines: Deadlines,
        trusted: Option<&Trusted>,
        seat: Option<Seat>,
    ) -> Self {
        let peer = attempt.expected;
        Self(Arc::new(Inner {
            guard: trusted.map(|trusted| Guard::new(&quinn, peer, trusted)),
            quinn,
            deadlines,
            attempt,
            _seat: seat,
        }))
    }

    /// The peer's proved key.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.0.attempt.expected
    }

    /// Whether `other` is a clone of this one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Where the peer's packets come from.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        let address = self.0.quinn.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// What went over it so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let stats = self.0.quinn.stats();
        Traffic {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            round_trip: stats.path.rtt,
            mtu_bytes: stats.path.current_mtu,
        }
    }

    /// Starts a conversation. The peer learns of it with the first message.
    ///
    /// # Errors
    /// When the connection is lost, or the peer allows no further stream for a
    /// patience.
    pub async fn open(&self) -> Result<Stream, StreamError> {
        let patience = self.0.deadlines.patience;
        match timeout(patience, self.0.quinn.open_bi()).await {
            Ok(Ok((send, receive))) => Ok(self.stream(send, receive)),
            Ok(Err(error)) => Err(StreamError::Lost(self.explain(&error))),
            Err(_) => Err(StreamError::TimedOut { patience }),
        }
    }

    /// Waits for the next conversation that the peer starts.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_stream(&self) -> Result<Stream, Loss> {
        match self.0.quinn.accept_bi().await {
            Ok((send, receive)) => Ok(self.stream(send, receive)),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Greets the peer on the first stream of a dialled connection, and so
    /// learns whether the peer accepts this node: TLS 1.3 lets a dialler believe
    /// in a connection that the other side is about to refuse.
    ///
    /// # Errors
    /// As for dialling: the peer does not trust this node, fell silent, or
    /// speaks otherwise.
    pub async fn open_hello(
        &self,
        own: Hello,
        claim: &Claim,
    ) -> Result<(Hello, Option<Claim>), ConnectError> {
        let said = self.say_hello(own, claim).await?;
        self.hear_hello(said).await
    }

    /// The first half of [`Connection::open_hello`]: what is sent after it travels
    /// along with it.
    ///
    /// # Errors
    /// As there.
    pub async fn say_hello(&self, own: Hello, claim: &Claim) -> Result<Stream, ConnectError> {
        let said = async {
            let mut stream = self.open().await?;
            stream.feed(&Opening::Hello(own)).await?;
            // A node of the first version reads no further than the hello.
            stream.send(claim).await?;
            stream.finish().await?;
            Ok(stream)
        };
        said.await.map_err(|error| self.connect_error(error))
    }

    /// The second half: what the peer answers.
    ///
    /// # Errors
    /// As there.
    pub async fn hear_hello(&self, said: Stream) -> Result<(Hello, Option<Claim>), ConnectError> {
        let heard = Self::heard(said).await;
        heard.map_err(|error| self.connect_error(error))
    }

    async fn heard(mut stream: Stream) -> Result<(Hello, Option<Claim>), StreamError> {
        let theirs = stream.receive::<Hello>().await?;
        let claim = match theirs.version >= VERSION_OF_CLAIMS {
            true => Some(stream.receive().await?),
            false => None,
        };
        Ok((theirs, claim))
    }

    /// One message there, one back.
    pub(crate) async fn exchange<T: Decode<()>>(&self, opening: Opening) -> Result<T, StreamError> {
        let mut stream = self.open().await?;
        stream.send(&opening).await?;
        stream.finish().await?;
        stream.receive().await
    }

    /// What a failure on a dialled connection means for having dialled it.
    pub(crate) fn connect_error(&self, error: StreamError) -> ConnectError {
        let attempt = &self.0.attempt;
        match error {
            StreamError::Lost(loss) => attempt.failed(&loss, Some(self.peer())),
            StreamError::TimedOut { .. } => attempt.unreachable(error.to_string()),
            StreamError::Ended
            | StreamError::Cut
            | StreamError::Malformed(_)
            | StreamError::TooLarge { .. } => attempt.protocol(error.to_string()),
        }
    }

    /// Ends the connection and every conversation on it. What was sent and not
    /// acknowledged may be lost: see [`Sender::delivered`].
    pub fn close(&self, ending: Ending) {
        self.0.quinn.close(ending.code(), &[]);
    }

    /// Why the connection ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<Loss> {
        Some(self.explain(&self.0.quinn.close_reason()?))
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Loss {
        let error = self.0.quinn.closed().await;
        self.explain(&error)
    }

    /// For tests that speak beside the protocol.
    #[cfg(test)]
    pub(super) fn quinn(&self) -> &quinn::Connection {
        &self.0.quinn
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        self.0.deadlines
    }

    fn stream(&self, send: quinn::SendStream, receive: quinn::RecvStream) -> Stream {
        let heard = Heard::default();
        Stream {
            sender: Sender::new(send, self.clone(), heard.clone()),
            receiver: Receiver::new(receive, self.clone(), heard),
        }
    }

    fn explain(&self, error: &quinn::ConnectionError) -> Loss {
        self.refine(Loss::from(error))
    }

    /// Tells a connection closed for its peer's key from others closed here.
    pub(super) fn refine(&self, loss: Loss) -> Loss {
        match loss {
            Loss::ClosedHere if self.0.guard.as_ref().is_some_and(Guard::has_cut) => Loss::Revoked,
            loss => loss,
        }
    }
}

/// Closes the connection as soon as its peer is no longer trusted; ends when
/// dropped.
#[derive(Debug)]
struct Guard {
    task: AbortHandle,
    cut: Arc<AtomicBool>,
}

impl Guard {
    fn new(quinn: &quinn::Connection, peer: NodeId, trusted: &Trusted) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let watch = watch(quinn.clone(), peer, trusted.clone(), Arc::clone(&cut));
        Self {
            task: tokio::spawn(watch).abort_handle(),
            cut,
        }
    }

    fn has_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(quinn: quinn::Connection, peer: NodeId, trusted: Trusted, cut: Arc<AtomicBool>) {
    let mut changes = trusted.subscribe();
    while trusted.trusts(&peer) {
        tokio::select! {
            _ = quinn.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
    cut.store(true, Ordering::Release);
    quinn.close(Ending::Untrusted.code(), &[]);
}

/// A conversation: messages both ways, in order.
#[derive(Debug)]
pub struct Stream {
    sender: Sender,
    receiver: Receiver,
}

impl Stream {
    /// See [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send<T: Encode>(&mut self, message: &T) -> Result<(), StreamError> {
        self.sender.send(message).await
    }

    /// See [`Sender::send_with_payload`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_with_payload<T: Encode>(
        &mut self,
        message: &T,
        payload: Bytes,
    ) -> Result<(), StreamError> {
        self.sender.send_with_payload(message, payload).await
    }

    /// See [`Sender::feed`].
    ///
    /// # Errors
    /// As there.
    pub async fn feed<T: Encode>(&mut self, message: &T) -> Result<(), StreamError> {
        self.sender.feed(message).await
    }

    /// See [`Sender::flush`].
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.sender.flush().await
    }

    /// See [`Sender::finish`].
    ///
    /// # Errors
    /// As there.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.sender.finish().await
    }

    /// See [`Sender::delivered`].
    ///
    /// # Errors
    /// As there.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        self.sender.delivered().await
    }

    /// See [`Receiver::receive`].
    ///
    /// # Errors
    /// As there.
    pub async fn receive<T: Decode<()>>(&mut self) -> Result<T, StreamError> {
        self.receiver.receive().await
    }

    /// See [`Receiver::receive_with_payload`].
    ///
    /// # Errors
    /// As there.
    pub async fn receive_with_payload<T: Decode<()>>(&mut self) -> Result<(T, Bytes), StreamError> {
        self.receiver.receive_with_payload().await
    }

    /// See [`Receiver::next`].
    ///
    /// # Errors
    /// As there.
    pub async fn next<T: Decode<()>>(&mut self) -> Result<Option<T>, StreamError> {
        self.receiver.next().await
    }

    /// Waits at most `patience` for each step from now on, in both directions.
    pub fn set_patience(&mut self, patience: Duration) {
        self.sender.set_patience(patience);
        self.receiver.set_patience(patience);
    }

    /// See [`Sender::set_priority`].
    pub fn set_priority(&mut self, priority: i32) {
        self.sender.set_priority(priority);
    }

    /// See [`Receiver::set_frame_bytes_max`].
    pub fn set_frame_bytes_max(&mut self, bytes_max: usize) {
        self.receiver.set_frame_bytes_max(bytes_max);
    }

    /// Both halves, to be used by two tasks.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}
