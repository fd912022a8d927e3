//! What the disk knows of a node whose daemon does not run.
//!
//! Reads without the lock, so that looking never keeps a daemon from starting:
//! the snapshots are replaced whole. After a crash a tree may be further on
//! than its snapshot says; the next start finds that out from its journal.

use sync_core::{Manifest, tenant::Tenants};
use sync_fs::{
    root::Root,
    state::{Loaded, TreeState as Snapshot},
};

use crate::{
    config::{Config, TreeConfig},
    events::{
        GuardStatus, PauseStatus, PeerState, PeerStatus, Status, TenantState, TenantStatus,
        TreeState, TreeStatus,
    },
    failure::Failure,
    identity::Identity,
    node::{conflict, hooks_at_rest, no_active, pauses},
    pauses::Pauses,
    standing::Standing,
    trust::{Peer, TrustStore, Trusted},
};

/// The status of a node at rest.
///
/// # Errors
/// When the state directory holds no node, or may not be read.
pub fn status(config: &Config) -> Result<Status, Failure> {
    let state_dir = &config.node.state_dir;
    let standing = Standing::load(state_dir)?;
    let identity = Identity::load(state_dir)?;
    let trusted = Trusted::new(TrustStore::load(state_dir)?, config.peers.clone())?;
    let paused = Pauses::load(state_dir)?;
    let whole = paused.whole().as_ref().map(PauseStatus::from);
    Ok(Status {
        node: config.node.name.to_string(),
        id: identity.id().to_string(),
        role: standing.role,
        epoch: standing.epoch().0,
        conflict: conflict(&standing, config.node.name.as_str()),
        no_active: no_active(&standing, &identity.id()),
        running: false,
        paused: whole.is_some(),
        paused_seconds: whole.and_then(|pause| pause.seconds),
        pauses: pauses(&paused),
        trees: config.trees.iter().map(|it| tree(config, it)).collect(),
        peers: trusted.peers().into_iter().map(peer).collect(),
        guard: GuardStatus::default(),
        drift: Vec::new(),
        drifted: 0,
        held: Vec::new(),
        lease: None,
        hooks: hooks_at_rest(state_dir),
    })
}

fn tree(config: &Config, tree: &TreeConfig) -> TreeStatus {
    let snapshot = snapshot(config, tree);
    let (generation, manifest, state, detail) = match snapshot {
        Loaded::State(known) => {
            let generation = known.position.generation.0;
            (
                generation,
                known.agreed.manifest().clone(),
                TreeState::Unwatched,
                None,
            )
        }
        Loaded::Missing => (0, Manifest::new(), TreeState::Empty, None),
        Loaded::Damaged(why) => {
            let detail = format!("its snapshot is damaged ({why}); the next start looks again");
            (0, Manifest::new(), TreeState::Unwatched, Some(detail))
        }
    };
    let totals = manifest.totals();
    TreeStatus {
        name: tree.name.to_string(),
        path: tree.path.display().to_string(),
        files: totals.files,
        bytes: totals.bytes,
        root: manifest.root().to_string(),
        generation,
        state,
        detail,
        tenants: tenants(tree, &manifest),
    }
}

/// What the snapshot says of each tenant.
fn tenants(tree: &TreeConfig, manifest: &Manifest) -> Vec<TenantStatus> {
    if !tree.preset.has_tenants() {
        return Vec::new();
    }
    let mut tenants = Tenants::default();
    tenants.follow(manifest);
    let each = tenants.each();
    each.map(|(tenant, root, totals)| TenantStatus {
        tenant: tenant.to_string(),
        root: root.to_string(),
        files: totals.files,
        bytes: totals.bytes,
        pending_files: 0,
        lag_seconds: 0.0,
        state: TenantState::Unwatched,
        last_verify: None,
    })
    .collect()
}

fn snapshot(config: &Config, tree: &TreeConfig) -> Loaded {
    match Root::open(&config.work_dir(tree)) {
        Ok(work) => Snapshot::load(&work),
        // Made by the first start.
        Err(_) => Loaded::Missing,
    }
}

fn peer(peer: Peer) -> PeerStatus {
    PeerStatus {
        name: peer.name.to_string(),
        id: peer.id.to_string(),
        address: peer.address.map(|address| address.to_string()),
        role: None,
        state: PeerState::Unreachable,
        detail: Some("not dialled: the daemon of this node does not run".into()),
        applied: Vec::new(),
        lag_seconds: 0.0,
        pending_files: 0,
        sent_bytes: 0,
        received_bytes: 0,
        last_verify: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Role;

    #[test]
    fn a_node_that_never_ran_is_told_from_no_node() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "[node]\nname = \"a\"\nstate_dir = \"{}\"\n[[tree]]\nname = \"t\"\npath = \"/t\"\n",
            directory.path().display()
        );
        let config = Config::from_text(&text, directory.path()).unwrap();
        assert!(status(&config).is_err());

        Standing::create(directory.path(), Role::Passive).unwrap();
        let identity = Identity::create(directory.path()).unwrap();
        let status = status(&config).unwrap();
        assert_eq!(status.id, identity.id().to_string());
        assert_eq!((status.role, status.epoch), (Role::Passive, 1));
        assert_eq!(status.trees[0].state, TreeState::Empty);
        assert!(!status.running);
    }
}
