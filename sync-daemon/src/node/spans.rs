//! Generations of several trees that a passive makes durable together or not at all.
//!
//! Each comes in on a stream of its own. When the contents of all are here, one task
//! commits them: first every other tree's, each saying that the lead's decides about
//! it, then the lead's, which is the moment when all of them are durable. Then all
//! are applied. Until then a kill, a refusal or a lost connection leaves every tree
//! where it stood.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{
    GenerationHeader, Position, TreeName,
    journal::Lead,
    limits::TREES_MAX,
    wire::{Refusal, Span},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

use super::{
    error::describe,
    passive::{AppliedGeneration, PassiveTree},
};
use crate::{identity::NodeId, tree_thread::Stopped};

/// How long the others of a span may take to appear: they are sent at the same time.
const APPEAR_WITHIN: Duration = Duration::from_secs(30);
/// How long their contents may take, once they have appeared.
const ARRIVE_WITHIN: Duration = Duration::from_secs(600);
/// Spans remembered, so that one that was given up is not waited for by a tree that
/// comes late.
const REMEMBERED_MAX: usize = 64;

/// The spans that this passive knows of, the oldest first.
#[derive(Default)]
pub(super) struct Spans(Mutex<VecDeque<Arc<Gathering>>>);

/// One span, while its generations come in and after.
struct Gathering {
    peer: NodeId,
    span: Span,
    members: Mutex<Members>,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct Members {
    /// Trees whose generation has begun to come in.
    seated: BTreeSet<TreeName>,
    /// Of those, the ones that are complete.
    ready: BTreeMap<TreeName, Member>,
}

/// A complete generation; no other is taken in meanwhile.
struct Member {
    tree: PassiveTree,
    _turn: OwnedMutexGuard<()>,
}

#[derive(Clone)]
enum State {
    Gathering,
    /// A tree was not taken, and why where that is known; so none was.
    GivenUp(TreeName, Option<Refusal>),
    Committing,
    Durable(BTreeMap<TreeName, Position>),
    Applied(
        BTreeMap<TreeName, Position>,
        BTreeMap<TreeName, Result<AppliedGeneration, Refusal>>,
    ),
}

/// One tree's place in a span. Left before the span is complete, it gives all of it
/// up.
pub(super) struct Seat {
    gathering: Arc<Gathering>,
    tree: TreeName,
}

impl Spans {
    /// Takes the place of a tree whose generation comes in.
    pub(super) fn seat(
        &self,
        peer: NodeId,
        span: Span,
        header: &GenerationHeader,
    ) -> Result<Seat, &'static str> {
        check(&span, header)?;
        let mut spans = lock(&self.0);
        let known = spans
            .iter()
            .find(|known| known.peer == peer && known.span.id == span.id);
        let gathering = match known {
            Some(known) if known.span == span => Arc::clone(known),
            Some(_) => return Err("two spans with one number"),
            None => {
                if spans.len() == REMEMBERED_MAX {
                    spans.pop_front();
                }
                spans.push_back(Arc::new(Gathering {
                    peer,
                    span,
                    members: Mutex::default(),
                    state: watch::Sender::new(State::Gathering),
                }));
                let newest = spans.back().expect("one was just added");
                Arc::clone(newest)
            }
        };
        let tree = header.tree.clone();
        if !lock(&gathering.members).seated.insert(tree.clone()) {
            return Err("a tree twice in one span");
        }
        gathering.state.send_modify(|_| {});
        Ok(Seat { gathering, tree })
    }
}

fn check(span: &Span, header: &GenerationHeader) -> Result<(), &'static str> {
    let Lead {
        tree,
        epoch,
        generation,
    } = &span.lead;
    let others: BTreeSet<&TreeName> = span.others.iter().collect();
    let distinct = others.len() == span.others.len() && !others.contains(tree);
    if others.is_empty() || !distinct || others.len() >= TREES_MAX {
        return Err("a span is of several trees, each once");
    }
    if *epoch != header.epoch {
        return Err("a span of another epoch");
    }
    match *tree == header.tree {
        true if *generation != header.generation => Err("a span with another lead"),
        false if !others.contains(&header.tree) => Err("a tree that is not of its span"),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update is one insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// The tree's generation is complete: waits until those of all are durable.
    pub(super) async fn durable(
        &self,
        tree: PassiveTree,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Position, Refusal> {
        let member = Member { tree, _turn: turn };
        self.gathering.add(self.tree.clone(), member);
        self.gathering.wait_for_others().await;
        let state = self
            .gathering
            .until(|state| !matches!(state, State::Gathering | State::Committing));
        match state.await {
            State::Durable(positions) | State::Applied(positions, _) => {
                let position = positions.get(&self.tree).copied();
                position.ok_or_else(|| self.refusal(&self.tree, None))
            }
            State::GivenUp(tree, refusal) => Err(self.refusal(&tree, refusal)),
            State::Gathering | State::Committing => Err(self.refusal(&self.tree, None)),
        }
    }

    /// Waits until every name shows it.
    pub(super) async fn applied(&self) -> Result<AppliedGeneration, Refusal> {
        let state = self
            .gathering
            .until(|state| matches!(state, State::Applied(..)));
        match state.await {
            State::Applied(_, mut applied) => applied
                .remove(&self.tree)
                .unwrap_or_else(|| Err(self.refusal(&self.tree, None))),
            _ => Err(self.refusal(&self.tree, None)),
        }
    }

    /// What to answer when `tree` was not taken, and why.
    fn refusal(&self, tree: &TreeName, why: Option<Refusal>) -> Refusal {
        match why {
            Some(why) if *tree == self.tree => why,
            _ => Refusal::Span(tree.clone()),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gathering.give_up(&self.tree);
    }
}

impl Gathering {
    fn add(self: &Arc<Self>, name: TreeName, member: Member) {
        let mut members = lock(&self.members);
        if !matches!(*self.state.borrow(), State::Gathering) {
            drop(members);
            return abandon_all([member]);
        }
        members.ready.insert(name, member);
        if members.ready.len() <= self.span.others.len() {
            return;
        }
        let ready = std::mem::take(&mut members.ready);
        drop(members);
        self.state.send_replace(State::Committing);
        // Not a part of any conversation: what is begun here is ended here.
        tokio::spawn(conclude(Arc::clone(self), ready));
    }

    /// Gives the span up if it has not come together by now.
    fn give_up(&self, missing: &TreeName) {
        let given_up = self.state.send_if_modified(|state| {
            let gathering = matches!(state, State::Gathering);
            if gathering {
                *state = State::GivenUp(missing.clone(), None);
            }
            gathering
        });
        if given_up {
            let ready = std::mem::take(&mut lock(&self.members).ready);
            abandon_all(ready.into_values());
        }
    }

    /// Waits until the span has come together, or gives it up when that takes too
    /// long.
    async fn wait_for_others(&self) {
        let all = 1 + self.span.others.len();
        let seated = self.until(|state| {
            !matches!(state, State::Gathering) || lock(&self.members).seated.len() == all
        });
        let appeared = timeout(APPEAR_WITHIN, seated).await.is_ok();
        let complete = self.until(|state| !matches!(state, State::Gathering));
        if !appeared || timeout(ARRIVE_WITHIN, complete).await.is_err() {
            let late = self.late();
            self.give_up(&late);
        }
    }

    /// The first tree that has not arrived.
    fn late(&self) -> TreeName {
        let members = lock(&self.members);
        let trees = std::iter::once(&self.span.lead.tree).chain(&self.span.others);
        let mut missing = trees.filter(|tree| !members.ready.contains_key(tree));
        missing.next().unwrap_or(&self.span.lead.tree).clone()
    }

    async fn until(&self, mut is_wanted: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        let wanted = states.wait_for(|state| is_wanted(state)).await;
        match wanted {
            Ok(state) => state.clone(),
            // The sender lives as long as `self`.
            Err(_) => State::Gathering,
        }
    }
}

/// Forgets generations that are not to be; their trees take others after that.
fn abandon_all(members: impl IntoIterator<Item = Member>) {
    let members: Vec<Member> = members.into_iter().collect();
    // Without a runtime the node is ending, and the trees' threads with it.
    if let (false, Ok(runtime)) = (members.is_empty(), Handle::try_current()) {
        runtime.spawn(async move {
            for member in members {
                // Whoever finds the thread stopped has nothing to forget.
                let _ = member.tree.abandon().await;
            }
        });
    }
}

/// Makes all durable and applies them.
async fn conclude(gathering: Arc<Gathering>, members: BTreeMap<TreeName, Member>) {
    match commit(&gathering.span.lead, &members).await {
        Ok(positions) => {
            gathering
                .state
                .send_replace(State::Durable(positions.clone()));
            let applied = apply(&members).await;
            info!(trees = members.len(), "applied together");
            drop(members);
            gathering
                .state
                .send_replace(State::Applied(positions, applied));
        }
        Err((tree, refusal)) => {
            warn!(%tree, "a span was given up: {}", describe(&refusal));
            drop(members);
            gathering
                .state
                .send_replace(State::GivenUp(tree, Some(refusal)));
        }
    }
}

type NotTaken = (TreeName, Refusal);

async fn commit(
    lead: &Lead,
    members: &BTreeMap<TreeName, Member>,
) -> Result<BTreeMap<TreeName, Position>, NotTaken> {
    let committed = commit_each(lead, members).await;
    let others = members.iter().filter(|(name, _)| **name != lead.tree);
    for (_, member) in others {
        let told = match &committed {
            Ok(_) => member.tree.confirm().await,
            Err(_) => member.tree.withdraw().await,
        };
        // Of a thread that has stopped recovery knows what counts.
        let (Ok(()) | Err(Stopped)) = told;
    }
    if let (Err(_), Some(member)) = (&committed, members.get(&lead.tree)) {
        let (Ok(()) | Err(Stopped)) = member.tree.abandon().await;
    }
    committed
}

async fn commit_each(
    lead: &Lead,
    members: &BTreeMap<TreeName, Member>,
) -> Result<BTreeMap<TreeName, Position>, NotTaken> {
    let stopped = || Refusal::Unable("the tree's thread has stopped".to_owned());
    let mut positions = BTreeMap::new();
    for (name, member) in members.iter().filter(|(name, _)| **name != lead.tree) {
        let committed = member.tree.commit_led(lead.clone()).await;
        let position = committed.unwrap_or_else(|Stopped| Err(stopped()));
        let position = position.map_err(|refusal| (name.clone(), refusal))?;
        positions.insert(name.clone(), position);
    }
    let not_taken = |refusal| (lead.tree.clone(), refusal);
    let member = members
        .get(&lead.tree)
        .ok_or_else(|| not_taken(stopped()))?;
    let committed = member.tree.commit().await;
    let position = committed.unwrap_or_else(|Stopped| Err(stopped()));
    positions.insert(lead.tree.clone(), position.map_err(not_taken)?);
    Ok(positions)
}

/// Applies all at once: each on the thread of its tree.
async fn apply(
    members: &BTreeMap<TreeName, Member>,
) -> BTreeMap<TreeName, Result<AppliedGeneration, Refusal>> {
    let mut applying = JoinSet::new();
    for (name, member) in members {
        let (name, tree) = (name.clone(), member.tree.clone());
        applying.spawn(async move {
            let applied = tree.apply().await;
            let stopped =
                |Stopped| Err(Refusal::Unable("the tree's thread has stopped".to_owned()));
            (name, applied.unwrap_or_else(stopped))
        });
    }
    applying.join_all().await.into_iter().collect()
}
