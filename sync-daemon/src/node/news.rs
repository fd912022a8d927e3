//! What a passive tells its active unasked: drift, and what the deployer took.
//!
//! A report is the whole of what there is to say of one tree, in place of the one
//! before, so none has to be answered or repeated. At the beginning of a session
//! every tree is reported, then each when something changed.

use std::{collections::BTreeSet, sync::Arc};

use sync_core::{
    RelPath, TreeName,
    drift::Cause,
    wire::{
        DriftedPath, Opening, PathBudget, REPORT_PATHS_MAX, TreeReport, VERSION_OF_REPORTS,
        deployed_reports,
    },
};
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{debug, info, warn};

use super::{
    Shared,
    deploying::{DeployedGeneration, unix_seconds},
    drift::{LOGGED_MAX, kind},
    error::SessionError,
    fencing::Greeting,
    passive::{PassiveState, PassiveTree},
    peers::PeerReport,
};
use crate::{events::DriftCause, identity::NodeId, transport::Connection, tree_thread::Stopped};

/// Begins to report every tree of this passive.
pub(super) fn start(
    shared: &Shared,
    connection: &Connection,
    theirs: &Greeting,
    tasks: &mut JoinSet<SessionError>,
) {
    if theirs.hello.version < VERSION_OF_REPORTS {
        return;
    }
    let turn = Arc::new(Semaphore::new(1));
    for tree in shared.passive.values() {
        let reporter = Reporter {
            tree: tree.clone(),
            connection: connection.clone(),
            turn: Arc::clone(&turn),
            deployed_told: 0,
        };
        tasks.spawn(reporter.run());
    }
}

/// Reports one tree to one active.
struct Reporter {
    tree: PassiveTree,
    connection: Connection,
    /// Many trees do not take all streams of the connection at once.
    turn: Arc<Semaphore>,
    /// Generations that had their interval and were reported.
    deployed_told: u64,
}

impl Reporter {
    /// Runs until the connection breaks.
    async fn run(mut self) -> SessionError {
        let mut changes = self.tree.state.subscribe();
        let mut told = None;
        loop {
            let news = changes.borrow_and_update().news;
            if told != Some(news) {
                if let Err(error) = self.tell().await {
                    return error;
                }
                if let Err(error) = self.ask_to_mend().await {
                    return error;
                }
                told = Some(news);
            }
            if changes.changed().await.is_err() {
                return Stopped.into();
            }
        }
    }

    /// Asks the active for what a hand changed, where the policy is to heal that.
    async fn ask_to_mend(&self) -> Result<(), SessionError> {
        let paths = self.tree.to_heal();
        if paths.is_empty() {
            return Ok(());
        }
        let tree = self.tree.name.clone();
        info!(%tree, paths = paths.len(), "asking the active to heal drift");
        self.send(&Opening::Mend { tree, paths }).await
    }

    async fn send(&self, opening: &Opening) -> Result<(), SessionError> {
        let _turn = self.turn.acquire().await.map_err(|_| Stopped)?;
        let mut stream = self.connection.open().await?;
        stream.send(opening).await?;
        stream.finish().await?;
        stream.delivered().await?;
        Ok(())
    }

    async fn tell(&mut self) -> Result<(), SessionError> {
        let (report, deployed) = {
            let state = self.tree.state.borrow();
            (self.report(&state), state.deployed.count)
        };
        self.send(&Opening::Report(report)).await?;
        self.deployed_told = deployed;
        Ok(())
    }

    fn report(&self, state: &PassiveState) -> TreeReport {
        let mut budget = PathBudget::default();
        let named = state.drift.values().map(|drift| DriftedPath {
            path: drift.path.clone(),
            kind: kind(&drift.kind),
            cause: drift.cause,
        });
        let now = unix_seconds();
        let new = state.deployed.since(self.deployed_told);
        TreeReport {
            tree: self.tree.name.clone(),
            drift: named
                .take_while(|drift| budget.admits(&drift.path))
                .collect(),
            drifted: state.drift.len() as u64,
            deployed: deployed_reports(
                new.map(|it| (&it.deployed, now.saturating_sub(it.unix_seconds))),
            ),
        }
    }
}

/// The active's side: takes the report of one tree.
pub(super) fn take(
    shared: &Shared,
    peer: NodeId,
    theirs: &Greeting,
    report: TreeReport,
) -> Result<(), SessionError> {
    if !report.is_bounded() {
        return Err(SessionError::protocol("a report without bounds"));
    }
    let expected = !theirs.hello.active && shared.active.contains_key(&report.tree);
    if !expected {
        debug!(tree = %report.tree, "a report of a tree that this node does not send");
        return Ok(());
    }
    let name = shared.peer_name(&peer);
    let tree = report.tree.clone();
    shared.peers.update_tree(&peer, &tree, |known| {
        let before = known.report.as_ref().map_or(&[][..], |it| &it.drift);
        log_new(&name, &report, before);
        let now = unix_seconds();
        for ended in report.deployed {
            let unix_seconds = now.saturating_sub(ended.seconds_ago);
            known.note_deployed(DeployedGeneration::told(ended, unix_seconds));
        }
        known.report = Some(Arc::new(PeerReport {
            drift: report.drift,
            drifted: report.drifted,
            unix_seconds: now,
        }));
    });
    Ok(())
}

/// The active's side: has the pusher send paths again that a hand changed there.
pub(super) fn mend(
    shared: &Shared,
    peer: NodeId,
    theirs: &Greeting,
    tree: &TreeName,
    paths: Vec<RelPath>,
) -> Result<(), SessionError> {
    if paths.len() > REPORT_PATHS_MAX {
        return Err(SessionError::protocol("a request to mend without bounds"));
    }
    let expected = !theirs.hello.active && shared.active.contains_key(tree);
    if expected {
        let name = shared.peer_name(&peer);
        info!(peer = %name, %tree, paths = paths.len(), "healing drift, as the passive asks");
        shared
            .peers
            .update_tree(&peer, tree, |known| known.want_mended(paths));
    }
    Ok(())
}

/// Says in the log what was not said before.
fn log_new(peer: &str, report: &TreeReport, before: &[DriftedPath]) {
    let known: BTreeSet<(&RelPath, Cause)> = before.iter().map(|it| (&it.path, it.cause)).collect();
    let new = report
        .drift
        .iter()
        .filter(|it| !known.contains(&(&it.path, it.cause)));
    for drift in new.take(LOGGED_MAX) {
        let (tree, path) = (&report.tree, &drift.path);
        let cause = DriftCause::from(drift.cause).name();
        match drift.cause {
            Cause::Rejected => warn!(%peer, %tree, %path, cause, "not as agreed"),
            Cause::Edited | Cause::Restored => {
                info!(%peer, %tree, %path, cause, "not as agreed");
            }
        }
    }
}
