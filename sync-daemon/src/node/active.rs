//! One tree on the active: its thread, its published state, and the contents it
//! serves to passives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use sync_core::{
    Action, Change, ContentId, Entry, Epoch, FileEntry, Generation, Manifest, Position, Preset,
    RelPath, TreeName,
    history::{Counts, GenerationRecord, Origin, PathChange, Time, carried_on},
    limits::PATCHED_BYTES_MIN,
    section::Content,
};
use sync_fs::{
    DiskError, Source,
    scan::{Report, ScanError},
    source::{Observation, RolledBack, Start, State},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::{
    directories::directories,
    error::with_causes,
    publisher::{Command, GoBack, Published},
    sketches::Sketches,
};
use crate::{
    failure::{Failure, FailureKind},
    tree_thread::{Stopped, TreeThread},
};

/// What the tree's thread owns.
pub(super) struct SourceThread {
    pub(super) source: Source,
    /// The state last published.
    position: Position,
    /// What passives may have of the contents that change next.
    sketches: Sketches,
}

/// The disk as it is now, whether or not it may be published.
pub(super) struct Disk {
    pub(super) manifest: Manifest,
    /// Paths whose content cannot be told, or may not travel, and why.
    pub(super) unreadable: Vec<(RelPath, String)>,
}

impl SourceThread {
    /// `source` as it was left by the last run.
    pub(super) fn new(mut source: Source) -> Self {
        let mut position = match source.start() {
            Start::Known(position) => *position,
            Start::New | Start::Damaged(_) => Position {
                epoch: Epoch(0),
                generation: Generation(0),
                root: source.manifest().root(),
            },
        };
        // The snapshot is written now and then; a kill leaves it behind the log.
        if let Some(newest) = source.archive().newest()
            && newest.generation > position.generation
        {
            position = newest;
        }
        Self {
            source,
            position,
            sketches: Sketches::default(),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Numbers the accepted state: the next number where it differs from the
    /// last one.
    pub(super) fn advance(&mut self, epoch: Epoch) -> Position {
        let root = self.source.manifest().root();
        let first = self.position.generation == Generation(0);
        if first || root != self.position.root {
            self.position.generation.0 += 1;
        }
        self.position = Position {
            epoch,
            root,
            ..self.position
        };
        self.position
    }

    /// Goes back, unless the tree is not what that was planned for.
    pub(super) fn go_back(&mut self, back: GoBack) -> Result<Option<RolledBack>, DiskError> {
        if self.source.manifest().root() != back.base || self.source.check_root().is_err() {
            return Ok(None);
        }
        let GoBack {
            to,
            changes,
            needed,
            now,
            ..
        } = back;
        self.source.roll_back(to, &changes, needed, now).map(Some)
    }

    /// Records how a start found the tree, which it knew as `base`.
    pub(super) fn record_start(&mut self, base: Manifest, times: Vec<Time>) {
        let base = match self.source.archive().generations() {
            Ok(generations) => carried_on(base, &generations),
            Err(error) => {
                warn!("the history has a gap: {}", with_causes(&error));
                base
            }
        };
        self.record(&base, Origin::Start, times);
    }

    /// Records the step from `base` to the accepted state in the tree's history.
    pub(super) fn record(&mut self, base: &Manifest, origin: Origin, times: Vec<Time>) {
        let Position {
            generation, root, ..
        } = self.position;
        if base.root() == root || self.source.archive().has(generation, root) {
            return;
        }
        let manifest = self.source.manifest();
        let root = base.root();
        let mut record = if base.is_empty() {
            let counts = Counts {
                created: manifest.totals().entries,
                ..Counts::default()
            };
            GenerationRecord::unlisted(self.position, root, origin, counts)
        } else {
            let changes = manifest
                .diff(base)
                .into_iter()
                .map(|difference| PathChange {
                    path: difference.path,
                    before: difference.theirs,
                    after: difference.ours,
                });
            GenerationRecord::new(self.position, root, origin, changes)
        };
        record.times = times;
        self.source.archive().record(&record);
    }

    /// Makes the state's number higher than `generation`.
    pub(super) fn outdo(&mut self, generation: Generation) {
        self.position.generation = self.position.generation.max(Generation(generation.0 + 1));
    }

    /// The directories of the accepted state.
    pub(super) fn directories(&self) -> Vec<RelPath> {
        directories(self.source.manifest())
    }

    /// What the disk holds now; `deep` reads every byte again.
    pub(super) fn look(&mut self, deep: bool, report: &mut Report<'_>) -> Result<Disk, ScanError> {
        let observations = self.source.observe_all(deep, report)?;
        let mut manifest = self.source.manifest().clone();
        let mut unreadable = Vec::new();
        for Observation { path, state } in observations.list {
            match state {
                State::Present { entry, .. } => {
                    manifest.insert(path, entry);
                }
                State::Missing { .. } => {
                    manifest.remove(&path);
                }
                State::Excluded => {}
                State::Unstable => unreadable.push((path, "being written".to_owned())),
                State::Unreadable(reason) => unreadable.push((path, reason.to_string())),
                State::IllFormed(reason) => unreadable.push((path, reason.to_string())),
            }
        }
        Ok(Disk {
            manifest,
            unreadable,
        })
    }

    /// A small content as the change says it is, for a passive that takes steps over
    /// `base` in its place, if over any.
    pub(super) fn read_content(&mut self, change: &Change, base: Option<ContentId>) -> Content {
        let Action::Put(Entry::File(file)) = &change.action else {
            return Content::Gone;
        };
        match self.read_whole(&change.path, file) {
            Some(bytes) => self.sketches.over(base, bytes),
            None => Content::Gone,
        }
    }

    /// The whole content of a file; `None` when it is no longer what `file` says.
    pub(super) fn read_whole(&mut self, path: &RelPath, file: &FileEntry) -> Option<Vec<u8>> {
        let bytes = self.source.read_whole(path, file).ok()?;
        self.sketches.note(file.content, &bytes);
        Some(bytes)
    }

    /// Keeps what was observed for the next start.
    pub(super) fn save(&mut self) -> Result<(), DiskError> {
        self.source.archive().tidy();
        self.source
            .save(self.position.epoch, self.position.generation)
    }
}

/// A handle to one tree of the active. Cheap to clone.
#[derive(Clone)]
pub(super) struct ActiveTree {
    pub(super) name: TreeName,
    pub(super) preset: Preset,
    pub(super) thread: TreeThread<SourceThread>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) commands: mpsc::Sender<Command>,
    /// What was known when the node started, for one command's work: most often
    /// what the peer has. A daemon does not hold on to it.
    pub(super) opened: Manifest,
    served: Arc<Mutex<BTreeMap<ContentId, Served>>>,
}

/// A content that a passive may fetch now.
struct Served {
    path: RelPath,
    file: FileEntry,
    generations: usize,
}

impl ActiveTree {
    pub(super) fn new(
        (name, preset): (TreeName, Preset),
        thread: TreeThread<SourceThread>,
        published: watch::Receiver<Published>,
        commands: mpsc::Sender<Command>,
        opened: Manifest,
    ) -> Self {
        Self {
            name,
            preset,
            thread,
            opened,
            published,
            commands,
            served: Arc::default(),
        }
    }

    /// Asks the publisher and waits for its answer.
    pub(super) async fn barrier(
        &self,
        command: impl FnOnce(oneshot::Sender<()>) -> Command,
    ) -> Result<(), Stopped> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Saves what was observed, so that the next start reads little.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        let doing = format!("saving what is known of {}", self.name);
        let saved = self.thread.run(|tree| tree.save()).await;
        let failed =
            |error: &dyn std::error::Error| Failure::caused_by(FailureKind::Failed, &*doing, error);
        saved
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }

    /// Lets passives fetch the contents of these changes, but for the smallest,
    /// until the guard is dropped. Nothing else can be fetched.
    pub(super) fn serve(&self, changes: &[Change]) -> Serving {
        let mut ids = Vec::new();
        let mut serving = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let Action::Put(Entry::File(file)) = &change.action else {
                continue;
            };
            if file.length >= PATCHED_BYTES_MIN {
                let served = serving.entry(file.content).or_insert_with(|| Served {
                    path: change.path.clone(),
                    file: *file,
                    generations: 0,
                });
                served.generations += 1;
                ids.push(file.content);
            }
        }
        Serving {
            ids,
            served: Arc::clone(&self.served),
        }
    }

    /// Whether a passive may be fetching a content.
    pub(super) fn is_serving(&self) -> bool {
        !self
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Where a content that is being served lies.
    pub(super) fn served(&self, content: &ContentId) -> Option<(RelPath, FileEntry)> {
        let serving = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        serving
            .get(content)
            .map(|served| (served.path.clone(), served.file))
    }
}

/// Ends the serving of some contents when dropped.
pub(super) struct Serving {
    ids: Vec<ContentId>,
    served: Arc<Mutex<BTreeMap<ContentId, Served>>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut serving = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            if let Some(served) = serving.get_mut(id) {
                served.generations -= 1;
                if served.generations == 0 {
                    serving.remove(id);
                }
            }
        }
    }
}
