//! Events many at a time, for a node that makes most of them itself.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

/// For so long a watcher at [`Delivery::Gathered`] leaves events to the kernel, whose
/// queue holds 16,384.
const REST: Duration = Duration::from_millis(4);
/// For so long after a rest it takes them as they come: time for those that have
/// gathered, and few more.
const AWAKE: Duration = Duration::from_micros(500);

/// How soon events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As they happen.
    Prompt,
    /// Many at once, up to [`REST`] late: when this node changes thousands of
    /// files itself, waking up for each costs nearly as much as changing it.
    Gathered,
}

/// The pauses of a watcher's thread, taken after its events.
pub(super) struct Rest {
    delivery: Delivery,
    ended: Instant,
    hurried: Receiver<()>,
}

impl Rest {
    /// What is sent to the second ends the rest that is taken, or the next one.
    pub(super) fn new(delivery: Delivery) -> (Self, SyncSender<()>) {
        let (hurry, hurried) = sync_channel(1);
        let rest = Self {
            delivery,
            ended: Instant::now(),
            hurried,
        };
        (rest, hurry)
    }

    /// Called after each event: pauses where none was for a while.
    pub(super) fn take(&mut self) {
        if self.delivery == Delivery::Gathered && self.ended.elapsed() >= AWAKE {
            // How it ended makes no difference.
            let _ = self.hurried.recv_timeout(REST);
            self.ended = Instant::now();
        }
    }
}
