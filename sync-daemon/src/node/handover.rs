//! The active gives way to a peer that is being promoted: both sides.
//!
//! First a barrier: the active sends what it has, and then nothing more. Only
//! after it has recorded that it is passive does the other become active. Where
//! the stream ends before that, the active goes on.

use std::{sync::Arc, time::Duration};

use sync_core::{
    fence::{Kinship, Lineage},
    wire::{Fence, HandoverAnswer, Opening, Refusal},
};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{
    Shared, error::SessionError, fencing::Greeting, peers::Peer, publisher::Command,
    working::WORKING_EVERY,
};
use crate::{
    events::Role,
    identity::NodeId,
    standing::Standing,
    transport::{Connection, Stream},
};

/// Silence that means a dead active.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How long an active tries to bring the asker up to date.
pub(super) const FLUSH_WITHIN: Duration = Duration::from_secs(120);
/// How long the asker waits for all of it.
const HANDOVER_WITHIN: Duration = Duration::from_secs(180);

/// The passive's side, between the two halves of a handover: everything is here,
/// and the active waits for the fence.
pub(super) struct Flushed(Stream);

/// Asks the active to send everything and then nothing more.
pub(super) async fn flush(connection: &Connection) -> Result<Flushed, SessionError> {
    let asking = async {
        let mut stream = connection.open().await?;
        stream.set_patience(SILENCE_MAX);
        stream.send(&Opening::Handover).await?;
        loop {
            match stream.receive::<HandoverAnswer>().await? {
                HandoverAnswer::Working => {}
                HandoverAnswer::Flushed => return Ok(Flushed(stream)),
                HandoverAnswer::Refused(refusal) => return Err(SessionError::Refused(refusal)),
                HandoverAnswer::Fenced => return Err(unasked()),
            }
        }
    };
    timeout(HANDOVER_WITHIN, asking).await.unwrap_or_else(|_| {
        let seconds = HANDOVER_WITHIN.as_secs();
        let why = format!("it did not send everything within {seconds} s");
        Err(SessionError::Refused(Refusal::Unable(why)))
    })
}

impl Flushed {
    /// Has the active turn passive; it is when this returns.
    pub(super) async fn fence(mut self, lineage: Lineage) -> Result<(), SessionError> {
        self.0.send(&Fence { lineage }).await?;
        self.0.finish().await?;
        match self.0.receive::<HandoverAnswer>().await? {
            HandoverAnswer::Fenced => Ok(()),
            HandoverAnswer::Refused(refusal) => Err(SessionError::Refused(refusal)),
            HandoverAnswer::Working | HandoverAnswer::Flushed => Err(unasked()),
        }
    }
}

fn unasked() -> SessionError {
    SessionError::protocol("an answer that was not asked for")
}

/// The active's side.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    peer: NodeId,
    theirs: &Greeting,
    mut stream: Stream,
) -> Result<(), SessionError> {
    let name = shared.peer_name(&peer);
    info!(peer = %name, "it asks to take over");
    if let Err(refusal) = send_everything(shared, peer, theirs, &mut stream).await? {
        warn!(peer = %name, "it cannot take over: {}", super::error::describe(&refusal));
        stream.send(&HandoverAnswer::Refused(refusal)).await?;
        stream.finish().await?;
        return Ok(());
    }
    // From the look that found everything sent to this line nobody else ran.
    let _held = shared.give_way();
    stream.send(&HandoverAnswer::Flushed).await?;
    let Some(Fence { lineage }) = stream.next::<Fence>().await? else {
        info!(peer = %name, "it does not take over; sending goes on");
        return Ok(());
    };
    if let Err(refusal) = give_way(shared, peer, &lineage) {
        stream.send(&HandoverAnswer::Refused(refusal)).await?;
        stream.finish().await?;
        return Ok(());
    }
    let told = tell_fenced(&mut stream).await;
    shared.end_stint(format!(
        "`{name}` has taken over in epoch {}, this node is passive",
        lineage.epoch()
    ));
    told
}

async fn tell_fenced(stream: &mut Stream) -> Result<(), SessionError> {
    stream.send(&HandoverAnswer::Fenced).await?;
    stream.finish().await?;
    stream.delivered().await?;
    Ok(())
}

fn give_way(shared: &Shared, peer: NodeId, lineage: &Lineage) -> Result<(), Refusal> {
    let ours = shared.standing();
    let continues = Kinship::of(&ours.lineage, lineage) == Kinship::TheirsContinues;
    if !continues || lineage.current().node != peer.0 {
        let why = "the promotion does not continue this epoch";
        return Err(Refusal::Protocol(why.to_owned()));
    }
    let passive = Standing {
        role: Role::Passive,
        lineage: lineage.clone(),
        rival: None,
    };
    let recorded = shared.record(passive);
    recorded.map_err(|failure| Refusal::Unable(failure.message))
}

/// Publishes what is on the disk and waits until the peer has applied it.
async fn send_everything(
    shared: &Arc<Shared>,
    peer: NodeId,
    theirs: &Greeting,
    stream: &mut Stream,
) -> Result<Result<(), Refusal>, SessionError> {
    if !shared.leads() {
        let active = shared.is_active();
        return Ok(Err(Refusal::Role { active }));
    }
    if theirs.hello.active {
        return Ok(Err(Refusal::Protocol("it is active itself".to_owned())));
    }
    if let Some(why) = shared.any_pause() {
        let why = format!("{why} on the active (`apim-sync resume` there)");
        return Ok(Err(Refusal::Unable(why)));
    }
    let _handing = shared.hand_to(peer);
    let deadline = Instant::now() + FLUSH_WITHIN;
    for tree in shared.active.values() {
        let barrier = tree.barrier(Command::Flush);
        tokio::pin!(barrier);
        while Instant::now() < deadline {
            tokio::select! {
                done = &mut barrier => { done?; break }
                () = tokio::time::sleep(WORKING_EVERY) => stream.send(&HandoverAnswer::Working).await?,
            }
        }
    }
    while Instant::now() < deadline {
        let reached = shared.peers.wait(WORKING_EVERY, |peers| {
            everything_sent(shared, peers.get(&peer))
        });
        match reached.await {
            Some(outcome) => return Ok(outcome),
            None => stream.send(&HandoverAnswer::Working).await?,
        }
    }
    let why = format!(
        "not everything was sent within {} s",
        FLUSH_WITHIN.as_secs()
    );
    Ok(Err(Refusal::Unable(why)))
}

/// Whether the peer has everything, or why it will not; `None` while it is on
/// its way.
pub(super) fn everything_sent(shared: &Shared, peer: Option<&Peer>) -> Option<Result<(), Refusal>> {
    let peer = peer?;
    let mut all = true;
    for (name, tree) in &shared.active {
        let published = tree.published.borrow();
        if let Some(problem) = &published.problem {
            return Some(Err(Refusal::Unable(problem.message.clone())));
        }
        let known = peer.trees.get(name)?;
        if let Some(halt) = &known.halt {
            return Some(Err(halt.refusal()));
        }
        if let Some(refusal) = &known.refusal {
            return Some(Err(refusal.clone()));
        }
        let applied = known.applied.map(|position| position.root);
        all &= published.scanned
            && applied == Some(published.position.root)
            && known.heal_done >= known.heal_wanted;
    }
    all.then_some(Ok(()))
}
