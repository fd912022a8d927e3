//! `bootstrap`: fill this passive from the active, with a progress.
//!
//! The active's pushers do the sending; this connects, asks to be caught up, and
//! watches what arrives.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sync_core::{Position, TreeName};
use tokio::{sync::mpsc::Sender, task::JoinSet, time::Instant};

use super::{
    Shared,
    audit::Looks,
    catchup,
    error::SessionError,
    passive::{PassiveState, PassiveTree},
    peers::Peer,
    push_request::{tell, unknown_tree},
    session, verify,
};
use crate::{
    control::Bootstrap,
    events::{Event, Progress, Summary, TransferSummary, Unit},
    failure::{Failure, FailureKind},
    identity::NodeId,
    transport::{Connection, Ending},
};

/// How long an ended connection may linger.
const RECONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Runs one bootstrap.
pub(super) async fn run(
    shared: &Arc<Shared>,
    options: Bootstrap,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    if shared.is_active() {
        let message = format!(
            "bootstrapping: node `{}` is active",
            shared.config.node.name
        );
        return Err(
            Failure::new(FailureKind::Role, message).hint("run the command on the passive node")
        );
    }
    let trees = trees(shared, options.tree.as_deref())?;
    let replacing = confirmed(shared, options.confirm.as_deref())?;
    let _replacing = replacing.then(|| Replacing::allow(&trees));
    let (id, peer) = the_active(shared, options.from.as_deref())?;
    let doing = format!("bootstrapping from `{}`", peer.name);
    let mut sessions = JoinSet::new();
    if replacing {
        take_replaced_roots(shared, id, &trees, &doing).await?;
    }
    let (connection, mut asked) =
        connect_and_ask(shared, (id, &peer), &trees, &doing, &mut sessions).await?;
    for tree in &trees {
        let filled = asked.remove(&tree.name).expect("every tree was asked for");
        fill(tree, (&peer, &connection), filled, events, &doing).await?;
    }
    Ok(())
}

/// What the active answers for each tree, each in a task that ends with this.
type Asked = BTreeMap<TreeName, JoinSet<Result<Position, SessionError>>>;

fn ask(connection: &Connection, trees: &[PassiveTree]) -> Asked {
    let ask = |tree: &PassiveTree| {
        let (connection, tree) = (connection.clone(), tree.name.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { catchup::ask(&connection, &tree).await });
        task
    };
    trees
        .iter()
        .map(|tree| (tree.name.clone(), ask(tree)))
        .collect()
}

fn trees(shared: &Shared, name: Option<&str>) -> Result<Vec<PassiveTree>, Failure> {
    let Some(name) = name else {
        return Ok(shared.passive.values().cloned().collect());
    };
    let tree = shared
        .passive
        .values()
        .find(|tree| tree.name.as_str() == name);
    tree.map(|tree| vec![tree.clone()])
        .ok_or_else(|| unknown_tree(shared, name))
}

/// Whether the operator accepts that other files are replaced.
fn confirmed(shared: &Shared, confirm: Option<&str>) -> Result<bool, Failure> {
    let own = shared.config.node.name.as_str();
    match confirm {
        None => Ok(false),
        Some(name) if name == own => Ok(true),
        Some(name) => {
            let name = sync_core::path::escape(name.as_bytes());
            Err(Failure::new(
                FailureKind::Halted,
                format!("bootstrapping: `--confirm {name}` does not name this node"),
            )
            .hint(format!(
                "to replace what this node holds: `--confirm {own}`"
            )))
        }
    }
}

/// Lets generations replace files that were never synchronised, until dropped.
struct Replacing(Vec<PassiveTree>);

impl Replacing {
    fn allow(trees: &[PassiveTree]) -> Self {
        for tree in trees {
            tree.allow_replacing(true);
        }
        Self(trees.to_vec())
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        for tree in &self.0 {
            tree.allow_replacing(false);
        }
    }
}

/// Where a tree's root was replaced, what stands there now is what is compared:
/// the active must hear of it, so a live connection is made anew.
async fn take_replaced_roots(
    shared: &Shared,
    id: NodeId,
    trees: &[PassiveTree],
    doing: &str,
) -> Result<(), Failure> {
    let mut any = false;
    for tree in trees {
        let failed =
            |error: &dyn std::error::Error| Failure::caused_by(FailureKind::Failed, doing, error);
        let taken = tree
            .take_replaced_root()
            .await
            .map_err(|error| failed(&error))?;
        any |= taken.map_err(|error| failed(&error))?;
    }
    if let (true, Some(connection)) = (
        any,
        shared.peers.peer(&id).as_ref().and_then(Peer::connection),
    ) {
        connection.close(Ending::Done);
        connection.closed().await;
        let gone = |peer: &Peer| peer.connection().is_none_or(|held| !held.is(connection));
        let ended = shared.peers.wait(RECONNECT_WITHIN, |peers| {
            peers.get(&id).is_none_or(gone).then_some(())
        });
        if ended.await.is_none() {
            return Err(Failure::new(
                FailureKind::Failed,
                format!("{doing}: the old connection does not end"),
            ));
        }
    }
    Ok(())
}

fn the_active(shared: &Shared, from: Option<&str>) -> Result<(NodeId, Peer), Failure> {
    let mut peers = verify::peers(shared, from)?;
    if peers.len() > 1 {
        let names: Vec<_> = peers.iter().map(|(_, peer)| peer.name.clone()).collect();
        let message = format!("bootstrapping: there are {} peers", peers.len());
        return Err(Failure::new(FailureKind::Usage, message).hint(format!(
            "choose the active with `--from`: {}",
            names.join(", ")
        )));
    }
    peers
        .pop()
        .ok_or_else(|| Failure::new(FailureKind::Usage, "bootstrapping: no peer is trusted"))
}

/// Asks over a session with the active: the daemon's, or one of this request. Over
/// a new one the question goes along with the greeting, so that the active looks at
/// what is here before it sends anything, and not again when all is sent.
async fn connect_and_ask(
    shared: &Arc<Shared>,
    (id, peer): (NodeId, &Peer),
    trees: &[PassiveTree],
    doing: &str,
    sessions: &mut JoinSet<()>,
) -> Result<(Connection, Asked), Failure> {
    if let Some(connection) = shared.peers.peer(&id).as_ref().and_then(Peer::connection) {
        return Ok((connection.clone(), ask(connection, trees)));
    }
    let Some(address) = &peer.address else {
        let message = format!("{doing}: its address is not known");
        return Err(
            Failure::new(FailureKind::Unreachable, message).hint(format!(
                "`apim-sync trust add {} --id {id} --address HOST:PORT`",
                peer.name
            )),
        );
    };
    let mut asked = Asked::new();
    let along = |connection: &Connection| asked = ask(connection, trees);
    let connected = super::network::connect(shared, id, address, along).await;
    let (connection, theirs) = connected.map_err(|error| error.failure(doing))?;
    if !theirs.hello.active {
        return Err(Failure::new(
            FailureKind::Role,
            format!("{doing}: that node is passive too"),
        )
        .hint("`apim-sync status` on both nodes shows their roles"));
    }
    let (session_shared, session_connection) = (Arc::clone(shared), connection.clone());
    sessions.spawn(async move {
        session::run(
            &session_shared,
            id,
            session_connection,
            theirs,
            Looks::new(),
        )
        .await;
    });
    Ok((connection, asked))
}

async fn fill(
    tree: &PassiveTree,
    (peer, connection): (&Peer, &Connection),
    mut asked: JoinSet<Result<Position, SessionError>>,
    events: &Sender<Event>,
    doing: &str,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let before = connection.traffic();
    let mut state = tree.state.subscribe();
    let position = loop {
        tokio::select! {
            Some(answer) = asked.join_next() => {
                let answer = answer.map_err(|panic| SessionError::Local(session::panicked(&panic)));
                break answer.flatten().map_err(|error| error.failure(doing))?;
            }
            () = tokio::time::sleep(TELL_EVERY) => {
                let now = state.borrow_and_update().clone();
                tell_progress(&tree.name, &now, events).await;
            }
        }
    };
    let state = tree.state.borrow().clone();
    tell_progress(&tree.name, &state, events).await;
    let after = connection.traffic();
    let summary = TransferSummary {
        tree: tree.name.to_string(),
        peer: peer.name.clone(),
        files: state.agreed.totals().files,
        bytes: state.agreed.totals().bytes,
        sent_bytes: after.sent_bytes - before.sent_bytes,
        received_bytes: after.received_bytes - before.received_bytes,
        generation: position.generation.0,
        root: position.root.to_string(),
        seconds: begun.elapsed().as_secs_f64(),
        dry_run: false,
        deployed: None,
    };
    tell(events, Event::Summary(Summary::Transfer(summary))).await;
    Ok(())
}

async fn tell_progress(tree: &TreeName, state: &PassiveState, events: &Sender<Event>) {
    let progress = Progress {
        task: format!("receiving {tree}"),
        done: state.intake.arrived,
        total: Some(state.intake.wanted),
        unit: Unit::Files,
        bytes: state.intake.bytes,
    };
    tell(events, Event::Progress(progress)).await;
}
