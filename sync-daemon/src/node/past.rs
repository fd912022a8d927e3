//! `history` of a running node.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::{Shared, push_request::tell};
use crate::{
    control::History,
    events::Event,
    failure::{Failure, FailureKind},
};

/// Tells what is kept of the past.
pub(super) async fn history(
    shared: &Arc<Shared>,
    asked: History,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let reading = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || crate::history::tell(&reading.config, &asked));
    let told = read.await.map_err(|panic| {
        Failure::caused_by(FailureKind::Failed, "reading the history", &panic)
            .hint("this is a defect of apim-sync: please report it with the daemon's log")
    })?;
    for event in told? {
        tell(events, event).await;
    }
    Ok(())
}
