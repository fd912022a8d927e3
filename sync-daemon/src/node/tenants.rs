//! What is known of each tenant of a tree, for people.
//!
//! A tree of tenants has one generation and one journal. Roots, counts and lag of
//! one tenant are derived from the manifests that are there anyway, at the cost of
//! what changed since the last time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::{Manifest, Root, Tenant, TreeName, manifest::Totals, tenant::Tenants};
use tokio::time::Instant;

use super::{
    Shared,
    peers::{Peer, PeerTree},
};
use crate::{
    config::Config,
    events::{LastVerify, Status, TenantState, TenantStatus},
    failure::{Failure, FailureKind},
    pauses::Held,
};

/// The trees of this node that have tenants.
pub(super) struct TenantsByTree(BTreeMap<TreeName, Known>);

/// What was last seen of one tree.
#[derive(Default)]
struct Known {
    /// For status, from the first one on.
    tenants: Arc<Mutex<Tenants>>,
    /// The state last published.
    published: Mutex<Option<Manifest>>,
}

impl TenantsByTree {
    pub(super) fn new(config: &Config) -> Self {
        let trees = config.trees.iter();
        let with_tenants = trees.filter(|tree| tree.preset.has_tenants());
        Self(
            with_tenants
                .map(|tree| (tree.name.clone(), Known::default()))
                .collect(),
        )
    }

    /// The tenants in which `now`, which is being published, differs from what was
    /// published before; none where nothing was, or the tree has no tenants.
    pub(super) fn changed(&self, tree: &TreeName, now: &Manifest) -> BTreeSet<Tenant> {
        let Some(known) = self.0.get(tree) else {
            return BTreeSet::new();
        };
        let before = lock(&known.published).replace(now.clone());
        before.map_or_else(BTreeSet::new, |before| differing(now, &before))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is taken up anew each time, wherever a panic left it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tenants in which two manifests differ.
pub(super) fn differing(one: &Manifest, other: &Manifest) -> BTreeSet<Tenant> {
    let differences = one.diff(other);
    differences.iter().map(|it| Tenant::of(&it.path)).collect()
}

/// Adds the tenants to a status.
pub(super) async fn add_to(shared: &Shared, status: &mut Status) -> Result<(), Failure> {
    let peers: Vec<Peer> = shared.peers.snapshot().into_values().collect();
    for (name, known) in &shared.tenants.0 {
        let Some(here) = Here::of(shared, status, name) else {
            continue;
        };
        let of_peers = peers.iter().filter_map(|peer| peer.trees.get(name));
        let at_peers = AtPeers::of(&here, of_peers);
        let each = each(&known.tenants, here.manifest.clone()).await?;
        if let Some(tree) = status.trees.iter_mut().find(|it| it.name == name.as_str()) {
            tree.tenants = tenants(&here, &at_peers, each);
        }
    }
    Ok(())
}

/// What this node itself knows of a tree of tenants.
struct Here {
    manifest: Manifest,
    is_active: bool,
    /// What a person has paused.
    held: Held,
    /// The tenants of halted plans, as they are shown.
    halted: BTreeSet<String>,
    drifted: BTreeSet<Tenant>,
}

impl Here {
    fn of(shared: &Shared, status: &Status, name: &TreeName) -> Option<Self> {
        let plans = status.guard.plans.iter();
        let halted = plans
            .filter(|plan| plan.tree == name.as_str())
            .filter_map(|plan| plan.tenant.clone())
            .collect();
        if let Some(tree) = shared.active.get(name) {
            return Some(Self {
                manifest: tree.published.borrow().manifest.clone(),
                is_active: true,
                held: shared.pauses.of(name),
                halted,
                drifted: BTreeSet::new(),
            });
        }
        let state = shared.passive.get(name)?.state.borrow();
        Some(Self {
            manifest: state.agreed.clone(),
            is_active: false,
            held: Held::default(),
            halted,
            drifted: state.drift.keys().map(Tenant::of).collect(),
        })
    }
}

/// What the peers lack, and what was compared with them.
#[derive(Default)]
struct AtPeers {
    pending: BTreeMap<Tenant, u64>,
    since: BTreeMap<Tenant, Instant>,
    /// Since when a peer has been behind of which it is not known where it stands.
    all_since: Option<Instant>,
    verified: BTreeMap<Tenant, LastVerify>,
}

impl AtPeers {
    fn of<'a>(here: &Here, peers: impl Iterator<Item = &'a PeerTree>) -> Self {
        let mut all = Self::default();
        for peer in peers {
            for (tenant, verify) in &peer.tenants_verified {
                let newest = all.verified.entry(tenant.clone()).or_insert(verify.clone());
                if newest.unix_seconds < verify.unix_seconds {
                    *newest = verify.clone();
                }
            }
            if here.is_active {
                all.add_pending(here, peer);
            }
        }
        all
    }

    fn add_pending(&mut self, here: &Here, peer: &PeerTree) {
        let Some(behind_since) = peer.behind_since else {
            return;
        };
        let Some(base) = &peer.base else {
            self.all_since = earlier(self.all_since, behind_since);
            return;
        };
        let mut pending: BTreeMap<Tenant, u64> = BTreeMap::new();
        for difference in here.manifest.diff(base) {
            *pending.entry(Tenant::of(&difference.path)).or_default() += 1;
        }
        for (tenant, count) in pending {
            let since = peer.tenants_behind.get(&tenant).copied();
            let since = earlier(
                self.since.get(&tenant).copied(),
                since.unwrap_or(behind_since),
            );
            self.since
                .extend(since.map(|since| (tenant.clone(), since)));
            let most = self.pending.entry(tenant).or_default();
            *most = count.max(*most);
        }
    }

    /// The paths of a tenant that a peer lacks, and since when.
    fn lacking(&self, tenant: &Tenant, files: u64) -> (u64, Option<Instant>) {
        let own = self.since.get(tenant).copied();
        match self.all_since {
            Some(since) => (files, earlier(own, since)),
            None => (self.pending.get(tenant).copied().unwrap_or(0), own),
        }
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

type Each = BTreeMap<Tenant, (Root, Totals)>;

/// Root and totals of each tenant. The first time all of the tree is hashed, which
/// is no work for the thread that serves the network.
async fn each(tenants: &Arc<Mutex<Tenants>>, manifest: Manifest) -> Result<Each, Failure> {
    let tenants = Arc::clone(tenants);
    let following = tokio::task::spawn_blocking(move || {
        let mut tenants = lock(&tenants);
        tenants.follow(&manifest);
        let each = tenants.each();
        each.map(|(tenant, root, totals)| (tenant.clone(), (root, totals)))
            .collect()
    });
    following.await.map_err(|error| {
        Failure::caused_by(FailureKind::Failed, "looking at the tenants", &error)
            .hint("this is a defect of apim-sync: please report it with the daemon's log")
    })
}

fn tenants(here: &Here, at_peers: &AtPeers, mut each: Each) -> Vec<TenantStatus> {
    // One that has gone here may have files on a peer.
    for tenant in at_peers.pending.keys() {
        let gone = (Root::empty(), Totals::default());
        each.entry(tenant.clone()).or_insert(gone);
    }
    let status = |(tenant, (root, totals)): (Tenant, (Root, Totals))| {
        let (pending_files, since) = at_peers.lacking(&tenant, totals.files);
        let name = tenant.to_string();
        let state = if here.held.owns(tenant.directory()) {
            TenantState::Paused
        } else if here.halted.contains(&name) {
            TenantState::Halted
        } else if here.drifted.contains(&tenant) {
            TenantState::Drifted
        } else if pending_files > 0 {
            TenantState::Pending
        } else {
            TenantState::Ready
        };
        TenantStatus {
            tenant: name,
            root: root.to_string(),
            files: totals.files,
            bytes: totals.bytes,
            pending_files,
            lag_seconds: since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            state,
            last_verify: at_peers.verified.get(&tenant).cloned(),
        }
    };
    each.into_iter().map(status).collect()
}
