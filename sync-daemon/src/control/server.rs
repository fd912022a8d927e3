//! The side of the node: accept, read one request, run it, report.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Answer, CLIENTS_MAX, EVENTS_QUEUED_MAX, Handler, REQUEST_BYTES_MAX, Request, line, place::Place,
};
use crate::{
    events::Event,
    failure::{Failure, FailureKind},
};

/// How long a client may take to send its request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long a client may leave an answer unread.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of descriptors), so that it cannot spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The bound control socket of a node. Dropped, it is removed.
pub struct ControlSocket {
    listener: UnixListener,
    place: Place,
}

impl ControlSocket {
    /// Binds `control.sock` in `state_dir`, replacing one that a dead daemon
    /// left behind. The caller holds the lock on the directory: it alone
    /// decides who is alive. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the directory cannot be opened or the socket cannot be made.
    pub fn bind(state_dir: &Path) -> io::Result<Self> {
        let place = Place::open(state_dir)?;
        place.clear()?;
        let listener = UnixListener::bind(place.path())?;
        place.make_private()?;
        Ok(Self { listener, place })
    }

    /// Serves requests until dropped; that cancels those under way.
    pub async fn serve(self, handler: Arc<dyn Handler>) {
        let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut clients = JoinSet::new();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            while clients.try_join_next().is_some() {}
            match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => {
                    let handler = Arc::clone(&handler);
                    clients.spawn(async move {
                        serve_client(stream, handler).await;
                        drop(permit);
                    });
                }
                Err(_) => refuse(stream),
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = self.place.clear() {
            tracing::warn!(%error, "cannot remove the control socket");
        }
    }
}

/// Tells a client too many that it is one: one short line into an empty socket
/// buffer, which cannot block.
fn refuse(stream: UnixStream) {
    let failure = Failure::new(
        FailureKind::Failed,
        format!("asking the daemon: it is serving {CLIENTS_MAX} requests already"),
    )
    .hint("wait for one to end, then try again");
    let told = serde_json::to_vec(&Answer::Failed(failure)).map(|mut line| {
        line.push(b'\n');
        stream.try_write(&line)
    });
    tracing::warn!(told = ?told, "too many control connections");
}

async fn serve_client(stream: UnixStream, handler: Arc<dyn Handler>) {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let request = timeout(REQUEST_DEADLINE, line::read(&mut reader, REQUEST_BYTES_MAX)).await;
    let outcome = match request {
        Ok(Ok(Some(request))) => run(request, reader, writer, handler.as_ref()).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(error)) => refuse_request(writer, &error).await,
        Err(elapsed) => Err(elapsed.into()),
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a control connection ended early");
    }
}

async fn refuse_request(mut writer: OwnedWriteHalf, error: &io::Error) -> io::Result<()> {
    let doing = "the daemon does not understand the request";
    let failure = Failure::caused_by(FailureKind::Protocol, doing, error)
        .hint("daemon and command are of different releases: restart the daemon");
    answer(&mut writer, &Answer::Failed(failure)).await
}

/// Runs one request; a client that goes away or stops reading cancels it.
async fn run(
    request: Request,
    reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    handler: &dyn Handler,
) -> io::Result<()> {
    tracing::debug!(?request, "control request");
    let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
    let work = async {
        let handled = async { Ok(handler.handle(request, sender).await) };
        let (outcome, ()) = tokio::try_join!(handled, forward(events, &mut writer))?;
        io::Result::Ok(outcome)
    };
    let outcome = tokio::select! {
        outcome = work => outcome?,
        () = gone(reader) => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    let last = outcome.map_or_else(Answer::Failed, |()| Answer::Done);
    answer(&mut writer, &last).await
}

/// Passes events on until the handler has dropped its sender.
async fn forward(mut events: mpsc::Receiver<Event>, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    while let Some(event) = events.recv().await {
        answer(writer, &Answer::Event(event)).await?;
    }
    Ok(())
}

async fn answer(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    timeout(ANSWER_DEADLINE, line::write(writer, answer)).await?
}

/// Returns when the client has closed its side; nothing more is expected of it.
async fn gone(mut reader: BufReader<OwnedReadHalf>) {
    let mut byte = [0];
    while let Ok(1..) = reader.read(&mut byte).await {}
}
