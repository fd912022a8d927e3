//! What a manifest says about one path.

use crate::content::ContentId;

/// Permission bits, `0o777` at most: set-user-id, set-group-id and sticky bits
/// never travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mode(u32);

impl Mode {
    /// Keeps the nine permission bits of a `st_mode`.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self(bits & 0o777)
    }

    /// The bits, `0..=0o777`.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// A modification time: seconds since the epoch (may be negative) and
/// nanoseconds within the second (below 1,000,000,000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mtime {
    /// Whole seconds: what the hot deployer compares.
    pub seconds: i64,
    /// The rest, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Mtime {
    /// Nanoseconds since the epoch. Saturates beyond the years 1677 and 2262.
    #[must_use]
    pub fn as_nanoseconds(self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(self.nanoseconds.into())
    }
}

/// A regular file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileEntry {
    /// Permission bits: part of the root.
    pub mode: Mode,
    /// Carried and kept, but not part of the root.
    pub mtime: Mtime,
    /// Bytes in the content.
    pub length: u64,
    /// BLAKE3 of the content: part of the root.
    pub content: ContentId,
}

/// One path of a tree.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// A directory, empty ones included.
    Directory {
        /// Permission bits.
        mode: Mode,
    },
    /// A regular file.
    File(FileEntry),
    /// A symbolic link, never followed. Plain trees only.
    Symlink {
        /// The link's text, any bytes but NUL.
        target: Box<[u8]>,
    },
}

impl Entry {
    /// The file, if this is one.
    #[must_use]
    pub fn as_file(&self) -> Option<&FileEntry> {
        match self {
            Self::File(file) => Some(file),
            _ => None,
        }
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Whether both have the same kind, mode and content (or link text): what
    /// the root covers. Modification times may differ.
    #[must_use]
    pub fn same_identity(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a.mode == b.mode && a.content == b.content,
            (a, b) => a == b,
        }
    }
}
