//! Who gets through the door.

use std::{sync::Arc, time::Duration};

use quinn::crypto::rustls::QuicClientConfig;
use sync_core::{
    Epoch,
    fence::Lineage,
    wire::{Claim, Hello, Opening, VERSION_OLDEST},
};

use crate::transport::{
    Accepted, Address, BindError, ConnectError, Distrust, Ending, Endpoint, Loss, Setup,
    StreamError, settings,
    testing::{DEADLINE, Pair, TestNode, accept_peer, address_of},
    tls,
};

fn hello(node: &str) -> Hello {
    Hello {
        version_oldest: VERSION_OLDEST,
        version: VERSION_OLDEST,
        node: node.into(),
        active: false,
        epoch: Epoch(1),
        trees: Vec::new(),
        refused: None,
    }
}

fn claim() -> Claim {
    Claim {
        lineage: Lineage::first(Epoch(1)),
        halted: false,
    }
}

/// Answers the hello on the first stream of the next connection.
async fn greet_one(endpoint: &Endpoint, name: &str) -> Opening {
    let connection = accept_peer(endpoint).await;
    let mut stream = connection.accept_stream().await.unwrap();
    let opening = stream.receive().await.unwrap();
    stream.send(&hello(name)).await.unwrap();
    stream.finish().await.unwrap();
    stream.delivered().await.unwrap();
    opening
}

fn distrust(error: ConnectError) -> Distrust {
    match error {
        ConnectError::Untrusted { distrust, .. } => distrust,
        other => panic!("not a matter of trust: {other}"),
    }
}

#[tokio::test]
async fn two_nodes_that_pinned_each_other_greet() {
    let pair = Pair::new();
    let dial = async {
        let connection = pair.connect().await.unwrap();
        let (answer, claim) = connection.open_hello(hello("one"), &claim()).await.unwrap();
        assert_eq!(claim, None, "the other speaks the first version");
        answer
    };
    let (answer, opening) = tokio::join!(dial, greet_one(&pair.other_endpoint, "other"));
    assert_eq!(answer, hello("other"));
    assert_eq!(opening, Opening::Hello(hello("one")));
}

#[tokio::test]
async fn each_end_knows_the_key_the_address_and_the_traffic_of_the_other() {
    let pair = Pair::new();
    let (dialled, accepted) = pair.connected().await;
    assert_eq!(dialled.peer(), pair.other.id());
    assert_eq!(accepted.peer(), pair.one.id());
    assert_eq!(accepted.remote_address(), pair.one_endpoint.local_address());
    assert_eq!(
        dialled.remote_address(),
        pair.other_endpoint.local_address()
    );
    assert!(accepted.traffic().received_bytes >= 1_200);
    assert!(dialled.traffic().sent_bytes >= 1_200);
}

#[tokio::test]
async fn a_node_that_only_dials_reaches_a_listener() {
    let (one, other) = (TestNode::new("one"), TestNode::new("other"));
    one.pin(&other);
    other.pin(&one);
    let dialler = Endpoint::bind(Setup::new(one.identity.clone(), one.trusted.clone())).unwrap();
    let listener = other.endpoint();
    let address = address_of(&listener);
    let dial = dialler.connect(&address, other.id(), DEADLINE);
    let (dialled, accepted) = tokio::join!(dial, accept_peer(&listener));
    assert_eq!(dialled.unwrap().peer(), other.id());
    assert!(accepted.remote_address().is_ipv4());
}

#[tokio::test]
async fn a_dial_that_begins_before_the_peer_listens_is_soon_repeated() {
    let (one, other) = (TestNode::new("one"), TestNode::new("other"));
    one.pin(&other);
    other.pin(&one);
    let dialler = Endpoint::bind(Setup::new(one.identity.clone(), one.trusted.clone())).unwrap();
    // Somebody who takes the first packets and says nothing.
    let mute = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local = mute.local_addr().unwrap();
    let comes_up = async {
        mute.recv(&mut [0; 2048]).await.unwrap();
        drop(mute);
        let mut setup = other.setup();
        setup.listen = Some(local);
        Endpoint::bind(setup).unwrap()
    };
    let address = local.to_string().parse().unwrap();
    let dial = dialler.connect(&address, other.id(), Duration::from_millis(900));
    let (dialled, listener) = tokio::join!(dial, comes_up);
    assert_eq!(dialled.unwrap().peer(), other.id());
    drop(listener);
}

#[tokio::test]
async fn a_stranger_is_refused_before_any_byte_of_it_is_processed() {
    let pair = Pair::new();
    let stranger = TestNode::new("stranger");
    stranger.pin(&pair.other);
    let endpoint = stranger.endpoint();
    let address = address_of(&pair.other_endpoint);

    let refused = async {
        let connection = endpoint
            .connect(&address, pair.other.id(), DEADLINE)
            .await?;
        connection.open_hello(hello("stranger"), &claim()).await
    };
    let error = refused.await.unwrap_err();
    let own = stranger.id();
    assert_eq!(distrust(error), Distrust::Refused { own });

    // What comes out of the door first is the honest peer after the stranger.
    let (dialled, accepted) = pair.connected().await;
    assert_eq!(accepted.peer(), pair.one.id());
    drop(dialled);
}

#[tokio::test]
async fn another_node_at_the_peers_address_is_an_impostor() {
    let pair = Pair::new();
    let third = TestNode::new("third");
    pair.one.pin(&third);
    let address = address_of(&pair.other_endpoint);
    let error = pair
        .one_endpoint
        .connect(&address, third.id(), DEADLINE)
        .await
        .unwrap_err();
    let (expected, found) = (third.id(), pair.other.id());
    assert_eq!(distrust(error), Distrust::Impostor { expected, found });
}

#[tokio::test]
async fn a_key_that_is_not_pinned_is_not_dialled() {
    let pair = Pair::new();
    pair.one.trusted.remove(&pair.other.name).unwrap();
    let error = pair.connect().await.unwrap_err();
    let id = pair.other.id();
    assert_eq!(distrust(error), Distrust::NotPinned { id });
}

#[tokio::test]
async fn unpinning_a_key_cuts_its_live_connections_at_both_ends() {
    let pair = Pair::new();
    let (dialled, accepted) = pair.connected().await;
    let mut stream = dialled.open().await.unwrap();
    stream.send(&1_u8).await.unwrap();
    let mut answering = accepted.accept_stream().await.unwrap();
    assert_eq!(answering.receive::<u8>().await, Ok(1));

    pair.other.trusted.remove(&pair.one.name).unwrap();
    assert_eq!(accepted.closed().await, Loss::Revoked);
    assert_eq!(dialled.closed().await, Loss::Refused);
    let lost = answering.receive::<u8>().await;
    assert_eq!(lost, Err(StreamError::Lost(Loss::Revoked)));
    let lost = stream.receive::<u8>().await;
    assert_eq!(lost, Err(StreamError::Lost(Loss::Refused)));

    let again = async {
        pair.connect()
            .await?
            .open_hello(hello("one"), &claim())
            .await
    };
    let own = pair.one.id();
    assert_eq!(
        distrust(again.await.unwrap_err()),
        Distrust::Refused { own }
    );
}

#[tokio::test]
async fn pinning_a_key_counts_from_the_next_handshake_on() {
    let pair = Pair::new();
    let late = TestNode::new("late");
    late.pin(&pair.other);
    let endpoint = late.endpoint();
    let address = address_of(&pair.other_endpoint);
    pair.other.pin(&late);
    let dial = endpoint.connect(&address, pair.other.id(), DEADLINE);
    let (dialled, accepted) = tokio::join!(dial, accept_peer(&pair.other_endpoint));
    assert_eq!(accepted.peer(), late.id());
    drop(dialled);
}

#[tokio::test]
async fn a_changed_pin_of_somebody_else_leaves_a_connection_alone() {
    let pair = Pair::new();
    let (dialled, accepted) = pair.connected().await;
    pair.other.pin(&TestNode::new("third"));
    let mut stream = dialled.open().await.unwrap();
    stream.send(&1_u8).await.unwrap();
    let mut answering = accepted.accept_stream().await.unwrap();
    assert_eq!(answering.receive::<u8>().await, Ok(1));
    assert_eq!(accepted.ended(), None);
}

/// What a caller with spoiled TLS gets to hear.
async fn call_with(pair: &Pair, spoil: impl Fn(&mut rustls::ClientConfig)) -> Loss {
    let (mut tls, _) = tls::client_tls(&pair.one.identity, pair.other.id());
    spoil(&mut tls);
    let config = settings::client_config(QuicClientConfig::try_from(tls).unwrap());
    let address = pair.other_endpoint.local_address();
    let connecting = pair
        .one_endpoint
        .quinn()
        .connect_with(config, address, tls::SERVER_NAME);
    match connecting.unwrap().await {
        // The other side is about to refuse.
        Ok(connection) => Loss::from(connection.closed().await),
        Err(error) => Loss::from(error),
    }
}

#[tokio::test]
async fn callers_with_another_protocol_or_no_key_are_refused_by_kind() {
    let pair = Pair::new();
    let other_protocol = call_with(&pair, |tls| {
        tls.alpn_protocols = vec![b"apim-sync/0".to_vec()];
    });
    assert!(matches!(other_protocol.await, Loss::Protocol { .. }));
    let no_protocol = call_with(&pair, |tls| tls.alpn_protocols.clear());
    assert!(matches!(no_protocol.await, Loss::Protocol { .. }));
    let no_key = call_with(&pair, |tls| {
        tls.client_auth_cert_resolver = Arc::new(NoKey);
    });
    let loss = no_key.await;
    assert!(
        matches!(loss, Loss::Refused | Loss::Protocol { .. }),
        "{loss}"
    );
    // None of them came in.
    let (_dialled, accepted) = pair.connected().await;
    assert_eq!(accepted.peer(), pair.one.id());
}

/// A caller that shows nothing.
#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Shows the key of one node and signs with that of another.
#[tokio::test]
async fn showing_a_pinned_key_without_having_it_is_refused() {
    let pair = Pair::new();
    let thief = TestNode::new("thief");
    let shown = pair.one.identity.certified_key().cert.clone();
    let signs = Arc::clone(&thief.identity.certified_key().key);
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(shown, signs));
    let loss = call_with(&pair, |tls| {
        let stolen = Arc::clone(&stolen);
        tls.client_auth_cert_resolver = Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(stolen),
        );
    });
    assert_eq!(loss.await, Loss::Refused);
}

#[tokio::test]
async fn a_silent_address_is_unreachable_within_the_deadline() {
    let pair = Pair::new();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string().parse().unwrap();
    let deadline = Duration::from_millis(200);
    let connect = pair
        .one_endpoint
        .connect(&address, pair.other.id(), deadline);
    let error = connect.await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_unreachable() {
    let pair = Pair::new();
    let address = "nobody.invalid:7420".parse().unwrap();
    let connect = pair
        .one_endpoint
        .connect(&address, pair.other.id(), DEADLINE);
    let error = connect.await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_address_of_the_other_ip_version_is_an_address_error() {
    let pair = Pair::new();
    let address = "[::1]:7420".parse().unwrap();
    let connect = pair
        .one_endpoint
        .connect(&address, pair.other.id(), DEADLINE);
    let error = connect.await.unwrap_err();
    assert!(matches!(error, ConnectError::Address { .. }), "{error}");
}

#[tokio::test]
async fn a_port_in_use_and_a_foreign_address_are_told_apart() {
    let node = TestNode::new("one");
    let first = node.endpoint();
    let mut setup = node.setup();
    setup.listen = Some(first.local_address());
    let error = Endpoint::bind(setup).err().unwrap();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let mut setup = node.setup();
    setup.listen = Some("192.0.2.1:0".parse().unwrap());
    let error = Endpoint::bind(setup).err().unwrap();
    assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
}

#[tokio::test]
async fn a_peer_that_stops_says_so() {
    let pair = Pair::new();
    let (dialled, _accepted) = pair.connected().await;
    pair.other_endpoint.close().await;
    assert_eq!(dialled.closed().await, Loss::Stopped);
    assert!(pair.other_endpoint.accept().await.is_none());
}

#[tokio::test]
async fn a_dropped_endpoint_frees_its_port() {
    let pair = Pair::new();
    let (dialled, accepted) = pair.connected().await;
    let Pair {
        other,
        other_endpoint,
        one_endpoint: _one_endpoint,
        ..
    } = pair;
    let address = other_endpoint.local_address();
    drop(other_endpoint);
    assert_eq!(dialled.closed().await, Loss::Stopped);
    assert_eq!(accepted.closed().await, Loss::ClosedHere);
    drop(accepted);
    let bind = || {
        let mut setup = other.setup();
        setup.listen = Some(address);
        Endpoint::bind(setup)
    };
    // The socket goes with the last tasks of the endpoint.
    let freed = async {
        while bind().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.unwrap();
}

#[tokio::test]
async fn one_peer_holds_eight_connections_and_no_more() {
    let pair = Pair::new();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(pair.connected().await);
    }
    let ninth = pair.connect().await.unwrap();
    assert_eq!(ninth.closed().await, Loss::Busy);
    let (dialled, accepted) = held.pop().unwrap();
    accepted.close(Ending::Done);
    drop(accepted);
    assert_eq!(dialled.closed().await, Loss::Done);
    held.push(pair.connected().await);
}

#[tokio::test]
async fn a_stranger_let_in_has_few_streams_and_little_room() {
    let pair = Pair::with(|setup| setup.invited = Arc::new(|| true));
    pair.other.trusted.remove(&pair.one.name).unwrap();
    let (dialled, accepted) = tokio::join!(pair.connect(), pair.other_endpoint.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let Accepted::Stranger(stranger) = accepted else {
        panic!("taken for a peer: {accepted:?}");
    };
    assert_eq!(stranger.id(), pair.one.id());

    let quinn = dialled.quinn();
    let (mut send, _receive) = quinn.open_bi().await.unwrap();
    let mut written = 0;
    // Until the window is full: from then on nothing is taken.
    while let Some(count) = now_or_never(send.write(&[0; 4096])).await {
        written += count.unwrap();
    }
    assert_eq!(written, 64 << 10);
    let mut others = Vec::new();
    while let Some(stream) = now_or_never(quinn.open_bi()).await {
        others.push(stream.unwrap());
    }
    assert_eq!(others.len(), 7);
    // The window is that of all of them together.
    let (mut send, _receive) = others.pop().unwrap();
    assert!(now_or_never(send.write(&[0])).await.is_none());
}

/// The outcome of `future` if it needs nothing from outside.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        outcome = future => Some(outcome),
        () = std::future::ready(()) => None,
    }
}

/// Runs a listener that is gone without a word when this returns: no task of it
/// lives on to close a connection.
fn crash_after_accepting(setup: Setup, address: std::sync::mpsc::Sender<Address>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let endpoint = runtime.block_on(async {
        let endpoint = Endpoint::bind(setup).unwrap();
        address.send(address_of(&endpoint)).unwrap();
        accept_peer(&endpoint)
            .await
            .accept_stream()
            .await
            .map(drop)
            .unwrap();
        endpoint
    });
    drop(runtime);
    drop(endpoint);
}

#[tokio::test]
async fn a_peer_that_was_killed_and_is_back_is_noticed_at_the_next_message() {
    let (one, other) = (TestNode::new("one"), TestNode::new("other"));
    one.pin(&other);
    other.pin(&one);
    let (sender, address) = std::sync::mpsc::channel();
    let setup = other.setup();
    let killed = std::thread::spawn(move || crash_after_accepting(setup, sender));
    let address = address.recv().unwrap();
    let endpoint = one.endpoint();
    let connection = endpoint
        .connect(&address, other.id(), DEADLINE)
        .await
        .unwrap();
    let mut stream = connection.open().await.unwrap();
    stream.send(&hello("one")).await.unwrap();
    tokio::task::spawn_blocking(move || killed.join().unwrap())
        .await
        .unwrap();
    let listen = address.to_string().parse().unwrap();
    let _back = Endpoint::bind(other.setup().listening(listen)).unwrap();
    stream.send(&hello("one")).await.unwrap();
    let begun = std::time::Instant::now();
    stream.receive::<Hello>().await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}
