//! `daemon`: run the node until a signal ends it.

use std::{convert::Infallible, path, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use sync_daemon::{
    control::{ControlSocket, Handler as _, Request},
    failure::{Failure, FailureKind},
    node::{Node, NodeHandle, NodeMode},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing::{error, info, warn};

use super::Context;
use crate::{
    error::{Outcome, Stop},
    signals,
};

pub(crate) async fn run(context: &Context) -> Outcome {
    let config = context.config()?;
    // A reload reads the file again, wherever the process stands by then.
    let file = path::absolute(&context.global.config).ok();
    let ended = signals::caught()?;
    tokio::pin!(ended);
    let node = tokio::select! {
        started = Node::start(config, file, NodeMode::Daemon) => started?,
        signal = &mut ended => {
            info!(?signal, "ended before the node had started");
            return Ok(());
        }
    };
    let outcome = tokio::select! {
        failed = serve(&node) => failed.map(|never| match never {}),
        signal = &mut ended => {
            info!(?signal, "stopping");
            Ok(())
        }
    };
    stop(node).await?;
    Ok(outcome?)
}

/// Answers requests, reloads, and keeps systemd informed.
async fn serve(node: &Node) -> Result<Infallible, Failure> {
    let socket = ControlSocket::bind(node.state_dir()).map_err(|error| {
        let state_dir = node.state_dir().display();
        let doing = format!("making the control socket in {state_dir}");
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("is the state directory on a local file system that can be written?")
    })?;
    let handle = node.handle();
    let requests = socket.serve(Arc::new(handle.clone()));
    info!(id = %node.id(), address = %node.local_address(), "ready");
    tell_systemd(&[NotifyState::Ready]);
    tokio::select! {
        () = requests => Err(Failure::new(
            FailureKind::Failed,
            "answering requests: the control socket was closed",
        )),
        failed = node.failed() => Err(failed),
        failed = reload_on_hangup(&handle) => failed,
        never = feed_watchdog() => match never {},
    }
}

async fn reload_on_hangup(handle: &NodeHandle) -> Result<Infallible, Failure> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| Failure::caused_by(FailureKind::Failed, "listening for SIGHUP", &error))?;
    loop {
        hangups.recv().await;
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell_systemd(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "cannot read the clock that systemd wants"),
        }
        // A reload reports nothing but its outcome.
        let (events, _) = mpsc::channel(1);
        match handle.handle(Request::Reload, events).await {
            Ok(()) => info!("reloaded"),
            Err(failure) => error!(%failure, "not reloaded; the old settings stay"),
        }
        tell_systemd(&[NotifyState::Ready]);
    }
}

/// Tells systemd twice an interval that the node's loop turns.
async fn feed_watchdog() -> Infallible {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell_systemd(&[NotifyState::Watchdog]);
    }
}

/// Stops cleanly; a second signal does not wait for that.
async fn stop(node: Node) -> Outcome {
    tell_systemd(&[NotifyState::Stopping]);
    let again = signals::caught()?;
    tokio::select! {
        stopped = node.stop() => stopped?,
        signal = again => {
            warn!(?signal, "ended before everything was saved; nothing acknowledged is lost");
            return Err(Stop::Signal(signal));
        }
    }
    info!("stopped");
    Ok(())
}

/// Does nothing where systemd did not start this process.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot tell systemd the state of this node");
    }
}
