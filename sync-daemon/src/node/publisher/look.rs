//! Looking at the tree: what settled, or everything; and what becomes of what
//! was found.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{
    Entry, RelPath,
    history::{Origin, Step, Time},
    limits::TOUCHED_PATHS_MAX,
    settle,
};
use sync_fs::{
    archive::{at, now},
    source::{Observation, Observations, State},
};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::{Running, SourceThread, UNWATCHED_RESCAN, trouble::Trouble};
use crate::{
    failure::{Failure, FailureKind},
    tree_thread::Stopped,
    watch::{Delivery, Watch, WatchError},
};

/// For how many hold times a believed deletion waits for others that are held.
const RIPE_HOLDS_MAX: u32 = 6;
/// How long a file that is written into may stay open before it is looked at all
/// the same: some writers never close.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// Held paths named in a status.
const HELD_SHOWN_MAX: usize = 1_000;

impl Running {
    /// Looks at the paths that settled, and publishes what changed.
    pub(super) async fn look_at_due(&mut self) -> Result<(), Stopped> {
        let due = self.settle.due(self.now());
        let due = self.leave_open_files(due);
        if due.is_empty() {
            return Ok(());
        }
        self.settled = Some(SystemTime::now());
        let paths = due.clone();
        let looked = self
            .publisher
            .thread
            .run(move |tree| tree.source.observe(&paths))
            .await?;
        match looked {
            Ok(mut observations) => {
                // A directory that is new, or went and came back, has no watch.
                self.watch_and_look_again(std::mem::take(&mut observations.directories));
                self.unchanged(&due, &observations);
                self.take(observations).await?;
                self.publish().await
            }
            Err(error) => {
                self.trouble(Trouble::Scan(error)).await;
                Ok(())
            }
        }
    }

    /// Takes out files that are still being written: they are looked at once they
    /// are closed, when also their final modification time is set.
    fn leave_open_files(&mut self, mut due: Vec<RelPath>) -> Vec<RelPath> {
        let now = self.now();
        self.written.retain(|_, since| since.elapsed() < OPEN_WAIT);
        due.retain(|path| {
            let open = self.written.contains_key(path);
            if open {
                self.settle.touched(path.clone(), now);
            }
            !open
        });
        due
    }

    /// Looks at the whole tree.
    pub(super) async fn rescan(&mut self) -> Result<(), Stopped> {
        let begun = SystemTime::now();
        match self.look_at_everything().await? {
            Ok(mut observations) => {
                let wait = match self.watch {
                    Some(_) => Duration::from_secs(self.publisher.config.rescan_s),
                    None => UNWATCHED_RESCAN,
                };
                self.next_rescan = Instant::now() + wait;
                let unsettled = self.leave_unsettled(&mut observations, begun);
                self.take(observations).await?;
                self.recovered();
                // A first state without them would delete them on the passive.
                if unsettled && !self.publisher.published.borrow().scanned {
                    return Ok(());
                }
                self.publish().await
            }
            Err(trouble) => {
                self.trouble(trouble).await;
                Ok(())
            }
        }
    }

    /// Takes out what changed so shortly before the look began, or since, that
    /// its writer may still be at work, to be looked at when it is quiet, like
    /// after an event. Returns whether there was any.
    fn leave_unsettled(&mut self, observations: &mut Observations, begun: SystemTime) -> bool {
        let settle = Duration::from_millis(self.publisher.config.settle_ms);
        let Ok(since) = (begun - settle).duration_since(UNIX_EPOCH) else {
            return false; // a clock before 1970 tells nothing
        };
        let unsettled: Vec<RelPath> = observations
            .list
            .iter()
            .filter(|observation| observation.changed_since(since))
            .map(|observation| observation.path.clone())
            .collect();
        if unsettled.is_empty() || unsettled.len() >= TOUCHED_PATHS_MAX {
            return false; // so many would only mean one more rescan
        }
        observations
            .list
            .retain(|observation| !observation.changed_since(since));
        let now = self.now();
        for path in unsettled {
            self.settle.touched(path, now);
        }
        true
    }

    async fn look_at_everything(&mut self) -> Result<Result<Observations, Trouble>, Stopped> {
        if let Err(trouble) = self.check_root().await? {
            return Ok(Err(trouble));
        }
        if self.watch.is_some() || !self.publisher.watches {
            return self.observe_all().await;
        }
        self.start_watch();
        let known = self.publisher.thread.run(|tree| tree.directories()).await?;
        self.add_watches(known);
        let looked = self.observe_all().await?;
        let Ok(observations) = &looked else {
            return Ok(looked);
        };
        if self.add_watches(new_directories(observations).collect()) {
            // Files may have come between the listing of a directory and its watch.
            return self.observe_all().await;
        }
        Ok(looked)
    }

    async fn observe_all(&self) -> Result<Result<Observations, Trouble>, Stopped> {
        let mut go_on = |_| ControlFlow::Continue(());
        let looked = self
            .publisher
            .thread
            .run(move |tree| tree.source.observe_all(false, &mut go_on))
            .await?;
        Ok(looked.map_err(Trouble::Scan))
    }

    fn start_watch(&mut self) {
        match Watch::start(
            &self.publisher.root,
            &self.publisher.markers,
            Delivery::Prompt,
        ) {
            Ok(started) => {
                self.watch = Some(started);
                self.publisher
                    .published
                    .send_if_modified(|published| published.unwatched.take().is_some());
            }
            Err(error) => self.unwatched(&error),
        }
    }

    /// Goes on by rescans alone.
    fn unwatched(&mut self, error: &WatchError) {
        let reason = Failure::caused_by(FailureKind::Failed, "watching", error).message;
        let known = self.publisher.published.borrow().unwatched.clone();
        if known.as_ref() != Some(&reason) {
            let seconds = UNWATCHED_RESCAN.as_secs();
            warn!(tree = %self.publisher.name, "{reason}; looking at everything every {seconds} s instead");
        }
        self.watch = None;
        self.publisher
            .published
            .send_modify(|published| published.unwatched = Some(reason));
    }

    /// Watches these directories. Returns whether any was not watched before.
    fn add_watches(&mut self, directories: Vec<RelPath>) -> bool {
        let mut any = false;
        for directory in directories {
            let Some((watch, _)) = &mut self.watch else {
                break;
            };
            match watch.add(&directory) {
                Ok(new) => any |= new,
                Err(error) => self.unwatched(&error),
            }
        }
        any
    }

    /// Watch, then list: what came before the watch is found by looking again.
    fn watch_and_look_again(&mut self, directories: Vec<RelPath>) {
        let now = self.now();
        for directory in directories {
            if self.add_watches(vec![directory.clone()]) {
                self.settle.touched(directory, now);
            }
        }
    }

    /// What was looked at and not observed is as the manifest has it.
    fn unchanged(&mut self, due: &[RelPath], observations: &Observations) {
        let now = self.now();
        let observed: BTreeSet<&RelPath> = observations
            .list
            .iter()
            .map(|observation| &observation.path)
            .collect();
        for path in due.iter().filter(|path| !observed.contains(path)) {
            self.ripe.remove(path);
            let same = settle::Observation::Present {
                changed: false,
                content: None,
                artifact: None,
            };
            self.settle.observed(path.clone(), same, now);
        }
    }

    /// Decides about each observation: accepts what may travel, holds the rest.
    async fn take(&mut self, observations: Observations) -> Result<(), Stopped> {
        let now = self.now();
        self.watch_and_look_again(new_directories(&observations).collect());
        let mut accepted = Vec::new();
        for observation in observations.list {
            let missing = matches!(observation.state, State::Missing { .. });
            if missing && self.ripe.contains_key(&observation.path) {
                continue; // believed already: looked at again with its directory
            }
            self.ripe.remove(&observation.path);
            self.settle
                .observed(observation.path.clone(), observation.for_settle(), now);
            match observation.state {
                State::Present { .. } => accepted.push(observation),
                State::Missing { .. } => {
                    self.missing.insert(observation.path.clone(), observation);
                }
                State::Unstable | State::Unreadable(_) | State::IllFormed(_) | State::Excluded => {}
            }
        }
        accepted.extend(self.moved_away());
        accepted.extend(self.believed_deletions());
        self.publisher
            .thread
            .run(move |tree| tree.source.accept_all(accepted))
            .await
    }

    /// The deletions that are one change with a new name, and the directories
    /// that they leave empty. They wait for no other deletion.
    fn moved_away(&mut self) -> Vec<Observation> {
        let moved = self.settle.moved();
        let now = self.now();
        let mut gone: Vec<Observation> = moved
            .iter()
            .filter_map(|path| self.missing.remove(path))
            .collect();
        for directory in left_empty(&moved, &self.missing) {
            gone.extend(self.missing.remove(&directory));
            self.ripe.remove(&directory);
            self.settle
                .observed(directory, settle::Observation::Absent, now);
        }
        gone
    }

    /// The deletions to be carried out now: all that are believed, once no other
    /// is held, so that a tree that is being emptied meets the guard as a whole.
    fn believed_deletions(&mut self) -> Vec<Observation> {
        let now = Instant::now();
        for path in self.settle.released() {
            self.ripe.entry(path).or_insert(now);
        }
        let patience = Duration::from_millis(self.publisher.config.delete_hold_ms) * RIPE_HOLDS_MAX;
        let overdue = self
            .ripe
            .values()
            .any(|since| now.duration_since(*since) >= patience);
        let held: BTreeSet<RelPath> = self
            .settle
            .held_deletions()
            .map(|(path, _)| path.clone())
            .collect();
        self.missing
            .retain(|path, _| held.contains(path) || self.ripe.contains_key(path));
        if !held.is_empty() && !overdue {
            return Vec::new();
        }
        let ripe = std::mem::take(&mut self.ripe);
        ripe.into_keys()
            .filter_map(|path| self.missing.remove(&path))
            .collect()
    }

    /// Makes the accepted state the published one.
    pub(super) async fn publish(&mut self) -> Result<(), Stopped> {
        self.publish_from(Origin::Watch).await
    }

    /// The same, saying where it came from.
    pub(super) async fn publish_from(&mut self, origin: Origin) -> Result<(), Stopped> {
        let epoch = self.publisher.epoch;
        let before = self.publisher.published.borrow().clone();
        let (manifest, position) = self
            .publisher
            .thread
            .run(move |tree| {
                let position = tree.advance(epoch);
                (tree.source.manifest().clone(), position)
            })
            .await?;
        let held = self.held();
        let deletions_held = self.settle.pending().held_deletions + self.ripe.len();
        let first = !before.scanned;
        let modified = self.publisher.published.send_if_modified(|published| {
            let same = published.position == position && published.held == held && !first;
            published.manifest = manifest;
            published.position = position;
            published.held = held;
            published.deletions_held = deletions_held;
            published.scanned = true;
            !same
        });
        if first {
            let totals = self.publisher.published.borrow().manifest.totals();
            info!(tree = %self.publisher.name, files = totals.files, bytes = totals.bytes, "ready");
        }
        if modified {
            self.save_later();
            self.tell();
        }
        let times = self.take_times();
        if position != before.position || first {
            let recording = move |tree: &mut SourceThread| match first {
                true => tree.record_start(before.manifest, times),
                false => tree.record(&before.manifest, origin, times),
            };
            self.publisher.thread.run(recording).await?;
        }
        Ok(())
    }

    /// When what is published now was seen and settled. Events that wait for the
    /// next time belong to that.
    fn take_times(&mut self) -> Vec<Time> {
        let waits = self.settle.pending().touched > 0;
        let next = waits.then(SystemTime::now);
        let seen = std::mem::replace(&mut self.seen, next);
        let steps = [(Step::Seen, seen), (Step::Settled, self.settled.take())];
        let known = steps
            .into_iter()
            .filter_map(|(step, time)| Some(at(step, time?)));
        known.chain([now(Step::Published)]).collect()
    }

    pub(super) fn tell(&self) {
        let published = self.publisher.published.borrow().clone();
        (self.publisher.on_published)(&published);
    }

    fn held(&self) -> BTreeMap<RelPath, String> {
        let deletions = self
            .settle
            .held_deletions()
            .map(|(path, _)| path)
            .chain(self.ripe.keys());
        let deletions =
            deletions.map(|path| (path.clone(), "deleted; held until it is sure".to_owned()));
        let unfit = self
            .settle
            .unfit()
            .map(|(path, reason)| (path.clone(), reason.to_owned()));
        deletions.chain(unfit).take(HELD_SHOWN_MAX).collect()
    }
}

/// The missing directories above `moved` below which nothing else is missing.
fn left_empty(moved: &[RelPath], missing: &BTreeMap<RelPath, Observation>) -> Vec<RelPath> {
    let mut above = BTreeSet::new();
    for path in moved {
        let mut parent = path.parent();
        while let Some(directory) = parent.filter(|directory| missing.contains_key(directory)) {
            parent = directory.parent();
            above.insert((directory.depth(), directory));
        }
    }
    if above.is_empty() {
        return Vec::new();
    }
    let mut children: BTreeMap<RelPath, usize> = BTreeMap::new();
    for parent in missing.keys().filter_map(RelPath::parent) {
        *children.entry(parent).or_default() += 1;
    }
    let mut empty = Vec::new();
    // The deepest first, so that those above are found empty in turn.
    for (_, directory) in above.into_iter().rev() {
        if children.get(&directory).is_none_or(|left| *left == 0) {
            if let Some(left) = directory.parent().and_then(|it| children.get_mut(&it)) {
                *left -= 1;
            }
            empty.push(directory);
        }
    }
    empty
}

fn new_directories(observations: &Observations) -> impl Iterator<Item = RelPath> + '_ {
    observations
        .list
        .iter()
        .filter_map(|observation| match &observation.state {
            State::Present {
                entry: Entry::Directory { .. },
                ..
            } => Some(observation.path.clone()),
            _ => None,
        })
}
