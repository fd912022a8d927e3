//! From a configuration to a node that is ready to talk.
//!
//! Everything that can be wrong before the first packet is found here, and said
//! in the words of whoever has to mend it.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sync_core::{Epoch, Manifest, TreeName, drift::Policy};
use sync_fs::{
    Replica, Source,
    lock::{LockError, StateLock},
    replica::{AdoptError, Basis, Recovery, ReplicaError, ReplicaOptions},
    scan::SCAN_THREADS_MAX,
    source::{SourceError, SourceOptions},
    stint::{self, StintError},
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use super::{
    NodeMode,
    active::{ActiveTree, SourceThread},
    cutter,
    deploying::Deploying,
    drift::DriftWatch,
    error::with_causes,
    healing::Healing,
    hooks::Hooks,
    keeper,
    lease::Lease,
    passive::{PassiveTree, ReplicaThread},
    publisher::{COMMANDS_MAX, Published, Publisher, Unsettled},
    releases::Releases,
    shared::{Parts, Shared},
};
use crate::{
    audit_log::AuditLog,
    config::{Config, Listen, TreeConfig},
    events::Role,
    failure::{Failure, FailureKind},
    identity::{Identity, NodeId},
    pairing::{Invitations, Inviter},
    pauses::Pauses,
    standing::Standing,
    transport::{Endpoint, Setup},
    tree_thread::{Stopped, TreeThread},
    trust::{TrustStore, Trusted},
};

/// What a node has whatever its role is, opened once.
pub(super) struct Base {
    pub(super) config: Config,
    pub(super) mode: NodeMode,
    pub(super) config_file: Option<PathBuf>,
    pub(super) id: NodeId,
    pub(super) endpoint: Arc<Endpoint>,
    trusted: Trusted,
    inviter: Inviter,
    pub(super) hooks: Arc<Hooks>,
    pub(super) lease: Arc<Lease>,
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    releases: Arc<Releases>,
    pauses: Arc<Pauses>,
    pub(super) audit: AuditLog,
    /// Held for the life of the node.
    _lock: StateLock,
}

/// Opens what does not depend on the role.
pub(super) fn base(
    config: Config,
    config_file: Option<PathBuf>,
    mode: NodeMode,
) -> Result<Base, Failure> {
    let state_dir = config.node.state_dir.clone();
    let lock = take_lock(&config)?;
    load_standing(&config)?;
    let identity =
        Identity::load(&state_dir).map_err(|error| not_a_node("reading the node's key", &error))?;
    let trusted = trusted(&config)?;
    let inviter = inviter(&config, &trusted)?;
    let endpoint = bind(&config, mode, &identity, &trusted, &inviter)?;
    let audit = audit_log(&state_dir, &identity);
    Ok(Base {
        releases: Arc::new(Releases::load(&state_dir)?),
        pauses: Arc::new(Pauses::load(&state_dir)?),
        hooks: Hooks::open(&config, identity.id(), audit.clone()),
        changing: Arc::default(),
        lease: Lease::new(&config, identity.id(), mode),
        audit,
        config,
        mode,
        config_file,
        id: identity.id(),
        endpoint: Arc::new(endpoint),
        trusted,
        inviter,
        _lock: lock,
    })
}

/// A disk that takes no audit log must not keep a node from its work.
fn audit_log(state_dir: &Path, identity: &Identity) -> AuditLog {
    AuditLog::open(state_dir, identity).unwrap_or_else(|error| {
        warn!(
            "{}; nothing is recorded until the next start",
            with_causes(&error)
        );
        AuditLog::silent()
    })
}

fn load_standing(config: &Config) -> Result<Standing, Failure> {
    Standing::load(&config.node.state_dir)
        .map_err(|error| not_a_node("reading the node's role", &error))
}

/// Opens every tree for the role that the disk says, and starts its tasks.
pub(super) async fn stint(base: &Base, tasks: &mut JoinSet<()>) -> Result<Arc<Shared>, Failure> {
    let standing = load_standing(&base.config)?;
    if standing.role == Role::Passive {
        base.pauses.clear()?;
    }
    let mut opened = Trees::new(base.mode, Arc::clone(&base.releases));
    for tree in &base.config.trees {
        opened.open(&base.config, tree, &standing, tasks).await?;
    }
    let Trees {
        active,
        passive,
        publishers,
        unsettled,
        ..
    } = opened;
    let parts = Parts {
        config: base.config.clone(),
        mode: base.mode,
        config_file: base.config_file.clone(),
        id: base.id,
        endpoint: Arc::clone(&base.endpoint),
        trusted: base.trusted.clone(),
        inviter: base.inviter.clone(),
        hooks: Arc::clone(&base.hooks),
        lease: Arc::clone(&base.lease),
        audit: base.audit.clone(),
        active,
        passive,
        releases: Arc::clone(&base.releases),
        pauses: Arc::clone(&base.pauses),
        unsettled,
        standing,
    };
    let shared = Arc::new(Shared::new(parts));
    shared.audit_standing();
    for mut publisher in publishers {
        let told = Arc::downgrade(&shared);
        publisher.on_published = Box::new(move |published| {
            if let Some(shared) = told.upgrade() {
                shared.note_published(published);
            }
        });
        tasks.spawn(async move {
            let Stopped = publisher.run().await;
        });
    }
    Ok(shared)
}

fn not_a_node(doing: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Usage, doing, error)
        .hint("`apim-sync init --keep-config --role ROLE` makes the node of this configuration; is `state_dir` right?")
}

fn take_lock(config: &Config) -> Result<StateLock, Failure> {
    let state_dir = &config.node.state_dir;
    let doing = format!("opening the state directory {}", state_dir.display());
    StateLock::acquire(state_dir).map_err(|error| match error {
        LockError::AlreadyLocked { .. } => Failure::caused_by(FailureKind::Locked, doing, &error)
            .hint("a daemon or another command works on it; `apim-sync status` asks the daemon"),
        _ => Failure::caused_by(FailureKind::Usage, doing, &error)
            .hint("`apim-sync init --keep-config --role ROLE` makes the node of this configuration; is `state_dir` right?"),
    })
}

fn trusted(config: &Config) -> Result<Trusted, Failure> {
    let doing = "reading the trusted peers";
    let store = TrustStore::load(&config.node.state_dir)
        .map_err(|error| Failure::caused_by(FailureKind::Trust, doing, &error))?;
    Trusted::new(store, config.peers.clone())
        .map_err(|error| Failure::caused_by(FailureKind::Usage, doing, &error))
}

fn inviter(config: &Config, trusted: &Trusted) -> Result<Inviter, Failure> {
    let doing = "reading the open invitations";
    let invitations = Invitations::load(&config.node.state_dir)
        .map_err(|error| Failure::caused_by(FailureKind::Failed, doing, &error))?;
    Ok(Inviter {
        name: config.node.name.clone(),
        invitations,
        trusted: trusted.clone(),
    })
}

fn bind(
    config: &Config,
    mode: NodeMode,
    identity: &Identity,
    trusted: &Trusted,
    inviter: &Inviter,
) -> Result<Endpoint, Failure> {
    let mut setup = Setup::new(identity.clone(), trusted.clone());
    if let (NodeMode::Daemon, Some(listen)) = (mode, &config.node.listen) {
        let invitations = inviter.invitations.clone();
        setup = setup
            .listening(resolve(listen)?)
            .inviting(move || invitations.any_open());
    }
    let endpoint = Endpoint::bind(setup)?;
    let buffers = endpoint.buffers();
    if !buffers.suffice() {
        warn!(
            receive_bytes = buffers.receive_bytes,
            send_bytes = buffers.send_bytes,
            "small UDP buffers; for full speed: `sysctl net.core.rmem_max={0} net.core.wmem_max={0}`",
            buffers.wanted_bytes
        );
    }
    Ok(endpoint)
}

/// Opens the socket for metrics.
pub(super) async fn metrics(listen: &Listen) -> Result<TcpListener, Failure> {
    let address = resolve(listen)?;
    TcpListener::bind(address).await.map_err(|error| {
        Failure::caused_by(
            FailureKind::Usage,
            format!("serving metrics on {listen}"),
            &error,
        )
        .hint("`[metrics] listen` in the configuration says where; leave it out to serve none")
    })
}

fn resolve(listen: &Listen) -> Result<SocketAddr, Failure> {
    listen.resolve().map_err(|error| {
        Failure::caused_by(FailureKind::Usage, format!("listening on {listen}"), &error)
            .hint("set `[node] listen` to an address of this machine, such as 0.0.0.0:7420")
    })
}

/// The trees of one node, as they are opened.
struct Trees {
    mode: NodeMode,
    releases: Arc<Releases>,
    unsettled: Unsettled,
    active: BTreeMap<TreeName, ActiveTree>,
    passive: BTreeMap<TreeName, PassiveTree>,
    publishers: Vec<Publisher>,
}

impl Trees {
    fn new(mode: NodeMode, releases: Arc<Releases>) -> Self {
        Self {
            mode,
            releases,
            unsettled: Unsettled::default(),
            active: BTreeMap::new(),
            passive: BTreeMap::new(),
            publishers: Vec::new(),
        }
    }

    async fn open(
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
