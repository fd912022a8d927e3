//! The passive's eye on its own tree: what is not as agreed, within a second.
//!
//! Hints say where to look; a look costs the paths hinted at, not the tree. The
//! whole tree is scanned at the start, when events were lost, and now and then.
//! What is found goes into the tree's state, for the status and for an active
//! that asks before it mends. Nothing is mended here.

use std::{collections::BTreeSet, ops::ControlFlow, path::PathBuf};

use sync_core::{Entry, Generation, Manifest, RelPath, deploy::Covered, drift::Kind};
use sync_fs::{
    replica::{DriftKind, Drifted},
    scan::ScanError,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    deploying::Deploying,
    error::with_causes,
    passive::{Look, PassiveState, PassiveTree},
};
use crate::{
    events::DriftCause,
    tree_thread::Stopped,
    watch::{Delivery, Hint, Hints, Watch, next_hints},
};

/// How long after the first hint the paths are looked at: a generation being
/// applied is over by then.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// How often the whole tree is looked at while it cannot be watched.
const UNWATCHED_RESCAN: Duration = Duration::from_secs(30);
/// Paths to look at one by one; beyond that the whole tree is cheaper.
const DIRTY_MAX: usize = 50_000;
/// Drifted paths named in the log at one time.
pub(super) const LOGGED_MAX: usize = 20;

/// Watches one passive tree.
pub(super) struct DriftWatch {
    pub(super) tree: PassiveTree,
    pub(super) root: PathBuf,
    pub(super) markers: PathBuf,
    pub(super) rescan: Duration,
    /// Where to look, asked by others.
    pub(super) looks: mpsc::Receiver<Look>,
}

struct Running {
    options: DriftWatch,
    watch: Option<(Watch, Hints)>,
    dirty: BTreeSet<RelPath>,
    /// When `dirty` is looked at.
    due: Option<Instant>,
    /// Askers, each with the marker that has to pass first.
    askers: Vec<(u64, oneshot::Sender<()>)>,
    next_scan: Instant,
}

impl DriftWatch {
    /// Runs until the tree's thread stops.
    pub(super) async fn run(self) -> Stopped {
        // Nobody remembers what was watched before a restart.
        let generation = self.tree.state.borrow().position.generation;
        if let (Some(deploying), true) = (&self.tree.deploying, generation > Generation(0)) {
            deploying.applied(generation, Covered::everything());
        }
        let mut running = Running {
            options: self,
            watch: None,
            dirty: BTreeSet::new(),
            due: None,
            askers: Vec::new(),
            next_scan: Instant::now(),
        };
        loop {
            if let Err(stopped) = running.step().await {
                return stopped;
            }
        }
    }
}

impl Running {
    async fn step(&mut self) -> Result<(), Stopped> {
        let deploying = self.options.tree.deploying.clone();
        let deadline = deploying.as_ref().and_then(|it| it.deadline());
        let wakes = [Some(self.next_scan), self.due, deadline];
        let wake = wakes.into_iter().flatten().min().unwrap_or(self.next_scan);
        let hints = self.watch.as_ref().map(|(_, hints)| hints.clone());
        tokio::select! {
            asked = self.options.looks.recv() => match asked {
                Some(Look::Now(asker)) => self.asked(asker).await?,
                Some(Look::At(paths)) => paths.into_iter().for_each(|path| self.touch(path)),
                None => return Err(Stopped),
            },
            hints = next_hints(hints) => self.take_hints(hints).await?,
            () = another_deadline(deploying.as_deref()) => {}
            () = sleep_until(wake) => {}
        }
        if Instant::now() >= self.next_scan {
            self.scan().await?;
        }
        let ended = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if ended || self.due.is_some_and(|due| due <= Instant::now()) {
            self.look().await?;
        }
        if let (Some(deploying), true) = (deploying, ended) {
            deploying.take_ended(&self.options.tree);
        }
        Ok(())
    }

    async fn asked(&mut self, asker: oneshot::Sender<()>) -> Result<(), Stopped> {
        let marker = match &mut self.watch {
            Some((watch, _)) => watch.mark().ok(),
            None => None,
        };
        match marker {
            Some(marker) => self.askers.push((marker, asker)),
            None => {
                self.scan().await?;
                answer(asker);
            }
        }
        Ok(())
    }

    async fn take_hints(&mut self, hints: impl IntoIterator<Item = Hint>) -> Result<(), Stopped> {
        for hint in hints {
            match hint {
                Hint::Touched(path) | Hint::Writing(path) => self.touch(path),
                Hint::Gone(path) => {
                    if let Some((watch, _)) = &mut self.watch {
                        watch.forget(&path);
                    }
                }
                Hint::Marker(number) => self.marker_passed(number).await?,
                Hint::Root | Hint::Rescan(_) => self.next_scan = Instant::now(),
            }
        }
        Ok(())
    }

    fn touch(&mut self, path: RelPath) {
        self.dirty.insert(path);
        self.due.get_or_insert_with(|| Instant::now() + LOOK_AFTER);
        if self.dirty.len() > DIRTY_MAX {
            self.next_scan = Instant::now();
        }
    }

    async fn marker_passed(&mut self, number: u64) -> Result<(), Stopped> {
        if Instant::now() >= self.next_scan {
            self.scan().await?;
        }
        self.look().await?;
        let (passed, waiting) = std::mem::take(&mut self.askers)
            .into_iter()
            .partition(|(marker, _)| *marker <= number);
        self.askers = waiting;
        passed.into_iter().for_each(|(_, asker)| answer(asker));
        Ok(())
    }

    /// Looks at what was hinted at; new directories are watched and then looked
    /// at again, until there are none.
    async fn look(&mut self) -> Result<(), Stopped> {
        self.due = None;
        while !self.dirty.is_empty() {
            let paths: Vec<RelPath> = std::mem::take(&mut self.dirty).into_iter().collect();
            let looked = self
                .options
                .tree
                .thread
                .run(move |tree| {
                    let looked = tree.replica.drift_at(&paths);
                    looked.map(|(found, directories)| (paths, found, directories))
                })
                .await?;
            match looked {
                Ok((paths, found, directories)) => {
                    self.found(found, |path| {
                        paths.iter().any(|looked| path.starts_with(looked))
                    });
                    for directory in directories {
                        if self.add_watch(&directory) {
                            self.dirty.insert(directory);
                        }
                    }
                }
                Err(error) => self.failed(&error),
            }
        }
        Ok(())
    }

    /// Scans the whole tree, with watches on every directory first.
    async fn scan(&mut self) -> Result<(), Stopped> {
        self.dirty.clear();
        self.due = None;
        let first = self.watch.is_none();
        if first {
            self.start_watch().await?;
        }
        let looked = self
            .options
            .tree
            .thread
            .run(|tree| {
                tree.replica
                    .drift(false, &mut |_| ControlFlow::Continue(()))
            })
            .await?;
        self.next_scan = Instant::now()
            + if self.watch.is_some() {
                self.options.rescan
            } else {
                UNWATCHED_RESCAN
            };
        match looked {
            Ok(drift) => {
                let made: Vec<RelPath> = drift
                    .paths
                    .iter()
                    .filter(|drift| is_directory(drift))
                    .map(|drift| drift.path.clone())
                    .collect();
                self.found(drift.paths, |_| true);
                for directory in made {
                    if self.add_watch(&directory) {
                        self.touch(directory);
                    }
                }
            }
            Err(error) => self.failed(&error),
        }
        Ok(())
    }

    async fn start_watch(&mut self) -> Result<(), Stopped> {
        match Watch::start(
            &self.options.root,
            &self.options.markers,
            Delivery::Gathered,
        ) {
            Ok(started) => self.watch = Some(started),
            Err(error) => {
                warn!(tree = %self.options.tree.name, "{}", with_causes(&error));
                return Ok(());
            }
        }
        let directories = self
            .options
            .tree
            .thread
            .run(|tree| tree.directories())
            .await?;
        for directory in directories {
            self.add_watch(&directory);
        }
        Ok(())
    }

    fn add_watch(&mut self, directory: &RelPath) -> bool {
        let Some((watch, _)) = &mut self.watch else {
            return false;
        };
        match watch.add(directory) {
            Ok(new) => new,
            Err(error) => {
                warn!(tree = %self.options.tree.name, "{}", with_causes(&error));
                self.watch = None;
                self.next_scan = Instant::now() + UNWATCHED_RESCAN;
                false
            }
        }
    }

    /// Puts what was found in place of what was known of the paths looked at.
    fn found(&self, found: Vec<Drifted>, looked_at: impl Fn(&RelPath) -> bool) {
        let mut new = Vec::new();
        self.options.tree.state.send_if_modified(|state| {
            let before = state.drift.clone();
            state.drift.retain(|path, _| !looked_at(path));
            for drifted in found {
                state.drift.insert(drifted.path.clone(), drifted);
            }
            new.extend(
                state
                    .drift
                    .values()
                    .filter(|drift| before.get(&drift.path) != Some(drift))
                    .cloned(),
            );
            let is_news = state.drift != before;
            state.news += u64::from(is_news);
            is_news
        });
        for drift in new.iter().take(LOGGED_MAX) {
            info!(tree = %self.options.tree.name, path = %drift.path, cause = DriftCause::from(drift.cause).name(), "not as agreed: {:?}", drift.kind);
        }
        if new.len() > LOGGED_MAX {
            info!(tree = %self.options.tree.name, paths = new.len() - LOGGED_MAX, "and more paths are not as agreed");
        }
    }

    fn failed(&mut self, error: &ScanError) {
        warn!(tree = %self.options.tree.name, "cannot look for drift: {}", with_causes(error));
        self.watch = None;
        self.next_scan = Instant::now() + UNWATCHED_RESCAN;
    }
}

/// Waits until another generation is watched; for ever where no deployer is.
async fn another_deadline(deploying: Option<&Deploying>) {
    match deploying {
        Some(deploying) => deploying.changed.notified().await,
        None => std::future::pending().await,
    }
}

fn answer(asker: oneshot::Sender<()>) {
    // Whoever asked may have gone: then nobody needs the answer.
    let _ = asker.send(());
}

fn is_directory(drift: &Drifted) -> bool {
    drift.disk.as_ref().is_some_and(Entry::is_directory)
}

/// A tree's disk as far as it is known: what was agreed, and what is not so.
pub(super) fn disk(state: &PassiveState) -> Manifest {
    let mut disk = state.agreed.clone();
    for (path, drifted) in &state.drift {
        match (&drifted.disk, &drifted.kind) {
            (Some(entry), _) => {
                disk.insert(path.clone(), entry.clone());
            }
            // What cannot be read counts as agreed.
            (None, DriftKind::Unreadable(_)) => {}
            (None, _) => {
                disk.remove(path);
            }
        }
    }
    disk
}

/// How a path differs, in the words of a report.
pub(super) fn kind(kind: &DriftKind) -> Kind {
    match kind {
        DriftKind::Edited | DriftKind::Metadata | DriftKind::Touched | DriftKind::Unreadable(_) => {
            Kind::Edited
        }
        DriftKind::Missing => Kind::Deleted,
        DriftKind::Extra => Kind::Created,
    }
}
