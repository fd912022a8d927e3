//! The UDP socket of a node: listens, dials, and closes in order.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::TokioRuntime;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tracing::warn;

use super::{
    acceptor::{self, Accepted, READY_MAX, Reception},
    address::Address,
    connection::Connection,
    loss::{Attempt, ConnectError, Distrust, Ending, Loss},
    seats::Seats,
    settings::{self, Deadlines},
    tls::{self, Invited},
};
use crate::{
    failure::{Failure, FailureKind},
    identity::{Identity, NodeId},
    trust::Trusted,
};

/// What the kernel is asked to buffer each way: with less it drops packets that
/// the peer's window allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Addresses of one host tried in turn, each for its part of the deadline.
const ADDRESSES_TRIED_MAX: usize = 4;
/// Turns that a closing endpoint gives the drivers of its connections: one to
/// hear of it, one to send, and some to spare.
const LAST_TURNS: usize = 8;

/// What an endpoint is made of.
pub struct Setup {
    /// Where to listen; none for a node that only dials.
    pub listen: Option<SocketAddr>,
    /// The node's key.
    pub identity: Identity,
    /// Who may connect, and be dialled.
    pub trusted: Trusted,
    /// Whether callers without a pinned key are let in now, to redeem an
    /// invitation.
    pub invited: Arc<dyn Fn() -> bool + Send + Sync>,
    /// How long to wait for peers.
    pub deadlines: Deadlines,
}

impl Setup {
    /// Dials only, with the usual deadlines.
    #[must_use]
    pub fn new(identity: Identity, trusted: Trusted) -> Self {
        Self {
            listen: None,
            identity,
            trusted,
            invited: Arc::new(|| false),
            deadlines: Deadlines::default(),
        }
    }

    /// Listens on `address` too.
    #[must_use]
    pub fn listening(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Lets strangers in while `invited` says so.
    #[must_use]
    pub fn inviting(mut self, invited: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.invited = Arc::new(invited) as Invited;
        self
    }
}

/// Why a node has no socket.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("cannot listen on UDP {address}: another program does")]
    InUse {
        /// The address wanted.
        address: SocketAddr,
    },
    /// The address is none of this machine's.
    #[error("cannot listen on UDP {address}: this machine has no such address")]
    NotLocal {
        /// The address wanted.
        address: SocketAddr,
    },
    /// A port below 1024, or a security policy.
    #[error("cannot listen on UDP {address}: this user may not")]
    Forbidden {
        /// The address wanted.
        address: SocketAddr,
    },
    /// Something else.
    #[error("cannot open a UDP socket on {address}")]
    Io {
        /// The address wanted.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let hint = match &error {
            BindError::InUse { .. } => {
                "stop the other program (another `apim-sync daemon`?) or change `listen` in [node]"
            }
            BindError::NotLocal { .. } => {
                "change `listen` in [node]; 0.0.0.0 means every address of the machine"
            }
            BindError::Forbidden { .. } => {
                "change `listen` in [node] to a port from 1024 on; 7420 is usual"
            }
            BindError::Io { .. } => "run `apim-sync doctor`",
        };
        let kind = match &error {
            BindError::NotLocal { .. } | BindError::Forbidden { .. } => FailureKind::Usage,
            BindError::InUse { .. } | BindError::Io { .. } => FailureKind::Failed,
        };
        Self::caused_by(kind, "opening the node's socket", &error).hint(hint)
    }
}

/// What the kernel granted of the socket buffers asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Bytes asked for, each way.
    pub wanted_bytes: usize,
    /// Bytes it buffers of what comes in.
    pub receive_bytes: usize,
    /// Bytes it buffers of what goes out.
    pub send_bytes: usize,
}

impl SocketBuffers {
    /// Whether everything asked for was granted.
    #[must_use]
    pub fn suffice(&self) -> bool {
        self.receive_bytes.min(self.send_bytes) >= self.wanted_bytes
    }
}

/// A node's socket. It closes when dropped, [`Endpoint::close`] does it in order.
pub struct Endpoint {
    quinn: quinn::Endpoint,
    identity: Identity,
    trusted: Trusted,
    deadlines: Deadlines,
    buffers: SocketBuffers,
    local: SocketAddr,
    ready: Mutex<mpsc::Receiver<Accepted>>,
}

impl Endpoint {
    /// Opens the socket and starts to take in callers. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(setup: Setup) -> Result<Self, BindError> {
        let failed = failed(setup.listen.unwrap_or(ANY_V4));
        let socket = open_socket(setup.listen)?;
        let buffers = enlarge_buffers(&socket);
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr().map_err(&failed)?;
        let server = setup.listen.map(|_| server_config(&setup));
        let config = settings::endpoint_config(setup.identity.reset_secret());
        let runtime = Arc::new(TokioRuntime);
        let quinn = quinn::Endpoint::new(config, server, socket, runtime).map_err(failed)?;
        Ok(Self {
            ready: Mutex::new(receive_callers(&quinn, &setup)),
            quinn,
            identity: setup.identity,
            trusted: setup.trusted,
            deadlines: setup.deadlines,
            buffers,
            local,
        })
    }

    /// The address it listens on, with the port that port 0 became.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted.
    #[must_use]
    pub fn buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// The next caller; `None` once the endpoint is closed or when it only dials.
    pub async fn accept(&self) -> Option<Accepted> {
        self.ready.lock().await.recv().await
    }

    /// Dials `address` and makes sure that the node there has the key
    /// `expected`, which must be pinned here. Whether that node trusts this one
    /// shows in [`Connection::open_hello`].
    ///
    /// # Errors
    /// When the key is not pinned, nobody answers within `deadline`, or somebody
    /// else answers.
    pub async fn connect(
        &self,
        address: &Address,
        expected: NodeId,
        deadline: Duration,
    ) -> Result<Connection, ConnectError> {
        let attempt = self.attempt(address, expected);
        if !self.trusted.trusts(&expected) {
            return Err(attempt.untrusted(Distrust::NotPinned { id: expected }));
        }
        let quinn = self.dial(&attempt, deadline).await?;
        let trusted = Some(&self.trusted);
        Ok(Connection::new(
            quinn,
            attempt,
            self.deadlines,
            trusted,
            None,
        ))
    }

    /// Dials a node whose key is known from an invitation and not pinned yet.
    pub(crate) async fn connect_to_inviter(
        &self,
        address: &Address,
        inviter: NodeId,
        deadline: Duration,
    ) -> Result<Connection, ConnectError> {
        let attempt = self.attempt(address, inviter);
        let quinn = self.dial(&attempt, deadline).await?;
        Ok(Connection::new(quinn, attempt, self.deadlines, None, None))
    }

    /// Tells every peer that this node stops. The packet that says so is sent
    /// once: a peer that misses it finds the silence out by itself.
    ///
    /// quinn would wait three probe timeouts more, to say it again to whoever
    /// still sends: 75 ms on a local network, a third of a second on a long one,
    /// at the end of every command.
    pub async fn close(&self) {
        self.quinn.close(Ending::Stopping.code(), &[]);
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// For tests that speak beside the protocol.
    #[cfg(test)]
    pub(super) fn quinn(&self) -> &quinn::Endpoint {
        &self.quinn
    }

    fn attempt(&self, address: &Address, expected: NodeId) -> Attempt {
        Attempt {
            address: address.clone(),
            own: self.identity.id(),
            expected,
        }
    }

    async fn dial(
        &self,
        attempt: &Attempt,
        deadline: Duration,
    ) -> Result<quinn::Connection, ConnectError> {
        let end = Instant::now() + deadline;
        let found = self.resolve(attempt, end).await?;
        let mut outcome = Err(attempt.unreachable("no address to try"));
        for (tried, address) in found.iter().enumerate() {
            let remaining = end.saturating_duration_since(Instant::now());
            let parts = u32::try_from(found.len() - tried).unwrap_or(1);
            outcome = self.dial_one(attempt, *address, remaining / parts).await;
            // Another address of the same host helps only where nobody answers.
            if !matches!(outcome, Err(ConnectError::Unreachable { .. })) {
                break;
            }
        }
        outcome
    }

    async fn resolve(
        &self,
        attempt: &Attempt,
        end: Instant,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut found = match timeout_at(end, attempt.address.resolve()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(attempt.unreachable(format!("its name cannot be resolved ({error})")));
            }
            Err(_) => return Err(attempt.unreachable("its name is not resolved in time")),
        };
        if self.local.is_ipv4() {
            found.retain(SocketAddr::is_ipv4);
        }
        found.truncate(ADDRESSES_TRIED_MAX);
        if found.is_empty() {
            return Err(ConnectError::Address {
                address: attempt.address.clone(),
                reason: "it has IPv6 addresses only and this node listens on IPv4".into(),
            });
        }
        Ok(found)
    }

    async fn dial_one(
        &self,
        attempt: &Attempt,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<quinn::Connection, ConnectError> {
        let (tls, showed) = tls::client(&self.identity, attempt.expected);
        let config = settings::client_config(tls);
        let connecting = self
            .quinn
            .connect_with(config, address, tls::SERVER_NAME)
            .map_err(|error| ConnectError::Address {
                address: attempt.address.clone(),
                reason: error.to_string(),
            })?;
        match timeout(deadline, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(attempt.failed(&Loss::from(error), showed.id())),
            Err(_) => Err(attempt.unreachable(format!(
                "no answer from {address} within {:.1} s",
                deadline.as_secs_f32()
            ))),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The acceptor has a handle too and ends with this.
        self.quinn.close(Ending::Stopping.code(), &[]);
    }
}

fn server_config(setup: &Setup) -> quinn::ServerConfig {
    let (trusted, invited) = (setup.trusted.clone(), Arc::clone(&setup.invited));
    settings::server_config(tls::server(&setup.identity, trusted, invited))
}

/// Where callers come out, one by one; nowhere for an endpoint that only dials.
fn receive_callers(quinn: &quinn::Endpoint, setup: &Setup) -> mpsc::Receiver<Accepted> {
    let (sender, ready) = mpsc::channel(READY_MAX);
    if setup.listen.is_some() {
        let reception = Reception {
            own: setup.identity.id(),
            trusted: setup.trusted.clone(),
            invited: Arc::clone(&setup.invited),
            deadlines: setup.deadlines,
            ready: sender,
            seats: Seats::default(),
        };
        tokio::spawn(acceptor::run(quinn.clone(), reception));
    }
    ready
}

const ANY_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const ANY_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// A socket that only dials speaks both IP versions where the machine does.
fn open_socket(listen: Option<SocketAddr>) -> Result<Socket, BindError> {
    match listen {
        Some(address) => bind_socket(address).map_err(failed(address)),
        None => bind_socket(ANY_V6)
            .or_else(|_| bind_socket(ANY_V4))
            .map_err(failed(ANY_V4)),
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Best effort: a refused buffer costs speed, not correctness.
fn enlarge_buffers(socket: &Socket) -> SocketBuffers {
    let asked = [
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES),
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES),
    ];
    // The kernel reports twice what it grants, to count its own bookkeeping.
    let buffers = SocketBuffers {
        wanted_bytes: SOCKET_BUFFER_BYTES,
        receive_bytes: socket.recv_buffer_size().unwrap_or(0) / 2,
        send_bytes: socket.send_buffer_size().unwrap_or(0) / 2,
    };
    if asked.iter().any(Result::is_err) || !buffers.suffice() {
        warn!(
            receive_bytes = buffers.receive_bytes,
            send_bytes = buffers.send_bytes,
            "small UDP buffers make large transfers slow; run \
             `sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES} \
             net.core.wmem_max={SOCKET_BUFFER_BYTES}`"
        );
    }
    buffers
}

fn failed(address: SocketAddr) -> impl Fn(io::Error) -> BindError {
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
        io::ErrorKind::PermissionDenied => BindError::Forbidden { address },
        _ => BindError::Io { address, source },
    }
}
