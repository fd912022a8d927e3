//! `demote`: this active becomes a passive, in the same epoch. Nobody is active
//! until a peer is promoted.

use std::sync::Arc;

use sync_core::{fence::Verdict, wire::Refusal};
use tokio::sync::mpsc::Sender;
use tracing::info;

use super::{
    Shared,
    contacts::{Contact, Contacts},
    error::refusal_failure,
    handover::{FLUSH_WITHIN, everything_sent},
    promotion::{confirmed, tell_standing},
    publisher::Command,
    push_request::tell,
};
use crate::{
    control::RoleChange,
    events::{Event, Role, StepReport},
    failure::{Failure, FailureKind},
    standing::Standing,
};

/// Runs one demotion; whether the role changed.
pub(super) async fn demote(
    shared: &Arc<Shared>,
    options: &RoleChange,
    events: &Sender<Event>,
) -> Result<bool, Failure> {
    let confirmed = confirmed(shared, "demoting", options)?;
    let standing = shared.standing();
    if standing.role == Role::Passive {
        tell_standing(shared, &standing, false, false, events).await;
        return Ok(false);
    }
    shared.refuse_conflict("demoting")?;
    let contacts = Contacts::ask(shared).await;
    let successor = contacts
        .peers
        .iter()
        .find(|peer| could_take_over(shared, peer));
    if successor.is_none() && !confirmed {
        return Err(nobody(shared, &contacts.peers));
    }
    let dry_run = options.dry_run;
    let text = match successor {
        Some(peer) => format!(
            "send `{}` what it does not have yet, then turn passive; it becomes active with `apim-sync promote` there",
            peer.name
        ),
        None => "turn passive although no peer can take over".to_owned(),
    };
    tell(events, Event::Step(StepReport { text, dry_run })).await;
    let passive = Standing {
        role: Role::Passive,
        ..standing
    };
    if dry_run {
        tell_standing(shared, &passive, true, true, events).await;
        return Ok(false);
    }
    let held = match successor {
        Some(peer) => match flush(shared, peer).await {
            Ok(held) => Some(held),
            Err(failure) if confirmed => {
                tell(
                    events,
                    Event::notice(format!("{failure}; going on all the same")),
                )
                .await;
                None
            }
            Err(failure) => return Err(failure),
        },
        None => None,
    };
    shared.record(passive.clone())?;
    drop(held);
    info!(epoch = %passive.epoch(), "demoted: this node is passive");
    tell_standing(shared, &passive, true, false, events).await;
    shared.end_stint("this node has become passive".to_owned());
    Ok(true)
}

/// Whether the peer follows this node, and so has what it has.
fn could_take_over(shared: &Shared, peer: &Contact) -> bool {
    peer.greeting()
        .is_some_and(|theirs| shared.meet(peer.id, theirs) == Verdict::Lead)
}

fn nobody(shared: &Shared, peers: &[Contact]) -> Failure {
    let own = &shared.config.node.name;
    let why: Vec<String> = peers
        .iter()
        .map(|peer| match &peer.answer {
            Ok(_) => format!("`{}` does not follow this node", peer.name),
            Err(failure) => failure.message.clone(),
        })
        .collect();
    let why = match why.is_empty() {
        true => "no peer is trusted".to_owned(),
        false => why.join("; "),
    };
    let message = format!("demoting: no peer could take over: {why}");
    Failure::new(FailureKind::Role, message).hint(format!(
        "bring a peer up first (`apim-sync status`); or, if nobody shall be active: `apim-sync demote --confirm {own}`"
    ))
}

/// Sends the peer everything, and nothing more until the result is dropped.
async fn flush<'a>(
    shared: &'a Arc<Shared>,
    peer: &Contact,
) -> Result<super::shared::GivingWay<'a>, Failure> {
    let doing = format!("demoting: sending everything to `{}`", peer.name);
    let late = || {
        let seconds = FLUSH_WITHIN.as_secs();
        Failure::new(
            FailureKind::Unreachable,
            format!("{doing}: not done within {seconds} s"),
        )
        .hint("`apim-sync status` shows what it waits for")
    };
    if let Some(why) = shared.any_pause() {
        let why = Refusal::Unable(why);
        return Err(refusal_failure(&why, &doing).hint("`apim-sync resume` lets it go on"));
    }
    shared.refuse_without_lease(&doing)?;
    for tree in shared.active.values() {
        let barrier = tokio::time::timeout(FLUSH_WITHIN, tree.barrier(Command::Flush));
        let flushed = barrier.await.map_err(|_| late())?;
        flushed.map_err(|stopped| Failure::caused_by(FailureKind::Failed, &*doing, &stopped))?;
    }
    // One command's node sends nothing unasked.
    shared.want_everything_sent(&peer.id);
    let sent = shared.peers.wait(FLUSH_WITHIN, |peers| {
        everything_sent(shared, peers.get(&peer.id))
    });
    match sent.await {
        Some(Ok(())) => Ok(shared.give_way()),
        Some(Err(refusal)) => Err(refusal_failure(&refusal, &doing)),
        None => Err(late()),
    }
}
