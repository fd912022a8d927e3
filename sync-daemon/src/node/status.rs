//! `status`: what this node knows, drawn from memory.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{TreeName, wire::Refusal};
use tokio::sync::mpsc::Sender;

use super::{
    Shared,
    active::ActiveTree,
    error::{describe, refusal_failure},
    fencing,
    passive::PassiveTree,
    peers::{Link, Peer},
    push_request::tell,
    tenants,
};
use crate::{
    events::{
        AppliedState, ConflictStatus, Event, GuardStatus, HaltedPlan, HeldPath, PathText,
        PauseStatus, PeerState, PeerStatus, Role, Status, TreeState, TreeStatus,
    },
    failure::Failure,
    identity::NodeId,
    pauses::Pauses,
    standing::Standing,
    transport::Connection,
};

mod drift;

/// Tells one status.
pub(super) async fn report(shared: &Arc<Shared>, events: &Sender<Event>) -> Result<(), Failure> {
    let mut status = of(shared);
    tenants::add_to(shared, &mut status).await?;
    tell(events, Event::Status(Box::new(status))).await;
    Ok(())
}

/// The status now.
pub(super) fn of(shared: &Shared) -> Status {
    let peers = shared.peers.snapshot();
    let guard = guard_of(shared, &peers);
    let pause = shared.pauses.whole().as_ref().map(PauseStatus::from);
    Status {
        node: shared.config.node.name.to_string(),
        id: shared.id.to_string(),
        role: role(shared.is_active()),
        epoch: shared.epoch().0,
        conflict: conflict(&shared.standing(), shared.config.node.name.as_str()),
        no_active: no_active(&shared.standing(), &shared.id),
        running: true,
        paused: pause.is_some(),
        paused_seconds: pause.and_then(|pause| pause.seconds),
        pauses: pauses(&shared.pauses),
        trees: trees(shared, &guard),
        peers: peers
            .iter()
            .map(|(id, peer)| peer_status(shared, id, peer))
            .collect(),
        drift: drift::of(shared, &peers),
        drifted: drift::count(shared, &peers),
        held: shared.active.values().flat_map(held).collect(),
        lease: shared.lease.status(|id| match *id == shared.id {
            true => shared.config.node.name.to_string(),
            false => shared.peer_name(id),
        }),
        hooks: shared.hooks.status(),
        guard,
    }
}

/// What is paused short of everything.
pub(crate) fn pauses(pauses: &Pauses) -> Vec<PauseStatus> {
    let all = pauses.in_force();
    let parts = all.iter().map(PauseStatus::from);
    parts.filter(|pause| pause.tree.is_some()).collect()
}

/// Whether the promotion in force is of this very node although it is passive: it
/// was cut off between its two records, or the node was demoted. Then nobody is active.
pub(crate) fn no_active(standing: &Standing, own: &NodeId) -> Option<String> {
    let current = standing.lineage.current();
    let is_ours = standing.role == Role::Passive && current.node == own.0;
    is_ours.then(|| {
        format!(
            "no node is active: the last promotion (epoch {}) was of this node, which is passive; \
             `apim-sync promote` here, or on the node that shall be active",
            current.epoch
        )
    })
}

/// The conflict that a node is in.
pub(crate) fn conflict(standing: &Standing, own_name: &str) -> Option<ConflictStatus> {
    let rival = standing.rival.as_ref()?;
    let failure = fencing::conflict(standing, own_name)?;
    let hint = failure.hint.unwrap_or_default();
    Some(ConflictStatus {
        peer: rival.name.clone(),
        peer_epoch: rival.lineage.epoch().0,
        detail: format!("{}; {hint}", failure.message),
    })
}

fn role(active: bool) -> Role {
    if active { Role::Active } else { Role::Passive }
}

fn trees(shared: &Shared, guard: &GuardStatus) -> Vec<TreeStatus> {
    let path = |name: &TreeName| {
        let tree = shared.config.trees.iter().find(|tree| tree.name == *name);
        tree.map_or_else(String::new, |tree| tree.path.display().to_string())
    };
    let active = shared
        .active
        .values()
        .map(|tree| active_tree(tree, path(&tree.name), guard));
    let passive = shared
        .passive
        .values()
        .map(|tree| passive_tree(tree, path(&tree.name)));
    active.chain(passive).collect()
}

fn active_tree(tree: &ActiveTree, path: String, guard: &GuardStatus) -> TreeStatus {
    let published = tree.published.borrow();
    let totals = published.manifest.totals();
    let halted = guard
        .plans
        .iter()
        .find(|plan| plan.tree == tree.name.as_str());
    let (state, detail) = if let Some(problem) = &published.problem {
        (TreeState::Halted, Some(problem.message.clone()))
    } else if let Some(plan) = halted {
        (
            TreeState::Halted,
            Some(match plan.drifted {
                0 => format!(
                    "plan {} would delete {} of {} files",
                    plan.plan, plan.deletions, plan.files
                ),
                paths => format!(
                    "plan {} would replace paths that were changed on {}: {paths}",
                    plan.plan, plan.peer
                ),
            }),
        )
    } else if !published.scanned {
        (TreeState::Scanning, None)
    } else {
        (TreeState::Ready, published.unwatched.clone())
    };
    TreeStatus {
        name: tree.name.to_string(),
        path,
        files: totals.files,
        bytes: totals.bytes,
        root: published.position.root.to_string(),
        generation: published.position.generation.0,
        state,
        detail,
        tenants: Vec::new(),
    }
}

fn passive_tree(tree: &PassiveTree, path: String) -> TreeStatus {
    let known = tree.state.borrow();
    let totals = known.agreed.totals();
    let refused = known.refused.as_ref();
    let (state, detail) = match (&known.problem, refused) {
        (Some(problem), _) => (TreeState::Unavailable, Some(problem.clone())),
        (None, Some(Refusal::Unable(reason))) => (TreeState::Unavailable, Some(reason.clone())),
        (None, Some(refusal @ Refusal::NotEmpty { .. })) => {
            (TreeState::Unavailable, Some(describe(refusal)))
        }
        (None, Some(refusal @ (Refusal::Guard { .. } | Refusal::Held { .. }))) => {
            (TreeState::Halted, Some(describe(refusal)))
        }
        (None, _) if known.position.generation.0 == 0 => (TreeState::Empty, None),
        (None, _) => (TreeState::Ready, None),
    };
    TreeStatus {
        name: tree.name.to_string(),
        path,
        files: totals.files,
        bytes: totals.bytes,
        root: known.position.root.to_string(),
        generation: known.position.generation.0,
        state,
        detail,
        tenants: Vec::new(),
    }
}

fn peer_status(shared: &Shared, id: &NodeId, peer: &Peer) -> PeerStatus {
    let (state, detail) = match &peer.link {
        Link::Connecting => (PeerState::Connecting, None),
        Link::Connected(_) => (PeerState::Connected, problem(peer)),
        Link::Unreachable(failure) => (PeerState::Unreachable, Some(failure.message.clone())),
        Link::Refused(failure) => (PeerState::Refused, Some(failure.message.clone())),
    };
    let applied = peer.trees.iter().filter_map(|(name, tree)| {
        let position = tree.applied?;
        Some(AppliedState {
            tree: name.to_string(),
            generation: position.generation.0,
            root: position.root.to_string(),
        })
    });
    let traffic = peer.connection().map(Connection::traffic);
    PeerStatus {
        name: peer.name.clone(),
        id: id.to_string(),
        address: peer.address.as_ref().map(ToString::to_string),
        role: peer
            .greeting
            .as_ref()
            .map(|theirs| role(theirs.hello.active)),
        state,
        detail,
        applied: applied.collect(),
        lag_seconds: peer.lag().as_secs_f64(),
        pending_files: pending(shared, peer),
        sent_bytes: traffic.map_or(0, |traffic| traffic.sent_bytes),
        received_bytes: traffic.map_or(0, |traffic| traffic.received_bytes),
        last_verify: peer.last_verify.clone(),
    }
}

fn problem(peer: &Peer) -> Option<String> {
    let (tree, refusal) = peer
        .trees
        .iter()
        .find_map(|(tree, known)| Some((tree, known.refusal.as_ref()?)))?;
    let failure = refusal_failure(refusal, &format!("pushing {tree}"));
    Some(failure.hint.map_or_else(
        || format!("{tree}: {}", describe(refusal)),
        |hint| format!("{tree}: {}; {hint}", describe(refusal)),
    ))
}

/// Paths that the peer lacks: those that differ from its base, or all while it
/// is not known where the peer stands.
fn pending(shared: &Shared, peer: &Peer) -> u64 {
    let count = |tree: &ActiveTree| {
        let published = tree.published.borrow();
        match peer.trees.get(&tree.name) {
            Some(known) if known.behind_since.is_none() => 0,
            Some(known) => match &known.base {
                Some(base) => published.manifest.diff(base).len() as u64,
                None => published.manifest.totals().files,
            },
            None => published.manifest.totals().files,
        }
    };
    shared.active.values().map(count).sum()
}

/// What the guard holds back now.
pub(super) fn guard(shared: &Shared) -> GuardStatus {
    guard_of(shared, &shared.peers.snapshot())
}

fn guard_of(shared: &Shared, peers: &BTreeMap<NodeId, Peer>) -> GuardStatus {
    let mut plans: Vec<HaltedPlan> = shared.active.values().filter_map(replaced_root).collect();
    plans.extend(shared.passive.values().filter_map(halted_here));
    for peer in peers.values() {
        for (tree, known) in &peer.trees {
            if let Some(halt) = &known.halt {
                plans.push(HaltedPlan {
                    plan: halt.plan.to_string(),
                    tree: tree.to_string(),
                    peer: peer.name.clone(),
                    tenant: halt.tenant.as_ref().map(ToString::to_string),
                    deletions: halt.deletions,
                    files: halt.files,
                    drifted: halt.drifted,
                });
            }
        }
    }
    GuardStatus {
        halted: !plans.is_empty() || shared.active.values().any(cannot_be_read),
        plans,
    }
}

fn held(tree: &ActiveTree) -> Vec<HeldPath> {
    let published = tree.published.borrow();
    let held = published.held.iter().map(|(path, reason)| HeldPath {
        tree: tree.name.to_string(),
        path: PathText::from(path),
        reason: reason.clone(),
    });
    held.collect()
}

/// A root that was replaced waits for a release like a plan does.
fn replaced_root(tree: &ActiveTree) -> Option<HaltedPlan> {
    let published = tree.published.borrow();
    let files = published.manifest.totals().files;
    Some(HaltedPlan {
        plan: published.replaced?.to_string(),
        tree: tree.name.to_string(),
        peer: "*".to_owned(),
        tenant: None,
        deletions: 0,
        files,
        drifted: 0,
    })
}

/// What this passive's own guard, or its policy for drift, does not take.
fn halted_here(tree: &PassiveTree) -> Option<HaltedPlan> {
    let halt = tree.state.borrow().halt.clone()?;
    Some(HaltedPlan {
        plan: halt.plan.to_string(),
        tree: tree.name.to_string(),
        peer: "*".to_owned(),
        tenant: None,
        deletions: halt.deletions,
        files: halt.files,
        drifted: halt.drifted,
    })
}

/// A source that may not be believed halts its tree as a plan does, though there
/// is nothing to release.
fn cannot_be_read(tree: &ActiveTree) -> bool {
    tree.published.borrow().problem.is_some()
}
