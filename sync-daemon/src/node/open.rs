//! From a configuration to a node that is ready to talk.
//!
//! Everything that can be wrong before the first packet is found here, and said
//! in the words of whoever has to mend it.

mod trees;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use sync_fs::lock::{LockError, StateLock};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::warn;

use self::trees::Trees;
use super::{
    NodeMode,
    error::with_causes,
    hooks::Hooks,
    lease::Lease,
    releases::Releases,
    shared::{Parts, Shared},
};
use crate::{
    audit_log::AuditLog,
    config::{Config, Listen},
    events::Role,
    failure::{Failure, FailureKind},
    identity::{Identity, NodeId},
    pairing::{Invitations, Inviter},
    pauses::Pauses,
    standing::Standing,
    transport::{Endpoint, Setup},
    tree_thread::Stopped,
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
