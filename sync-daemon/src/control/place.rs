//! Where the socket is, for state directories of any depth.
//!
//! A socket address holds 107 bytes of path. `/proc/self/fd/<n>/control.sock`
//! always fits, and names the socket beside the directory that is held open.

use std::{io, os::fd::AsRawFd, os::fd::OwnedFd, path::Path, path::PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

pub(super) const FILE_NAME: &str = "control.sock";

/// An open state directory.
pub(super) struct Place(OwnedFd);

impl Place {
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(state_dir, flags, Mode::empty())?))
    }

    /// A short path to the socket, valid while `self` lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{FILE_NAME}", self.0.as_raw_fd()))
    }

    /// Lets only the owner connect.
    pub(super) fn make_private(&self) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::chmodat(
            &self.0,
            FILE_NAME,
            mode,
            AtFlags::empty(),
        )?)
    }

    /// Removes the socket, if it is there.
    pub(super) fn clear(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, FILE_NAME, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
