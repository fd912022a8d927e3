//! How long a transfer waits for its peer.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{connection::Connection, frame::StreamError};

/// What must move within one patience for a transfer to count as alive.
const PROGRESS_BYTES_MIN: usize = 4 << 10;
/// For so many patiences a peer that takes nothing is waited for while it says
/// that it is at work: ten minutes, in which the slowest disk writes what the
/// peer has taken already.
const PATIENCES_MAX: u32 = 20;

/// Until when the next bit of progress is due.
pub(super) struct Pace {
    patience: Duration,
    due: Instant,
    /// Beyond this nothing puts `due` off.
    limit: Instant,
    moved: usize,
}

impl Pace {
    pub(super) fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self {
            patience,
            due: now + patience,
            limit: now + patience * PATIENCES_MAX,
            moved: 0,
        }
    }

    /// Waits one patience more, as far as the limit allows; `false` beyond it.
    pub(super) fn put_off(&mut self) -> bool {
        let now = Instant::now();
        self.due = self.limit.min(now + self.patience);
        self.due > now
    }

    /// Notes progress.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= PROGRESS_BYTES_MIN {
            *self = Self::new(self.patience);
        }
    }

    /// Waits for one step of a transfer on `connection`.
    pub(super) async fn wait<T, E: Into<StreamError>>(
        &self,
        connection: &Connection,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StreamError> {
        match timeout_at(self.due, step).await {
            Ok(outcome) => outcome.map_err(|error| match error.into() {
                StreamError::Lost(loss) => StreamError::Lost(connection.refine(loss)),
                other => other,
            }),
            Err(_) => Err(StreamError::TimedOut {
                patience: self.patience,
            }),
        }
    }
}
