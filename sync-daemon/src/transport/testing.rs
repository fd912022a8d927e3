//! Nodes on the loopback interface, for tests of everything above a socket.

use std::{net::SocketAddr, time::Duration};

use tempfile::TempDir;

use super::{Accepted, Address, ConnectError, Connection, Endpoint, Setup};
use crate::{
    identity::{Identity, NodeId},
    trust::{NodeName, Peer, TrustStore, Trusted},
};

/// Generous, so that a busy machine does not fail tests; none waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A key, the peers it trusts, and a state directory.
pub(crate) struct TestNode {
    pub(crate) name: NodeName,
    pub(crate) identity: Identity,
    pub(crate) trusted: Trusted,
    pub(crate) state_dir: TempDir,
}

impl TestNode {
    pub(crate) fn new(name: &str) -> Self {
        let state_dir = tempfile::tempdir().unwrap();
        let store = TrustStore::load(state_dir.path()).unwrap();
        Self {
            name: name.parse().unwrap(),
            identity: Identity::create(state_dir.path()).unwrap(),
            trusted: Trusted::new(store, Vec::new()).unwrap(),
            state_dir,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.identity.id()
    }

    pub(crate) fn pin(&self, other: &TestNode) {
        let peer = Peer {
            name: other.name.clone(),
            id: other.id(),
            address: None,
        };
        self.trusted.add(peer).unwrap();
    }

    /// What [`Endpoint::bind`] takes, listening on a free port.
    pub(crate) fn setup(&self) -> Setup {
        let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
        Setup::new(self.identity.clone(), self.trusted.clone()).listening(any_port)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::bind(self.setup()).unwrap()
    }
}

/// Two nodes that pinned each other, `one` dialling `other`.
pub(crate) struct Pair {
    pub(crate) one: TestNode,
    pub(crate) other: TestNode,
    pub(crate) one_endpoint: Endpoint,
    pub(crate) other_endpoint: Endpoint,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A pair of which both ends are set up as `change` says.
    pub(crate) fn with(change: impl Fn(&mut Setup)) -> Self {
        let (one, other) = (TestNode::new("one"), TestNode::new("other"));
        one.pin(&other);
        other.pin(&one);
        let bind = |node: &TestNode| {
            let mut setup = node.setup();
            change(&mut setup);
            Endpoint::bind(setup).unwrap()
        };
        Self {
            one_endpoint: bind(&one),
            other_endpoint: bind(&other),
            one,
            other,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connection, ConnectError> {
        let address = address_of(&self.other_endpoint);
        self.one_endpoint
            .connect(&address, self.other.id(), DEADLINE)
            .await
    }

    /// A connection seen from both ends.
    pub(crate) async fn connected(&self) -> (Connection, Connection) {
        let (dialled, accepted) = tokio::join!(self.connect(), accept_peer(&self.other_endpoint));
        (dialled.unwrap(), accepted)
    }
}

pub(crate) fn address_of(endpoint: &Endpoint) -> Address {
    endpoint.local_address().to_string().parse().unwrap()
}

pub(crate) async fn accept_peer(endpoint: &Endpoint) -> Connection {
    match endpoint.accept().await {
        Some(Accepted::Peer(connection)) => connection,
        other => panic!("no peer came: {other:?}"),
    }
}
