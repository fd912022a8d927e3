//! Nodes remember how far each other's audit log has come: a chain alone does not
//! prove its end.
//!
//! At the beginning of a session, and now and then, each side says the newest
//! record of its log. The other keeps the highest in its own log, and answers what
//! it had seen before.

use std::{convert::Infallible, sync::PoisonError, time::Duration};

use data_encoding::HEXLOWER;
use sync_core::wire::{AuditTip, Opening, WitnessAnswer};
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use super::{Shared, error::SessionError};
use crate::{
    audit_log::{self, Head, Said, Witnessed},
    identity::NodeId,
    transport::{Connection, Stream},
};

/// How often it is said again.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// How soon a log that is only begun is looked at again.
const FIRST_RECORD_RETRY: Duration = Duration::from_millis(200);

/// Says it at the beginning of a session, and now and then, until that ends.
pub(super) async fn keep_telling(shared: &Shared, connection: Connection) -> Infallible {
    let mut last = None;
    loop {
        let head = shared.audit.head();
        if head.is_none() {
            // Its first record is being written.
            tokio::time::sleep(FIRST_RECORD_RETRY).await;
            continue;
        }
        if head != last {
            match exchange(shared, &connection).await {
                Ok(_) => last = head,
                Err(error) => debug!("the audit log was not witnessed: {error}"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Says how far this node's log has come; gives what the peer had seen before.
pub(super) async fn exchange(
    shared: &Shared,
    connection: &Connection,
) -> Result<Vec<Head>, SessionError> {
    let mut stream = connection.open().await?;
    let tip = shared.audit.head().as_ref().and_then(tip);
    stream.send(&Opening::Witness { tip }).await?;
    let WitnessAnswer { seen } = stream.receive().await?;
    Ok(seen.into_iter().map(head).collect())
}

/// Hears how far the peer's log has come.
pub(super) async fn serve(
    shared: &Shared,
    peer: NodeId,
    mut stream: Stream,
    said: Option<AuditTip>,
) -> Result<(), SessionError> {
    let seen = shared.witnessed(&peer).await;
    let answer = WitnessAnswer {
        seen: seen.iter().filter_map(tip).collect(),
    };
    stream.send(&answer).await?;
    stream.finish().await?;
    if let Some(said) = said.map(head) {
        shared.note_witnessed(peer, seen.last(), said);
    }
    Ok(())
}

impl Shared {
    /// What this node has seen of a peer's log, over restarts.
    async fn witnessed(&self, peer: &NodeId) -> Vec<Head> {
        let load = || async {
            let (state_dir, id) = (self.config.node.state_dir.clone(), self.id);
            let read = spawn_blocking(move || audit_log::witnessed(&state_dir, &id)).await;
            match read {
                Ok(Ok(witnessed)) => witnessed.into(),
                Ok(Err(error)) => {
                    warn!("what was seen of the peers' audit logs cannot be read: {error}");
                    Witnessed::new().into()
                }
                Err(_) => Witnessed::new().into(), // a panic, told in the log
            }
        };
        let known = self.witnessed.get_or_init(load).await;
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let heads = known.get(&peer.to_string());
        heads.map_or_else(Vec::new, |heads| heads.iter().cloned().collect())
    }

    /// Keeps the highest; one that went back is told.
    fn note_witnessed(&self, peer: NodeId, seen: Option<&Head>, said: Head) {
        let name = self.peer_name(&peer);
        match seen {
            Some(seen) if said.record < seen.record => {
                warn!(peer = %name, "its audit log has {} records, and had {}: its end was cut off", said.record, seen.record);
                return;
            }
            Some(seen) if said.record == seen.record => {
                if said.hash != seen.hash {
                    warn!(peer = %name, "record {} of its audit log is another than before", said.record);
                }
                return;
            }
            _ => {}
        }
        if let Some(known) = self.witnessed.get() {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            audit_log::remember(&mut known, peer.to_string(), said.clone());
        }
        self.audit.say(Said::Witnessed {
            peer: peer.to_string(),
            upto: said.record,
            hash: said.hash,
        });
    }
}

fn tip(head: &Head) -> Option<AuditTip> {
    let hash = HEXLOWER.decode(head.hash.as_bytes()).ok()?;
    Some(AuditTip {
        record: head.record,
        hash: hash.try_into().ok()?,
    })
}

fn head(tip: AuditTip) -> Head {
    Head {
        record: tip.record,
        hash: HEXLOWER.encode(&tip.hash),
    }
}
