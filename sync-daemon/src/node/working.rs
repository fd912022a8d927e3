//! «I am still at work»: what the other side of a conversation hears while this
//! one has nothing else to say, whatever it is busy with.

use std::{future::Future, pin::Pin, time::Duration};

use sync_core::wire::Reply;
use tokio::time::{Instant, sleep_until};

use super::error::SessionError;
use crate::transport::{Sender, StreamError};

/// How often the other side hears that the work goes on: well within the deadline
/// of one message.
pub(super) const WORKING_EVERY: Duration = Duration::from_secs(5);

/// How long to wait for a side that cannot say that it works: it may have to read,
/// copy or make durable a very large file or tree on a busy disk before its next
/// message. That it is there at all, the connection watches.
pub(super) const DISK_PATIENCE: Duration = Duration::from_secs(600);

/// The answering half of a conversation about one generation.
pub(super) struct Replies {
    sender: Sender,
    silence: Silence,
}

impl Replies {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender,
            silence: Silence::new(),
        }
    }

    pub(super) async fn send(&mut self, reply: &Reply) -> Result<(), StreamError> {
        self.silence.broken();
        self.sender.send(reply).await
    }

    pub(super) async fn finish(&mut self) -> Result<(), StreamError> {
        self.sender.finish().await
    }

    /// Does `work` and lets the other side hear every few seconds that it goes on.
    pub(super) async fn during<R>(
        &mut self,
        work: impl Future<Output = R>,
    ) -> Result<R, SessionError> {
        tokio::pin!(work);
        loop {
            match self.silence.while_bearable(work.as_mut()).await {
                Some(result) => return Ok(result),
                None => self.send(&Reply::Working).await?,
            }
        }
    }
}

/// How long nothing was said. It outlasts one piece of work: many that are short
/// are as silent as a long one.
struct Silence {
    ends: Instant,
}

impl Silence {
    fn new() -> Self {
        Self {
            ends: Instant::now() + WORKING_EVERY,
        }
    }

    fn broken(&mut self) {
        *self = Self::new();
    }

    /// What `work` gives; `None` when it is time to say something first.
    async fn while_bearable<R>(&mut self, work: Pin<&mut impl Future<Output = R>>) -> Option<R> {
        tokio::select! {
            result = work => Some(result),
            () = sleep_until(self.ends) => {
                self.broken();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each word was said while work of these lengths was done, in seconds.
    async fn told(seconds: &[u64]) -> Vec<u64> {
        let begun = Instant::now();
        let (mut silence, mut told) = (Silence::new(), Vec::new());
        for &seconds in seconds {
            let work = tokio::time::sleep(Duration::from_secs(seconds));
            tokio::pin!(work);
            while silence.while_bearable(work.as_mut()).await.is_none() {
                told.push(begun.elapsed().as_secs());
            }
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_is_told_of_every_few_seconds() {
        assert_eq!(told(&[3]).await, [0; 0]);
        assert_eq!(told(&[18]).await, [5, 10, 15]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_pieces_of_work_are_as_silent_as_a_long_one() {
        assert_eq!(told(&[4, 4, 4, 4]).await, [5, 10, 15]);
    }
}
