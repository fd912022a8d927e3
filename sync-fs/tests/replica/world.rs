//! One passive and a model of its active, which pushes whatever differs.

use std::{
    fs,
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sync_core::{
    Change, Epoch, FileEntry, Generation, GenerationHeader, Mtime, Position, Preset, RelPath,
    TreeName,
    artifact::is_kept_directory,
    generation::Action,
    guard::{Guard, MaxDelete},
    plan::{apply_changes, changes_between},
    wire::Refusal,
};
use sync_fs::{
    replica::{Applied, Committed, Drift, Intake, Recovery, Replica, ReplicaOptions},
    scan::Progress,
};

use crate::model::{Item, Model, path};

/// A guard that lets everything pass.
pub(crate) const OPEN: Guard = Guard {
    max_delete: MaxDelete::Files(u64::MAX),
    min_files: 0,
};

pub(crate) struct World {
    _directory: Option<tempfile::TempDir>,
    pub(crate) base: PathBuf,
    pub(crate) preset: Preset,
    pub(crate) replica: Replica,
    pub(crate) recovery: Recovery,
    /// What the active has.
    pub(crate) active: Model,
    pub(crate) exclude: Vec<&'static str>,
}

/// What a push did.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) applied: Applied,
    /// Paths whose contents were asked for.
    pub(crate) sent: Vec<RelPath>,
}

impl World {
    /// In memory where there is such a place.
    pub(crate) fn new() -> Self {
        Self::with_preset(Preset::Synapse)
    }

    pub(crate) fn with_preset(preset: Preset) -> Self {
        let directory = temporary();
        let base = directory.path().to_owned();
        fs::create_dir(base.join("tree")).unwrap();
        let mut world = Self::at(&base, preset);
        world._directory = Some(directory);
        world
    }

    /// Opens what `base` holds.
    pub(crate) fn at(base: &Path, preset: Preset) -> Self {
        let (replica, recovery) = Replica::open(options(base, preset, &[])).unwrap();
        Self::of(base, replica, recovery)
    }

    /// The world of a replica that is open already.
    pub(crate) fn of(base: &Path, replica: Replica, recovery: Recovery) -> Self {
        Self {
            _directory: None,
            base: base.to_owned(),
            preset: replica.options().preset,
            replica,
            recovery,
            active: Model::default(),
            exclude: Vec::new(),
        }
    }

    /// As after a restart of the node.
    pub(crate) fn reopen(&mut self) -> &Recovery {
        let options = options(&self.base, self.preset, &self.exclude);
        let (replica, recovery) = Replica::open(options).unwrap();
        self.replica = replica;
        self.recovery = recovery;
        &self.recovery
    }

    pub(crate) fn tree(&self, at: &str) -> PathBuf {
        self.base.join("tree").join(at)
    }

    pub(crate) fn work(&self, at: &str) -> PathBuf {
        self.base.join("work").join(at)
    }

    pub(crate) fn read(&self, at: &str) -> String {
        String::from_utf8(fs::read(self.tree(at)).unwrap()).unwrap()
    }

    pub(crate) fn seconds(&self, at: &str) -> i64 {
        self.tree(at).metadata().unwrap().mtime()
    }

    /// The next generation to the active's state.
    pub(crate) fn offer(&self) -> (GenerationHeader, Vec<Change>) {
        let changes = changes_between(&self.active.manifest(), self.replica.agreed());
        (self.header(&changes), changes)
    }

    pub(crate) fn header(&self, changes: &[Change]) -> GenerationHeader {
        let Position {
            epoch: Epoch(epoch),
            generation: Generation(generation),
            root,
        } = self.replica.durable();
        GenerationHeader {
            tree: tree_name(),
            epoch: Epoch(epoch.max(1)),
            generation: Generation(generation + 1),
            base: root,
            root: apply_changes(self.replica.agreed(), changes).root(),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<Intake, Refusal> {
        let (header, changes) = self.offer();
        self.replica.begin(header, changes, &OPEN, None)
    }

    /// Sends what is wanted; says whose contents that were.
    pub(crate) fn feed(&mut self, intake: &mut Intake) -> Vec<RelPath> {
        let mut sent = Vec::new();
        for range in self.replica.wanted_small(intake).unwrap() {
            for index in range.start..range.start + range.count {
                let at = intake.changes()[index as usize].path.clone();
                self.replica
                    .put_small(intake, index, self.active.content(&at).to_vec())
                    .unwrap();
                sent.push(at);
            }
        }
        for (index, _) in self.replica.wanted_large(intake).unwrap() {
            let at = intake.changes()[index as usize].path.clone();
            let mut large = self.replica.large(intake, index).unwrap();
            for (piece, bytes) in self.active.content(&at).chunks(50_000).enumerate() {
                large.write_at(piece as u64 * 50_000, bytes).unwrap();
            }
            self.replica.finish(large, None).unwrap();
            sent.push(at);
        }
        sent
    }

    /// Brings the passive to the active's state.
    pub(crate) fn push(&mut self) -> Pushed {
        let (header, changes) = self.offer();
        self.push_changes(header, changes)
    }

    /// As `push`, and also names these paths, as a healing push does.
    pub(crate) fn push_healing(&mut self, heal: &[&str]) -> Pushed {
        let (_, mut changes) = self.offer();
        for at in heal {
            let at = path(at);
            let action = match self.active.manifest().get(&at) {
                Some(entry) => Action::Put(entry.clone()),
                None => Action::Delete,
            };
            if changes.iter().all(|change| change.path != at) {
                changes.push(Change { path: at, action });
            }
        }
        self.push_changes(self.header(&changes), changes)
    }

    fn push_changes(&mut self, header: GenerationHeader, changes: Vec<Change>) -> Pushed {
        let begun = self
            .replica
            .begin(header.clone(), changes.clone(), &OPEN, None);
        let mut intake = match begun {
            // Nothing would be left: that halts even the most open guard.
            Err(Refusal::Guard { plan, .. }) => self
                .replica
                .begin(header, changes, &OPEN, Some(plan))
                .unwrap(),
            begun => begun.unwrap(),
        };
        let sent = self.feed(&mut intake);
        let committed = self.replica.commit(intake).unwrap();
        let applied = self.replica.apply(committed).unwrap();
        Pushed { applied, sent }
    }

    /// Makes a generation durable.
    pub(crate) fn commit(&mut self) -> Committed {
        let mut intake = self.begin().unwrap();
        self.feed(&mut intake);
        self.replica.commit(intake).unwrap()
    }

    /// Makes a generation durable and goes no further.
    pub(crate) fn commit_only(&mut self) {
        let _ = self.commit();
    }

    pub(crate) fn drift(&mut self) -> Drift {
        self.replica.drift(false, &mut go_on).unwrap()
    }

    pub(crate) fn adopt(&mut self) {
        self.replica.adopt(&mut go_on).unwrap();
    }

    /// The disk shows the active's state, the agreed times, and nothing is left
    /// over.
    #[track_caller]
    pub(crate) fn assert_in_sync(&mut self) {
        self.assert_disk_is(&self.active.clone());
        assert_eq!(self.replica.agreed(), &self.active.manifest());
        assert_eq!(self.replica.position().root, self.active.manifest().root());
        assert_eq!(self.drift().paths, []);
        self.assert_nothing_left();
    }

    #[track_caller]
    pub(crate) fn assert_disk_is(&self, model: &Model) {
        let disk = Model::of_disk(&self.tree(""));
        for (path, item) in &model.timeless().0 {
            assert_eq!(disk.0.get(path), Some(item), "{path}");
        }
        let extra: Vec<_> = disk
            .0
            .keys()
            .filter(|path| !model.0.contains_key(*path))
            .filter(|path| !is_kept_directory(path, self.preset))
            .collect();
        assert_eq!(extra, Vec::<&RelPath>::new());
    }

    /// No scratch file, and every staged content is one the snapshot may need.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.work("staging"))
            .unwrap()
            .map(|found| found.unwrap().file_name())
            .filter(|name| {
                name.to_str()
                    .is_none_or(|name| name.starts_with("t-") || name.starts_with("r-"))
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Every file below the aside directory, by content.
    pub(crate) fn aside(&self) -> Vec<Vec<u8>> {
        let model = Model::of_disk(&self.work("aside"));
        let files = model.0.into_values().filter_map(|item| match item {
            Item::File { content, .. } => Some(content),
            _ => None,
        });
        files.collect()
    }

    pub(crate) fn entry(&self, at: &str) -> FileEntry {
        let entry = self.replica.agreed().get(&path(at)).unwrap();
        *entry.as_file().unwrap()
    }
}

pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn tree_name() -> TreeName {
    TreeName::new("synapse-configs").unwrap()
}

pub(crate) fn options(base: &Path, preset: Preset, exclude: &[&str]) -> ReplicaOptions {
    let mut options =
        ReplicaOptions::new(tree_name(), base.join("tree"), base.join("work"), preset);
    for pattern in exclude {
        options.exclude.exclude(pattern.as_bytes()).unwrap();
    }
    options.journal_bytes = 64 << 10;
    options.reserve_bytes = 64 << 10;
    options.overwrite = true;
    options
}

/// A directory in memory where there is such a place: these tests make
/// thousands of files and need no disk.
pub(crate) fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

pub(crate) fn mtime(seconds: i64) -> Mtime {
    Mtime {
        seconds,
        nanoseconds: 5,
    }
}

/// Sets the modification time of a file behind the replica's back.
pub(crate) fn touch(at: &Path, seconds: i64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.try_into().unwrap());
    fs::File::options()
        .write(true)
        .open(at)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// How much longer than in continuous integration the costly tests may run.
pub(crate) fn scale() -> u32 {
    let scale = std::env::var("APIM_SYNC_TEST_SCALE").ok();
    scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}
