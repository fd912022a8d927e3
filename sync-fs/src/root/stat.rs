//! What the operating system says about one path, in the words of the model.

use rustix::{
    fd::AsFd,
    fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp},
    path::Arg,
};
pub use sync_core::StatKey;
use sync_core::{Mode, Mtime};

/// The kinds of things in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link; never followed.
    Symlink,
    /// A fifo, socket or device; never opened.
    Special,
}

/// Which mounted file system something is on: both must be equal for a rename
/// between two names to be possible.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mount {
    /// `st_dev`, major and minor.
    pub device: (u32, u32),
    /// The kernel's mount id; differs between two bind mounts of one device.
    pub mount_id: u64,
}

/// One `statx`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: Mode,
    /// Modification time.
    pub mtime: Mtime,
    /// Bytes.
    pub length: u64,
    /// What an index compares.
    pub key: StatKey,
    /// Where it is mounted.
    pub mount: Mount,
}

impl Stat {
    /// The `statx` of `name` in the directory `at`, not following a link.
    pub(crate) fn of(at: impl AsFd, name: impl Arg) -> rustix::io::Result<Self> {
        statx(at, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The `statx` of an open file.
    pub(crate) fn of_open(file: impl AsFd) -> rustix::io::Result<Self> {
        statx(file, c"", AtFlags::EMPTY_PATH)
    }
}

fn statx(at: impl AsFd, name: impl Arg, flags: AtFlags) -> rustix::io::Result<Stat> {
    let mask = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::SIZE
        | StatxFlags::MTIME
        | StatxFlags::CTIME
        | StatxFlags::INO
        | StatxFlags::MNT_ID;
    rustix::fs::statx(at, name, flags, mask).map(|raw| from_raw(&raw))
}

fn from_raw(raw: &Statx) -> Stat {
    let mtime = time(&raw.stx_mtime);
    Stat {
        kind: kind_of(FileType::from_raw_mode(raw.stx_mode.into())),
        mode: Mode::new(raw.stx_mode.into()),
        mtime,
        length: raw.stx_size,
        key: StatKey {
            length: raw.stx_size,
            mtime_ns: mtime.as_nanoseconds(),
            ctime_ns: time(&raw.stx_ctime).as_nanoseconds(),
            inode: raw.stx_ino,
        },
        mount: Mount {
            device: (raw.stx_dev_major, raw.stx_dev_minor),
            mount_id: raw.stx_mnt_id,
        },
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

fn time(raw: &StatxTimestamp) -> Mtime {
    Mtime {
        seconds: raw.tv_sec,
        nanoseconds: raw.tv_nsec,
    }
}
