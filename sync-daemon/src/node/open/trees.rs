//! The trees of a node: each opened for the role that the disk says, and given
//! the tasks that go with it.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sync_core::{Epoch, Manifest, TreeName, drift::Policy};
use sync_fs::{
    Replica, Source,
    replica::{AdoptError, Basis, Recovery, ReplicaError, ReplicaOptions},
    scan::SCAN_THREADS_MAX,
    source::{SourceError, SourceOptions},
    stint::{self, StintError},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use super::super::{
    NodeMode,
    active::{ActiveTree, SourceThread},
    cutter,
    deploying::Deploying,
    drift::DriftWatch,
    error::with_causes,
    healing::Healing,
    keeper,
    passive::{PassiveTree, ReplicaThread},
    publisher::{COMMANDS_MAX, Published, Publisher, Unsettled},
    releases::Releases,
};
use crate::{
    config::{Config, TreeConfig},
    events::Role,
    failure::{Failure, FailureKind},
    standing::Standing,
    tree_thread::{Stopped, TreeThread},
};

/// The trees of one node, as they are opened.
pub(super) struct Trees {
    mode: NodeMode,
    releases: Arc<Releases>,
    pub(super) unsettled: Unsettled,
    pub(super) active: BTreeMap<TreeName, ActiveTree>,
    pub(super) passive: BTreeMap<TreeName, PassiveTree>,
    pub(super) publishers: Vec<Publisher>,
}

impl Trees {
    pub(super) fn new(mode: NodeMode, releases: Arc<Releases>) -> Self {
        Self {
            mode,
            releases,
            unsettled: Unsettled::default(),
            active: BTreeMap::new(),
            passive: BTreeMap::new(),
            publishers: Vec::new(),
        }
    }

    pub(super) async fn open(
        &mut self,
        config: &Config,
        tree: &TreeConfig,
        standing: &Standing,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), Failure> {
        let work_dir = config.work_dir(tree);
        if standing.role == Role::Active {
            let (active, publisher) = open_source(
                self.mode,
                config,
                tree,
                work_dir,
                standing.epoch(),
                (Arc::clone(&self.releases), Arc::clone(&self.unsettled)),
            )
            .await?;
            if self.mode == NodeMode::Daemon {
                let kept = active.clone();
                tasks.spawn(async move {
                    let Stopped = cutter::keep_active(kept).await;
                });
            }
            self.active.insert(tree.name.clone(), active);
            self.publishers.push(publisher);
        } else {
            let markers = work_dir.join("markers");
            let mut passive = open_replica(config, tree, work_dir).await?;
            if self.mode == NodeMode::Daemon {
                let (looks, queue) = mpsc::channel(COMMANDS_MAX);
                passive.deploying = tree.deploy_interval.map(Deploying::new);
                passive.healing = (tree.drift == Policy::Heal).then(Healing::new);
                let watch = DriftWatch {
                    tree: passive.clone(),
                    root: tree.path.clone(),
                    markers,
                    rescan: Duration::from_secs(config.watch.rescan_s),
                    looks: queue,
                };
                passive.looks = Some(looks);
                tasks.spawn(async move {
                    let Stopped = watch.run().await;
                });
                let kept = passive.clone();
                tasks.spawn(async move {
                    let Stopped = cutter::keep_passive(kept).await;
                });
            }
            let kept = passive.clone();
            tasks.spawn(async move {
                let Stopped = keeper::keep(kept).await;
            });
            self.passive.insert(tree.name.clone(), passive);
        }
        Ok(())
    }
}

fn opening(tree: &TreeConfig, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(
        FailureKind::Usage,
        format!("opening {} at {}", tree.name, tree.path.display()),
        error,
    )
    .hint("is `path` in the configuration right, and its file system mounted?")
}

async fn open_source(
    mode: NodeMode,
    config: &Config,
    tree: &TreeConfig,
    work_dir: PathBuf,
    epoch: Epoch,
    (releases, unsettled): (Arc<Releases>, Unsettled),
) -> Result<(ActiveTree, Publisher), Failure> {
    let options = SourceOptions {
        path: tree.path.clone(),
        work_dir: work_dir.clone(),
        preset: tree.preset,
        exclude: tree.rules.clone(),
        threads: SCAN_THREADS_MAX,
        archive: config.history,
    };
    let known = is_known(&work_dir);
    let left = replica_options(config, tree, &work_dir);
    let marked = work_dir.clone();
    let open = move || {
        stint::begin_active(left)?;
        let source = Source::open(options)?;
        stint::mark_active(&marked)?;
        Ok::<_, SourceOpenError>(SourceThread::new(source))
    };
    let thread = TreeThread::start(tree.name.as_str(), open)
        .await
        .map_err(|error| opening(tree, &error))?
        .map_err(|error| Failure {
            kind: source_kind(known),
            ..opening(tree, &error)
        })?;
    let (manifest, position) = thread
        .run(|tree| (tree.source.manifest().clone(), tree.position()))
        .await
        .map_err(|error| opening(tree, &error))?;
    let opened = match mode {
        NodeMode::OneShot { .. } => manifest.clone(),
        NodeMode::Daemon => Manifest::new(),
    };
    let (published, receiver) =
        watch::channel(Published::unseen(tree.name.clone(), manifest, position));
    let (commands, queue) = mpsc::channel(COMMANDS_MAX);
    let active = ActiveTree::new(
        (tree.name.clone(), tree.preset),
        thread.clone(),
        receiver,
        commands,
        opened,
    );
    let publisher = Publisher {
        name: tree.name.clone(),
        root: tree.path.clone(),
        markers: work_dir.join("markers"),
        watches: mode == NodeMode::Daemon,
        config: config.watch,
        thread,
        published,
        commands: queue,
        epoch,
        releases,
        unsettled,
        on_published: Box::new(|_| {}),
    };
    Ok((active, publisher))
}

async fn open_replica(
    config: &Config,
    tree: &TreeConfig,
    work_dir: PathBuf,
) -> Result<PassiveTree, Failure> {
    let options = replica_options(config, tree, &work_dir);
    make_new_root(tree, &work_dir)?;
    let policy = tree.drift;
    let open = move || {
        stint::begin_passive(&work_dir)?;
        let (mut replica, recovery) = Replica::open(options)?;
        tell_recovery(&recovery);
        if recovery.basis == Basis::New {
            replica.adopt(&mut |_| ControlFlow::Continue(()))?;
        }
        Ok::<_, OpenError>(ReplicaThread::new(replica, recovery.root_replaced, policy))
    };
    let thread = TreeThread::start(tree.name.as_str(), open)
        .await
        .map_err(|error| opening(tree, &error))?
        .map_err(|error| opening(tree, &error))?;
    let state = thread
        .run(|tree| tree.state())
        .await
        .map_err(|error| opening(tree, &error))?;
    if let Some(problem) = &state.problem {
        warn!(tree = %tree.name, "{problem}");
    }
    info!(tree = %tree.name, generation = %state.position.generation, "ready");
    Ok(PassiveTree::new(tree.name.clone(), thread, state))
}

/// Why a replica is not ready.
#[derive(Debug, Error)]
enum OpenError {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error(transparent)]
    Stint(#[from] StintError),
}

/// Why a source is not ready.
#[derive(Debug, Error)]
enum SourceOpenError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("what the node left as a passive cannot be taken over")]
    Stint(#[from] StintError),
}

fn replica_options(config: &Config, tree: &TreeConfig, work_dir: &Path) -> ReplicaOptions {
    let siblings = config.trees.iter().filter(|other| other.name != tree.name);
    ReplicaOptions {
        siblings: siblings
            .map(|other| (other.name.clone(), config.work_dir(other)))
            .collect(),
        archive: config.history,
        exclude: tree.rules.clone(),
        ..ReplicaOptions::new(tree.name.clone(), &tree.path, work_dir, tree.preset)
    }
}

/// Whether the tree was observed or synchronised before.
fn is_known(work_dir: &Path) -> bool {
    work_dir.join("state").exists() || work_dir.join("journal").exists()
}

/// A source that was there before and is gone is a safety halt; one that never
/// was is a mistake in the configuration.
fn source_kind(known: bool) -> FailureKind {
    if known {
        FailureKind::Halted
    } else {
        FailureKind::Usage
    }
}

/// A passive that was never synchronised may lack its directory: it is made, if
/// what it belongs to is there. One that vanished later is not.
fn make_new_root(tree: &TreeConfig, work_dir: &Path) -> Result<(), Failure> {
    if is_known(work_dir) {
        return Ok(());
    }
    match std::fs::create_dir(&tree.path) {
        Ok(()) => {
            info!(tree = %tree.name, "made {}", tree.path.display());
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(opening(tree, &error)),
    }
}

fn tell_recovery(recovery: &Recovery) {
    if recovery.basis == Basis::Returned {
        info!("the node was active before; what it has is compared with the active");
    }
    if let Basis::Rebuilt(reason) = &recovery.basis {
        warn!("the saved state was of no use, the whole tree was read: {reason}");
    }
    if recovery.journal_damaged {
        warn!("the journal was damaged; what it held is compared with the active again");
    }
    if !recovery.redone.is_empty() {
        info!(
            generations = recovery.redone.len(),
            paths = recovery.paths_checked,
            "took up what the journal holds beyond the last checkpoint"
        );
    }
    for aside in &recovery.kept_aside {
        warn!("not as expected, kept aside: {aside}");
    }
    if let Some(error) = &recovery.unfinished {
        warn!("{}", with_causes(error));
    }
    if let Some(error) = &recovery.not_saved {
        warn!("{}", with_causes(error));
    }
}
