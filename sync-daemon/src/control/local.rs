//! A request answered in this process, where no daemon runs.

use tokio::sync::mpsc;

use super::{EVENTS_QUEUED_MAX, Handler, Request};
use crate::{events::Event, failure::Failure};

/// Has `handler` do `request` and passes each event on, as
/// [`Client::call`](super::Client::call) does with a daemon. Dropping the future
/// cancels the request.
///
/// # Errors
/// The handler's own failure.
pub async fn answer(
    handler: &dyn Handler,
    request: Request,
    mut on_event: impl FnMut(Event),
) -> Result<(), Failure> {
    let (sender, mut events) = mpsc::channel(EVENTS_QUEUED_MAX);
    let pass_on = async {
        while let Some(event) = events.recv().await {
            on_event(event);
        }
    };
    tokio::join!(handler.handle(request, sender), pass_on).0
}
