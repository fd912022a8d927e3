//! Pairing between real sockets.

use std::{future::Future, time::Duration};

use sync_core::{
    TreeName,
    wire::{Join, Opening},
};

use super::{
    AnswerError, InvitationError, Invitations, Inviter, JoinError, Token, answer_join,
    answer_request, join,
};
use crate::{
    identity::NodeId,
    transport::{
        Accepted, ConnectError, Distrust, Endpoint, Loss, Setup, StreamError,
        testing::{DEADLINE, TestNode, accept_peer, address_of},
    },
    trust::{Peer, TrustError},
};

struct Host {
    node: TestNode,
    inviter: Inviter,
    endpoint: Endpoint,
}

impl Host {
    fn new() -> Self {
        let node = TestNode::new("apim-1");
        let inviter = Inviter {
            name: node.name.clone(),
            invitations: Invitations::load(node.state_dir.path()).unwrap(),
            trusted: node.trusted.clone(),
        };
        let open = inviter.invitations.clone();
        let setup = node.setup().inviting(move || open.any_open());
        Self {
            node,
            inviter,
            endpoint: Endpoint::bind(setup).unwrap(),
        }
    }

    fn invite(&self) -> Token {
        let ttl = Duration::from_secs(900);
        let address = address_of(&self.endpoint);
        self.inviter
            .invitations
            .create(address, self.node.id(), ttl)
            .unwrap()
    }

    /// What a running node does with one caller.
    async fn answer_one(&self) -> Result<Peer, AnswerError> {
        match self.endpoint.accept().await.unwrap() {
            Accepted::Stranger(stranger) => answer_join(stranger, &self.inviter).await,
            Accepted::Peer(connection) => {
                let mut stream = connection.accept_stream().await.unwrap();
                let Opening::Join(request) = stream.receive().await.unwrap() else {
                    return Err(AnswerError::NotJoin);
                };
                let (id, ip) = (connection.peer(), connection.remote_address().ip());
                answer_request(&request, id, ip, &mut stream, &self.inviter).await
            }
        }
    }

    async fn joined_by(
        &self,
        node: &TestNode,
        token: &Token,
    ) -> (Result<super::Welcome, JoinError>, Result<Peer, AnswerError>) {
        let join = join(token, &node.identity, &node.trusted, &node.name, 7420);
        within(async { tokio::join!(join, self.answer_one()) }).await
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

#[tokio::test]
async fn one_pasted_line_makes_both_nodes_trust_each_other() {
    let host = Host::new();
    let joiner = TestNode::new("apim-2");
    let pasted = host.invite().to_string();
    let token: Token = pasted.parse().unwrap();
    let (welcome, pinned) = host.joined_by(&joiner, &token).await;

    let welcome = welcome.unwrap();
    assert_eq!(
        (welcome.name, welcome.id),
        (host.node.name.clone(), host.node.id())
    );
    let pinned = pinned.unwrap();
    assert_eq!((&pinned.name, pinned.id), (&joiner.name, joiner.id()));
    assert_eq!(pinned.address.unwrap().to_string(), "127.0.0.1:7420");

    // From now on they are peers.
    let endpoint = joiner.endpoint();
    let inviter = joiner.trusted.named(&host.node.name).unwrap();
    let address = inviter.address.unwrap();
    let dial = endpoint.connect(&address, inviter.id, DEADLINE);
    let (dialled, accepted) =
        within(async { tokio::join!(dial, accept_peer(&host.endpoint)) }).await;
    assert_eq!(accepted.peer(), joiner.id());
    drop(dialled);
}

#[tokio::test]
async fn a_node_that_only_dials_joins_without_an_address() {
    let host = Host::new();
    let joiner = TestNode::new("apim-2");
    let token = host.invite();
    let join = join(&token, &joiner.identity, &joiner.trusted, &joiner.name, 0);
    let (welcome, pinned) = within(async { tokio::join!(join, host.answer_one()) }).await;
    assert!(welcome.is_ok());
    assert_eq!(pinned.unwrap().address, None);
}

#[tokio::test]
async fn a_used_invitation_lets_nobody_else_in() {
    let host = Host::new();
    let token = host.invite();
    // Another one keeps the door open for strangers.
    let _open = host.invite();
    let (first, _) = host.joined_by(&TestNode::new("apim-2"), &token).await;
    first.unwrap();
    let late = TestNode::new("apim-3");
    let (second, answer) = host.joined_by(&late, &token).await;
    assert!(matches!(second, Err(JoinError::Refused { .. })));
    assert!(matches!(
        answer,
        Err(AnswerError::Invitation(InvitationError::Unknown))
    ));
    assert!(!host.node.trusted.trusts(&late.id()));
    assert!(!late.trusted.trusts(&host.node.id()));
}

#[tokio::test]
async fn without_an_open_invitation_the_handshake_itself_fails() {
    let host = Host::new();
    let token = host.invite();
    let (first, _) = host.joined_by(&TestNode::new("apim-2"), &token).await;
    first.unwrap();
    let late = TestNode::new("apim-3");
    let join = join(&token, &late.identity, &late.trusted, &late.name, 0);
    let error = within(join).await.unwrap_err();
    let JoinError::Connect(ConnectError::Untrusted { distrust, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(distrust, Distrust::Refused { own: late.id() });
}

#[tokio::test]
async fn five_wrong_secrets_close_the_door() {
    let host = Host::new();
    let good = host.invite();
    let mut forged = good.clone();
    forged.secret = [0; 32];
    for _ in 0..5 {
        let (welcome, _) = host.joined_by(&TestNode::new("thief"), &forged).await;
        assert!(matches!(welcome, Err(JoinError::Refused { .. })));
    }
    let honest = TestNode::new("apim-2");
    let join = join(&good, &honest.identity, &honest.trusted, &honest.name, 0);
    let error = within(join).await.unwrap_err();
    assert!(matches!(
        error,
        JoinError::Connect(ConnectError::Untrusted { .. })
    ));
}

#[tokio::test]
async fn the_secret_goes_to_the_inviter_only() {
    let host = Host::new();
    let mut token = host.invite();
    let impostor = Host::new();
    let _open = impostor.invite();
    token.address = address_of(&impostor.endpoint);
    let joiner = TestNode::new("apim-2");
    let join = join(&token, &joiner.identity, &joiner.trusted, &joiner.name, 0);
    let error = within(join).await.unwrap_err();
    let JoinError::Connect(ConnectError::Untrusted { distrust, .. }) = error else {
        panic!("{error}");
    };
    let (expected, found) = (host.node.id(), impostor.node.id());
    assert_eq!(distrust, Distrust::Impostor { expected, found });
}

#[tokio::test]
async fn joining_again_after_a_lost_answer_is_welcomed() {
    let host = Host::new();
    let token = host.invite();
    let joiner = TestNode::new("apim-2");
    for _ in 0..2 {
        let (welcome, pinned) = host.joined_by(&joiner, &token).await;
        assert_eq!(welcome.unwrap().id, host.node.id());
        assert_eq!(pinned.unwrap().id, joiner.id());
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_and_leaves_the_invitation_good() {
    let host = Host::new();
    let token = host.invite();
    let (known, newcomer) = (TestNode::new("apim-2"), TestNode::new("apim-2"));
    host.node.pin(&known);
    let (welcome, answer) = host.joined_by(&newcomer, &token).await;
    assert!(matches!(welcome, Err(JoinError::Refused { .. })));
    assert!(matches!(
        answer,
        Err(AnswerError::Trust(TrustError::NameTaken { .. }))
    ));
    host.node.trusted.remove(&known.name).unwrap();
    let (welcome, _) = host.joined_by(&newcomer, &token).await;
    welcome.unwrap();
}

#[tokio::test]
async fn a_node_does_not_join_itself() {
    let host = Host::new();
    let token = host.invite();
    let node = &host.node;
    let outcome = join(&token, &node.identity, &node.trusted, &node.name, 0).await;
    assert!(matches!(outcome, Err(JoinError::OwnInvitation)));
}

/// What a stranger with an open door in front of it gets for `opening`.
async fn stranger_says(host: &Host, opening: Opening) -> (StreamError, AnswerError) {
    let stranger = TestNode::new("stranger");
    stranger.pin(&host.node);
    let setup = Setup::new(stranger.identity.clone(), stranger.trusted.clone());
    let endpoint = Endpoint::bind(setup).unwrap();
    let address = address_of(&host.endpoint);
    let ask = async {
        let id: NodeId = host.node.id();
        let connection = endpoint.connect(&address, id, DEADLINE).await.unwrap();
        connection.exchange::<u8>(opening).await.unwrap_err()
    };
    let (heard, answer) = within(async { tokio::join!(ask, host.answer_one()) }).await;
    (heard, answer.unwrap_err())
}

#[tokio::test]
async fn a_stranger_gets_nothing_but_the_right_to_join() {
    let host = Host::new();
    let _open = host.invite();
    let tree = TreeName::new("synapse-configs").unwrap();
    let (heard, answer) = stranger_says(&host, Opening::Catchup { tree }).await;
    assert_eq!(heard, StreamError::Lost(Loss::Refused));
    assert!(matches!(answer, AnswerError::NotJoin), "{answer}");
}

#[tokio::test]
async fn a_join_request_is_small() {
    let host = Host::new();
    let _open = host.invite();
    let request = Join {
        secret: [0; 32],
        node: "x".repeat(5_000),
        port: 0,
    };
    let (heard, answer) = stranger_says(&host, Opening::Join(request)).await;
    assert_eq!(heard, StreamError::Lost(Loss::Refused));
    assert!(
        matches!(answer, AnswerError::Stream(StreamError::TooLarge { .. })),
        "{answer}"
    );
}
