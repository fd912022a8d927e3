//! What is done to the names of a tree: made, removed, renamed, given modes and
//! times.

use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, Mode as RawMode, OFlags, RenameFlags},
};
use sync_core::{Mode, Mtime, RelPath};

use super::{Cause, DiskError, HeldFile, Kind, Root, file, mode, opening};

/// What a rename does with something under the new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Replaces it in one step.
    Replaced,
    /// Fails with [`Cause::Exists`].
    Free,
    /// Both names change places; both must be there.
    Exchanged,
}

impl Root {
    /// Creates a new regular file, open for reading and writing, mode 0600
    /// until it is set.
    ///
    /// # Errors
    /// [`Cause::Exists`] where anything is there, a dangling link included.
    pub fn create_file(&self, path: &RelPath) -> Result<HeldFile, DiskError> {
        self.create_as(path, RawMode::RUSR | RawMode::WUSR)
    }

    /// Creates a new regular file with `mode`, whatever the umask, open for
    /// reading and writing. For where nobody reads what is not finished.
    ///
    /// # Errors
    /// [`Cause::Exists`] where anything is there, a dangling link included.
    pub fn create_file_with(&self, path: &RelPath, mode: Mode) -> Result<HeldFile, DiskError> {
        let file = self.create_as(path, RawMode::from_raw_mode(mode.bits()))?;
        if !self.granted.has(mode) {
            if file.stat()?.mode == mode {
                self.granted.add(mode);
            } else {
                file.set_mode(mode)?;
            }
        }
        Ok(file)
    }

    fn create_as(&self, path: &RelPath, mode: RawMode) -> Result<HeldFile, DiskError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.at(path, "create", |at, name| {
            rustix::fs::openat(at, name, flags, mode)
        })?;
        Ok(HeldFile::new(file, self.place(Some(path))))
    }

    /// Creates a directory with `mode`, whatever the umask.
    ///
    /// # Errors
    /// [`Cause::Exists`] where anything is there.
    pub fn create_directory(&self, path: &RelPath, mode: Mode) -> Result<(), DiskError> {
        self.at(path, "create the directory", |at, name| {
            rustix::fs::mkdirat(at, name, RawMode::from_raw_mode(mode.bits()))
        })?;
        self.set_mode(path, mode)
    }

    /// Creates every directory on the way to `path` that is missing.
    ///
    /// # Errors
    /// Where something on the way is not a directory, or creating fails.
    pub fn create_parents(&self, path: &RelPath, mode: Mode) -> Result<(), DiskError> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        match self.create_directory(&parent, mode) {
            Err(error) if error.cause() == Cause::Absent => {
                self.create_parents(&parent, mode)?;
                self.create_directory(&parent, mode)
            }
            Err(error) if error.cause() == Cause::Exists => self.expect_directory(&parent, error),
            result => result,
        }
    }

    fn expect_directory(&self, path: &RelPath, otherwise: DiskError) -> Result<(), DiskError> {
        match self.stat(path)? {
            Some(stat) if stat.kind == Kind::Directory => Ok(()),
            _ => Err(otherwise),
        }
    }

    /// Creates a symbolic link with the text `target`.
    ///
    /// # Errors
    /// [`Cause::Exists`] where anything is there.
    pub fn create_symlink(&self, path: &RelPath, target: &[u8]) -> Result<(), DiskError> {
        self.at(path, "create the link", |at, name| {
            rustix::fs::symlinkat(target, at, name)
        })
    }

    /// The text of the symbolic link at `path`.
    ///
    /// # Errors
    /// [`Cause::Absent`] where no link is there.
    pub fn read_link(&self, path: &RelPath) -> Result<Box<[u8]>, DiskError> {
        self.at(path, "read the link", |at, name| {
            opening::read_link(at, name)
        })
    }

    /// Removes a file, link or special file.
    ///
    /// # Errors
    /// [`Cause::Absent`] where nothing is there, [`Cause::WrongKind`] for a directory.
    pub fn remove_file(&self, path: &RelPath) -> Result<(), DiskError> {
        self.at(path, "remove", |at, name| {
            rustix::fs::unlinkat(at, name, AtFlags::empty())
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Cause::NotEmpty`] where it holds anything.
    pub fn remove_directory(&self, path: &RelPath) -> Result<(), DiskError> {
        self.held.forget(path.as_bytes());
        self.at(path, "remove the directory", |at, name| {
            rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)
        })
    }

    /// Renames `from` of this root to `to` of `there` in one step.
    ///
    /// # Errors
    /// See [`Target`]; [`Cause::OtherMount`] where the roots are on different
    /// file systems.
    pub fn rename(
        &self,
        from: &RelPath,
        there: &Self,
        to: &RelPath,
        target: Target,
    ) -> Result<(), DiskError> {
        self.held.forget(from.as_bytes());
        there.held.forget(to.as_bytes());
        let flags = match target {
            Target::Replaced => RenameFlags::empty(),
            Target::Free => RenameFlags::NOREPLACE,
            Target::Exchanged => RenameFlags::EXCHANGE,
        };
        there.at(to, "rename to", |to_fd, to_name| {
            let rename = |from_fd: BorrowedFd<'_>, from_name: &[u8]| {
                rustix::fs::renameat_with(from_fd, from_name, to_fd, to_name, flags)
            };
            self.in_parent(from, rename)
        })
    }

    /// Sets the permission bits of a file or directory. Prefer
    /// [`HeldFile::set_mode`] where the file is open.
    ///
    /// # Errors
    /// [`Cause::Absent`] where nothing, or a link, is there.
    pub fn set_mode(&self, path: &RelPath, mode: Mode) -> Result<(), DiskError> {
        let raw = RawMode::from_raw_mode(mode.bits());
        self.at(path, "set the mode of", |at, name| {
            mode::set_mode(at, name, raw)
        })
    }

    /// Sets the modification time of whatever is at `path`, a link itself
    /// included.
    ///
    /// # Errors
    /// [`Cause::Absent`] where nothing is there.
    pub fn set_mtime(&self, path: &RelPath, mtime: Mtime) -> Result<(), DiskError> {
        let times = file::only_mtime(mtime);
        self.at(path, "set the time of", |at, name| {
            rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }
}
