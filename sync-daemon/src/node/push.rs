//! The active's side of one tree at one peer: keep the peer's tree equal to the
//! published one.
//!
//! There is no queue. Each round derives the changes from the peer's base and
//! the newest published state, asks the guard, and sends one generation; what is
//! published meanwhile becomes the next round's difference.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use sync_core::{
    Action, ContentId, Entry, Generation, Manifest, Position, Root,
    guard::{Guard, Verdict},
    history::{LaterSteps, Time},
    wire::{PlanId, Refusal, Span, TreeStatus, View},
};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

mod assembly;
mod round;
mod send;

pub(super) use assembly::Assembly;
use assembly::Stage;
use round::Round;
use send::Outcome;
pub(super) use send::select;

use super::{
    Shared,
    active::{ActiveTree, SourceThread},
    audit::{self, Ahead},
    error::{SessionError, describe},
    peers::{Halt, PeerTree},
    publisher::{Command, Published},
    report::{self, PushReport},
    tenants,
};
use crate::{
    audit_log::Said,
    failure::{Failure, FailureKind},
    identity::NodeId,
    pauses::Held,
    transport::{Connection, Traffic},
    tree_thread::Stopped,
};

/// How soon a passive whose guard halted is asked again: its operator may have
/// released the plan there.
const GUARD_RETRY: Duration = Duration::from_secs(5);
/// How long a passive that cannot take a generation is left in peace.
const UNABLE_WAIT: Duration = Duration::from_secs(2);

/// Pushes one tree to one peer over one connection.
pub(super) struct Pusher {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: NodeId,
    pub(super) peer_name: String,
    pub(super) connection: Connection,
    pub(super) tree: ActiveTree,
    /// What the peer had when it was last connected.
    pub(super) last: Option<Manifest>,
    /// Whether it takes contents as steps over those they replace.
    pub(super) takes_steps: bool,
    /// The other trees at the same peer.
    pub(super) assembly: Arc<Assembly>,
}

impl Pusher {
    /// Runs until the connection breaks. The first round uses `look`, where it heals.
    pub(super) async fn run(self, status: TreeStatus, look: Option<Ahead>) -> SessionError {
        match self.follow(&status, look).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn follow(
        &self,
        status: &TreeStatus,
        mut look: Option<Ahead>,
    ) -> Result<Infallible, SessionError> {
        let published = self.tree.published.borrow().position;
        if status.position.generation > published.generation {
            self.outdo(status.position.generation).await?;
        }
        let mut base: Option<Manifest> = None;
        // Only the first base can be told from the greeting.
        let mut theirs = Some(status.position.root);
        let mut ask_first = status.staged > 0;
        // A tree that was equal from the beginning is agreed on all the same.
        let mut introduce = status.position.generation == Generation(0);
        let mut stands_at = status.position.generation;
        // What was published, and what of it was held, when all the rest was sent.
        let mut sent_but_held = None;
        loop {
            let target = self
                .wait_for_work(base.as_ref(), sent_but_held.as_ref())
                .await?;
            self.assembly.set(&self.tree.name, Stage::Busy);
            let known = match base.take() {
                Some(known) => known,
                None => self.peer_manifest(&target.manifest, theirs.take()).await?,
            };
            let round = self.round(target, known, look.take()).await?;
            let held = Some((round.published, round.held.clone()));
            if round.changes.is_empty() && !introduce {
                self.in_sync(&round);
                self.settled(&round);
                base = Some(round.base);
                sent_but_held = held;
            } else if round.reuses(stands_at) {
                self.outdo(stands_at).await?;
                base = Some(round.base);
            } else if let Some(released) = self.judge(&round) {
                let generation = round.target.position.generation;
                let sending = self.send_together(round, released, ask_first, introduce);
                base = tokio::select! {
                    sent = sending => sent?,
                    // What is under way is cut off with the connection.
                    () = self.shared.must_stop(&self.peer) => return Err(self.term_over()),
                };
                if base.is_some() {
                    (stands_at, sent_but_held) = (generation, held);
                }
                ask_first = base.is_none();
                introduce &= base.is_none();
            } else {
                self.assembly.set(&self.tree.name, Stage::Stuck);
                self.wait_for_change(round.heal, None).await?;
                base = Some(round.base);
            }
        }
    }

    fn term_over(&self) -> SessionError {
        let message = "sending: this node's lease has ended in the middle of a generation";
        SessionError::Local(Failure::new(FailureKind::Role, message))
    }

    /// Nothing of what is published is left to be sent.
    fn settled(&self, round: &Round) {
        let stage = Stage::Settled(round.published);
        self.assembly.set(&self.tree.name, stage);
    }

    /// Makes sure that what is published next has a higher number than what the
    /// peer has seen: a kill or a restored state directory may have lost some.
    async fn outdo(&self, theirs: Generation) -> Result<(), SessionError> {
        self.tree
            .barrier(|answer| Command::Outdo(theirs, answer))
            .await?;
        Ok(())
    }

    /// Waits until the peer lacks something, or is asked to be looked at.
    async fn wait_for_work(
        &self,
        base: Option<&Manifest>,
        sent_but_held: Option<&(Root, Held)>,
    ) -> Result<Published, SessionError> {
        let mut published = self.tree.published.clone();
        let mut changes = self.shared.peers.changes();
        loop {
            changes.mark_unchanged();
            let target = published.borrow_and_update().clone();
            let root = target.position.root;
            let differs = base.is_none_or(|base| base.root() != root)
                && sent_but_held.is_none_or(|(sent, held)| {
                    *sent != root || *held != self.shared.pauses.of(&self.tree.name)
                });
            let wanted = self.heal_is_wanted() || (differs && self.shared.sends_unasked());
            if wanted
                && target.can_be_sent()
                && !self.shared.is_held(&self.tree.name)
                && self.shared.may_send_to(&self.peer)
            {
                return Ok(target);
            }
            tokio::select! {
                () = self.shared.lease.changed() => {}
                changed = published.changed() => changed.map_err(|_| Stopped)?,
                _ = changes.changed() => {}
                () = self.shared.pauses.changed() => {}
            }
        }
    }

    /// Waits until something may let a stuck round go on, at most for `limit`. The
    /// round carried out the requests to heal up to `heal`.
    async fn wait_for_change(
        &self,
        heal: u64,
        limit: Option<Duration>,
    ) -> Result<(), SessionError> {
        let mut published = self.tree.published.clone();
        published.mark_unchanged();
        let mut releases = self.shared.releases.changes();
        let mut changes = self.shared.peers.changes();
        let asked_again = async {
            while self.peer_tree().heal_wanted <= heal {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = published.changed() => changed.map_err(|_| Stopped)?,
            // Both senders live as long as the node.
            _ = releases.changed() => {}
            () = asked_again => {}
            () = self.shared.pauses.changed() => {}
            () = limit => {}
        }
        Ok(())
    }

    /// The manifest that the peer stands at: one that is known here by the root
    /// it told, or else found by walking.
    async fn peer_manifest(
        &self,
        local: &Manifest,
        root: Option<Root>,
    ) -> Result<Manifest, SessionError> {
        let empty = Manifest::new();
        let mut known = [local, &self.tree.opened, &empty]
            .into_iter()
            .chain(&self.last);
        if let Some(known) = known.find(|known| Some(known.root()) == root) {
            return Ok(known.clone());
        }
        let audit = audit::open(&self.connection, &self.tree.name, View::Agreed, |_, _| {}).await?;
        Ok(audit.walk(local).await?.manifest)
    }

    /// Asks the guard. `None` when the round is halted; else the plan id that
    /// tells the peer that an operator approved.
    fn judge(&self, round: &Round) -> Option<Option<PlanId>> {
        let (name, preset) = (&self.tree.name, self.tree.preset);
        let judge = |guard: Guard| guard.judge(&round.base, &round.changes, name, preset);
        match judge(self.shared.guard()) {
            Verdict::Pass => {
                // What the peer holds, it says again if it still does.
                self.note(|tree| drop(tree.halt.take_if(|halt| halt.drifted == 0)));
                // `push --max-delete` may allow what the configuration does not.
                match judge(self.shared.configured_guard()) {
                    Verdict::Pass => Some(self.released_hold()),
                    Verdict::Halt { plan, .. } => Some(Some(plan)),
                }
            }
            Verdict::Halt { plan, .. } if self.shared.releases.contains(plan) => {
                self.note(|tree| tree.halt = None);
                Some(Some(plan))
            }
            Verdict::Halt {
                plan,
                tenant,
                deletions,
                files,
                reason,
            } => {
                self.halt(
                    round.heal,
                    Halt {
                        plan,
                        tenant,
                        deletions,
                        files,
                        drifted: 0,
                        reason: reason.to_string(),
                    },
                );
                None
            }
        }
    }

    /// The plan that the peer holds by its policy, where an operator approved it.
    fn released_hold(&self) -> Option<PlanId> {
        let held = self.peer_tree().held?;
        self.shared.releases.contains(held).then_some(held)
    }

    fn halt(&self, heal: u64, halt: Halt) {
        if self.peer_tree().halt.as_ref() != Some(&halt) {
            warn!(
                peer = %self.peer_name, tree = %self.tree.name, plan = %halt.plan,
                "halted before anything was changed: it would {} ({})", halt.would(), halt.why()
            );
            self.shared.audit.say_and_sync(Said::Halted {
                tree: self.tree.name.to_string(),
                plan: halt.plan.to_string(),
                deletions: halt.deletions,
            });
        }
        self.note(|tree| {
            tree.halt = Some(halt);
            tree.heal_judged = heal;
        });
    }

    /// Sends one round's generation with those of other trees that settled with it.
    /// A first contact waits for nothing.
    async fn send_together(
        &self,
        round: Round,
        released: Option<PlanId>,
        ask_first: bool,
        introduce: bool,
    ) -> Result<Option<Manifest>, SessionError> {
        let generation = round.target.position.generation;
        let span = match introduce {
            true => None,
            false => self.assembly.join(&self.tree.name, generation).await,
        };
        self.send_round(round, released, ask_first, span).await
    }

    /// Sends one round's generation; gives the peer's base if it is known after.
    async fn send_round(
        &self,
        round: Round,
        released: Option<PlanId>,
        ask_first: bool,
        span: Option<Span>,
    ) -> Result<Option<Manifest>, SessionError> {
        let begun = Instant::now();
        let before = self.connection.traffic();
        match self.send(&round, released, ask_first, span).await? {
            Outcome::Applied {
                position,
                sent,
                times,
            } => {
                info!(
                    peer = %self.peer_name, tree = %self.tree.name, generation = %position.generation,
                    changes = round.changes.len(), milliseconds = begun.elapsed().as_millis(), "applied"
                );
                self.report(&round, &sent, before);
                self.in_sync(&round);
                self.settled(&round);
                self.record(position, times).await?;
                Ok(Some(round.target.manifest))
            }
            Outcome::Refused(refusal) => {
                self.refused(round.heal, &refusal).await?;
                Ok(None)
            }
        }
    }

    /// Notes in the tree's history what became of the generation at this peer.
    async fn record(&self, position: Position, times: Vec<Time>) -> Result<(), Stopped> {
        let later = LaterSteps {
            generation: position.generation,
            root: position.root,
            peer: Some(self.peer_name.clone()),
            times,
        };
        let recording = move |tree: &mut SourceThread| tree.source.archive().record_later(later);
        self.tree.thread.run(recording).await
    }

    fn report(&self, round: &Round, sent: &BTreeSet<ContentId>, before: Traffic) {
        if self.shared.reports.receiver_count() == 0 {
            return;
        }
        let after = self.connection.traffic();
        let changes =
            report::describe(&round.base, &round.changes, |change| match &change.action {
                Action::Put(Entry::File(file)) if sent.contains(&file.content) => file.length,
                _ => 0,
            });
        self.shared.report(PushReport {
            peer: self.peer_name.clone(),
            tree: self.tree.name.clone(),
            changes,
            sent_bytes: after.sent_bytes - before.sent_bytes,
            received_bytes: after.received_bytes - before.received_bytes,
        });
    }

    async fn refused(&self, heal: u64, refusal: &Refusal) -> Result<(), SessionError> {
        match refusal {
            // The next round asks the peer where it stands. The number it stands
            // at belongs to another root: it must not come again.
            Refusal::Base(theirs) => {
                let ours = self.tree.published.borrow().position.generation;
                if theirs.generation >= ours {
                    self.outdo(theirs.generation).await?;
                }
                return Ok(());
            }
            // Another tree was refused, or its file changed: without it this one may
            // go, or they go together again.
            Refusal::Superseded | Refusal::Span(_) => return Ok(()),
            Refusal::Epoch(_) | Refusal::Role { .. } | Refusal::Protocol(_) => {
                return Err(SessionError::Refused(refusal.clone()));
            }
            Refusal::Guard {
                plan,
                deletions,
                files,
            } => {
                let reason = "the passive's own guard".to_owned();
                self.assembly.set(&self.tree.name, Stage::Stuck);
                self.halt(
                    heal,
                    Halt {
                        plan: *plan,
                        tenant: None,
                        deletions: *deletions,
                        files: *files,
                        drifted: 0,
                        reason,
                    },
                );
                return self.wait_for_change(heal, Some(GUARD_RETRY)).await;
            }
            Refusal::Held { plan, paths } => {
                self.note(|tree| tree.held = Some(*plan));
                self.halt(heal, Halt::held(*plan, *paths));
                return self.wait_for_change(heal, Some(GUARD_RETRY)).await;
            }
            _ => {}
        }
        if self.peer_tree().refusal.as_ref() != Some(refusal) {
            warn!(peer = %self.peer_name, tree = %self.tree.name, "not applied: {}", describe(refusal));
        }
        self.note(|tree| {
            tree.refusal = Some(refusal.clone());
            tree.heal_judged = heal;
        });
        self.assembly.set(&self.tree.name, Stage::Stuck);
        self.wait_for_change(heal, Some(UNABLE_WAIT)).await
    }

    fn in_sync(&self, round: &Round) {
        let position = round.target.position;
        let manifest = round.target.manifest.clone();
        let newest = self.tree.published.borrow().clone();
        let lacking = match self.tree.preset.has_tenants() {
            true => tenants::differing(&newest.manifest, &manifest),
            false => BTreeSet::new(),
        };
        self.note(|tree| {
            tree.applied = Some(position);
            tree.durable = Some(position);
            tree.base = Some(manifest);
            tree.heal_done = tree.heal_done.max(round.heal);
            Arc::make_mut(&mut tree.mend).retain(|path| !round.mend.contains(path));
            tree.held = None;
            tree.halt = None;
            tree.refusal = None;
            tree.tenants_behind
                .retain(|tenant, _| lacking.contains(tenant));
            if position.root == newest.position.root {
                tree.behind_since = None;
            }
        });
    }

    fn peer_tree(&self) -> PeerTree {
        let peer = self.shared.peers.peer(&self.peer);
        peer.and_then(|mut peer| peer.trees.remove(&self.tree.name))
            .unwrap_or_default()
    }

    fn heal_is_wanted(&self) -> bool {
        let tree = self.peer_tree();
        if tree.heal_wanted > tree.heal_done || tree.mend.is_empty() {
            return tree.heal_wanted > tree.heal_done;
        }
        let paused = self.shared.pauses.of(&self.tree.name);
        tree.mend.iter().any(|path| !paused.owns(path))
    }

    fn note(&self, update: impl FnOnce(&mut PeerTree)) {
        self.shared
            .peers
            .update_tree(&self.peer, &self.tree.name, update);
    }
}
