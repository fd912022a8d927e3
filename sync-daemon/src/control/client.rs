//! The side of a command: connect, ask, follow the events.

use std::{io, path::Path};

use tokio::{io::BufReader, net::UnixStream};

use super::{ANSWER_BYTES_MAX, Answer, Request, line, place::Place};
use crate::{
    events::Event,
    failure::{Failure, FailureKind},
};

/// A connection to the running node.
#[derive(Debug)]
pub struct Client(BufReader<UnixStream>);

/// Connects to the node that runs on `state_dir`; `None` when none does.
///
/// # Errors
/// When a node may be running and cannot be asked: the socket is not ours, or
/// the directory cannot be entered.
pub async fn connect(state_dir: &Path) -> Result<Option<Client>, Failure> {
    match open(state_dir).await {
        Ok(stream) => Ok(Some(Client(BufReader::new(stream)))),
        Err(error) if means_no_daemon(&error) => Ok(None),
        Err(error) => {
            let doing = format!("asking the daemon at `{}`", state_dir.display());
            Err(Failure::caused_by(FailureKind::Failed, doing, &error)
                .hint("run the command as the user the daemon runs as"))
        }
    }
}

async fn open(state_dir: &Path) -> io::Result<UnixStream> {
    let place = Place::open(state_dir)?;
    UnixStream::connect(place.path()).await
}

/// No directory, no socket, or one that a dead daemon left behind.
fn means_no_daemon(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

impl Client {
    /// Sends `request` and passes each event on, until the outcome comes.
    /// Dropping the future closes the connection, which cancels the request.
    ///
    /// # Errors
    /// The node's own failure, or that it went away before the outcome.
    pub async fn call(
        mut self,
        request: &Request,
        mut on_event: impl FnMut(Event),
    ) -> Result<(), Failure> {
        // A daemon that is too busy answers and closes without reading: a
        // failed write is told only if there is no answer either.
        let sent = line::write(&mut self.0, request).await;
        loop {
            match line::read(&mut self.0, ANSWER_BYTES_MAX).await {
                Ok(Some(Answer::Event(event))) => on_event(event),
                Ok(Some(Answer::Done)) => return Ok(()),
                Ok(Some(Answer::Failed(failure))) => return Err(failure),
                Ok(None) => {
                    let error = sent.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                    return Err(lost(&error));
                }
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}

#[cfg(test)]
impl Client {
    /// The bare connection, to send what no client of ours would.
    pub(super) fn raw(&mut self) -> &mut BufReader<UnixStream> {
        &mut self.0
    }
}

fn lost(error: &io::Error) -> Failure {
    let doing = "the daemon stopped before it answered";
    Failure::caused_by(FailureKind::Failed, doing, error).hint("read its log, then try again")
}
