//! When a path that was touched is looked at, and when a deletion is believed.
//!
//! Events are hints. A path is due once its whole burst is quiet, so that files
//! written together travel together. A deletion is held, because the publisher
//! deletes and rewrites a file to update it; it is believed after a second look,
//! or at once when the artifact appears under another name. Looking, reading and
//! deciding what changed are the caller's; so is the clock: every `now` is the
//! time since one arbitrary start and never goes back.

mod appeared;
mod holds;
mod keyed;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use appeared::Appeared;
use holds::Holds;
use keyed::keys_of;

use crate::{content::ContentId, limits::TOUCHED_PATHS_MAX, path::RelPath};

/// How long to wait for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Quiet time after which a burst is over.
    pub settle: Duration,
    /// Time after the first touch at which a burst is looked at though it goes
    /// on.
    pub burst_max: Duration,
    /// Time for which a deletion is held.
    pub delete_hold: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(50),
            burst_max: Duration::from_secs(1),
            delete_hold: Duration::from_secs(10),
        }
    }
}

/// What a look at a due path found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// Something is there and fit to travel.
    Present {
        /// Whether it differs from the manifest (or is not in it).
        changed: bool,
        /// Its content, of a file.
        content: Option<ContentId>,
        /// The name of the artifact in it, where known.
        artifact: Option<String>,
    },
    /// Nothing is there, but the manifest lists the path.
    Missing {
        /// The content that the manifest lists, of a file.
        content: Option<ContentId>,
        /// The name of the artifact that was in it, where known.
        artifact: Option<String>,
    },
    /// Nothing is there and the manifest does not list it either.
    Absent,
    /// It moved while it was read: look again.
    Unstable,
    /// Something is there that must not travel, for this reason.
    Unfit(String),
}

/// What is under way, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// Paths touched and not looked at yet.
    pub touched: usize,
    /// Deletions held.
    pub held_deletions: usize,
    /// Paths that must not travel as they are.
    pub unfit: usize,
}

/// The state machine.
///
/// Give it every hint ([`touched`](Self::touched)); at
/// [`next_deadline`](Self::next_deadline) take what is [`due`](Self::due), look
/// at each path, report what was [`observed`](Self::observed), and then take the
/// deletions [`moved`](Self::moved) and [`released`](Self::released).
#[derive(Debug)]
pub struct Settle {
    pace: Pace,
    touched: BTreeSet<RelPath>,
    burst: Option<Burst>,
    rescan_needed: bool,
    holds: Holds,
    appeared: Appeared,
    unfit: BTreeMap<RelPath, String>,
    moved: BTreeSet<RelPath>,
    released: BTreeSet<RelPath>,
}

/// Touches that are looked at together.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Duration,
    last: Duration,
    flushed: bool,
}

impl Settle {
    /// Nothing touched, nothing held.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            touched: BTreeSet::new(),
            burst: None,
            rescan_needed: false,
            holds: Holds::default(),
            appeared: Appeared::default(),
            unfit: BTreeMap::new(),
            moved: BTreeSet::new(),
            released: BTreeSet::new(),
        }
    }

    /// Something may have happened to `path`.
    pub fn touched(&mut self, path: RelPath, now: Duration) {
        if self.rescan_needed {
            return; // the rescan looks at every path
        }
        self.touched.insert(path);
        if self.touched.len() > TOUCHED_PATHS_MAX {
            self.rescan();
            return;
        }
        let burst = self.burst.get_or_insert(Burst {
            first: now,
            last: now,
            flushed: false,
        });
        burst.last = now;
    }

    /// Hints were lost: every path is to be looked at. Single touches are
    /// forgotten until [`take_rescan`](Self::take_rescan).
    pub fn rescan(&mut self) {
        self.rescan_needed = true;
        self.touched.clear();
        self.burst = None;
    }

    /// Whether the caller must look at every path now. Call it right before the
    /// rescan begins: touches count again from here on.
    pub fn take_rescan(&mut self) -> bool {
        std::mem::take(&mut self.rescan_needed)
    }

    /// Makes everything touched due now. Held deletions stay held.
    pub fn flush(&mut self) {
        if let Some(burst) = &mut self.burst {
            burst.flushed = true;
        }
    }

    /// The paths to look at now, each to be answered by
    /// [`observed`](Self::observed): the burst, if it is over, and the deletions
    /// whose hold ended.
    pub fn due(&mut self, now: Duration) -> Vec<RelPath> {
        let mut due = BTreeSet::new();
        if self.burst_ends().is_some_and(|end| end <= now) {
            due = std::mem::take(&mut self.touched);
            self.burst = None;
        }
        let again = now + self.pace.delete_hold;
        due.extend(self.holds.expired(now, again));
        due.into_iter().collect()
    }

    /// Takes in what a look at `path` found.
    pub fn observed(&mut self, path: RelPath, observation: Observation, now: Duration) {
        self.unfit.remove(&path);
        self.moved.remove(&path);
        self.released.remove(&path);
        match observation {
            Observation::Present {
                changed,
                content,
                artifact,
            } => {
                self.holds.forget(&path);
                if changed {
                    self.appeared(path, content, artifact, now);
                }
            }
            Observation::Missing { content, artifact } => {
                self.appeared.forget(&path);
                self.missing(path, content, artifact, now);
            }
            Observation::Absent => self.forget(&path),
            Observation::Unstable => {
                self.forget(&path);
                self.touched(path, now);
            }
            Observation::Unfit(reason) => {
                self.forget(&path);
                self.unfit.insert(path, reason);
            }
        }
    }

    fn forget(&mut self, path: &RelPath) {
        self.holds.forget(path);
        self.appeared.forget(path);
    }

    fn appeared(
        &mut self,
        path: RelPath,
        content: Option<ContentId>,
        artifact: Option<String>,
        now: Duration,
    ) {
        let keys = keys_of(&path, content, artifact);
        match self.holds.take_match(&keys) {
            Some(old) => {
                self.moved.insert(old);
            }
            None => {
                let until = now + self.pace.delete_hold;
                self.appeared.insert(path, keys, until);
            }
        }
    }

    fn missing(
        &mut self,
        path: RelPath,
        content: Option<ContentId>,
        artifact: Option<String>,
        now: Duration,
    ) {
        let keys = keys_of(&path, content, artifact);
        if self.appeared.take_match(&keys, now) {
            self.holds.forget(&path);
            self.moved.insert(path);
        } else if self.holds.has_ended(&path) {
            self.holds.forget(&path);
            self.released.insert(path);
        } else {
            let end = now + self.pace.delete_hold;
            self.holds.hold(path, keys, end);
        }
    }

    /// Takes the deletions that are believed since the last call because the
    /// file appeared under another name. They must travel with that name: the
    /// deployer fails on an artifact that it meets twice.
    pub fn moved(&mut self) -> Vec<RelPath> {
        std::mem::take(&mut self.moved).into_iter().collect()
    }

    /// Takes the deletions that are believed since the last call because their
    /// hold ended.
    pub fn released(&mut self) -> Vec<RelPath> {
        std::mem::take(&mut self.released).into_iter().collect()
    }

    /// When [`due`](Self::due) has something next, or at once when a rescan is
    /// needed; `None` when nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.rescan_needed {
            return Some(Duration::ZERO);
        }
        self.burst_ends()
            .into_iter()
            .chain(self.holds.next_end())
            .min()
    }

    fn burst_ends(&self) -> Option<Duration> {
        self.burst.map(|burst| {
            if burst.flushed {
                burst.first
            } else {
                (burst.last + self.pace.settle).min(burst.first + self.pace.burst_max)
            }
        })
    }

    /// What is under way, in numbers.
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending {
            touched: self.touched.len(),
            held_deletions: self.holds.len(),
            unfit: self.unfit.len(),
        }
    }

    /// The deletions held, by path, with the end of each hold.
    pub fn held_deletions(&self) -> impl Iterator<Item = (&RelPath, Duration)> {
        self.holds.iter()
    }

    /// The paths that must not travel as they are, with the reason.
    pub fn unfit(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        self.unfit
            .iter()
            .map(|(path, reason)| (path, reason.as_str()))
    }
}
