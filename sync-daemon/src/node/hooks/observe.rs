//! What hooks are told beside changes of role: generations, drift and halts, seen
//! in what the trees and the peers publish. While a hook runs the newest state
//! waits, and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use sync_core::{Generation, Manifest, Position, RelPath, TreeName};
use sync_fs::replica::Drifted;
use tokio::{sync::watch, task::JoinSet};

use super::Facts;
use crate::{
    events::{DriftCause, DriftKind, Hook, HookRun},
    node::{Shared, drift, passive::PassiveState, publisher::Published, status},
};

/// Paths that a hook is told by name.
const PATHS_MAX: usize = 50;

/// Watches for everything that a hook is configured for.
pub(in crate::node) fn observe(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    if shared.tells(Hook::OnGeneration) {
        for tree in shared.active.values() {
            let (name, states) = (tree.name.clone(), tree.published.clone());
            tasks.spawn(generations(Arc::clone(shared), name, states));
        }
        for tree in shared.passive.values() {
            let (name, states) = (tree.name.clone(), tree.state.subscribe());
            tasks.spawn(generations(Arc::clone(shared), name, states));
        }
    }
    if shared.tells(Hook::OnDrift) {
        for tree in shared.passive.values() {
            let (name, states) = (tree.name.clone(), tree.state.subscribe());
            tasks.spawn(drifts(Arc::clone(shared), name, states));
        }
    }
    if shared.tells(Hook::OnHalt) {
        tasks.spawn(halts(Arc::clone(shared), shared.peers.changes()));
        for tree in shared.passive.values() {
            tasks.spawn(halts(Arc::clone(shared), tree.state.subscribe()));
        }
    }
}

/// Something that stands at a generation.
trait Stands: Send + Sync + 'static {
    fn position(&self) -> Position;
    fn manifest(&self) -> &Manifest;
}

impl Stands for Published {
    fn position(&self) -> Position {
        self.position
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Stands for PassiveState {
    fn position(&self) -> Position {
        self.position
    }

    fn manifest(&self) -> &Manifest {
        &self.agreed
    }
}

async fn generations<T: Stands>(
    shared: Arc<Shared>,
    tree: TreeName,
    mut states: watch::Receiver<T>,
) {
    let mut told = stand(&*states.borrow());
    loop {
        let last = told.0.generation;
        let newer = states.wait_for(|state| state.position().generation != last);
        let new = match newer.await {
            Ok(state) => stand(&*state),
            // The tree's thread has stopped.
            Err(_) => return,
        };
        let changes = changes(told.1, new.1.clone()).await;
        let facts = generation_facts(&tree, new.0, last, changes);
        told = new;
        run(&shared, Hook::OnGeneration, facts).await;
    }
}

fn stand(state: &impl Stands) -> (Position, Manifest) {
    (state.position(), state.manifest().clone())
}

/// How many paths changed, and the first of them: a first fill names them all, so
/// that is not for the node's own thread.
async fn changes(before: Manifest, after: Manifest) -> (usize, Vec<Value>) {
    let compared = tokio::task::spawn_blocking(move || {
        let differences = after.diff(&before);
        let first = differences.iter().take(PATHS_MAX).map(|difference| {
            let action = match (&difference.theirs, &difference.ours) {
                (None, _) => "create",
                (Some(_), Some(_)) => "update",
                (Some(_), None) => "delete",
            };
            path_facts(&difference.path, "action", action)
        });
        (differences.len(), first.collect())
    });
    compared.await.unwrap_or_default()
}

fn generation_facts(
    tree: &TreeName,
    position: Position,
    last: Generation,
    (changes, paths): (usize, Vec<Value>),
) -> Facts {
    let mut facts = Map::new();
    facts.insert("tree".into(), json!(tree.as_str()));
    facts.insert("generation".into(), json!(position.generation.0));
    facts.insert("previous_generation".into(), json!(last.0));
    facts.insert("root".into(), json!(position.root.to_string()));
    facts.insert("changes".into(), json!(changes));
    facts.insert("paths".into(), paths.into());
    facts
}

async fn drifts(shared: Arc<Shared>, tree: TreeName, mut states: watch::Receiver<PassiveState>) {
    let mut told: BTreeMap<RelPath, Drifted> = BTreeMap::new();
    loop {
        let drift = match states.wait_for(|state| state.drift != told).await {
            Ok(state) => state.drift.clone(),
            Err(_) => return,
        };
        let new: Vec<&Drifted> = drift
            .values()
            .filter(|drifted| told.get(&drifted.path) != Some(drifted))
            .collect();
        let facts = (!new.is_empty()).then(|| drift_facts(&tree, &new));
        told = drift;
        if let Some(facts) = facts {
            run(&shared, Hook::OnDrift, facts).await;
        }
    }
}

fn drift_facts(tree: &TreeName, new: &[&Drifted]) -> Facts {
    let paths: Vec<Value> = new
        .iter()
        .take(PATHS_MAX)
        .map(|drifted| {
            let mut facts = path_facts(
                &drifted.path,
                "kind",
                DriftKind::from(drift::kind(&drifted.kind)),
            );
            facts["cause"] = json!(DriftCause::from(drifted.cause));
            facts
        })
        .collect();
    let mut facts = Map::new();
    facts.insert("tree".into(), json!(tree.as_str()));
    facts.insert("changes".into(), json!(new.len()));
    facts.insert("paths".into(), paths.into());
    facts
}

fn path_facts(path: &RelPath, key: &str, what: impl serde::Serialize) -> Value {
    let mut facts = Map::new();
    facts.insert("path".into(), json!(path.escaped()));
    if path.needs_escape() {
        facts.insert("escaped".into(), json!(true));
    }
    facts.insert(key.into(), json!(what));
    Value::Object(facts)
}

/// Tells every halt once for as long as it lasts, whenever `changes` says that
/// something may be different.
async fn halts<T>(shared: Arc<Shared>, mut changes: watch::Receiver<T>) {
    loop {
        changes.mark_unchanged();
        for facts in new_halts(&shared) {
            run(&shared, Hook::OnHalt, facts).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn new_halts(shared: &Shared) -> Vec<Facts> {
    let now = all_halts(shared);
    let mut known = shared.hooks.known();
    let new = now
        .iter()
        .filter(|(key, _)| !known.halts.contains(*key))
        .map(|(_, facts)| facts.clone())
        .collect();
    known.halts = now.into_keys().collect();
    new
}

/// What is halted now, each under a name of its own.
fn all_halts(shared: &Shared) -> BTreeMap<String, Facts> {
    let mut halts = BTreeMap::new();
    let standing = shared.standing();
    if let Some(conflict) = status::conflict(&standing, shared.config.node.name.as_str()) {
        let facts = json!({
            "reason": "conflict",
            "peer": conflict.peer,
            "peer_epoch": conflict.peer_epoch,
            "detail": conflict.detail,
        });
        halts.insert(format!("conflict {}", conflict.peer_epoch), facts);
    }
    for tree in shared.active.values() {
        let published = tree.published.borrow();
        if let Some(problem) = &published.problem {
            let facts = json!({
                "reason": "source",
                "tree": tree.name.as_str(),
                "plan": published.replaced.map(|plan| plan.to_string()),
                "detail": problem.message,
            });
            halts.insert(format!("source {}", tree.name), facts);
        }
    }
    for plan in status::guard(shared).plans {
        let source = format!("source {}", plan.tree);
        if halts.contains_key(&source) {
            continue; // told with its plan
        }
        let facts = json!({
            "reason": "guard",
            "tree": plan.tree,
            "plan": plan.plan,
            "peer": plan.peer,
            "deletions": plan.deletions,
            "files": plan.files,
        });
        halts.insert(
            format!("guard {} {} {}", plan.plan, plan.tree, plan.peer),
            facts,
        );
    }
    let object = |facts: Value| facts.as_object().cloned().unwrap_or_default();
    halts
        .into_iter()
        .map(|(key, facts)| (key, object(facts)))
        .collect()
}

/// Runs a hook to its end.
async fn run(shared: &Shared, hook: Hook, facts: Facts) -> Option<HookRun> {
    shared.hooks.run(hook, shared.now(), facts).await.ok()
}
