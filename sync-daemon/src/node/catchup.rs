//! «Bring this tree up to date now»: what `bootstrap` on a passive asks.

use std::sync::Arc;

use sync_core::{
    Position, Root, TreeName,
    wire::{Opening, Refusal, Reply},
};

use super::{Shared, error::SessionError, peers::PeerTree, working::WORKING_EVERY};
use crate::{
    identity::NodeId,
    transport::{Connection, Stream},
};

/// The passive's side: asks, and waits until the active says that all is applied.
pub(super) async fn ask(
    connection: &Connection,
    tree: &TreeName,
) -> Result<Position, SessionError> {
    let mut stream = connection.open().await?;
    stream
        .send(&Opening::Catchup { tree: tree.clone() })
        .await?;
    loop {
        match stream.receive::<Reply>().await? {
            Reply::Working => {}
            Reply::Applied { position, .. } => return Ok(position),
            Reply::Refused(refusal) => return Err(SessionError::Refused(refusal)),
            Reply::Need(_) | Reply::Durable(_) => {
                return Err(SessionError::protocol("an answer that was not asked for"));
            }
        }
    }
}

/// The active's side: waits for the pusher of that peer.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    peer: NodeId,
    mut stream: Stream,
    tree: &TreeName,
) -> Result<(), SessionError> {
    let led = shared.active_tree(tree).filter(|_| shared.leads());
    let Some(active) = led else {
        let refusal = if shared.leads() {
            Refusal::UnknownTree(tree.clone())
        } else {
            Refusal::Role { active: false }
        };
        stream.send(&Reply::Refused(refusal)).await?;
        return Ok(());
    };
    // What was judged before this request says nothing about it.
    let mut heal = 0;
    shared.peers.update_tree(&peer, tree, |known| {
        heal = known.want_healing(None);
    });
    loop {
        if let Some(pause) = shared.pauses.within(tree) {
            let what = pause.what();
            let reason =
                format!("sending of {what} is paused on the active (`apim-sync resume` there)");
            stream
                .send(&Reply::Refused(Refusal::Unable(reason)))
                .await?;
            return Ok(());
        }
        if let Some(refusal) = shared.without_lease() {
            stream.send(&Reply::Refused(refusal)).await?;
            return Ok(());
        }
        let problem = active.published.borrow().problem.clone();
        if let Some(problem) = problem {
            stream
                .send(&Reply::Refused(Refusal::Unable(problem.message)))
                .await?;
            return Ok(());
        }
        let outcome = shared.peers.wait(WORKING_EVERY, |peers| {
            // As it is now: the first look may have ended since.
            let now = active.published.borrow();
            let root = now.scanned.then_some(now.position.root);
            outcome(peers.get(&peer)?.trees.get(tree)?, heal, root)
        });
        match outcome.await {
            Some(reply) => {
                stream.send(&reply).await?;
                stream.finish().await?;
                return Ok(());
            }
            None => stream.send(&Reply::Working).await?,
        }
    }
}

fn outcome(known: &PeerTree, heal: u64, root: Option<Root>) -> Option<Reply> {
    let judged = known.heal_judged >= heal;
    if let (Some(halt), true) = (&known.halt, judged) {
        return Some(Reply::Refused(halt.refusal()));
    }
    if let (Some(refusal), true) = (&known.refusal, judged) {
        return Some(Reply::Refused(refusal.clone()));
    }
    let position = known.applied?;
    (known.heal_done >= heal && Some(position.root) == root).then_some(Reply::Applied {
        position,
        kept_aside: 0,
    })
}
