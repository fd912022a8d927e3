//! New files made ready while their generation still comes in.
//!
//! A content that arrives for a path where nothing is agreed is written into a
//! file of its own at once, with its mode and time, while the next contents are
//! under way; when the generation is durable only names are left to give. A new
//! directory is prepared with its files in it and gets its name once, with all
//! of them: no reader meets it half filled.
//!
//! This saves time and nothing else: the journal has every content too, and
//! whatever is missing here is made from it. So nothing is synced, and what an
//! interruption leaves is removed unseen. These names only ever hold what this
//! replica wrote: nothing of the tree is exchanged into them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use sync_core::{Action, Change, Entry, FileEntry, Manifest, Mode, Mtime, RelPath};

use super::{
    contents::make_directory,
    judge::{seen_after_put, seen_never},
    run::Run,
    swap::moved,
};
use crate::{
    observed::{Seen, Sighting},
    root::{AbsentIsNone, Cause, DiskError, Kind, Root, Stat},
};

const PREPARED: &[u8] = b"prepared";
/// New files from which on threads of their own are worth their start: while they
/// write, the next files are checked and journalled.
const THREAD_FILES_MIN: usize = 256;
/// Threads that write. Making a file costs more than all else that is done for it
/// on both nodes, and two threads make them faster than one even in one directory.
const THREADS: usize = 2;
/// Files handed to one at once: waking it costs as much as writing one.
const BATCH_FILES: usize = 32;
/// Batches waiting for each.
const BATCHES_MAX: usize = 8;

/// What is prepared for one generation.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// By position in the change list.
    files: BTreeMap<u32, PreparedFile>,
    /// By their path in the tree.
    directories: BTreeMap<RelPath, PreparedDirectory>,
    /// Whether there is enough to do for threads.
    is_large: bool,
    writer: Option<Writer>,
}

/// Threads that write files, in turns.
#[derive(Debug)]
struct Writer {
    batch: Vec<NewFile>,
    /// The one whose turn it is comes first.
    lanes: VecDeque<Lane>,
}

/// One of them.
#[derive(Debug)]
struct Lane {
    batches: SyncSender<Vec<NewFile>>,
    thread: JoinHandle<Vec<(u32, PreparedFile)>>,
}

/// A file to be written.
#[derive(Debug)]
struct NewFile {
    index: u32,
    name: RelPath,
    entry: FileEntry,
    bytes: Vec<u8>,
}

/// A file that is ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PreparedFile {
    /// Its name in the work directory; after its directory was placed it is at
    /// home.
    pub(super) name: RelPath,
    /// The time it was given; the commit may have moved it on.
    pub(super) mtime: Mtime,
    /// As the file system has it.
    stat: Stat,
}

/// A new directory that holds no other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PreparedDirectory {
    pub(super) name: RelPath,
    pub(super) mode: Mode,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing was prepared in it yet.
    Wanted,
    /// Stands in the work directory with what was prepared in it.
    Filled,
    /// Is in the tree, with what was prepared in it.
    Placed,
    /// Something else stands in its place: its files are placed one by one.
    Apart,
}

impl Prepared {
    /// Finds the directories that can be placed as a whole. Only where nothing
    /// is deleted: an artifact that moves must leave its old file first.
    pub(super) fn for_changes(agreed: &Manifest, changes: &[Change]) -> Self {
        let mut directories = BTreeMap::new();
        let is_large = changes.len() >= THREAD_FILES_MIN;
        if changes.iter().any(|change| change.action == Action::Delete) {
            return Self {
                is_large,
                ..Self::default()
            };
        }
        for (index, change) in changes.iter().enumerate() {
            let path = &change.path;
            let Action::Put(Entry::Directory { mode }) = change.action else {
                continue;
            };
            if let Some(parent) = path.parent() {
                directories.remove(&parent); // parents come before children
            }
            if agreed.get(path).is_none() {
                let directory = PreparedDirectory {
                    name: name(&format!("d{index}")),
                    mode: Mode::new(mode.bits() | 0o300),
                    state: State::Wanted,
                };
                directories.insert(path.clone(), directory);
            }
        }
        Self {
            directories,
            is_large,
            ..Self::default()
        }
    }

    /// Writes the content for the new file `path`, which was checked, into a
    /// file of its own, now or soon.
    pub(super) fn write(
        &mut self,
        work: &Root,
        index: u32,
        (path, entry): (&RelPath, &FileEntry),
        bytes: Vec<u8>,
    ) -> Result<(), DiskError> {
        let file = NewFile {
            index,
            name: self.name_for(work, index, path)?,
            entry: *entry,
            bytes,
        };
        if self.is_large && self.writer.is_none() {
            self.writer = Some(Writer::start(work)?);
        }
        match &mut self.writer {
            Some(writer) => writer.write(file),
            None => {
                let ready = file.write(work)?;
                self.files.insert(index, ready);
            }
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub(super) fn settle(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.files.extend(writer.finish());
        }
    }

    /// In its new directory, else under its position.
    fn name_for(&mut self, work: &Root, index: u32, path: &RelPath) -> Result<RelPath, DiskError> {
        let parent = path.split().0;
        let Some(directory) = parent.and_then(|parent| self.directories.get_mut(parent)) else {
            return Ok(name(&index.to_string()));
        };
        if directory.state == State::Wanted {
            match work.create_directory(&directory.name, directory.mode) {
                Err(error) if error.cause() == Cause::Exists => {}
                result => result?,
            }
            directory.state = State::Filled;
        }
        let child = directory.name.join(path.file_name());
        Ok(child.unwrap_or_else(|_| name(&index.to_string())))
    }

    /// The file for the change at `index`, if it is ready as `entry`.
    pub(super) fn file(&self, index: u32, entry: &FileEntry) -> Option<PreparedFile> {
        let ready = self.files.get(&index)?;
        (ready.mtime == entry.mtime).then(|| ready.clone())
    }

    /// The directory that is to be placed at `path` before anything gets a name
    /// in it.
    pub(super) fn directory(&self, path: &[u8]) -> Option<PreparedDirectory> {
        let directory = self.directories.get(path)?;
        (directory.state == State::Filled).then(|| directory.clone())
    }

    /// Whether the directory at `path` was placed with its files.
    pub(super) fn is_placed(&self, path: &[u8]) -> bool {
        let directory = self.directories.get(path);
        directory.is_some_and(|directory| directory.state == State::Placed)
    }

    pub(super) fn placed(&mut self, path: &[u8]) {
        self.set(path, State::Placed);
    }

    pub(super) fn apart(&mut self, path: &[u8]) {
        self.set(path, State::Apart);
    }

    fn set(&mut self, path: &[u8], state: State) {
        if let Some(directory) = self.directories.get_mut(path) {
            directory.state = state;
        }
    }

    /// Notes that the file is in the tree.
    pub(super) fn used(&mut self, index: u32) {
        self.files.remove(&index);
    }

    /// After an interruption: what was placed is the tree's, and looked at there.
    pub(super) fn forget_placed(&mut self) {
        let gone: Vec<RelPath> = self
            .directories
            .extract_if(.., |_, directory| directory.state == State::Placed)
            .map(|(_, directory)| directory.name)
            .collect();
        let inside = |ready: &PreparedFile| gone.iter().any(|name| ready.name.starts_with(name));
        self.files.retain(|_, ready| !inside(ready));
    }

    /// Removes what was not used.
    pub(super) fn discard(mut self, work: &Root) -> Result<(), DiskError> {
        self.settle();
        self.forget_placed();
        for ready in self.files.into_values() {
            work.remove_file(&ready.name).absent_is_none()?;
        }
        for directory in self.directories.into_values() {
            if directory.state != State::Wanted {
                work.remove_directory(&directory.name).absent_is_none()?;
            }
        }
        Ok(())
    }
}

impl Writer {
    fn start(work: &Root) -> Result<Self, DiskError> {
        let lanes = (0..THREADS).map(|_| Ok(Lane::start(work.try_clone()?)));
        Ok(Self {
            batch: Vec::new(),
            lanes: lanes.collect::<Result<_, DiskError>>()?,
        })
    }

    fn write(&mut self, file: NewFile) {
        self.batch.push(file);
        if self.batch.len() >= BATCH_FILES {
            self.hand_on();
        }
    }

    /// Only a thread that panicked takes none: that shows when it is joined.
    fn hand_on(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let _ = self.lanes[0].batches.send(batch);
        self.lanes.rotate_left(1);
    }

    fn finish(mut self) -> Vec<(u32, PreparedFile)> {
        self.hand_on();
        let (senders, threads): (Vec<_>, Vec<_>) = self
            .lanes
            .into_iter()
            .map(|lane| (lane.batches, lane.thread))
            .unzip();
        drop(senders); // all end now
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("writing does not panic"))
            .collect()
    }
}

impl Lane {
    fn start(work: Root) -> Self {
        let (batches, to_write) = sync_channel::<Vec<NewFile>>(BATCHES_MAX);
        let thread = thread::spawn(move || {
            let mut written = Vec::new();
            for file in to_write.into_iter().flatten() {
                match file.write(&work) {
                    Ok(ready) => written.push((file.index, ready)),
                    // It is made later, from the journal.
                    Err(error) => tracing::debug!("a file is not prepared: {error}"),
                }
            }
            written
        });
        Self { batches, thread }
    }
}

impl NewFile {
    fn write(&self, work: &Root) -> Result<PreparedFile, DiskError> {
        let Self { name, entry, .. } = self;
        let file = match work.create_file_with(name, entry.mode) {
            // Left by a generation that was dropped.
            Err(error) if error.cause() == Cause::Exists => {
                work.remove_file(name)?;
                work.create_file_with(name, entry.mode)?
            }
            result => result?,
        };
        let filled = file
            .write_all_at(&self.bytes, 0)
            .and_then(|()| file.set_mtime(entry.mtime))
            .and_then(|()| file.stat());
        match filled {
            Ok(stat) => Ok(PreparedFile {
                name: name.clone(),
                mtime: entry.mtime,
                stat,
            }),
            Err(error) => {
                work.remove_file(name).absent_is_none()?;
                Err(error)
            }
        }
    }
}

impl PreparedFile {
    /// How the file is remembered, now that it is in the tree: to be looked at
    /// again if what stands there is not quite what was put there.
    pub(super) fn seen(&self, now: Option<Stat>) -> Seen {
        let put = &self.stat;
        let same = |now: &Stat| {
            let inode_and_size = (now.key.inode, now.key.length) == (put.key.inode, put.key.length);
            inode_and_size && now.key.mtime_ns == put.key.mtime_ns && now.mode == put.mode
        };
        now.filter(same)
            .map_or_else(seen_never, |now| seen_after_put(&now))
    }

    /// The same, where its directory was placed: its own stat did not change.
    pub(super) fn seen_as_prepared(&self) -> Seen {
        seen_after_put(&self.stat)
    }
}

impl Run<'_> {
    /// Gives the file that was prepared for the change its name where nothing
    /// stands; `false` where there is none, or something stands there.
    pub(super) fn put_prepared(
        &mut self,
        change: usize,
        path: &RelPath,
        file: &FileEntry,
    ) -> Result<bool, DiskError> {
        self.place_parent(path)?;
        let index = u32::try_from(change).expect("changes are counted in 32 bits");
        let Some(ready) = self.prepared.file(index, file) else {
            return Ok(false);
        };
        let at_home = path
            .split()
            .0
            .is_some_and(|parent| self.prepared.is_placed(parent));
        let seen = if at_home {
            ready.seen_as_prepared()
        } else {
            match self.place(&ready.name, path) {
                Err(error) if moved(&error) => return Ok(false),
                result => result?,
            }
            ready.seen(self.root.stat(path)?)
        };
        self.prepared.used(index);
        self.put(Sighting {
            path: path.clone(),
            entry: Entry::File(*file),
            seen,
        });
        Ok(true)
    }

    /// Gives the directory that was prepared around `path` its name.
    fn place_parent(&mut self, path: &RelPath) -> Result<(), DiskError> {
        let parent = path.split().0;
        let Some(directory) = parent.and_then(|parent| self.prepared.directory(parent)) else {
            return Ok(());
        };
        let parent = path.parent().expect("it was found");
        match self.place(&directory.name, &parent) {
            Err(error) if moved(&error) => {
                self.prepared.apart(parent.as_bytes());
                self.ensure_directory(&parent, directory.mode)
            }
            result => {
                result?;
                self.prepared.placed(parent.as_bytes());
                self.sighted_directory(&parent, directory.mode)
            }
        }
    }
}

fn name(text: &str) -> RelPath {
    let directory = RelPath::new(PREPARED).expect("a legal name");
    directory.join(text.as_bytes()).expect("short and legal")
}

/// Makes the directory of all this, or empties it of what an interruption left.
pub(super) fn clear(work: &Root) -> Result<(), DiskError> {
    make_directory(work, PREPARED)?;
    let directory = RelPath::new(PREPARED).expect("a legal name");
    empty(work, &directory)
}

/// Nothing of ours is deeper than a file in a directory.
fn empty(work: &Root, directory: &RelPath) -> Result<(), DiskError> {
    for listed in work.list(Some(directory))? {
        let Ok(path) = directory.join(&listed.name) else {
            continue; // no name of ours is that long
        };
        if listed.stat.kind == Kind::Directory {
            empty(work, &path)?;
            work.remove_directory(&path)?;
        } else {
            work.remove_file(&path)?;
        }
    }
    Ok(())
}
