//! A directory held open for listing, and its names looked at one by one.

use std::{ffi::CStr, fs::File, mem::MaybeUninit, ops::ControlFlow};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, RawDir},
    io::Errno,
    path::Arg,
};

use super::{Mount, Stat, opening};

/// Bytes of one `getdents64`: about a thousand names a call.
const LISTING_BYTES: usize = 64 << 10;

/// A directory that can be listed. Its methods speak in plain `Errno`: whoever
/// walks knows the path, and makes the error only where one is reported.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory `name` in `at`, not following a link.
    pub(crate) fn open(at: impl AsFd, name: impl Arg) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::empty()).map(Self)
    }

    /// Gives every name but `.` and `..`, in the order of the file system.
    pub(crate) fn each_name(&self, mut each: impl FnMut(&CStr)) -> Result<(), Errno> {
        self.names(|name| {
            each(name);
            ControlFlow::Continue(())
        })
    }

    /// Whether it holds no name but what a new file system has.
    pub(crate) fn is_empty(&self) -> Result<bool, Errno> {
        let mut empty = true;
        self.names(|name| {
            empty &= name == c"lost+found";
            if empty {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(empty)
    }

    fn names(&self, mut each: impl FnMut(&CStr) -> ControlFlow<()>) -> Result<(), Errno> {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); LISTING_BYTES];
        let mut listing = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." && each(name).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Which mount it is on.
    pub(crate) fn mount(&self) -> Result<Mount, Errno> {
        Ok(Stat::of_open(&self.0)?.mount)
    }

    /// What is under `name`; `None` where it is gone.
    pub(crate) fn stat(&self, name: &CStr) -> Result<Option<Stat>, Errno> {
        match Stat::of(&self.0, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the regular file `name` for reading.
    pub(crate) fn open_file(&self, name: &CStr) -> Result<(File, Stat), Errno> {
        let (file, stat) = opening::open_file(&self.0, name, OFlags::RDONLY)?;
        Ok((file.into(), stat))
    }

    /// What a file that may fit `buffer` holds, up to there, and its stat after
    /// that. It may be anything but a link: the stat tells.
    pub(crate) fn read_small(
        &self,
        name: &CStr,
        buffer: &mut [u8],
    ) -> Result<(usize, Stat), Errno> {
        let file = opening::open_any(&self.0, name, OFlags::RDONLY)?;
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut *buffer, 0))?;
        Ok((count, Stat::of_open(&file)?))
    }

    /// The text of the symbolic link `name`.
    pub(crate) fn read_link(&self, name: &CStr) -> Result<Box<[u8]>, Errno> {
        opening::read_link(&self.0, name)
    }
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
