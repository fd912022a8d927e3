//! A running node: opens its trees, talks to its peers, answers requests.
//!
//! The role comes from the state directory, not from a flag. A node that does
//! not listen is how one-shot commands do the same work without a daemon.

use std::{path::Path, sync::Arc};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use crate::{
    config::Config,
    control::{BoxFuture, Handler, Request},
    events::Event,
    failure::{Failure, FailureKind},
    identity::NodeId,
};

mod active;
mod audit;
mod bootstrap;
mod catchup;
mod contacts;
mod cutter;
mod demotion;
mod deployed;
mod deploying;
mod directories;
mod drift;
mod error;
mod evidence;
mod fencing;
mod fetch;
mod handover;
mod healing;
mod hooks;
mod keeper;
mod lease;
mod network;
mod news;
mod open;
mod passive;
mod past;
mod patch;
mod peers;
mod picture;
mod piece;
mod promotion;
mod publisher;
mod push;
mod push_request;
mod readiness;
mod recall;
mod receive;
mod releases;
mod report;
mod rollback;
mod scope;
mod session;
mod shared;
mod sketches;
mod spans;
mod status;
mod stints;
mod tenants;
mod three_way;
mod trace;
mod verify;
mod witness;
mod working;

pub(crate) use hooks::at_rest as hooks_at_rest;
use shared::Shared;
pub(crate) use status::{conflict, no_active, pauses};
use stints::{Current, Stint};

/// How a node is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeMode {
    /// Listens, dials, watches: the daemon.
    Daemon,
    /// Only dials: one command's work.
    OneShot {
        /// Whether that is to look at the passives and heal what differs there.
        heals: bool,
    },
}

/// A running node, in one role after the other. It works until [`Node::stop`];
/// dropping it ends it without saving what was observed, which costs a later
/// start some reading.
pub struct Node {
    base: Arc<open::Base>,
    current: watch::Receiver<Current>,
    stop: Arc<Notify>,
    stints: JoinSet<Result<(), Failure>>,
    /// What works over all stints.
    beside: JoinSet<()>,
}

/// Answers requests about a [`Node`]; cheap to clone and to share.
#[derive(Clone)]
pub struct NodeHandle {
    mode: NodeMode,
    current: watch::Receiver<Current>,
    /// Changes of role are made one after the other.
    changing: Arc<tokio::sync::Mutex<()>>,
}

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
        let etcd = lease::client(&config)?;
        let base = Arc::new(open::base(config, config_file, mode)?);
        let first = Stint::open(&base).await?;
        let (sender, current) = watch::channel(Current::Open(Arc::clone(&first.shared)));
        let stop = Arc::new(Notify::new());
        if mode == NodeMode::Daemon {
            base.hooks.opened(&first.shared.standing());
        }
        let mut stints = JoinSet::new();
        stints.spawn(stints::run(
            Arc::clone(&base),
            first,
            sender,
            Arc::clone(&stop),
        ));
        let mut node = Self {
            base,
            current,
            stop,
            stints,
            beside: JoinSet::new(),
        };
        if let (NodeMode::Daemon, Some(etcd)) = (mode, etcd) {
            let lease = Arc::clone(&node.base.lease);
            node.beside.spawn(lease::run(lease, etcd, node.handle()));
        }
        Ok(node)
    }

    /// Who answers requests, through every change of role.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        NodeHandle {
            mode: self.base.mode,
            current: self.current.clone(),
            changing: Arc::clone(&self.base.changing),
        }
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.base.id
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn local_address(&self) -> std::net::SocketAddr {
        self.base.endpoint.local_address()
    }

    /// Where its control socket belongs.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.base.config.node.state_dir
    }

    /// Waits until the node cannot go on: it changed its role, and its trees
    /// cannot be opened for the new one.
    pub async fn failed(&self) -> Failure {
        let mut current = self.current.clone();
        let failed = current
            .wait_for(|current| matches!(current, Current::Failed(_)))
            .await;
        match failed.map(|current| current.clone()) {
            Ok(Current::Failed(failure)) => failure,
            _ => Failure::new(FailureKind::Failed, "running the node: it has stopped")
                .hint("this is a defect of apim-sync: please report it with the daemon's log"),
        }
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
        self.beside.shutdown().await;
        self.stop.notify_one();
        self.base.hooks.stop();
        let stopped = self.stints.join_next().await;
        self.base.endpoint.close().await;
        match stopped {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => Err(Failure::caused_by(
                FailureKind::Failed,
                "stopping the node",
                &panic,
            )),
            None => Ok(()),
        }
    }
}

impl NodeHandle {
    /// Does one request. While the node changes its role it waits; a request that
    /// such a change overtakes fails and says so.
    ///
    /// # Errors
    /// As each request says.
    pub async fn request(
        &self,
        request: Request,
        events: mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        let mut current = self.current.clone();
        let changes_role = matches!(request, Request::Promote(_) | Request::Demote(_));
        let turn = match changes_role {
            true => Some(self.changing.lock().await),
            false => None,
        };
        let shared = stints::opened(&mut current).await?;
        let work = answer(&shared, request, &events);
        let changed = if changes_role {
            work.await?
        } else {
            tokio::select! {
                outcome = work => outcome?,
                overtaken = shared.stint_ended() => return Err(overtaken),
            }
        };
        if !changed {
            return Ok(());
        }
        match self.mode {
            NodeMode::Daemon => drop(stints::opened_after(&mut current, &shared).await?),
            NodeMode::OneShot { .. } => shared.hooks.opened(&shared.standing()),
        }
        // A hook may take long, and may ask for the role itself.
        drop(turn);
        tell_hook(&shared, &events).await;
        Ok(())
    }
}

/// Waits for the hook of a change of role and tells how it ended. What was changed
/// stays changed.
async fn tell_hook(shared: &Shared, events: &mpsc::Sender<Event>) {
    let event = match shared.hooks.role_told().await {
        None => return,
        Some(Some(run)) => Event::Hook(run),
        Some(None) => Event::notice(
            "the role has changed; its hook has not ended yet: `apim-sync status` will say how it did",
        ),
    };
    push_request::tell(events, event).await;
}

/// Does a request; whether that changed this node's role.
async fn answer(
    shared: &Arc<Shared>,
    request: Request,
    events: &mpsc::Sender<Event>,
) -> Result<bool, Failure> {
    match request {
        Request::Promote(options) => return promotion::promote(shared, &options, events).await,
        Request::Demote(options) => return demotion::demote(shared, &options, events).await,
        Request::Status => status::report(shared, events).await,
        Request::Push(push) => push_request::run(shared, push, events).await,
        Request::Verify(verify) => verify::run(shared, verify, events).await,
        Request::Bootstrap(bootstrap) => bootstrap::run(shared, bootstrap, events).await,
        Request::Ready => readiness::run(shared, events).await,
        Request::Diff { path } => three_way::run(shared, path.as_deref(), events).await,
        Request::Pause(pause) => shared.pause(&pause),
        Request::Resume(part) => shared.resume(&part),
        Request::Release { plan } => shared.release(&plan),
        Request::Rollback(asked) => rollback::run(shared, asked, events).await,
        Request::CheckHistory => evidence::check(shared, events).await,
        Request::Trace(asked) => trace::run(shared, asked, events).await,
        Request::History(asked) => past::history(shared, asked, events).await,
        Request::Reload => network::reload(shared),
    }?;
    Ok(false)
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
