//! `history --check`: whether the audit log of this node is as it was written.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::{Shared, contacts::Contacts, push_request::tell, witness};
use crate::{
    audit_log,
    events::Event,
    failure::{Failure, FailureKind},
    history,
};

/// Checks the log, and asks the peers what they have seen of it.
pub(super) async fn check(shared: &Arc<Shared>, events: &Sender<Event>) -> Result<(), Failure> {
    // What the peers have seen is asked before this node reads its own.
    let contacts = Contacts::ask(shared).await;
    let mut seen = Vec::new();
    for peer in &contacts.peers {
        let asked = match &peer.answer {
            Ok((connection, _)) => witness::exchange(shared, connection)
                .await
                .map_err(|error| error.to_string()),
            Err(failure) => Err(failure.message.clone()),
        };
        match asked {
            Ok(heads) if heads.is_empty() => {}
            Ok(heads) => seen.push((peer.name.clone(), heads)),
            Err(why) => {
                let text = format!(
                    "`{}` was not asked what it has seen of the log: {why}",
                    peer.name
                );
                tell(events, Event::notice(text)).await;
            }
        }
    }
    let (state_dir, id) = (shared.config.node.state_dir.clone(), shared.id);
    let checking = tokio::task::spawn_blocking(move || audit_log::check(&state_dir, &id));
    let checked = checking.await.map_err(|panic| {
        Failure::caused_by(FailureKind::Failed, "checking the audit log", &panic)
            .hint("this is a defect of apim-sync: please report it with the daemon's log")
    })?;
    let mut checked = checked.map_err(|error| history::unreadable(&error))?;
    for (peer, heads) in &seen {
        heads.iter().for_each(|head| checked.compare(peer, head));
    }
    for event in history::tell_check(&checked, seen.len()) {
        tell(events, event).await;
    }
    history::verdict(&checked)
}
