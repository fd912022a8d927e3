//! The root directory of a tree, and every operation on a path inside it.
//!
//! The only door to the files of a tree. A path is walked one component at a
//! time from a held descriptor, never through a symbolic link, so that nothing
//! outside the root can be reached whatever anybody does to the directories
//! meanwhile; no call is given a name with a `/` in it. What an operation means
//! for the tree is left to its callers.
//!
//! A few directories stay open for a moment (see `opening`). Whoever keeps
//! another directory beside the tree (staging, aside) opens it as a root of its
//! own; [`Root::rename`] moves between two of them.

mod directory;
mod error;
mod file;
mod mode;
mod names;
mod opening;
mod stat;

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode as RawMode, OFlags},
    io::Errno,
};
use sync_core::{RelPath, path::escape};
use thiserror::Error;

pub(crate) use directory::Directory;
pub use error::{AbsentIsNone, Cause, DiskError, Place};
pub(crate) use file::read_through;
pub use file::{HeldFile, READ_BYTES};
use mode::GrantedModes;
pub use names::Target;
use opening::HeldDirectories;
pub use stat::{Kind, Mount, Stat, StatKey};

/// `f_type` of XFS, whose `f_fsid` is the device number and may change with
/// every boot.
const XFS_SUPER_MAGIC: u64 = 0x5846_5342;

/// Why a directory cannot be the root of a tree.
#[derive(Debug, Error)]
#[error("cannot open the directory `{path}`")]
pub struct RootError {
    /// The directory, escaped.
    pub path: String,
    /// Why not.
    pub source: io::Error,
}

impl RootError {
    /// Whether there is no such directory.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    }
}

/// What tells one root directory from another across restarts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// `f_fsid` of the file system; 0 on XFS, where it does not last.
    pub file_system: u64,
    /// Inode number of the directory.
    pub inode: u64,
}

/// What is left on a file system for an unprivileged user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `u64::MAX` where the file system does not count them.
    pub inodes: u64,
}

/// One name of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The name's bytes.
    pub name: Box<[u8]>,
    /// What is under it.
    pub stat: Stat,
}

/// An open root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    label: Arc<str>,
    held: HeldDirectories,
    granted: GrantedModes,
}

impl Root {
    /// Opens the directory at `path`. This path is configuration, not data: it
    /// may lead through symbolic links.
    ///
    /// # Errors
    /// Where it is not a directory or may not be read.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let label = escape(path.as_os_str().as_encoded_bytes());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, RawMode::empty()) {
            Ok(fd) => Ok(Self {
                fd,
                path: path.to_owned(),
                label: label.into(),
                held: HeldDirectories::default(),
                granted: GrantedModes::default(),
            }),
            Err(error) => Err(RootError {
                path: label,
                source: error.into(),
            }),
        }
    }

    /// The path it was opened at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory at `path` below this root as a root of its own.
    ///
    /// # Errors
    /// Where it is not a directory or may not be read.
    pub fn subroot(&self, path: &RelPath) -> Result<Self, DiskError> {
        let fd = self.open_directory(Some(path))?;
        let below = std::ffi::OsStr::from_bytes(path.as_bytes());
        Ok(Self {
            fd,
            path: self.path.join(below),
            label: self.place(Some(path)).to_string().into(),
            held: HeldDirectories::default(),
            granted: GrantedModes::default(),
        })
    }

    /// The same directory for another thread.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub(crate) fn try_clone(&self) -> Result<Self, DiskError> {
        let fd = self.fd.try_clone();
        let fd = fd.map_err(|error| DiskError::new("open again", self.place(None), error))?;
        Ok(Self {
            fd,
            path: self.path.clone(),
            label: Arc::clone(&self.label),
            held: HeldDirectories::default(),
            granted: GrantedModes::default(),
        })
    }

    /// What tells this directory from any other across restarts.
    ///
    /// # Errors
    /// Where the operating system does not say.
    pub fn identity(&self) -> Result<Identity, DiskError> {
        let stat = self.stat_root()?;
        let kind = rustix::fs::fstatfs(&self.fd).map(|system| system.f_type as u64);
        let system = rustix::fs::fstatvfs(&self.fd);
        let (kind, system) = self.says("look at the file system of", None, both(kind, system))?;
        let lasting = kind != XFS_SUPER_MAGIC;
        Ok(Identity {
            file_system: if lasting { system.f_fsid } else { 0 },
            inode: stat.key.inode,
        })
    }

    /// Whether the path it was opened at still leads to this very directory on
    /// this very mount.
    ///
    /// # Errors
    /// Where the path leads nowhere, or cannot be opened.
    pub fn is_in_place(&self) -> Result<bool, RootError> {
        let fail = |error: io::Error| RootError {
            path: self.label.to_string(),
            source: error,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let now = rustix::fs::open(&self.path, flags, RawMode::empty()).and_then(Stat::of_open);
        let (now, held) = both(now, Stat::of_open(&self.fd)).map_err(|error| fail(error.into()))?;
        Ok((now.mount, now.key.inode) == (held.mount, held.key.inode))
    }

    /// Which mount the root directory is on.
    ///
    /// # Errors
    /// Where the operating system does not say.
    pub fn mount(&self) -> Result<Mount, DiskError> {
        Ok(self.stat_root()?.mount)
    }

    /// The `statx` of the root directory itself.
    ///
    /// # Errors
    /// Where the operating system does not say.
    pub fn stat_root(&self) -> Result<Stat, DiskError> {
        self.says("look at", None, Stat::of_open(&self.fd))
    }

    /// What is left on the file system.
    ///
    /// # Errors
    /// Where the operating system does not say.
    pub fn space(&self) -> Result<Space, DiskError> {
        let result = rustix::fs::fstatvfs(&self.fd);
        let system = self.says("look at the free space of", None, result)?;
        Ok(Space {
            bytes: system.f_bavail.saturating_mul(system.f_frsize),
            inodes: match (system.f_files, system.f_favail) {
                (0, _) => u64::MAX,
                (_, free) => free,
            },
        })
    }

    /// What is at `path`; `None` where nothing is or the way leads through
    /// something that is not a directory.
    ///
    /// # Errors
    /// Where looking fails for any other reason.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Stat>, DiskError> {
        let (parent, name) = path.split();
        let found = match parent {
            None => Stat::of(&self.fd, name),
            Some(parent) => self.stat_in(parent, name),
        };
        self.says("look at", Some(path), found).absent_is_none()
    }

    /// A name that is missing in a directory just walked to is missing. Whoever
    /// acts on that walks again: nothing is created or replaced by mistake.
    fn stat_in(&self, parent: &[u8], name: &[u8]) -> Result<Stat, Errno> {
        let found = self.held.find(&self.fd, parent)?;
        match Stat::of(&found.fd, name) {
            Err(Errno::NOENT) if !found.is_fresh() => {
                self.in_directory(parent, |at| Stat::of(at, name))
            }
            result => result,
        }
    }

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no regular file is there.
    pub fn open_file(&self, path: &RelPath) -> Result<HeldFile, DiskError> {
        Ok(self.open_as(path, OFlags::RDONLY)?.0)
    }

    /// Opens the regular file at `path` for reading and writing.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no regular file is there.
    pub fn open_file_to_write(&self, path: &RelPath) -> Result<HeldFile, DiskError> {
        Ok(self.open_as(path, OFlags::RDWR)?.0)
    }

    /// Opens the regular file at `path` for writing past the page cache, in whole
    /// blocks, where the file system can do that.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no regular file is there.
    pub(crate) fn open_file_to_stream(&self, path: &RelPath) -> Result<HeldFile, DiskError> {
        match self.open_as(path, OFlags::WRONLY | OFlags::DIRECT) {
            Err(error) if Errno::from_io_error(&error.source) == Some(Errno::INVAL) => {
                self.open_file_to_write(path)
            }
            result => result.map(|(file, _)| file),
        }
    }

    /// Opens the regular file at `path` for reading; tells its stat.
    pub(crate) fn open_and_stat(&self, path: &RelPath) -> Result<(HeldFile, Stat), DiskError> {
        self.open_as(path, OFlags::RDONLY)
    }

    fn open_as(&self, path: &RelPath, access: OFlags) -> Result<(HeldFile, Stat), DiskError> {
        let (file, stat) = self.at(path, "open", |at, name| {
            opening::open_file(at, name, access)
        })?;
        Ok((HeldFile::new(file, self.place(Some(path))), stat))
    }

    /// The names in the directory at `path` (`None` is the root), sorted.
    /// A name that goes while the list is made is left out.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no directory is there.
    pub fn list(&self, path: Option<&RelPath>) -> Result<Vec<Listed>, DiskError> {
        let directory = self.directory(path)?;
        let mut listed = Vec::new();
        let mut failure = None;
        let each = directory.each_name(|name| match directory.stat(name) {
            Ok(Some(stat)) => listed.push(Listed {
                name: name.to_bytes().into(),
                stat,
            }),
            Ok(None) => {}
            Err(error) => failure = Some(error),
        });
        self.says("list", path, each.and(failure.map_or(Ok(()), Err)))?;
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Whether the root holds no name but what a new file system has.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn is_empty(&self) -> Result<bool, DiskError> {
        let result = self.directory(None)?.is_empty();
        self.says("list", None, result)
    }

    /// The directory at `path` held open for a walk.
    pub(crate) fn directory(&self, path: Option<&RelPath>) -> Result<Directory, DiskError> {
        self.open_directory(path).map(Directory::from)
    }

    fn open_directory(&self, path: Option<&RelPath>) -> Result<OwnedFd, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            |at: BorrowedFd<'_>, name: &[u8]| rustix::fs::openat(at, name, flags, RawMode::empty());
        match path {
            Some(path) => self.at(path, "open the directory", open),
            None => self.says("open the directory", None, open(self.fd.as_fd(), b".")),
        }
    }

    /// Makes the content of the file at `path` durable. A failure is final.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no file is there; any other is the disk's.
    pub fn sync_file(&self, path: &RelPath) -> Result<(), DiskError> {
        self.open_file(path)?.sync_all()
    }

    /// Makes the names of the directory at `path` (`None` is the root) durable.
    /// A failure is final.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no directory is there; any other is the disk's.
    pub fn sync_directory(&self, path: Option<&RelPath>) -> Result<(), DiskError> {
        let fd = self.open_directory(path)?;
        self.says("sync the directory", path, rustix::fs::fsync(&fd))
    }

    /// Makes everything on the file system durable. A failure is final.
    ///
    /// # Errors
    /// Where the disk failed.
    pub fn sync_file_system(&self) -> Result<(), DiskError> {
        let result = rustix::fs::syncfs(&self.fd);
        self.says("sync the file system of", None, result)
    }

    /// `path` of this root for people.
    #[must_use]
    pub fn place(&self, path: Option<&RelPath>) -> Place {
        Place::new(&self.label, path)
    }

    /// Calls with the held parent directory of `path` and its last component.
    fn at<T>(
        &self,
        path: &RelPath,
        doing: &'static str,
        mut call: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, DiskError> {
        let result = self.in_parent(path, &mut call);
        self.says(doing, Some(path), result)
    }

    fn in_parent<T>(
        &self,
        path: &RelPath,
        mut call: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match path.split() {
            (None, name) => call(self.fd.as_fd(), name),
            (Some(parent), name) => self.in_directory(parent, |at| call(at, name)),
        }
    }

    /// Calls with the directory at `path`; once more where it may have been
    /// removed and made again since it was last walked to.
    fn in_directory<T>(
        &self,
        path: &[u8],
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let found = self.held.find(&self.fd, path)?;
        match call(found.fd.as_fd()) {
            Err(Errno::NOENT) if found.is_remembered() => {
                self.held.forget(path);
                call(self.held.find(&self.fd, path)?.fd.as_fd())
            }
            result => result,
        }
    }

    fn says<T>(
        &self,
        doing: &'static str,
        path: Option<&RelPath>,
        result: Result<T, Errno>,
    ) -> Result<T, DiskError> {
        result.map_err(|error| DiskError::new(doing, self.place(path), error))
    }
}

fn both<A, B>(a: Result<A, Errno>, b: Result<B, Errno>) -> Result<(A, B), Errno> {
    Ok((a?, b?))
}

#[cfg(test)]
mod tests;
