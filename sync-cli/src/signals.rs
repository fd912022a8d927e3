//! Interruption: Ctrl-C and SIGTERM end a one-shot command cleanly.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Stop;
use sync_daemon::failure::{Failure, FailureKind};

/// A signal that ends a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    /// 128 and the signal's number, as shells have it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Waits for a signal that ends a command. The handlers are in place as soon as
/// this returns its future.
pub(crate) fn caught() -> Result<impl Future<Output = Signal> + use<>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::caused_by(FailureKind::Failed, "listening for signals", &error)
        })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        }
    })
}

/// Runs `work`, unless a signal comes first: then `work` is dropped, which
/// cancels it.
pub(crate) async fn unless_signalled<T>(
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    unless(caught()?, work).await
}

/// The same with handlers that are in place already.
pub(crate) async fn unless<T>(
    caught: impl Future<Output = Signal>,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    tokio::select! {
        outcome = work => outcome,
        signal = caught => Err(Stop::Signal(signal)),
    }
}
