//! `ready`: what would be lost if the roles changed now.
//!
//! The active's disk as it is now is compared with what a passive has applied:
//! whatever is held, halted, refused or on its way shows as a difference.
//! Nothing is changed.

use std::sync::Arc;

use sync_core::{RelPath, TreeName, fence::Verdict, wire::View};
use tokio::sync::{mpsc::Sender, watch};

use super::{
    Shared, audit,
    contacts::{Contact, Contacts},
    error::{SessionError, printable},
    picture,
    push_request::tell,
};
use crate::{
    events::{Event, PathText, PendingReport, ReadinessReport},
    failure::{Failure, FailureKind},
    transport::Connection,
};

/// What one peer lacks, or what this node lacks of it.
#[derive(Default)]
struct Lacks {
    paths: Vec<(TreeName, RelPath)>,
    reasons: Vec<String>,
}

/// Runs one request.
pub(super) async fn run(shared: &Arc<Shared>, events: &Sender<Event>) -> Result<(), Failure> {
    let mut reasons = own_reasons(shared);
    let contacts = Contacts::ask(shared).await;
    let mut successor = None;
    let mut pending = 0;
    for peer in &contacts.peers {
        let connection = match &peer.answer {
            Ok((connection, _)) if is_partner(shared, peer) => connection,
            Ok(_) => continue,
            Err(failure) => {
                reasons.push(failure.message.clone());
                continue;
            }
        };
        let lacks = lacks(shared, peer, connection).await;
        if lacks.paths.is_empty() && lacks.reasons.is_empty() {
            successor.get_or_insert_with(|| peer.name.clone());
        }
        pending += lacks.paths.len() as u64;
        reasons.extend(lacks.reasons);
        for (tree, path) in lacks.paths {
            let report = PendingReport {
                tree: tree.to_string(),
                peer: peer.name.clone(),
                path: PathText::from(&path),
            };
            tell(events, Event::Pending(report)).await;
        }
    }
    let own = own_reasons(shared);
    let ready = successor.is_some() && own.is_empty();
    if !ready && reasons.is_empty() && pending == 0 {
        reasons.push("no peer that could take over is known".to_owned());
    }
    let report = ReadinessReport {
        ready,
        peer: successor,
        pending,
        reasons,
    };
    let outcome = outcome(&report);
    tell(events, Event::Readiness(report)).await;
    outcome
}

fn outcome(report: &ReadinessReport) -> Result<(), Failure> {
    if report.ready {
        return Ok(());
    }
    let pending = report.pending;
    let message = format!("not ready to fail over: {pending} paths would be lost");
    let message = match (pending, report.reasons.is_empty()) {
        (_, true) => message,
        (0, false) => "not ready to fail over: not everything is known or in order".to_owned(),
        (_, false) => format!("{message}, and not everything is in order"),
    };
    Err(Failure::new(FailureKind::Differences, message)
        .hint("`apim-sync push` on the active sends what is pending; `apim-sync status` on both nodes says what is held"))
}

/// Whether the roles of this node and the peer could change places.
fn is_partner(shared: &Shared, peer: &Contact) -> bool {
    peer.greeting().is_some_and(|theirs| {
        matches!(
            shared.meet(peer.id, theirs),
            Verdict::Lead | Verdict::Follow
        )
    })
}

/// What is wrong with this node whoever the peer is.
fn own_reasons(shared: &Shared) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Err(conflict) = shared.refuse_conflict("failing over") {
        reasons.push(conflict.message);
    }
    if shared.is_active() {
        reasons.extend(shared.any_pause());
    }
    for tree in shared.active.values() {
        if let Some(problem) = &tree.published.borrow().problem {
            reasons.push(problem.message.clone());
        }
    }
    for tree in shared.passive.values() {
        let state = tree.state.borrow();
        if let Some(problem) = &state.problem {
            reasons.push(format!("{}: {problem}", tree.name));
        }
        if let Some(halt) = &state.halt {
            reasons.push(format!("{}: plan {} is halted", tree.name, halt.plan));
        }
        if state.returning {
            let name = &tree.name;
            reasons.push(format!("{name}: nothing was taken from the active yet"));
        }
    }
    reasons
}

async fn lacks(shared: &Arc<Shared>, peer: &Contact, connection: &Connection) -> Lacks {
    let mut lacks = Lacks::default();
    for tree in shared.config.trees.iter().map(|tree| &tree.name) {
        match compare(shared, tree, connection).await {
            Ok((paths, unreadable)) => {
                lacks
                    .paths
                    .extend(paths.into_iter().map(|path| (tree.clone(), path)));
                for (path, reason) in unreadable {
                    let reason = printable(&reason);
                    lacks
                        .reasons
                        .push(format!("{tree}: `{path}` is held: {reason}"));
                }
            }
            Err(error) => {
                let doing = format!("comparing {tree} with `{}`", peer.name);
                lacks.reasons.push(error.failure(&doing).message);
            }
        }
    }
    lacks
}

type Unreadable = Vec<(RelPath, String)>;

/// The paths of the active's disk that the passive has not applied, and those that
/// the active cannot send.
async fn compare(
    shared: &Shared,
    tree: &TreeName,
    connection: &Connection,
) -> Result<(Vec<RelPath>, Unreadable), SessionError> {
    let (here, there) = match shared.is_active() {
        true => (View::Disk, View::Agreed),
        false => (View::Agreed, View::Disk),
    };
    let (progress, _) = watch::channel((0, 0));
    let local = picture::of(shared, tree, here, progress).await?;
    let local = local.map_err(SessionError::Refused)?;
    let audit = audit::open(connection, tree, there, |_, _| {}).await?;
    let peer = audit.walk(&local.manifest).await?;
    let differing = local.manifest.diff(&peer.manifest);
    let paths = differing.into_iter().map(|it| it.path).collect();
    let unreadable = match shared.is_active() {
        true => local.unreadable,
        false => peer.unreadable,
    };
    Ok((paths, unreadable))
}
