//! What is known of a node whose daemon does not run.

use sync_daemon::{
    config::{Config, TreeConfig},
    control::Request,
    events::{Event, GuardStatus, PeerState, PeerStatus, Status, TreeState, TreeStatus},
    failure::Failure,
    identity::Identity,
    standing::Standing,
    trust::Peer,
};

use crate::{backend, engine};

/// What the disk knows. Where the trees cannot be opened now (another command
/// has the lock, a path is missing), what this node is, and why.
pub(super) async fn status(config: &Config) -> Result<Status, Failure> {
    let mut found = None;
    let opened = engine::one_shot(config, Request::Status, |event| {
        if let Event::Status(status) = event {
            found = Some(*status);
        }
    });
    match (opened.await, found) {
        (_, Some(status)) => Ok(at_rest(status)),
        (outcome, None) => closed(config, outcome.err()),
    }
}

/// Nothing is watched and nobody is dialled.
fn at_rest(mut status: Status) -> Status {
    status.running = false;
    for tree in &mut status.trees {
        if matches!(tree.state, TreeState::Ready | TreeState::Scanning) {
            tree.state = TreeState::Unwatched;
        }
    }
    for peer in &mut status.peers {
        peer.state = PeerState::Unreachable;
        peer.detail = Some(NOT_DIALLED.into());
    }
    status
}

const NOT_DIALLED: &str = "not dialled: the daemon of this node does not run";

fn closed(config: &Config, why: Option<Failure>) -> Result<Status, Failure> {
    let state_dir = &config.node.state_dir;
    let standing = Standing::load(state_dir)?;
    let identity = Identity::load(state_dir)?;
    let why = why.map(|failure| failure.message);
    let peers = backend::trusted(config)?.peers();
    Ok(Status {
        node: config.node.name.to_string(),
        id: identity.id().to_string(),
        role: standing.role,
        epoch: standing.epoch.0,
        running: false,
        paused: false,
        paused_seconds: None,
        trees: config
            .trees
            .iter()
            .map(|it| tree(it, why.clone()))
            .collect(),
        peers: peers.into_iter().map(peer).collect(),
        guard: GuardStatus::default(),
        drift: Vec::new(),
        held: Vec::new(),
    })
}

fn tree(tree: &TreeConfig, detail: Option<String>) -> TreeStatus {
    TreeStatus {
        name: tree.name.to_string(),
        path: tree.path.display().to_string(),
        files: 0,
        bytes: 0,
        root: String::new(),
        generation: 0,
        state: TreeState::Unavailable,
        detail,
    }
}

fn peer(peer: Peer) -> PeerStatus {
    PeerStatus {
        name: peer.name.to_string(),
        id: peer.id.to_string(),
        address: peer.address.map(|address| address.to_string()),
        role: None,
        state: PeerState::Unreachable,
        detail: Some(NOT_DIALLED.into()),
        applied: Vec::new(),
        lag_seconds: 0.0,
        pending_files: 0,
        sent_bytes: 0,
        received_bytes: 0,
        last_verify: None,
    }
}
