//! A running node: opens its trees, talks to its peers, answers requests.
//!
//! The role comes from the state directory, not from a flag. A node that does
//! not listen is how one-shot commands do the same work without a daemon.

use std::{path::Path, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    config::Config,
    control::{BoxFuture, Handler, Request},
    events::Event,
    failure::Failure,
    identity::NodeId,
    metrics,
};

mod active;
mod audit;
mod bootstrap;
mod catchup;
mod cutter;
mod directories;
mod drift;
mod error;
mod fetch;
mod keeper;
mod network;
mod open;
mod passive;
mod peers;
mod picture;
mod publisher;
mod push;
mod push_request;
mod receive;
mod releases;
mod report;
mod session;
mod shared;
mod status;
mod verify;
mod working;

use shared::Shared;

/// How a node is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeMode {
    /// Listens, dials, watches: the daemon.
    Daemon,
    /// Only dials: one command's work.
    OneShot,
}

/// A running node. It works until [`Node::stop`]; dropping it ends it without
/// saving what was observed, which costs a later start some reading.
pub struct Node {
    shared: Arc<Shared>,
    mode: NodeMode,
    tasks: JoinSet<()>,
}

/// Answers requests about a [`Node`]; cheap to clone and to share.
#[derive(Clone)]
pub struct NodeHandle(Arc<Shared>);

impl Node {
    /// Takes the lock, opens every tree (recovering first) and begins to work.
    /// `config_file` is read again for [`Request::Reload`].
    ///
    /// # Errors
    /// When the state directory is not a node's or is in use, a tree cannot be
    /// opened, or the address cannot be listened on.
    pub async fn start(
        config: Config,
        config_file: Option<std::path::PathBuf>,
        mode: NodeMode,
    ) -> Result<Self, Failure> {
        let mut tasks = JoinSet::new();
        let shared = open::node(config, config_file, mode, &mut tasks).await?;
        network::start(&shared, mode, &mut tasks);
        if let (NodeMode::Daemon, Some(listen)) = (mode, &shared.config.metrics) {
            let listener = open::metrics(listen).await?;
            let told = Arc::clone(&shared);
            tasks.spawn(metrics::serve(listener, move || status::of(&told)));
        }
        Ok(Self {
            shared,
            mode,
            tasks,
        })
    }

    /// Who answers requests.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        NodeHandle(Arc::clone(&self.shared))
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn local_address(&self) -> std::net::SocketAddr {
        self.shared.endpoint.local_address()
    }

    /// Where its control socket belongs.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.shared.config.node.state_dir
    }

    /// Stops cleanly: tells the peers, finishes what the disks have begun, and
    /// saves what was observed. After one command's work a passive tree is left
    /// to its journal, which has all of it: a checkpoint would make the command
    /// wait for every file to reach the disk a second time. Only a journal that
    /// the next start would take long to redo is saved now.
    ///
    /// # Errors
    /// When a tree's state cannot be saved; nothing that was acknowledged is
    /// lost by that.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.tasks.shutdown().await;
        self.shared.endpoint.close().await;
        self.shared.save(self.mode).await
    }
}

impl NodeHandle {
    /// Does one request.
    ///
    /// # Errors
    /// As each request says.
    pub async fn request(
        &self,
        request: Request,
        events: mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        let shared = &self.0;
        match request {
            Request::Status => status::report(shared, &events).await,
            Request::Push(push) => push_request::run(shared, push, &events).await,
            Request::Verify(verify) => verify::run(shared, verify, &events).await,
            Request::Bootstrap(bootstrap) => bootstrap::run(shared, bootstrap, &events).await,
            Request::Pause { seconds } => shared.pause(seconds),
            Request::Resume => shared.resume(),
            Request::Release { plan } => shared.release(&plan),
            Request::Reload => network::reload(shared),
        }
    }
}

impl Handler for NodeHandle {
    fn handle(
        &self,
        request: Request,
        events: mpsc::Sender<Event>,
    ) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.request(request, events))
    }
}
