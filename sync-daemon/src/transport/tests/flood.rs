//! Callers that mean no good, in numbers.

use std::time::Duration;

use tokio::net::UdpSocket;

use crate::transport::{
    settings,
    testing::{DEADLINE, Pair, accept_peer},
    tls,
};

/// Datagrams of nonsense, in shapes that look like QUIC and shapes that do not.
const GARBAGE: usize = 4_000;
/// Handshakes begun and not gone on with.
const BEGUN: usize = 300;

#[tokio::test]
async fn garbage_and_half_open_handshakes_leave_room_for_an_honest_peer() {
    let pair = Pair::new();
    let mut hellos = Vec::new();
    for _ in 0..BEGUN {
        hellos.push(Caller::new(&pair).await.hello().await);
    }
    survives_flood(&pair, &hellos).await;
}

#[tokio::test]
async fn callers_that_hang_up_at_once_leave_room_for_an_honest_peer() {
    let pair = Pair::new();
    let mut farewells = Vec::new();
    for _ in 0..BEGUN {
        farewells.push(Caller::new(&pair).await.farewell().await);
    }
    survives_flood(&pair, &farewells).await;
}

/// Garbage and begun handshakes in turn, then an honest peer.
async fn survives_flood(pair: &Pair, begun: &[Vec<u8>]) {
    let target = pair.other_endpoint.local_address();
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let quinn = pair.other_endpoint.quinn();
    let mut most_open = 0;
    for number in 0..GARBAGE {
        attacker.send_to(&garbage(number), target).await.unwrap();
        if let Some(packet) = begun.get(number) {
            attacker.send_to(packet, target).await.unwrap();
        }
        if number % 16 == 0 {
            tokio::task::yield_now().await;
            most_open = most_open.max(quinn.open_connections());
        }
    }
    // The attacker is answered, so its packets have been looked at.
    let mut answer = [0; 2048];
    attacker.recv_from(&mut answer).await.unwrap();

    let dial = tokio::time::timeout(DEADLINE, pair.connect());
    let (dialled, accepted) = tokio::join!(dial, accept_peer(&pair.other_endpoint));
    assert_eq!(accepted.peer(), pair.one.id());
    assert!(dialled.unwrap().is_ok());
    most_open = most_open.max(quinn.open_connections());
    assert!(most_open <= 65, "{most_open} connections were open");
}

/// A caller whose packets end up in a trap.
struct Caller {
    connecting: quinn::Connecting,
    trap: UdpSocket,
}

impl Caller {
    async fn new(pair: &Pair) -> Self {
        let trap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (tls, _) = tls::client(&pair.one.identity, pair.other.id());
        let config = settings::client_config(tls);
        let quinn = pair.one_endpoint.quinn();
        let calling = quinn.connect_with(config, trap.local_addr().unwrap(), tls::SERVER_NAME);
        Self {
            connecting: calling.unwrap(),
            trap,
        }
    }

    /// The start of its client hello.
    async fn hello(self) -> Vec<u8> {
        packet_in(&self.trap).await
    }

    /// The packet in which it says that it has lost interest.
    async fn farewell(self) -> Vec<u8> {
        // A hello with a post-quantum share takes two packets.
        packet_in(&self.trap).await;
        packet_in(&self.trap).await;
        drop(self.connecting);
        packet_in(&self.trap).await
    }
}

async fn packet_in(trap: &UdpSocket) -> Vec<u8> {
    let mut packet = vec![0; 2048];
    let (length, _) = trap.recv_from(&mut packet).await.unwrap();
    packet.truncate(length);
    packet
}

fn garbage(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; [1, 20, 21, 100, 1200, 1452][number % 6]];
    let seed = blake3::hash(&number.to_le_bytes());
    let mut noise = blake3::Hasher::new_keyed(seed.as_bytes()).finalize_xof();
    noise.fill(&mut bytes);
    if number.is_multiple_of(2) && bytes.len() > 20 {
        // A long header, version 1, connection identifiers of eight bytes.
        bytes[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
        bytes[14] = 8;
    }
    bytes
}

#[tokio::test]
async fn a_caller_that_stalls_in_its_handshake_is_dropped() {
    let handshake = Duration::from_millis(200);
    let pair = Pair::with(|setup| setup.deadlines.handshake = handshake);
    let hello = Caller::new(&pair).await.hello().await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let quinn = pair.other_endpoint.quinn();
    let target = pair.other_endpoint.local_address();
    attacker.send_to(&hello, target).await.unwrap();
    let mut answer = [0; 2048];
    attacker.recv_from(&mut answer).await.unwrap();
    assert_eq!(quinn.open_connections(), 1);
    let gone = tokio::time::timeout(DEADLINE, quinn.wait_idle()).await;
    assert!(gone.is_ok() && quinn.open_connections() == 0);
}
