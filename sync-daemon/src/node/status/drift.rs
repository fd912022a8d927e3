//! Drift in a status: of this passive's trees, or of an active's peers as they said.

use std::collections::BTreeMap;

use sync_core::{
    RelPath, TreeName,
    drift::{Cause, Kind},
};

use super::super::{
    Shared,
    drift::kind,
    passive::PassiveTree,
    peers::{Peer, PeerReport},
};
use crate::{
    events::{Drift, PathText},
    identity::NodeId,
};

/// Drifted paths named in a status.
const SHOWN_MAX: usize = 1_000;

/// What is known of drift, by tree and path.
pub(super) fn of(shared: &Shared, peers: &BTreeMap<NodeId, Peer>) -> Vec<Drift> {
    let here = shared.passive.values().flat_map(here);
    let there = peers.values().flat_map(there);
    here.chain(there).take(SHOWN_MAX).collect()
}

/// How many paths that is in all.
pub(super) fn count(shared: &Shared, peers: &BTreeMap<NodeId, Peer>) -> u64 {
    let here = shared.passive.values();
    let here = here.map(|tree| tree.state.borrow().drift.len() as u64);
    let trees = peers.values().flat_map(|peer| peer.trees.values());
    let there = trees.filter_map(|tree| Some(tree.report.as_ref()?.drifted));
    here.chain(there).fold(0, u64::saturating_add)
}

fn here(tree: &PassiveTree) -> Vec<Drift> {
    let state = tree.state.borrow();
    let drift = state.drift.values().take(SHOWN_MAX);
    drift
        .map(|it| named(&tree.name, &it.path, kind(&it.kind), it.cause))
        .collect()
}

fn there(peer: &Peer) -> Vec<Drift> {
    let reports = peer.trees.iter();
    let reports = reports.filter_map(|(name, tree)| Some((name, tree.report.as_deref()?)));
    reports
        .flat_map(|(name, report)| reported(peer, name, report))
        .collect()
}

fn reported<'a>(
    peer: &'a Peer,
    tree: &'a TreeName,
    report: &'a PeerReport,
) -> impl Iterator<Item = Drift> + 'a {
    let is_away = peer.connection().is_none();
    report.drift.iter().map(move |it| Drift {
        peer: Some(peer.name.clone()),
        as_of_unix_seconds: is_away.then_some(report.unix_seconds),
        ..named(tree, &it.path, it.kind, it.cause)
    })
}

fn named(tree: &TreeName, path: &RelPath, kind: Kind, cause: Cause) -> Drift {
    Drift {
        tree: tree.to_string(),
        path: PathText::from(path),
        kind: kind.into(),
        cause: cause.into(),
        peer: None,
        as_of_unix_seconds: None,
    }
}
