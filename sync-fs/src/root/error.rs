//! What goes wrong on the disk, said with the operation and the place.

use std::{fmt, io, sync::Arc};

use rustix::io::Errno;
use sync_core::RelPath;
use thiserror::Error;

/// A path of one root, for people.
#[derive(Clone, Debug)]
pub struct Place {
    root: Arc<str>,
    path: Option<RelPath>,
}

impl Place {
    pub(crate) fn new(root: &Arc<str>, path: Option<&RelPath>) -> Self {
        Self {
            root: Arc::clone(root),
            path: path.cloned(),
        }
    }

    /// The path inside the root; `None` is the root itself.
    #[must_use]
    pub fn path(&self) -> Option<&RelPath> {
        self.path.as_ref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}/{path}", self.root),
            None => f.write_str(&self.root),
        }
    }
}

/// One operation that the operating system refused.
#[derive(Debug, Error)]
#[error("cannot {doing} `{place}`")]
pub struct DiskError {
    /// What was being done, as a verb: `open`, `rename to`.
    pub doing: &'static str,
    /// To what.
    pub place: Place,
    /// Why not.
    pub source: io::Error,
}

/// The causes that callers tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Nothing is there, or the way leads through something that is not a
    /// directory. Never followed: a symbolic link on the way is this.
    Absent,
    /// Something is there already.
    Exists,
    /// The directory still holds names.
    NotEmpty,
    /// It is a directory where a file was meant, or the other way round.
    WrongKind,
    /// No space, no inodes or no quota left.
    Full,
    /// Permissions, an immutable file or a read-only file system.
    Denied,
    /// The two names are on different file systems or mounts.
    OtherMount,
    /// Anything else, such as an I/O error.
    Other,
}

impl DiskError {
    pub(crate) fn new(doing: &'static str, place: Place, source: impl Into<io::Error>) -> Self {
        Self {
            doing,
            place,
            source: source.into(),
        }
    }

    /// The cause, for decisions.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match Errno::from_io_error(&self.source) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Cause::Absent,
            Some(Errno::EXIST) => Cause::Exists,
            Some(Errno::NOTEMPTY) => Cause::NotEmpty,
            Some(Errno::ISDIR) => Cause::WrongKind,
            Some(Errno::NOSPC | Errno::DQUOT) => Cause::Full,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Cause::Denied,
            Some(Errno::XDEV) => Cause::OtherMount,
            _ => Cause::Other,
        }
    }
}

/// Turns the ordinary outcome «nothing there» into `None`.
pub trait AbsentIsNone<T> {
    /// `Ok(None)` where the cause is [`Cause::Absent`].
    ///
    /// # Errors
    /// Every other error as it was.
    fn absent_is_none(self) -> Result<Option<T>, DiskError>;
}

impl<T> AbsentIsNone<T> for Result<T, DiskError> {
    fn absent_is_none(self) -> Result<Option<T>, DiskError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.cause() == Cause::Absent => Ok(None),
            Err(error) => Err(error),
        }
    }
}
