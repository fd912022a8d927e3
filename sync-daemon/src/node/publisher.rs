//! The active's side of one tree towards its own disk: watch, settle, look,
//! accept, publish.
//!
//! It never talks to a peer. What it publishes is the newest settled state;
//! sessions derive what their peers lack.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use sync_core::{
    Change, ContentId, Epoch, Generation, Manifest, Mtime, Position, RelPath, Root as TreeRoot,
    TreeName,
    history::Origin,
    settle::{Pace, Settle},
    wire::PlanId,
};
use sync_fs::{DiskError, replica::Aside, source::Observation};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, Instant},
};
use tracing::warn;

use super::{active::SourceThread, error::with_causes, releases::Releases};
use crate::{
    alarm::Alarm,
    config::WatchConfig,
    failure::Failure,
    tree_thread::{Stopped, TreeThread},
    watch::{Hint, Hints, Watch, next_hints},
};

mod look;
mod trouble;

/// How often a tree is looked at whole while it cannot be watched: the
/// staleness that a full watch limit costs.
const UNWATCHED_RESCAN: Duration = Duration::from_secs(5);
/// How long after a change the tree's snapshot is written at the soonest: it costs
/// the whole tree, and losing it only reading.
const SAVE_AFTER_MIN: Duration = Duration::from_secs(15);
/// And at the latest.
const SAVE_AFTER_MAX: Duration = Duration::from_secs(600);
/// For so many times as long as writing the last one took nothing is written: the
/// tree's thread does nothing else meanwhile.
const SAVE_RESTS: u32 = 20;
/// How often a missing or unreadable tree is tried again.
const PROBLEM_RETRY: Duration = Duration::from_secs(2);
/// Barriers waiting at one time.
pub(super) const COMMANDS_MAX: usize = 16;

/// The newest settled state of a tree.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) tree: TreeName,
    pub(super) manifest: Manifest,
    pub(super) position: Position,
    /// Why nothing is taken from the tree now.
    pub(super) problem: Option<Failure>,
    /// What an operator may release to take the directory that stands there now
    /// for the tree.
    pub(super) replaced: Option<PlanId>,
    /// Why the kernel's events cannot be had, if so.
    pub(super) unwatched: Option<String>,
    /// Paths that are not sent for now, and why.
    pub(super) held: BTreeMap<RelPath, String>,
    /// How many of those are deletions waiting to be believed.
    pub(super) deletions_held: usize,
    /// Whether the first look at the tree is over.
    pub(super) scanned: bool,
}

impl Published {
    /// What a snapshot says, before the disk was looked at.
    pub(super) fn unseen(tree: TreeName, manifest: Manifest, position: Position) -> Self {
        Self {
            tree,
            manifest,
            position,
            problem: None,
            replaced: None,
            unwatched: None,
            held: BTreeMap::new(),
            deletions_held: 0,
            scanned: false,
        }
    }

    /// Whether peers may be brought to this state.
    pub(super) fn can_be_sent(&self) -> bool {
        self.scanned && self.problem.is_none()
    }
}

/// Trees in which something was touched and is not published yet.
pub(super) type Unsettled = Arc<watch::Sender<BTreeSet<TreeName>>>;

/// What others ask of a publisher.
pub(super) enum Command {
    /// Answer when everything that was written before is published, held
    /// deletions included.
    Flush(oneshot::Sender<()>),
    /// Answer when everything that was written before is published, except held
    /// deletions.
    Settle(oneshot::Sender<()>),
    /// Number the state higher than this generation, and answer.
    Outdo(Generation, oneshot::Sender<()>),
    /// Take the tree back and publish that as one generation. Answered with `None`
    /// where the tree is not what the changes were made for.
    GoBack(GoBack, oneshot::Sender<Result<Option<WentBack>, DiskError>>),
}

/// How a tree goes back.
pub(super) struct GoBack {
    /// The generation whose content it gets.
    pub(super) to: Generation,
    /// The root that the changes start from.
    pub(super) base: TreeRoot,
    pub(super) changes: Vec<Change>,
    /// Contents in the staging directory.
    pub(super) needed: BTreeSet<ContentId>,
    /// The time that changed files get.
    pub(super) now: Mtime,
}

/// How it went.
pub(super) struct WentBack {
    /// What was published.
    pub(super) position: Position,
    /// What was not as accepted.
    pub(super) kept_aside: Vec<Aside>,
    /// Where and why it stopped, if it did.
    pub(super) stopped: Option<(RelPath, DiskError)>,
}

/// Runs one tree of the active.
pub(super) struct Publisher {
    pub(super) name: TreeName,
    pub(super) root: PathBuf,
    pub(super) markers: PathBuf,
    /// Whether the tree is watched. For one command's work it is looked at once.
    pub(super) watches: bool,
    pub(super) config: WatchConfig,
    pub(super) thread: TreeThread<SourceThread>,
    pub(super) published: watch::Sender<Published>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) epoch: Epoch,
    pub(super) releases: Arc<Releases>,
    /// The trees of this node in which something was touched and is not published.
    pub(super) unsettled: Unsettled,
    /// Told after every publication.
    pub(super) on_published: Box<dyn Fn(&Published) + Send + Sync>,
}

struct Barrier {
    /// The marker that has to pass first; `None` once it has.
    marker: Option<u64>,
    with_deletions: bool,
    answer: oneshot::Sender<()>,
}

/// The publisher at work.
struct Running {
    publisher: Publisher,
    watch: Option<(Watch, Hints)>,
    settle: Settle,
    begun: Instant,
    alarm: Alarm,
    barriers: Vec<Barrier>,
    next_rescan: Instant,
    /// When what was published since the last snapshot is saved.
    save_due: Option<Instant>,
    /// How long writing the last snapshot took.
    save_took: Duration,
    /// Deletions that are believed and wait for the others that are held, so
    /// that the guard judges them together.
    ripe: BTreeMap<RelPath, Instant>,
    /// Files that somebody has been writing into since then and not closed.
    written: BTreeMap<RelPath, Instant>,
    /// What was observed of the deletions that are held or ripe.
    missing: BTreeMap<RelPath, Observation>,
    /// When the first event came that is not published yet.
    seen: Option<SystemTime>,
    /// When what is looked at now was quiet.
    settled: Option<SystemTime>,
}

impl Publisher {
    /// Runs until the tree's thread stops.
    pub(super) async fn run(self) -> Stopped {
        let begun = Instant::now();
        let pace = Pace {
            settle: Duration::from_millis(self.config.settle_ms),
            delete_hold: Duration::from_millis(self.config.delete_hold_ms),
            ..Pace::default()
        };
        let mut running = Running {
            publisher: self,
            watch: None,
            settle: Settle::new(pace),
            begun,
            alarm: Alarm::new(),
            barriers: Vec::new(),
            next_rescan: begun,
            save_due: None,
            save_took: Duration::ZERO,
            ripe: BTreeMap::new(),
            written: BTreeMap::new(),
            missing: BTreeMap::new(),
            seen: None,
            settled: None,
        };
        loop {
            if let Err(stopped) = running.step().await {
                return stopped;
            }
        }
    }
}

impl Running {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for one thing to happen and acts on it.
    async fn step(&mut self) -> Result<(), Stopped> {
        let wake = self.settle.next_deadline().map(|at| self.begun + at);
        let wake = wake
            .into_iter()
            .chain(self.save_due)
            .fold(self.next_rescan, Instant::min);
        let hints = self.watch.as_ref().map(|(_, hints)| hints.clone());
        tokio::select! {
            biased;
            command = self.publisher.commands.recv() => match command {
                Some(command) => self.command(command).await?,
                None => return Err(Stopped),
            },
            hints = next_hints(hints) => self.take_hints(hints),
            () = self.alarm.wait_until(wake) => {}
        }
        self.tell_unsettled();
        if self.settle.take_rescan() || Instant::now() >= self.next_rescan {
            self.rescan().await?;
        }
        self.look_at_due().await?;
        self.answer_barriers();
        self.tell_unsettled();
        if self.save_due.is_some_and(|due| due <= Instant::now()) {
            self.save().await?;
        }
        Ok(())
    }

    /// Lets the pushers of the other trees wait for what settles together.
    fn tell_unsettled(&self) {
        let touched = self.settle.pending().touched > 0;
        let name = &self.publisher.name;
        self.publisher
            .unsettled
            .send_if_modified(|trees| match touched {
                true => trees.insert(name.clone()),
                false => trees.remove(name),
            });
    }

    /// Saves what was observed, so that a killed node reads little again.
    async fn save(&mut self) -> Result<(), Stopped> {
        self.save_due = None;
        let saving = self.publisher.thread.run(|tree| {
            let begun = Instant::now();
            let saved = tree.save();
            (saved, begun.elapsed())
        });
        let (saved, took) = saving.await?;
        self.save_took = took;
        if let Err(error) = saved {
            warn!(tree = %self.publisher.name, "cannot save what was observed: {}", with_causes(&error));
        }
        Ok(())
    }

    /// Has what is published now saved, after the time that suits its cost.
    fn save_later(&mut self) {
        let after = save_after(self.save_took);
        self.save_due.get_or_insert_with(|| Instant::now() + after);
    }

    async fn command(&mut self, command: Command) -> Result<(), Stopped> {
        let (answer, with_deletions) = match command {
            Command::Flush(answer) => (answer, true),
            Command::Settle(answer) => (answer, false),
            Command::Outdo(generation, answer) => return self.outdo(generation, answer).await,
            Command::GoBack(back, answer) => {
                let went = self.go_back(back).await?;
                // Whoever asked may have gone.
                let _ = answer.send(went);
                return Ok(());
            }
        };
        let marker = match &mut self.watch {
            Some((watch, _)) => watch.mark().inspect_err(|error| {
                warn!(tree = %self.publisher.name, "cannot make a marker, looking at everything instead: {error}");
            }).ok(),
            None => None,
        };
        // The command itself is younger than its node, whose one look began later
        // than anything that was written before.
        let is_looked_at = !self.publisher.watches && self.publisher.published.borrow().scanned;
        if marker.is_none() && !is_looked_at {
            self.rescan().await?;
        }
        if marker.is_none() {
            self.settle.flush();
        }
        self.barriers.push(Barrier {
            marker,
            with_deletions,
            answer,
        });
        Ok(())
    }

    async fn outdo(
        &mut self,
        generation: Generation,
        answer: oneshot::Sender<()>,
    ) -> Result<(), Stopped> {
        self.publisher
            .thread
            .run(move |tree| tree.outdo(generation))
            .await?;
        if self.publisher.published.borrow().scanned {
            self.publish().await?;
        }
        // Whoever asked may have gone.
        let _ = answer.send(());
        Ok(())
    }

    /// What happens to the tree meanwhile is looked at afterwards, as ever.
    async fn go_back(
        &mut self,
        back: GoBack,
    ) -> Result<Result<Option<WentBack>, DiskError>, Stopped> {
        let to = back.to;
        let going = self.publisher.thread.run(move |tree| tree.go_back(back));
        let rolled = match going.await? {
            Ok(Some(rolled)) => rolled,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        self.publish_from(Origin::Rollback(to)).await?;
        Ok(Ok(Some(WentBack {
            position: self.publisher.published.borrow().position,
            kept_aside: rolled.kept_aside,
            stopped: rolled.stopped,
        })))
    }

    fn take_hints(&mut self, hints: impl IntoIterator<Item = Hint>) {
        let now = self.now();
        for hint in hints {
            match hint {
                Hint::Touched(path) => {
                    self.seen.get_or_insert_with(SystemTime::now);
                    self.written.remove(&path);
                    self.settle.touched(path, now);
                }
                Hint::Writing(path) => {
                    self.seen.get_or_insert_with(SystemTime::now);
                    self.written
                        .entry(path.clone())
                        .or_insert_with(Instant::now);
                    self.settle.touched(path, now);
                }
                Hint::Gone(path) => {
                    if let Some((watch, _)) = &mut self.watch {
                        watch.forget(&path);
                    }
                }
                Hint::Marker(number) => self.marker_passed(number),
                Hint::Root => self.settle.rescan(),
                Hint::Rescan(reason) => {
                    warn!(tree = %self.publisher.name, "{reason}; looking at everything");
                    self.settle.rescan();
                }
            }
        }
    }

    fn marker_passed(&mut self, number: u64) {
        for barrier in &mut self.barriers {
            if barrier.marker.is_some_and(|marker| marker <= number) {
                barrier.marker = None;
                self.settle.flush();
            }
        }
    }

    fn answer_barriers(&mut self) {
        let pending = self.settle.pending();
        let deletions = pending.held_deletions + self.ripe.len();
        let problem = self.publisher.published.borrow().problem.is_some();
        for barrier in std::mem::take(&mut self.barriers) {
            let open = pending.touched > 0 || (barrier.with_deletions && deletions > 0);
            if problem || (barrier.marker.is_none() && !open) {
                // Whoever asked may have gone: then nobody needs the answer.
                let _ = barrier.answer.send(());
            } else {
                self.barriers.push(barrier);
            }
        }
    }
}

/// How long after a change the snapshot is written, if the last one took so long.
fn save_after(took: Duration) -> Duration {
    (took * SAVE_RESTS).clamp(SAVE_AFTER_MIN, SAVE_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_takes_long_is_written_rarely() {
        for (took_ms, after_s) in [(0, 15), (700, 15), (1_000, 20), (5_000, 100), (60_000, 600)] {
            let took = Duration::from_millis(took_ms);
            assert_eq!(save_after(took), Duration::from_secs(after_s), "{took_ms}");
        }
    }
}
