//! Where this program runs a node itself: one request, without a daemon.

use sync_daemon::{
    config::Config,
    control::{self, Request},
    events::Event,
    failure::Failure,
    node::{Node, NodeMode},
};

/// Does one request without a daemon: opens the node, asks it, closes it.
pub(crate) async fn one_shot(
    config: &Config,
    request: Request,
    on_event: impl FnMut(Event),
) -> Result<(), Failure> {
    let heals = matches!(&request, Request::Push(push) if !push.dry_run);
    let node = Node::start(config.clone(), None, NodeMode::OneShot { heals }).await?;
    let outcome = control::answer(&node.handle(), request, on_event).await;
    let stopped = node.stop().await;
    outcome.and(stopped)
}
