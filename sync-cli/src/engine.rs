//! The one place where this program runs a node itself.

use sync_daemon::{
    config::Config,
    control::Request,
    events::Event,
    failure::{Failure, FailureKind},
};

/// Does one request without a daemon.
pub(crate) async fn one_shot(
    config: &Config,
    _request: Request,
    _on_event: impl FnMut(Event),
) -> Result<(), Failure> {
    let state_dir = config.node.state_dir.display();
    Err(Failure::new(
        FailureKind::Unreachable,
        format!("the daemon of this node does not run (no one answers at {state_dir})"),
    ))
}
