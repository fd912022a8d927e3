//! The numbers of the transport, each with its reason, and the quinn
//! configuration made of them.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    TransportConfig, ValidationTokenConfig, VarInt,
    congestion::CubicConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

/// Largest UDP payload looked for and accepted: twice as fast as 1452 where the
/// path carries it (loopback, jumbo frames). Never above 6553: ten segments of
/// one send would pass 64 KiB, which the kernel refuses silently.
const UDP_PAYLOAD_BYTES_MAX: u16 = 6500;
/// What one stream may have in flight. More is cut off on lossy paths: quinn
/// closes a connection with 1,024 gaps in one stream.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// What one peer may make this node buffer.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// What this node buffers for one peer until it is acknowledged.
const SEND_WINDOW_BYTES: u64 = 16 << 20;
/// What a caller may make this node buffer before its key is known to be
/// pinned: a join request fits many times.
const STRANGER_WINDOW_BYTES: u32 = 64 << 10;
/// Conversations at once on one connection: some trees, each with a generation,
/// fetches and an audit.
const STREAMS_MAX: u32 = 32;
/// A stranger has one thing to say. A peer, which is one until its key is known,
/// may ask some things along with its greeting.
const STRANGER_STREAMS_MAX: u32 = 8;
/// First flight: a usual generation goes out whole instead of stopping at the
/// default of 12 kB for a round trip.
const INITIAL_WINDOW_BYTES: u64 = 1_000_000;
/// Keeps middleboxes from forgetting the pair.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Three keep-alives lost in a row mean that the peer is gone.
const IDLE: Duration = Duration::from_secs(30);
/// Taken for the round trip of an address that never answered. A first packet
/// that was lost, or came before the peer listened, is repeated after three of
/// these; quinn's default makes that a second. A longer link only gets the
/// packet twice.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// TLS messages buffered in a handshake: a hello with a post-quantum share is
/// under 2 KiB.
const HANDSHAKE_BYTES_MAX: usize = 16 << 10;

/// Connection attempts that quinn keeps before the acceptor has looked at them.
const INCOMING_MAX: usize = 64;
/// Bytes kept of one such attempt: a client hello of two datagrams and some
/// retransmissions.
const INCOMING_BYTES_MAX: u64 = 32 << 10;
/// Bytes kept of all such attempts.
const INCOMING_BYTES_TOTAL_MAX: u64 = 1 << 20;

/// How long to wait for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For a caller to finish the handshake.
    pub handshake: Duration,
    /// For the next step of a transfer: the first byte of a message, then at
    /// least 4 KiB or the end of the message. A peer that is slower is cut.
    pub patience: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            patience: Duration::from_secs(30),
        }
    }
}

/// `secret` is the node's, the same in every run. A node that was killed comes
/// back can tell the peers of its old connections that nobody is there any more
/// (QUIC's stateless reset); otherwise they would find out after [`IDLE`].
pub(super) fn endpoint_config(secret: [u8; 32]) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config
        .cid_generator(|| Box::new(RandomIds))
        .max_udp_payload_size(UDP_PAYLOAD_BYTES_MAX)
        .expect("above the 1,200 bytes that QUIC needs");
    config
}

pub(super) fn client_config(tls: QuicClientConfig) -> quinn::ClientConfig {
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    // The server's key is verified before a stream can be opened.
    config.transport_config(Arc::new(transport(CONNECTION_WINDOW_BYTES, STREAMS_MAX)));
    config
}

pub(super) fn server_config(tls: QuicServerConfig) -> quinn::ServerConfig {
    let mut tokens = ValidationTokenConfig::default();
    // No tokens for later connections: whoever comes back may be asked to
    // prove its address again.
    tokens.sent(0);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport(
            STRANGER_WINDOW_BYTES,
            STRANGER_STREAMS_MAX,
        )))
        .validation_token_config(tokens)
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    config
}

/// Gives a caller whose key is pinned the room of a peer.
pub(super) fn widen(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_MAX));
}

/// Packets are not probed in finer steps: each probe is a packet of its size, and
/// most connections carry little.
const MTU_STEP_BYTES_MIN: u16 = 1_400;

fn transport(window_bytes: u32, streams_max: u32) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(UDP_PAYLOAD_BYTES_MAX);
    discovery.minimum_change(MTU_STEP_BYTES_MIN);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    let idle = IdleTimeout::try_from(IDLE).expect("30 s fit a QUIC integer");
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(window_bytes))
        .send_window(SEND_WINDOW_BYTES)
        .initial_rtt(FIRST_ROUND_TRIP)
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion))
        .crypto_buffer_size(HANDSHAKE_BYTES_MAX)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle));
    config
}

/// Connection ids of eight random bytes. quinn's own are marked with a key of
/// the process, and it answers no packet of the process before; answers to
/// packets that belong to nothing are limited to 50 a second anyway.
struct RandomIds;

impl RandomIds {
    const LENGTH: usize = 8;
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; Self::LENGTH];
        aws_lc_rs::rand::fill(&mut id).expect("the generator is seeded since the key was made");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        Self::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
