//! Permission bits: which ones the umask leaves alone, and setting them by name.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::{
    fd::{AsRawFd, BorrowedFd},
    fs::{AtFlags, Mode as RawMode, OFlags},
    io::Errno,
};
use sync_core::Mode;

use super::{Kind, Stat};

/// Permission bits with which files were created as asked, so that the umask
/// takes none of them away.
#[derive(Debug, Default)]
pub(super) struct GrantedModes(AtomicU32);

impl GrantedModes {
    pub(super) fn has(&self, mode: Mode) -> bool {
        mode.bits() & !self.0.load(Ordering::Relaxed) == 0
    }

    pub(super) fn add(&self, mode: Mode) {
        self.0.fetch_or(mode.bits(), Ordering::Relaxed);
    }
}

/// `fchmod` on a descriptor that cannot be a link. The owner of a file that may
/// not be read goes through the descriptor's own name in `/proc`, which leads to
/// the same inode and nowhere else.
pub(super) fn set_mode(at: BorrowedFd<'_>, name: &[u8], mode: RawMode) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, OFlags::RDONLY | flags, RawMode::empty()) {
        Ok(file) => rustix::fs::fchmod(&file, mode),
        Err(Errno::ACCESS) => {
            let fd = rustix::fs::openat(at, name, OFlags::PATH | flags, RawMode::empty())?;
            if Stat::of_open(&fd)?.kind == Kind::Symlink {
                return Err(Errno::LOOP);
            }
            let descriptors = rustix::fs::open(
                "/proc/self/fd",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                RawMode::empty(),
            )?;
            let number = fd.as_raw_fd().to_string();
            rustix::fs::chmodat(&descriptors, number, mode, AtFlags::empty())
        }
        Err(error) => Err(error),
    }
}
