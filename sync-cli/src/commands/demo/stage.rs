//! The two nodes: made, paired, started, asked and stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sync_core::{Preset, TreeName};
use sync_daemon::{
    config::{Config, Listen},
    control::{self, Request},
    events::{Event, Role, Status},
    failure::{Failure, FailureKind},
    identity::NodeId,
    node::{Node, NodeMode},
    transport::Address,
    trust::Peer,
};

use tokio::time::Instant;

use super::until;
use crate::{
    backend,
    commands::init::{self, NewNode, NewTree},
    engine,
};

/// The one tree.
pub(super) const TREE: &str = "synapse-configs";
/// Shorter than the usual ten seconds, so that the demo does not drag; longer
/// than the two seconds that its publisher takes between delete and save.
pub(super) const DELETE_HOLD: Duration = Duration::from_secs(3);
/// How long the nodes may take to find each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Nothing sent for this long: a new connection is settled.
const QUIET: Duration = Duration::from_millis(200);
/// How long a node may take to stop before it is dropped.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The running nodes.
#[derive(Default)]
pub(super) struct Stage {
    active: Option<Node>,
    passive: Option<Node>,
}

/// One node's files.
pub(super) struct Side {
    config: Config,
    file: PathBuf,
    id: NodeId,
    pub(super) tree: PathBuf,
}

impl Side {
    /// Makes a node below `directory`.
    pub(super) fn make(directory: &Path, name: &str, role: Role) -> Result<Self, Failure> {
        let home = directory.join(name);
        let tree = home.join(TREE);
        fs::create_dir_all(&tree).map_err(|error| {
            let doing = format!("making `{}`", tree.display());
            Failure::caused_by(FailureKind::Failed, doing, &error)
        })?;
        let file = home.join("config.toml");
        let node = new_node(name, &home, &tree)?;
        let (id, mut config) = init::create(&file, &node, role)?;
        config.watch.delete_hold_ms = u64::try_from(DELETE_HOLD.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            config,
            file,
            id,
            tree,
        })
    }

    /// Pins `other`, to be dialled at `address`.
    pub(super) fn trust(&self, other: &Self, address: Option<Address>) -> Result<(), Failure> {
        let peer = Peer {
            name: other.config.node.name.clone(),
            id: other.id,
            address,
        };
        Ok(backend::trusted(&self.config)?.add(peer)?)
    }

    async fn start(&self) -> Result<Node, Failure> {
        Node::start(
            self.config.clone(),
            Some(self.file.clone()),
            NodeMode::Daemon,
        )
        .await
    }
}

fn new_node(name: &str, home: &Path, tree: &Path) -> Result<NewNode, Failure> {
    let wrong = |error: String| Failure::new(FailureKind::Failed, error);
    let any_port: Result<Listen, _> = "127.0.0.1:0".parse();
    Ok(NewNode {
        name: name.into(),
        listen: any_port.map_err(|error| wrong(error.to_string()))?,
        state_dir: home.join("state"),
        trees: vec![NewTree {
            name: TreeName::new(TREE).map_err(|error| wrong(error.to_string()))?,
            path: tree.to_owned(),
            preset: Preset::Synapse,
            work_dir: None,
        }],
    })
}

fn address_of(node: &Node) -> Result<Address, Failure> {
    let address = node.local_address();
    Address::of_host(address.ip(), address.port())
        .map_err(|error| Failure::new(FailureKind::Failed, error.to_string()))
}

impl Stage {
    /// Starts the active's daemon; the passive learns where it listens.
    pub(super) async fn start_active(
        &mut self,
        active: &Side,
        passive: &Side,
    ) -> Result<(), Failure> {
        active.trust(passive, None)?;
        let node = self.active.insert(active.start().await?);
        passive.trust(active, Some(address_of(node)?))
    }

    /// Fills the passive, as `bootstrap` does without a daemon.
    pub(super) async fn bootstrap(
        &self,
        passive: &Side,
        on_event: impl FnMut(Event),
    ) -> Result<(), Failure> {
        let request = Request::Bootstrap(control::Bootstrap::default());
        engine::one_shot(&passive.config, request, on_event).await
    }

    /// Starts the passive's daemon and waits until the two are in step.
    pub(super) async fn start_passive(
        &mut self,
        active: &Side,
        passive: &Side,
    ) -> Result<(), Failure> {
        let node = self.passive.insert(passive.start().await?);
        active.trust(passive, Some(address_of(node)?))?;
        self.ask(Request::Reload, |_| {}).await?;
        until("the nodes to find each other", CONNECT_WITHIN, async || {
            Ok(in_step(&self.status().await?).then_some(()))
        })
        .await?;
        self.until_quiet().await
    }

    /// Waits until a new connection has probed its path, so that the bytes of a
    /// scene are the scene's own.
    async fn until_quiet(&self) -> Result<(), Failure> {
        let mut last = (0, Instant::now());
        until(
            "the connection to fall silent",
            CONNECT_WITHIN,
            async || {
                let bytes = self.traffic_bytes().await?;
                if bytes != last.0 {
                    last = (bytes, Instant::now());
                }
                Ok((last.1.elapsed() >= QUIET).then_some(()))
            },
        )
        .await
    }

    /// Has the active do `request`.
    pub(super) async fn ask(
        &self,
        request: Request,
        on_event: impl FnMut(Event),
    ) -> Result<(), Failure> {
        let Some(active) = &self.active else {
            return Err(Failure::new(
                FailureKind::Failed,
                "the active is not started",
            ));
        };
        control::answer(&active.handle(), request, on_event).await
    }

    async fn status(&self) -> Result<Status, Failure> {
        let mut answer = None;
        self.ask(Request::Status, |event| {
            if let Event::Status(status) = event {
                answer = Some(*status);
            }
        })
        .await?;
        answer.ok_or_else(|| Failure::new(FailureKind::Protocol, "the active gave no status"))
    }

    /// Bytes that went between the nodes so far, both ways.
    pub(super) async fn traffic_bytes(&self) -> Result<u64, Failure> {
        let peers = self.status().await?.peers;
        Ok(peers
            .iter()
            .map(|peer| peer.sent_bytes + peer.received_bytes)
            .sum())
    }

    /// Stops both nodes, the passive first, each within its time.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for node in [self.passive, self.active].into_iter().flatten() {
            let stopped = tokio::time::timeout(STOP_WITHIN, node.stop()).await;
            outcome = outcome.and(stopped.unwrap_or_else(|_| {
                Err(Failure::new(
                    FailureKind::Failed,
                    "stopping a node of the demo: not finished in time",
                ))
            }));
        }
        outcome
    }
}

/// Whether the passive is connected and has what the active has.
fn in_step(status: &Status) -> bool {
    let [peer] = &status.peers[..] else {
        return false;
    };
    let has = |tree: &sync_daemon::events::TreeStatus| {
        let applied = peer.applied.iter().find(|it| it.tree == tree.name);
        applied.is_some_and(|it| it.root == tree.root)
    };
    peer.state == sync_daemon::events::PeerState::Connected && status.trees.iter().all(has)
}
