//! `trace`: the life of one path on both nodes, each by its own clock.

use std::sync::Arc;

use sync_core::{
    RelPath, TreeName,
    history::{LaterSteps, Step, Time},
    wire::{Opening, TRACED_MAX, TraceAnswer, Traced, VERSION_OF_CLAIMS},
};
use tokio::{sync::mpsc::Sender, task::spawn_blocking};

use super::{Shared, contacts::Contacts, error::SessionError, push_request::tell, scope::Scope};
use crate::{
    control::Trace,
    events::{Event, PathText, TraceReport, TraceStep},
    failure::{Failure, FailureKind},
    history::{self, Past},
    transport::{Connection, Stream},
};

/// Times that one generation is told with.
const TIMES_MAX: usize = 64;

/// What one node knows.
struct Side {
    node: String,
    traced: Vec<Traced>,
}

/// Runs one request.
pub(super) async fn run(
    shared: &Arc<Shared>,
    asked: Trace,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let path = history::parse(&asked.path)?;
    let scope = Scope::of(shared, asked.tree.as_deref(), None)?;
    let contacts = Contacts::ask(shared).await;
    let mut found = 0;
    for tree in scope.trees(shared) {
        let mut sides = vec![Side {
            node: shared.config.node.name.to_string(),
            traced: local(shared, tree.clone(), path.clone()).await?,
        }];
        for peer in &contacts.peers {
            match &peer.answer {
                Ok((connection, greeting)) if greeting.hello.version >= VERSION_OF_CLAIMS => {
                    let asking = format!("asking `{}` for its part", peer.name);
                    let traced = ask(connection, &tree, &path).await;
                    sides.push(Side {
                        node: peer.name.clone(),
                        traced: traced.map_err(|error| error.failure(&asking))?,
                    });
                }
                Ok(_) => {}
                Err(failure) => {
                    let text = format!("without the part of `{}`: {}", peer.name, failure.message);
                    tell(events, Event::notice(text)).await;
                }
            }
        }
        found += tell_sides(&tree, &path, &sides, events).await;
    }
    if found > 0 {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Usage,
        format!("tracing `{path}`: no generation that is kept touched it"),
    )
    .hint("name the path as it is below the tree; `apim-sync history` lists what is kept"))
}

/// Tells each generation with the steps of every node, newest first.
async fn tell_sides(
    tree: &TreeName,
    path: &RelPath,
    sides: &[Side],
    events: &Sender<Event>,
) -> usize {
    let mut generations: Vec<&Traced> = sides.iter().flat_map(|side| &side.traced).collect();
    generations.sort_by_key(|traced| std::cmp::Reverse(traced.position.generation));
    generations.dedup_by_key(|traced| (traced.position.generation, traced.position.root));
    generations.truncate(TRACED_MAX);
    for traced in &generations {
        let steps = sides.iter().flat_map(|side| {
            let same = side.traced.iter().filter(|it| {
                let (one, other) = (it.position, traced.position);
                one.generation == other.generation && one.root == other.root
            });
            same.flat_map(|it| it.times.iter().map(|time| step(&side.node, it, time)))
        });
        let report = TraceReport {
            tree: tree.to_string(),
            path: PathText::from(path),
            generation: traced.position.generation.0,
            root: traced.position.root.to_string(),
            steps: steps.collect(),
        };
        tell(events, Event::Trace(report)).await;
    }
    generations.len()
}

fn step(node: &str, traced: &Traced, time: &Time) -> TraceStep {
    // What a sender notes of these, it has heard from the node it sent to.
    let heard = matches!(time.step, Step::Durable | Step::Applied) && traced.sends;
    TraceStep {
        step: time.step.name().to_owned(),
        unix_ms: time.at_ms,
        clock: node.to_owned(),
        heard,
    }
}

/// What this node knows of the path.
async fn local(
    shared: &Arc<Shared>,
    tree: TreeName,
    path: RelPath,
) -> Result<Vec<Traced>, Failure> {
    let deployed = deployed(shared, &tree, &path);
    let reading = Arc::clone(shared);
    let read = spawn_blocking(move || {
        let configured = reading.config.tree(tree.as_str());
        let past = configured.map(|tree| Past::read(&reading.config, tree));
        past.transpose()
            .map(|past| past.map_or_else(Vec::new, |past| traced(&past, &path)))
    });
    let mut traced = read.await.map_err(|panic| {
        Failure::caused_by(FailureKind::Failed, "reading the history", &panic)
            .hint("this is a defect of apim-sync: please report it with the daemon's log")
    })??;
    for it in &mut traced {
        let generation = it.position.generation;
        let own = deployed.iter().filter(|(number, _)| *number == generation);
        it.times.extend(own.map(|(_, time)| *time));
    }
    Ok(traced)
}

fn traced(past: &Past, path: &RelPath) -> Vec<Traced> {
    let touched = past
        .generations
        .iter()
        .filter(|(record, _)| record.changes.iter().any(|change| change.path == *path));
    let traced = touched.take(TRACED_MAX).map(|(record, laters)| {
        let later = laters.iter().flat_map(|LaterSteps { times, .. }| times);
        Traced {
            position: record.position,
            sends: !record.times.iter().any(|time| time.step == Step::Received),
            times: record
                .times
                .iter()
                .chain(later)
                .copied()
                .take(TIMES_MAX)
                .collect(),
        }
    });
    traced.collect()
}

/// What the deployer of a passive made of the path, by generation; since the node
/// started.
fn deployed(
    shared: &Shared,
    tree: &TreeName,
    path: &RelPath,
) -> Vec<(sync_core::Generation, Time)> {
    let Some(tree) = shared.passive_tree(tree) else {
        return Vec::new();
    };
    let state = tree.state.borrow();
    let ended = state.deployed.latest.iter().map(|ended| {
        let step = match ended.deployed.rejected.contains(path) {
            true => Step::Rejected,
            false => Step::Deployed,
        };
        let at_ms = ended.unix_seconds.saturating_mul(1_000);
        (ended.deployed.generation, Time { step, at_ms })
    });
    ended.collect()
}

async fn ask(
    connection: &Connection,
    tree: &TreeName,
    path: &RelPath,
) -> Result<Vec<Traced>, SessionError> {
    let mut stream = connection.open().await?;
    let (tree, path) = (tree.clone(), path.clone());
    stream.send(&Opening::Trace { tree, path }).await?;
    let TraceAnswer { traced } = stream.receive().await?;
    let bounded =
        traced.len() <= TRACED_MAX && traced.iter().all(|it| it.times.len() <= 2 * TIMES_MAX);
    match bounded {
        true => Ok(traced),
        false => Err(SessionError::protocol("an answer without bounds")),
    }
}

/// Tells a peer what this node knows.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut stream: Stream,
    tree: TreeName,
    path: RelPath,
) -> Result<(), SessionError> {
    let traced = local(shared, tree, path)
        .await
        .map_err(SessionError::Local)?;
    stream.send(&TraceAnswer { traced }).await?;
    stream.finish().await?;
    Ok(())
}
