//! What several trees have to send to one peer at the same time: brought together
//! into a span, so that it becomes visible there together.
//!
//! A tree that is ready looks at the others. While something in one of them settles,
//! or is published and not derived yet, it waits, though never long; then whatever
//! is ready goes together. A tree by itself, the ordinary case, waits for nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use sync_core::{
    Generation, Root, TreeName,
    journal::Lead,
    wire::{Span, TreeStatus},
};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

use super::super::Shared;
use crate::identity::NodeId;

/// How long a tree that is ready waits for the others: as long as a burst may take to
/// settle, and to be read.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How far one tree is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The peer has all of the published state with this root that may be sent.
    Settled(Root),
    /// Something is being derived or sent.
    Busy,
    /// What there is cannot be sent for now.
    Stuck,
    /// This generation waits for the others.
    Ready(Generation),
    /// It goes, by itself or in a span.
    Chosen(Option<Span>),
}

/// The trees of this node at one peer, over one connection.
pub(in crate::node) struct Assembly {
    shared: Arc<Shared>,
    peer: NodeId,
    stages: Mutex<BTreeMap<TreeName, Stage>>,
    changed: watch::Sender<()>,
    /// The next span's: from the time on, so that no other connection has it.
    ids: AtomicU64,
}

impl Assembly {
    /// The trees that both nodes have. `is_known` says whether the peer knows spans:
    /// without, every tree goes by itself.
    pub(in crate::node) fn new(
        shared: &Arc<Shared>,
        peer: NodeId,
        theirs: &[TreeStatus],
        is_known: bool,
    ) -> Self {
        let common = theirs
            .iter()
            .filter(|status| is_known && shared.active.contains_key(&status.name));
        let stages = common
            .map(|status| (status.name.clone(), Stage::Settled(status.position.root)))
            .collect();
        Self {
            shared: Arc::clone(shared),
            peer,
            stages: Mutex::new(stages),
            changed: watch::Sender::new(()),
            ids: AtomicU64::new(nanoseconds_now()),
        }
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<TreeName, Stage>> {
        // Every update is one assignment.
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how far a tree is.
    pub(super) fn set(&self, tree: &TreeName, stage: Stage) {
        if let Some(known) = self.stages().get_mut(tree) {
            *known = stage;
        }
        self.changed.send_replace(());
    }

    /// Waits for what settles together with the generation of this tree; gives the
    /// span that it belongs to, if any.
    pub(super) async fn join(&self, tree: &TreeName, generation: Generation) -> Option<Span> {
        if self.stages().len() < 2 {
            return None;
        }
        self.set(tree, Stage::Ready(generation));
        let deadline = Instant::now() + WAIT_MAX;
        let mut changed = self.changed.subscribe();
        let mut unsettled = self.shared.unsettled.subscribe();
        let mut peers = self.shared.peers.changes();
        loop {
            changed.mark_unchanged();
            unsettled.mark_unchanged();
            peers.mark_unchanged();
            if let Some(span) = self.choice(tree, Instant::now() >= deadline) {
                self.set(tree, Stage::Busy);
                return span;
            }
            tokio::select! {
                // All of them live as long as the connection.
                _ = changed.changed() => {}
                _ = unsettled.changed() => {}
                _ = peers.changed() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// What was chosen for a tree that is ready, or is to be chosen now.
    fn choice(&self, tree: &TreeName, is_late: bool) -> Option<Option<Span>> {
        let mut stages = self.stages();
        if let Some(Stage::Chosen(span)) = stages.get(tree) {
            return Some(span.clone());
        }
        let others = stages.iter().filter(|(name, _)| *name != tree);
        let moving = others
            .into_iter()
            .any(|(name, stage)| self.is_moving(name, stage));
        if moving && !is_late {
            return None;
        }
        let epoch = self.shared.epoch();
        let mut ready = stages.iter().filter_map(|(name, stage)| match stage {
            Stage::Ready(generation) => Some((name.clone(), *generation)),
            _ => None,
        });
        let (lead, generation) = ready.next()?;
        let others: Vec<TreeName> = ready.map(|(name, _)| name).collect();
        let span = (!others.is_empty()).then(|| Span {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            lead: Lead {
                tree: lead,
                epoch,
                generation,
            },
            others,
        });
        for stage in stages.values_mut() {
            if matches!(stage, Stage::Ready(_)) {
                *stage = Stage::Chosen(span.clone());
            }
        }
        drop(stages);
        self.changed.send_replace(());
        Some(span)
    }

    /// Whether a tree will soon have something to send.
    fn is_moving(&self, name: &TreeName, stage: &Stage) -> bool {
        let Some(tree) = self.shared.active.get(name) else {
            return false;
        };
        let published = tree.published.borrow();
        let settled = match stage {
            Stage::Settled(root) => *root == published.position.root,
            Stage::Busy => false,
            // Whatever else becomes of it, it does not wait for this one.
            Stage::Stuck | Stage::Ready(_) | Stage::Chosen(_) => return false,
        };
        let is_sent = published.problem.is_none()
            && !self.shared.is_held(name)
            && (self.shared.sends_unasked() || self.is_asked_for(name));
        let is_unsettled = self.shared.unsettled.borrow().contains(name);
        is_sent && (is_unsettled || !settled || !published.scanned)
    }

    fn is_asked_for(&self, name: &TreeName) -> bool {
        let peer = self.shared.peers.peer(&self.peer);
        let tree = peer.and_then(|mut peer| peer.trees.remove(name));
        tree.is_some_and(|tree| tree.heal_wanted > tree.heal_done)
    }
}

fn nanoseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}
