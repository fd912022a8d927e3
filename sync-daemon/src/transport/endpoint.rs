//! The UDP socket of a node: listens, dials, and closes in order.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
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
    identity::{Identity, NodeId},
    trust::Trusted,
};

/// What the kernel is asked to buffer each way: with less it drops packets that
/// the peer's window allows.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Addresses of one host tried in turn, each for its part of the deadline.
const ADDRESSES_TRIED_MAX: usize = 4;
/// How long a closing endpoint waits for its last packets to go out.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

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
    #[error(
        "cannot listen on UDP {address}: another program does (perhaps another `apim-sync \
         daemon`); stop it or change `listen` in [node]"
    )]
    InUse {
        /// The address wanted.
        address: SocketAddr,
    },
    /// The address is none of this machine's.
    #[error(
        "cannot listen on UDP {address}: this machine has no such address; change `listen` in \
         [node], 0.0.0.0 means all addresses"
    )]
    NotLocal {
        /// The address wanted.
        address: SocketAddr,
    },
    /// Privileged port.
    #[error(
        "cannot listen on UDP {address}: ports below 1024 are for root; change `listen` in [node]"
    )]
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
    listen: SocketAddr,
    ready: Mutex<mpsc::Receiver<Accepted>>,
}

impl Endpoint {
    /// Opens the socket and starts to take in callers. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(setup: Setup) -> Result<Self, BindError> {
        let socket = open_socket(setup.listen)?;
        let buffers = enlarge_buffers(&socket);
        let (sender, ready) = mpsc::channel(READY_MAX);
        let server = setup.listen.map(|_| {
            let invited = Arc::clone(&setup.invited);
            let tls = tls::server(&setup.identity, setup.trusted.clone(), invited);
            settings::server_config(tls)
        });
        let failed = failed(setup.listen.unwrap_or(ANY_V4));
        let listen = socket.local_addr().and_then(|address| {
            address
                .as_socket()
                .ok_or_else(|| io::ErrorKind::Unsupported.into())
        });
        let listen = listen.map_err(&failed)?;
        let runtime = Arc::new(TokioRuntime);
        let quinn =
            quinn::Endpoint::new(settings::endpoint_config(), server, socket.into(), runtime)
                .map_err(failed)?;
        if setup.listen.is_some() {
            let reception = Reception {
                own: setup.identity.id(),
                trusted: setup.trusted.clone(),
                invited: setup.invited,
                deadlines: setup.deadlines,
                ready: sender,
                seats: Seats::default(),
            };
            tokio::spawn(acceptor::run(quinn.clone(), reception));
        }
        Ok(Self {
            quinn,
            identity: setup.identity,
            trusted: setup.trusted,
            deadlines: setup.deadlines,
            buffers,
            listen,
            ready: Mutex::new(ready),
        })
    }

    /// The address it listens on, with the port that port 0 became.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.listen
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

    /// Tells every peer that this node stops, and waits for the last packets.
    pub async fn close(&self) {
        self.quinn.close(Ending::Stopping.code(), &[]);
        if timeout(CLOSE_WAIT, self.quinn.wait_idle()).await.is_err() {
            warn!("closed before every peer was told: the network is slow or down");
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
        if self.listen.is_ipv4() {
            found.retain(SocketAddr::is_ipv4);
        }
        found.truncate(ADDRESSES_TRIED_MAX);
        if found.is_empty() {
            return Err(ConnectError::Address {
                address: attempt.address.clone(),
                reason: "it has IPv6 addresses only and this node's socket is IPv4; \
                         set `listen = \"[::]:PORT\"` in [node]"
                    .into(),
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

const ANY_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const ANY_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

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
