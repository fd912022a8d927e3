//! Files made ready while their generation still comes in.
//!
//! A content that arrives is written into a file of its own at once, with its
//! mode and time, while the next contents are under way; when the generation is
//! durable only names are left to give. A new directory is prepared with its files
//! in it and gets its name once, with all of them: no reader meets it half filled.
//!
//! This saves time and nothing else: the journal has every content too, and
//! whatever is missing here is made from it. So nothing is synced, and what an
//! interruption leaves is removed unseen. The names of new files only ever hold
//! what this replica wrote: nothing of the tree is exchanged into them. A file
//! that replaces another changes places with it, so it stands in the staging
//! directory, under a name that tells whether that may have happened.

use std::collections::{BTreeMap, HashMap};

use sync_core::{Action, Change, Entry, FileEntry, Generation, Manifest, Mode, Mtime, RelPath};

use super::{
    contents::{make_directory, replacement_name},
    judge::{seen_after_put, seen_never},
    run::Run,
    swap::moved,
    writer::{NewFile, Writer, Written},
};
use crate::{
    observed::{Seen, Sighting},
    root::{AbsentIsNone, Cause, DiskError, Kind, Root, Stat},
};

const PREPARED: &[u8] = b"prepared";
/// New files from which on threads of their own are worth their start: while they
/// write, the next files are checked and journalled.
const THREAD_FILES_MIN: usize = 256;
/// What is prepared for one generation.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// By position in the change list.
    files: HashMap<u32, PreparedFile>,
    /// The same for files that replace others.
    replacements: HashMap<u32, PreparedFile>,
    /// By their path in the tree.
    directories: BTreeMap<RelPath, PreparedDirectory>,
    /// Whether there is enough to do for threads.
    is_large: bool,
    writer: Option<Writer>,
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
    pub(super) stat: Stat,
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
        let name = self.name_for(work, index, path)?;
        self.make(
            work,
            NewFile {
                index,
                name,
                replaces: false,
                entry: *entry,
                bytes,
            },
        )
    }

    /// The same for a file that is to replace another when `generation` is applied.
    pub(super) fn write_replacement(
        &mut self,
        work: &Root,
        (generation, index): (Generation, u32),
        entry: &FileEntry,
        bytes: Vec<u8>,
    ) -> Result<(), DiskError> {
        let name = replacement_name(generation, index);
        self.make(
            work,
            NewFile {
                index,
                name,
                replaces: true,
                entry: *entry,
                bytes,
            },
        )
    }

    fn make(&mut self, work: &Root, file: NewFile) -> Result<(), DiskError> {
        if self.is_large && self.writer.is_none() {
            self.writer = Some(Writer::start(work)?);
        }
        match &mut self.writer {
            Some(writer) => writer.write(file),
            None => {
                let written = file.write(work)?;
                self.note(written);
            }
        }
        Ok(())
    }

    fn note(&mut self, written: Written) {
        let files = match written.replaces {
            true => &mut self.replacements,
            false => &mut self.files,
        };
        files.insert(written.index, written.ready);
    }

    /// Waits until everything is written.
    pub(super) fn settle(&mut self) {
        let written = self.writer.take().map_or_else(Vec::new, Writer::finish);
        self.files.reserve(written.len());
        written.into_iter().for_each(|one| self.note(one));
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

    /// Takes the file for the change at `index`, if it is ready as `entry`.
    fn take(&mut self, index: u32, entry: &FileEntry) -> Option<PreparedFile> {
        let as_entry = |ready: &PreparedFile| ready.mtime == entry.mtime;
        self.files
            .get(&index)
            .is_some_and(as_entry)
            .then(|| self.files.remove(&index))?
    }

    /// The file that is to replace another for the change at `index`, if it is
    /// ready. From now on its name is the caller's: the old file may come there.
    pub(super) fn take_replacement(&mut self, index: u32) -> Option<PreparedFile> {
        self.replacements.remove(&index)
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

    /// Takes a file back that did not get into the tree.
    fn put_back(&mut self, index: u32, ready: PreparedFile) {
        self.files.insert(index, ready);
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
        for ready in self
            .files
            .into_values()
            .chain(self.replacements.into_values())
        {
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

impl PreparedFile {
    /// Gives it the time that the commit decided on.
    pub(super) fn at(mut self, work: &Root, mtime: Mtime) -> Result<Option<Self>, DiskError> {
        if self.mtime != mtime {
            work.set_mtime(&self.name, mtime)?;
            let Some(stat) = work.stat(&self.name)? else {
                return Ok(None);
            };
            self = Self {
                mtime,
                stat,
                ..self
            };
        }
        Ok(Some(self))
    }

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
        let index = index_of(change);
        let Some(ready) = self.prepared.take(index, file) else {
            return Ok(false);
        };
        let at_home = path
            .split()
            .0
            .is_some_and(|parent| self.prepared.is_placed(parent));
        let seen = if at_home {
            ready.seen_as_prepared()
        } else {
            if let Err(error) = self.place(&ready.name, path) {
                self.prepared.put_back(index, ready);
                return if moved(&error) { Ok(false) } else { Err(error) };
            }
            ready.seen(self.root.stat(path)?)
        };
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

/// A position in the change list, as it is counted there.
pub(super) fn index_of(change: usize) -> u32 {
    u32::try_from(change).expect("changes are counted in 32 bits")
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
