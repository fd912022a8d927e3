//! What the operating system says about one path, in the words of the model.

use rustix::{
    fd::AsFd,
    fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp},
    path::Arg,
};
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

/// What must be equal for a content to be believed unchanged: size,
/// modification time, change time (nanoseconds) and inode number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct StatKey {
    /// Bytes in the file.
    pub length: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
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
    Stat {
        kind: kind_of(FileType::from_raw_mode(raw.stx_mode.into())),
        mode: Mode::new(raw.stx_mode.into()),
        mtime: Mtime {
            seconds: raw.stx_mtime.tv_sec,
            nanoseconds: raw.stx_mtime.tv_nsec,
        },
        length: raw.stx_size,
        key: StatKey {
            length: raw.stx_size,
            mtime_ns: nanoseconds(&raw.stx_mtime),
            ctime_ns: nanoseconds(&raw.stx_ctime),
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

/// Saturates beyond the years 1677 and 2262; equality is all that is asked.
fn nanoseconds(time: &StatxTimestamp) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec.into())
}
