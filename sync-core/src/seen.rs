//! The stat under which an entry was seen on a disk.
//!
//! Kept beside an entry so that a later look can tell, without reading, that the
//! entry is still there as it was. What a stat proves is decided by who looks.

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

/// How one entry looked when it was last read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its stat then; for a directory the inode alone, for the rest of its stat
    /// changes with every name in it.
    pub key: StatKey,
    /// Whether it had been touched so shortly before that a later edit could
    /// carry the same times: then the stat proves nothing and the content is
    /// read again.
    pub racy: bool,
}

impl Seen {
    /// A stat that no file has: what is behind it is read at the next look.
    pub const NEVER: Self = Self {
        key: StatKey {
            length: u64::MAX,
            mtime_ns: i64::MIN,
            ctime_ns: i64::MIN,
            inode: 0,
        },
        racy: true,
    };
}
