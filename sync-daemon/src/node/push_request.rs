//! `push`: everything that differs goes to the passives now.
//!
//! The pushers do the work; this asks for a barrier, asks them to look for
//! drift, waits, and tells what they sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sync_core::{Change, Position, RelPath, TreeName, guard::MaxDelete, plan, wire::View};
use tokio::{
    sync::{broadcast::error::TryRecvError, mpsc::Sender},
    time::Instant,
};

use super::{
    Shared,
    active::ActiveTree,
    audit,
    peers::{Halt, Link, Peer, PeerTree},
    publisher::{Command, Published},
    report::{self, PushReport},
    scope::Scope,
};
use crate::{
    control::{Push, Wait},
    events::Event,
    failure::{Failure, FailureKind},
    identity::NodeId,
};

mod deployment;
mod tally;

use tally::Tally;

/// How long a push waits for a peer that makes no progress at all.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// One tree at one peer that a push has to bring up to date.
struct Goal {
    peer: NodeId,
    peer_name: String,
    tree: TreeName,
    target: Published,
    heal: u64,
    attempts: u64,
}

/// Runs one push.
pub(super) async fn run(
    shared: &Arc<Shared>,
    push: Push,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    if !shared.is_active() {
        return Err(shared.needs_active("pushing"));
    }
    shared.refuse_conflict("pushing")?;
    let scope = Scope::of(shared, push.tree.as_deref(), push.tenant.as_deref())?;
    let trees = select_trees(shared, &scope);
    let peers = passives(shared)?;
    let limit = push.max_delete.as_deref().map(parse_limit).transpose()?;
    let _limit = limit.map(|limit| shared.limit_deletions(limit));
    if !push.dry_run {
        refuse_paused(shared, &scope)?;
        shared.refuse_without_lease("pushing")?;
    }
    let mut reports = shared.reports.subscribe();
    let targets = settle(&trees, events).await?;
    if push.dry_run {
        return dry_run(shared, &scope, &targets, &peers, begun, events).await;
    }
    let goals = set_goals(shared, &scope, &targets, &peers);
    shared.dial_now.notify_waiters();
    let outcome = wait_for(shared, &goals, push.wait).await;
    let mut sent: BTreeMap<(String, TreeName), Vec<PushReport>> = BTreeMap::new();
    loop {
        match reports.try_recv() {
            Ok(report) => sent
                .entry((report.peer.clone(), report.tree.clone()))
                .or_default()
                .push(report),
            Err(TryRecvError::Lagged(missed)) => {
                tell(
                    events,
                    Event::notice(format!(
                        "{missed} generations were applied but are not listed"
                    )),
                )
                .await;
            }
            Err(_) => break,
        }
    }
    let mut tallies = Vec::new();
    for goal in &goals {
        let reports = sent
            .remove(&(goal.peer_name.clone(), goal.tree.clone()))
            .unwrap_or_default();
        let mut tally = Tally::default();
        tally.tell_all(goal, &reports, events).await;
        tallies.push(tally);
    }
    let deployed = match (&outcome, push.wait) {
        (Ok(()), Wait::Deployed) => {
            deployment::wait_for(shared, &goals, &mut tallies, events).await
        }
        _ => Ok(()),
    };
    for (goal, tally) in goals.iter().zip(tallies) {
        if let Some(position) = goal.position(shared) {
            tally
                .tell_summary(goal, position, begun, false, events)
                .await;
        }
    }
    outcome.and(deployed)?;
    tell_of_pauses(shared, &scope)
}

/// Refuses what is paused as a whole.
pub(super) fn refuse_paused(shared: &Shared, scope: &Scope) -> Result<(), Failure> {
    let paused = match scope {
        Scope::All => shared.pauses.whole().is_some(),
        Scope::Tree(tree) => shared.pauses.of(tree).all,
        Scope::Tenant(tree, tenant) => shared.pauses.of(tree).owns(tenant.directory()),
    };
    match paused {
        true => Err(
            Failure::new(FailureKind::Failed, "pushing: sending is paused")
                .hint("`apim-sync status` says what is paused; `apim-sync resume` lets it go on"),
        ),
        false => Ok(()),
    }
}

/// What was pushed is not all while a part is paused.
fn tell_of_pauses(shared: &Shared, scope: &Scope) -> Result<(), Failure> {
    if scope.tenant().is_some() {
        return Ok(());
    }
    let trees = scope.trees(shared);
    let paused = trees.iter().find_map(|tree| shared.pauses.within(tree));
    match paused {
        Some(pause) => {
            let what = pause.what();
            let message = format!("pushing: all was sent but {what}, which is paused");
            Err(Failure::new(FailureKind::Partial, message)
                .hint("`apim-sync status` lists what is paused; `apim-sync resume` ends all"))
        }
        None => Ok(()),
    }
}

pub(super) async fn tell(events: &Sender<Event>, event: Event) {
    // Whoever asked may have gone; the work goes on all the same.
    let _ = events.send(event).await;
}

/// The trees a request means.
pub(super) fn select_trees(shared: &Shared, scope: &Scope) -> Vec<ActiveTree> {
    let trees = scope.trees(shared);
    let active = trees.iter().filter_map(|tree| shared.active.get(tree));
    active.cloned().collect()
}

pub(super) fn unknown_tree(shared: &Shared, name: &str) -> Failure {
    let known: Vec<&str> = shared
        .config
        .trees
        .iter()
        .map(|tree| tree.name.as_str())
        .collect();
    let name = sync_core::path::escape(name.as_bytes());
    Failure::new(FailureKind::Usage, format!("no tree is called `{name}`"))
        .hint(format!("this node's trees: {}", known.join(", ")))
}

fn passives(shared: &Shared) -> Result<Vec<(NodeId, Peer)>, Failure> {
    let peers: Vec<_> = shared.peers.snapshot().into_iter().collect();
    if peers.is_empty() {
        return Err(
            Failure::new(FailureKind::Usage, "pushing: no peer is trusted").hint(
                "pair with the passive: `apim-sync invite` here and `apim-sync join TOKEN` there",
            ),
        );
    }
    Ok(peers)
}

fn parse_limit(text: &str) -> Result<MaxDelete, Failure> {
    text.parse()
        .map_err(|error| Failure::caused_by(FailureKind::Usage, "reading `--max-delete`", &error))
}

/// Waits until everything written before is published.
pub(super) async fn settle(
    trees: &[ActiveTree],
    events: &Sender<Event>,
) -> Result<Vec<(ActiveTree, Published)>, Failure> {
    let mut targets = Vec::new();
    for tree in trees {
        let doing = format!("pushing {}", tree.name);
        let barrier = tree.barrier(Command::Flush);
        tokio::pin!(barrier);
        loop {
            tokio::select! {
                done = &mut barrier => {
                    done.map_err(|stopped| Failure::caused_by(FailureKind::Failed, &*doing, &stopped))?;
                    break;
                }
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    let held = tree.published.borrow().deletions_held;
                    if held > 0 {
                        let text = format!("holding {held} deletions of {} until it is sure that they are meant", tree.name);
                        tell(events, Event::notice(text)).await;
                    }
                }
            }
        }
        let published = tree.published.borrow().clone();
        if let Some(problem) = published.problem {
            return Err(problem);
        }
        targets.push((tree.clone(), published));
    }
    Ok(targets)
}

fn set_goals(
    shared: &Shared,
    scope: &Scope,
    targets: &[(ActiveTree, Published)],
    peers: &[(NodeId, Peer)],
) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (tree, target) in targets {
        for (id, peer) in peers {
            let mut heal = 0;
            shared.peers.update_tree(id, &tree.name, |known| {
                heal = known.want_healing(scope.tenant());
            });
            goals.push(Goal {
                peer: *id,
                peer_name: peer.name.clone(),
                tree: tree.name.clone(),
                target: target.clone(),
                heal,
                attempts: peer.attempts,
            });
        }
    }
    goals
}

/// Waits until every goal is reached or cannot be; the first failure counts.
async fn wait_for(shared: &Shared, goals: &[Goal], wait: Wait) -> Result<(), Failure> {
    for goal in goals {
        let reached = shared
            .peers
            .wait(SILENCE_MAX, |peers| match peers.get(&goal.peer) {
                Some(peer) => goal.outcome(peer, wait),
                None => Some(Err(Failure::new(
                    FailureKind::Trust,
                    format!("`{}` is no longer trusted", goal.peer_name),
                ))),
            });
        reached.await.unwrap_or_else(|| {
            Err(Failure::new(
                FailureKind::Unreachable,
                format!(
                    "pushing {} to `{}`: no progress for {} s",
                    goal.tree,
                    goal.peer_name,
                    SILENCE_MAX.as_secs()
                ),
            )
            .hint("`apim-sync status` on both nodes shows what they wait for"))
        })?;
    }
    Ok(())
}

impl Goal {
    fn outcome(&self, peer: &Peer, wait: Wait) -> Option<Result<(), Failure>> {
        match &peer.link {
            Link::Unreachable(failure) | Link::Refused(failure)
                if peer.attempts > self.attempts =>
            {
                return Some(Err(failure.clone()));
            }
            Link::Connecting if peer.address.is_none() => return Some(Err(self.no_address())),
            Link::Connected(_) => {}
            _ => return None,
        }
        let tree = peer.trees.get(&self.tree)?;
        // What was judged before this request says nothing about it.
        let judged = tree.heal_judged >= self.heal;
        if let (Some(halt), true) = (&tree.halt, judged) {
            return Some(Err(self.halted(halt)));
        }
        if let (Some(refusal), true) = (&tree.refusal, judged) {
            let doing = format!("pushing {} to `{}`", self.tree, self.peer_name);
            return Some(Err(super::error::refusal_failure(refusal, &doing)));
        }
        self.reached(tree, wait).then_some(Ok(()))
    }

    fn reached(&self, tree: &PeerTree, wait: Wait) -> bool {
        let healed = tree.heal_done >= self.heal;
        let applied = matches!(wait, Wait::Applied | Wait::Deployed);
        let position = if applied { tree.applied } else { tree.durable };
        let there =
            position.is_some_and(|position| position.generation >= self.target.position.generation);
        there && (healed || (!applied && tree.applied != tree.durable))
    }

    /// Where the peer stands.
    fn position(&self, shared: &Shared) -> Option<Position> {
        let peer = shared.peers.peer(&self.peer)?;
        let tree = peer.trees.get(&self.tree)?;
        // After the first push to a peer nothing may be applied yet.
        tree.applied.or(tree.durable)
    }

    fn no_address(&self) -> Failure {
        Failure::new(
            FailureKind::Unreachable,
            format!(
                "pushing {} to `{}`: its address is not known",
                self.tree, self.peer_name
            ),
        )
        .hint(format!(
            "`apim-sync trust add {} --id ID --address HOST:PORT`",
            self.peer_name
        ))
    }

    fn halted(&self, halt: &Halt) -> Failure {
        Failure::new(
            FailureKind::Halted,
            format!(
                "pushing {} to `{}`: halted plan {} before anything was changed: it would {} ({})",
                self.tree, self.peer_name, halt.plan, halt.would(), halt.why()
            ),
        )
        .hint(match halt.drifted {
            0 => format!("restore the files, or if the deletions are meant: `apim-sync release {}`", halt.plan),
            _ => format!(
                "`apim-sync status` names the paths; to replace them, kept aside: `apim-sync release {}`; to keep one, make the same change here",
                halt.plan
            ),
        })
    }
}

/// Tells what `changes` would make of this node's own tree.
pub(super) async fn tell_plan(
    shared: &Shared,
    current: &Published,
    changes: &[Change],
    begun: Instant,
    events: &Sender<Event>,
) {
    let goal = Goal {
        peer: shared.id,
        peer_name: shared.config.node.name.to_string(),
        tree: current.tree.clone(),
        target: current.clone(),
        heal: 0,
        attempts: 0,
    };
    let mut tally = Tally::default();
    for change in report::describe(&current.manifest, changes, |_| 0) {
        tally.tell(&goal, &change, events).await;
    }
    let position = current.position;
    tally
        .tell_summary(&goal, position, begun, true, events)
        .await;
}

/// Tells what a push would do, drift on the peers included; changes nothing.
async fn dry_run(
    shared: &Arc<Shared>,
    scope: &Scope,
    targets: &[(ActiveTree, Published)],
    peers: &[(NodeId, Peer)],
    begun: Instant,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    for (tree, target) in targets {
        for (id, peer) in peers {
            let doing = format!("planning a push of {} to `{}`", tree.name, peer.name);
            let connection = super::verify::connection(shared, id, peer, &doing).await?;
            let look = async {
                let audit = audit::open(&connection, &tree.name, View::Disk, |_, _| {}).await?;
                audit.walk(&target.manifest).await
            };
            let disk = look.await.map_err(|error| error.failure(&doing))?.manifest;
            let mut changes = plan::changes_between(&target.manifest, &disk);
            let held = shared.pauses.of(&tree.name);
            let is_meant = |path: &RelPath| scope.tenant().is_none_or(|tenant| tenant.owns(path));
            changes.retain(|change| is_meant(&change.path) && !held.owns(&change.path));
            let goal = Goal {
                peer: *id,
                peer_name: peer.name.clone(),
                tree: tree.name.clone(),
                target: target.clone(),
                heal: 0,
                attempts: 0,
            };
            let mut tally = Tally::default();
            for change in report::describe(&disk, &changes, |_| 0) {
                tally.tell(&goal, &change, events).await;
            }
            let position = target.position;
            tally
                .tell_summary(&goal, position, begun, true, events)
                .await;
            let verdict = shared
                .guard()
                .judge(&disk, &changes, &tree.name, tree.preset);
            if let sync_core::guard::Verdict::Halt {
                plan,
                tenant,
                deletions,
                files,
                reason,
            } = verdict
            {
                return Err(goal.halted(&Halt {
                    plan,
                    tenant,
                    deletions,
                    files,
                    drifted: 0,
                    reason: reason.to_string(),
                }));
            }
        }
    }
    Ok(())
}
