//! What this node knows of each peer, and how to wait for that to change.
//!
//! One map behind one lock, held for moments only. Sessions write into it;
//! status and waiting requests read it. Nothing here talks to a peer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{
    Manifest, Position, RelPath, Tenant, TreeName,
    wire::{DriftedPath, PlanId, REPORT_GENERATIONS_MAX, Refusal},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{deploying::DeployedGeneration, fencing::Greeting};
use crate::{
    events::LastVerify,
    failure::Failure,
    identity::NodeId,
    transport::{Address, Connection},
};

/// Paths of one tree that a peer may ask to have again; it asks for what is left
/// when some of them came.
const MEND_PATHS_MAX: usize = 10_000;

/// How the connection to a peer stands.
#[derive(Clone, Debug, Default)]
pub(super) enum Link {
    /// No attempt has ended yet.
    #[default]
    Connecting,
    /// Up.
    Connected(Connection),
    /// The last attempt failed, or the connection broke.
    Unreachable(Failure),
    /// One side will not talk to the other.
    Refused(Failure),
}

/// A peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) address: Option<Address>,
    pub(super) link: Link,
    /// Attempts to connect that have ended, for those who wait for the next.
    pub(super) attempts: u64,
    /// What the peer last said of itself.
    pub(super) greeting: Option<Greeting>,
    pub(super) trees: BTreeMap<TreeName, PeerTree>,
    pub(super) last_verify: Option<LastVerify>,
}

/// One tree at one peer, as the active sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerTree {
    /// What the peer has applied.
    pub(super) applied: Option<Position>,
    /// What the peer has made durable.
    pub(super) durable: Option<Position>,
    /// The manifest that goes with `applied`.
    pub(super) base: Option<Manifest>,
    /// Since when the peer has not had everything.
    pub(super) behind_since: Option<Instant>,
    /// In a tree of tenants: since when the peer has not had everything of each.
    pub(super) tenants_behind: BTreeMap<Tenant, Instant>,
    /// And the last comparison of each.
    pub(super) tenants_verified: BTreeMap<Tenant, LastVerify>,
    /// The plan that is halted.
    pub(super) halt: Option<Halt>,
    /// Why the peer does not take what it lacks, other than a halt.
    pub(super) refusal: Option<Refusal>,
    /// Counts requests to look for drift on the peer and heal it.
    pub(super) heal_wanted: u64,
    /// The one tenant that all of those still to be carried out are of.
    pub(super) heal_only: Option<Tenant>,
    /// The last of those that was carried out.
    pub(super) heal_done: u64,
    /// The last of those that `halt` and `refusal` took into account.
    pub(super) heal_judged: u64,
    /// The plan that the peer last held by its policy.
    pub(super) held: Option<PlanId>,
    /// Paths that the peer asks to have again, at most [`MEND_PATHS_MAX`].
    pub(super) mend: Arc<BTreeSet<RelPath>>,
    /// What the peer last said of the tree beside the generations.
    pub(super) report: Option<Arc<PeerReport>>,
    /// The latest generations that have had the deployer's interval there, oldest
    /// first, at most [`REPORT_GENERATIONS_MAX`].
    pub(super) deployed: Arc<VecDeque<DeployedGeneration>>,
}

/// What a passive said of one of its trees.
#[derive(Debug)]
pub(super) struct PeerReport {
    /// The first paths that are not as agreed.
    pub(super) drift: Vec<DriftedPath>,
    /// How many there are in all.
    pub(super) drifted: u64,
    /// When it said so, in seconds since 1970.
    pub(super) unix_seconds: u64,
}

impl PeerTree {
    /// Takes up what the peer asks to have again.
    pub(super) fn want_mended(&mut self, paths: Vec<RelPath>) {
        let wanted = Arc::make_mut(&mut self.mend);
        let room = MEND_PATHS_MAX.saturating_sub(wanted.len());
        wanted.extend(paths.into_iter().take(room));
    }

    /// Remembers a generation that has had the deployer's interval.
    pub(super) fn note_deployed(&mut self, deployed: DeployedGeneration) {
        let latest = Arc::make_mut(&mut self.deployed);
        // Said again at the beginning of each session.
        latest.retain(|known| known.deployed.generation != deployed.deployed.generation);
        latest.push_back(deployed);
        if latest.len() > REPORT_GENERATIONS_MAX {
            latest.pop_front();
        }
    }
}

/// A plan halted by the deletion guard of either side, or by what a passive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Halt {
    pub(super) plan: PlanId,
    /// The tenant that would lose too much, where the whole tree would not.
    pub(super) tenant: Option<Tenant>,
    pub(super) deletions: u64,
    pub(super) files: u64,
    /// Paths that somebody changed on the passive and that it would replace, where
    /// that is what halts it, and not the deletion guard.
    pub(super) drifted: u64,
    pub(super) reason: String,
}

impl PeerTree {
    /// Asks to have the peer looked at and healed, in one tenant or as a whole.
    /// The answer names the request.
    pub(super) fn want_healing(&mut self, only: Option<&Tenant>) -> u64 {
        let is_first = self.heal_wanted == self.heal_done;
        if is_first {
            self.heal_only = only.cloned();
        } else if self.heal_only.as_ref() != only {
            self.heal_only = None;
        }
        self.heal_wanted += 1;
        self.heal_wanted
    }
}

impl Halt {
    /// What a passive holds, by its policy.
    pub(super) fn held(plan: PlanId, paths: u64) -> Self {
        Self {
            plan,
            tenant: None,
            deletions: 0,
            files: 0,
            drifted: paths,
            reason: "the passive holds what was changed there".to_owned(),
        }
    }

    /// What it would do, were it not halted.
    pub(super) fn would(&self) -> String {
        match self.drifted {
            0 => format!("delete {} of {} files", self.deletions, self.files),
            1 => "replace 1 path that was changed on the passive".to_owned(),
            paths => format!("replace {paths} paths that were changed on the passive"),
        }
    }

    /// What to tell another node.
    pub(super) fn refusal(&self) -> Refusal {
        let (plan, deletions, files) = (self.plan, self.deletions, self.files);
        match self.drifted {
            0 => Refusal::Guard {
                plan,
                deletions,
                files,
            },
            paths => Refusal::Held { plan, paths },
        }
    }

    /// Which rule halts it, and for whom.
    pub(super) fn why(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("tenant {tenant}: {}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// All peers.
pub(super) struct Peers {
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    changed: watch::Sender<u64>,
}

impl Peers {
    pub(super) fn new() -> Self {
        Self {
            peers: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        // Every update is made by one closure that does not panic half-way
        // through anything that others rely on.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of everything, for status.
    pub(super) fn snapshot(&self) -> BTreeMap<NodeId, Peer> {
        self.lock().clone()
    }

    /// A copy of one peer.
    pub(super) fn peer(&self, id: &NodeId) -> Option<Peer> {
        self.lock().get(id).cloned()
    }

    /// Changes the map itself: peers come and go with trust.
    pub(super) fn edit<R>(&self, edit: impl FnOnce(&mut BTreeMap<NodeId, Peer>) -> R) -> R {
        let result = edit(&mut self.lock());
        self.touch();
        result
    }

    /// Changes one peer, if it is still known.
    pub(super) fn update(&self, id: &NodeId, update: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.lock().get_mut(id) {
            update(peer);
        }
        self.touch();
    }

    /// Changes one tree of one peer, if the peer is still known.
    pub(super) fn update_tree(
        &self,
        id: &NodeId,
        tree: &TreeName,
        update: impl FnOnce(&mut PeerTree),
    ) {
        self.update(id, |peer| {
            update(peer.trees.entry(tree.clone()).or_default());
        });
    }

    /// Wakes everyone who waits.
    pub(super) fn touch(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells when anything changed after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until `ready` gives something, at most for `limit`.
    pub(super) async fn wait<R>(
        &self,
        limit: Duration,
        mut ready: impl FnMut(&BTreeMap<NodeId, Peer>) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(result) = ready(&self.lock()) {
                return Some(result);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }
}

impl Peer {
    /// A peer of which nothing is known yet: behind on every tree.
    pub(super) fn new<'a>(trees: impl Iterator<Item = &'a TreeName>) -> Self {
        let behind = || PeerTree {
            behind_since: Some(Instant::now()),
            ..PeerTree::default()
        };
        Self {
            trees: trees.map(|tree| (tree.clone(), behind())).collect(),
            ..Self::default()
        }
    }

    /// Whether the last attempt to connect failed.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.link, Link::Unreachable(_) | Link::Refused(_))
    }

    /// The live connection, if there is one.
    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.link {
            Link::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    /// Age of the oldest change this peer has not applied.
    pub(super) fn lag(&self) -> Duration {
        let oldest = self
            .trees
            .values()
            .filter_map(|tree| tree.behind_since)
            .min();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
