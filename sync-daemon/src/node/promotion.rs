//! `promote`: this passive becomes the active, and the active before it does not
//! stay one.
//!
//! The order is what keeps two nodes from being active at once: the new epoch is
//! on this node's disk before anything is sent under it, the old active has
//! recorded that it is passive before this node records that it is active. Where
//! the old active cannot be reached it hears of the epoch at its first contact.

use std::{sync::Arc, time::Duration};

use sync_core::{
    fence::{Kinship, Lineage},
    wire::VERSION_OF_CLAIMS,
};
use tokio::{sync::mpsc::Sender, time::timeout};
use tracing::{info, warn};

use super::{
    Shared,
    contacts::{self, Contact, Contacts},
    error::SessionError,
    handover,
    push_request::tell,
};
use crate::{
    control::RoleChange,
    events::{Event, Role, StandingReport, StepReport},
    failure::{Failure, FailureKind},
    identity::NodeId,
    standing::Standing,
};

/// How long a generation under way may take to arrive.
const TURN_WITHIN: Duration = Duration::from_secs(120);

/// How the active before is brought to an end.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Ending {
    /// It sends everything, then records that it is passive.
    Handover(NodeId),
    /// It hears of the new epoch, or each of several does. What only it has is
    /// kept aside there.
    Greeting(Vec<NodeId>),
    /// There is none, or it cannot be reached.
    None,
}

/// What a promotion will do.
struct Plan {
    lineage: Lineage,
    ending: Ending,
    steps: Vec<String>,
}

/// Runs one promotion; whether the role changed.
pub(super) async fn promote(
    shared: &Arc<Shared>,
    options: &RoleChange,
    events: &Sender<Event>,
) -> Result<bool, Failure> {
    let confirmed = confirmed(shared, "promoting", options)?;
    let standing = shared.standing();
    if standing.role == Role::Active {
        if standing.rival.is_none() {
            tell_standing(shared, &standing, false, false, events).await;
            return Ok(false);
        }
        if !confirmed {
            shared.refuse_conflict("promoting")?;
        }
        return decide(shared, standing, options, events).await;
    }
    let contacts = Contacts::ask(shared).await;
    let plan = plan(shared, &contacts.peers, confirmed)?;
    for text in &plan.steps {
        let (text, dry_run) = (text.clone(), options.dry_run);
        tell(events, Event::Step(StepReport { text, dry_run })).await;
    }
    let promoted = Standing {
        role: Role::Active,
        lineage: plan.lineage.clone(),
        rival: None,
    };
    if options.dry_run {
        tell_standing(shared, &promoted, true, true, events).await;
        return Ok(false);
    }
    ready_to_lead(shared).await?;
    end_the_active(shared, &contacts.peers, &plan, confirmed, events).await?;
    // Everything that came is applied and saved before this node leads.
    ready_to_lead(shared).await?;
    shared.record(promoted.clone())?;
    info!(epoch = %promoted.epoch(), "promoted: this node is active");
    tell_standing(shared, &promoted, true, false, events).await;
    shared.end_stint(format!(
        "this node has become active, epoch {}",
        promoted.epoch()
    ));
    Ok(true)
}

/// Whether the operator named this node.
pub(super) fn confirmed(
    shared: &Shared,
    doing: &str,
    options: &RoleChange,
) -> Result<bool, Failure> {
    let own = shared.config.node.name.as_str();
    match options.confirm.as_deref() {
        None => Ok(false),
        Some(name) if name == own => Ok(true),
        Some(name) => {
            let name = sync_core::path::escape(name.as_bytes());
            let message = format!("{doing}: `--confirm {name}` does not name this node");
            Err(Failure::new(FailureKind::Role, message).hint(format!(
                "this node is called `{own}`: run the command on `{name}`, or confirm `{own}`"
            )))
        }
    }
}

pub(super) async fn tell_standing(
    shared: &Shared,
    standing: &Standing,
    changed: bool,
    dry_run: bool,
    events: &Sender<Event>,
) {
    let report = StandingReport {
        node: shared.config.node.name.to_string(),
        role: standing.role,
        epoch: standing.epoch().0,
        changed,
        dry_run,
    };
    tell(events, Event::Standing(report)).await;
}

/// A person has decided a conflict for this node: it goes on in a new epoch that
/// continues both sides, and the other gives way when it hears of it.
async fn decide(
    shared: &Arc<Shared>,
    standing: Standing,
    options: &RoleChange,
    events: &Sender<Event>,
) -> Result<bool, Failure> {
    // What the other has come to since is continued as well.
    let contacts = Contacts::ask(shared).await;
    let said = contacts.peers.iter().filter_map(Contact::greeting);
    let rival = standing.rival.iter().map(|rival| &rival.lineage);
    let known = said.map(|theirs| &theirs.claim.lineage).chain(rival);
    let lineage = standing
        .lineage
        .promote(known, shared.id.0, nonce("promoting")?);
    let text = format!(
        "go on as the active, in epoch {}: the other node turns passive when it hears of it, and keeps aside what only it has",
        lineage.epoch()
    );
    let dry_run = options.dry_run;
    tell(events, Event::Step(StepReport { text, dry_run })).await;
    let decided = Standing {
        role: Role::Active,
        lineage,
        rival: None,
    };
    if !dry_run {
        shared.record(decided.clone())?;
        info!(epoch = %decided.epoch(), "the conflict is decided for this node");
    }
    tell_standing(shared, &decided, true, dry_run, events).await;
    if !dry_run {
        let epoch = decided.epoch();
        shared.end_stint(format!("this node goes on as the active, epoch {epoch}"));
    }
    Ok(!dry_run)
}

fn nonce(doing: &str) -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|error| {
        Failure::caused_by(
            FailureKind::Failed,
            format!("{doing}: no random number"),
            &error,
        )
    })?;
    Ok(u64::from_le_bytes(bytes))
}

fn plan(shared: &Shared, peers: &[Contact], confirmed: bool) -> Result<Plan, Failure> {
    let ours = shared.standing().lineage;
    let mut conflicts = Vec::new();
    let mut actives = Vec::new();
    for peer in peers {
        let Some(theirs) = peer.greeting() else {
            continue;
        };
        let kinship = Kinship::of(&ours, &theirs.claim.lineage);
        if kinship == Kinship::Diverged || theirs.claim.halted {
            conflicts.push(format!("`{}` (epoch {})", peer.name, theirs.hello.epoch));
        }
        if theirs.hello.active {
            actives.push((peer, kinship));
        }
    }
    if !confirmed && !conflicts.is_empty() {
        return Err(in_conflict(shared, &conflicts));
    }
    if !confirmed && actives.len() > 1 {
        let names: Vec<_> = actives
            .iter()
            .map(|(peer, _)| format!("`{}`", peer.name))
            .collect();
        return Err(in_conflict(shared, &names));
    }
    let ending = match actives.as_slice() {
        [(peer, kinship)] => ending(peer, *kinship)?,
        [] => Ending::None,
        several => Ending::Greeting(several.iter().map(|(peer, _)| peer.id).collect()),
    };
    let said = peers.iter().filter_map(Contact::greeting);
    let known = said.map(|theirs| &theirs.claim.lineage);
    let lineage = ours.promote(known, shared.id.0, nonce("promoting")?);
    let steps = steps(shared, peers, &ending, &lineage);
    Ok(Plan {
        lineage,
        ending,
        steps,
    })
}

fn ending(peer: &Contact, kinship: Kinship) -> Result<Ending, Failure> {
    let speaks = peer
        .greeting()
        .is_some_and(|theirs| theirs.hello.version >= VERSION_OF_CLAIMS);
    if !speaks {
        let message = format!(
            "promoting: the active `{}` is of an earlier release and cannot be told to give way",
            peer.name
        );
        return Err(Failure::new(FailureKind::Protocol, message)
            .hint("upgrade it first, or stop its daemon and promote without it"));
    }
    Ok(match kinship {
        Kinship::Same => Ending::Handover(peer.id),
        _ => Ending::Greeting(vec![peer.id]),
    })
}

fn in_conflict(shared: &Shared, with: &[String]) -> Failure {
    let own = &shared.config.node.name;
    let message = format!(
        "promoting: {} went on without knowing of this node, or of each other",
        with.join(", ")
    );
    Failure::new(FailureKind::Role, message).hint(format!(
        "`apim-sync diff` shows what either side has; if this node shall win: `apim-sync promote --confirm {own}`"
    ))
}

/// The plan in words.
fn steps(shared: &Shared, peers: &[Contact], ending: &Ending, lineage: &Lineage) -> Vec<String> {
    let name = |id: &NodeId| shared.peer_name(id);
    let mut steps = Vec::new();
    match ending {
        Ending::Handover(id) => steps.push(format!(
            "`{}` sends what it has not sent yet, then turns passive",
            name(id)
        )),
        Ending::Greeting(ids) => steps.extend(ids.iter().map(|id| {
            format!(
                "`{}` turns passive; what only it has is kept aside there",
                name(id)
            )
        })),
        Ending::None => steps.extend(without_the_active(shared, peers)),
    }
    steps.push(format!(
        "this node becomes the active, in epoch {}",
        lineage.epoch()
    ));
    steps
}

/// What is known where no active could be asked.
fn without_the_active(shared: &Shared, peers: &[Contact]) -> Vec<String> {
    let mut lines: Vec<String> = peers
        .iter()
        .filter_map(|peer| peer.answer.as_ref().err())
        .map(|failure| format!("not reached: {}", failure.message))
        .collect();
    if lines.is_empty() {
        return lines;
    }
    lines.push(
        "what the active has not sent here is missing until it is back; it turns passive then, and keeps aside what only it has"
            .to_owned(),
    );
    for tree in shared.passive.values() {
        let state = tree.state.borrow();
        let (position, files) = (state.position, state.agreed.totals().files);
        lines.push(format!(
            "last agreed of {}: generation {} of epoch {}, {files} files, root {}",
            tree.name, position.generation, position.epoch, position.root
        ));
    }
    lines
}

/// Applies and saves everything that was acknowledged: what cannot be, cannot be
/// led from.
pub(super) async fn ready_to_lead(shared: &Shared) -> Result<(), Failure> {
    for tree in shared.passive.values() {
        let doing = format!("promoting: {} cannot be taken over", tree.name);
        let turn = timeout(TURN_WITHIN, tree.turn.lock()).await;
        let Ok(_turn) = turn else {
            let message = format!("{doing}: a generation that is arriving does not end");
            return Err(Failure::new(FailureKind::Partial, message).hint("try again"));
        };
        let tended = tree.tend(|_| true).await;
        let tended =
            tended.map_err(|stopped| Failure::caused_by(FailureKind::Failed, &*doing, &stopped))?;
        let problem = tended.err().or_else(|| tree.state.borrow().problem.clone());
        if let Some(problem) = problem {
            return Err(
                Failure::new(FailureKind::Partial, format!("{doing}: {problem}")).hint(
                    "`apim-sync status` shows what it waits for: free space, or mount the tree",
                ),
            );
        }
    }
    Ok(())
}

async fn end_the_active(
    shared: &Arc<Shared>,
    peers: &[Contact],
    plan: &Plan,
    confirmed: bool,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let connection = |id: NodeId| {
        let contact = peers.iter().find(|peer| peer.id == id);
        contact.and_then(|peer| peer.answer.as_ref().ok().map(|(connection, _)| connection))
    };
    let by_greeting = match &plan.ending {
        &Ending::Handover(id) => {
            let Some(connection) = connection(id) else {
                return Ok(());
            };
            let name = shared.peer_name(&id);
            let doing = format!("promoting: `{name}` gives way");
            match hand_over(shared, connection, &plan.lineage).await {
                Ok(()) => return Ok(()),
                Err(error) if is_lost(&error) => {
                    let text = format!("{}; going on without it", error.failure(&doing));
                    warn!("{text}");
                    tell(events, Event::notice(text)).await;
                }
                Err(error) if !confirmed => return Err(refused(shared, &error.failure(&doing))),
                Err(error) => {
                    let text = format!("{}; going on all the same", error.failure(&doing));
                    tell(events, Event::notice(text)).await;
                }
            }
            vec![id]
        }
        Ending::Greeting(ids) => ids.clone(),
        Ending::None => Vec::new(),
    };
    shared
        .take_up(&plan.lineage)
        .map_err(|error| error.failure("promoting"))?;
    for id in by_greeting {
        let name = shared.peer_name(&id);
        match contacts::fence_by_greeting(shared, id).await {
            Ok(true) => {}
            Ok(false) => {
                let text = format!("`{name}` cannot be reached; it turns passive when it is back");
                tell(events, Event::notice(text)).await;
            }
            Err(error) => {
                let doing = format!("promoting: `{name}` does not turn passive");
                return Err(error.failure(&doing));
            }
        }
    }
    Ok(())
}

async fn hand_over(
    shared: &Arc<Shared>,
    connection: &crate::transport::Connection,
    lineage: &Lineage,
) -> Result<(), SessionError> {
    let flushed = handover::flush(connection).await?;
    shared.take_up(lineage)?;
    flushed.fence(lineage.clone()).await
}

/// Whether the link broke, so that the active counts as unreachable.
fn is_lost(error: &SessionError) -> bool {
    matches!(error, SessionError::Stream(error) if !error.is_breach())
}

fn refused(shared: &Shared, failure: &Failure) -> Failure {
    let own = &shared.config.node.name;
    let hint = failure.hint.as_deref().unwrap_or("look at the active");
    Failure::new(failure.kind, failure.message.clone()).hint(format!(
        "{hint}; to go on without what it has not sent: `apim-sync promote --confirm {own}`"
    ))
}
