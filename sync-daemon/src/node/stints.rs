//! A node over its changes of role: one stint after the other, each opened anew
//! from what the disk says.
//!
//! What does not depend on the role (the lock, the key, the socket, whom to
//! trust) is opened once. Trees, sessions and watches belong to a stint: when it
//! is over they are stopped and saved, and every tree's thread has dropped its
//! state before the next one opens it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{error, info};

use super::{NodeMode, Shared, hooks, network, open, status};
use crate::{
    failure::{Failure, FailureKind},
    metrics,
    transport::Ending,
};

/// How long requests wait for a node that changes its role: it saves its trees
/// and reads them again.
const CHANGE_WITHIN: Duration = Duration::from_secs(120);

/// What runs now.
#[derive(Clone)]
pub(super) enum Current {
    Open(Arc<Shared>),
    /// Between two stints.
    Changing,
    /// The next stint could not be opened.
    Failed(Failure),
}

/// One stint at work.
pub(super) struct Stint {
    pub(super) shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Stint {
    /// Opens every tree for the role that the disk says, and begins to work.
    pub(super) async fn open(base: &Arc<open::Base>) -> Result<Self, Failure> {
        let mut tasks = JoinSet::new();
        let shared = open::stint(base, &mut tasks).await?;
        network::start(&shared, base.mode, &mut tasks);
        hooks::observe(&shared, &mut tasks);
        if let (NodeMode::Daemon, Some(listen)) = (base.mode, &shared.config.metrics) {
            let listener = open::metrics(listen).await?;
            let told = Arc::clone(&shared);
            tasks.spawn(metrics::serve(listener, move || status::of(&told)));
        }
        Ok(Self { shared, tasks })
    }

    /// Stops everything and saves what was observed.
    pub(super) async fn close(mut self, mode: NodeMode) -> Result<(), Failure> {
        self.tasks.shutdown().await;
        for peer in self.shared.peers.snapshot().values() {
            if let Some(connection) = peer.connection() {
                connection.close(Ending::Stopping);
            }
        }
        let saved = self.shared.save(mode).await;
        for tree in self.shared.active.values() {
            tree.thread.stop().await;
        }
        for tree in self.shared.passive.values() {
            tree.thread.stop().await;
        }
        saved
    }
}

/// Runs stints until `stop` is told, the first of which is open already.
pub(super) async fn run(
    base: Arc<open::Base>,
    first: Stint,
    current: watch::Sender<Current>,
    stop: Arc<Notify>,
) -> Result<(), Failure> {
    let mut stint = first;
    loop {
        tokio::select! {
            biased;
            () = stop.notified() => return stint.close(base.mode).await,
            _ = over(&stint.shared, base.mode) => {}
        }
        info!("this node changes its role");
        current.send_replace(Current::Changing);
        if let Err(failure) = stint.close(base.mode).await {
            // What was not saved is read again.
            error!("{failure}");
        }
        stint = match Stint::open(&base).await {
            Ok(stint) => stint,
            Err(failure) => {
                error!("{failure}");
                current.send_replace(Current::Failed(failure.clone()));
                return Err(failure);
            }
        };
        let role = stint.shared.standing().role.name();
        info!(epoch = %stint.shared.epoch(), "this node is {role}");
        current.send_replace(Current::Open(Arc::clone(&stint.shared)));
        base.hooks.opened(&stint.shared.standing());
    }
}

/// One command's node does no work after the change that it was asked for.
async fn over(shared: &Shared, mode: NodeMode) {
    match mode {
        NodeMode::Daemon => drop(shared.stint_ended().await),
        NodeMode::OneShot { .. } => std::future::pending().await,
    }
}

/// What runs now; waits while the role changes.
pub(super) async fn opened(current: &mut watch::Receiver<Current>) -> Result<Arc<Shared>, Failure> {
    settled(current, |_| true).await
}

/// What runs after `old`.
pub(super) async fn opened_after(
    current: &mut watch::Receiver<Current>,
    old: &Arc<Shared>,
) -> Result<Arc<Shared>, Failure> {
    settled(current, |shared| !Arc::ptr_eq(shared, old)).await
}

async fn settled(
    current: &mut watch::Receiver<Current>,
    wanted: impl Fn(&Arc<Shared>) -> bool,
) -> Result<Arc<Shared>, Failure> {
    let settled = current.wait_for(|current| match current {
        Current::Open(shared) => wanted(shared),
        Current::Changing => false,
        Current::Failed(_) => true,
    });
    let gone = |why: &str| {
        Failure::new(FailureKind::Failed, format!("asking the node: {why}"))
            .hint("the daemon's log says what it waits for; `apim-sync status` shows its state")
    };
    let current = timeout(CHANGE_WITHIN, settled).await;
    match current.map(|it| it.map(|current| current.clone())) {
        Ok(Ok(Current::Open(shared))) => Ok(shared),
        Ok(Ok(Current::Failed(failure))) => Err(failure),
        Ok(Ok(Current::Changing)) | Err(_) => Err(gone("its change of role does not end")),
        Ok(Err(_)) => Err(gone("it has stopped")),
    }
}
