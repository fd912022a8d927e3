//! Small files of the state directory that only this node's user may touch:
//! the key, the pinned peers, the invitations.
//!
//! Reading refuses what others could have read or written; writing goes to a
//! file aside, is synchronised and renamed, so that a crash leaves the old file
//! or the new one. What the bytes mean is left to the callers.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use thiserror::Error;

/// Bytes in one private file: 256 peers with the longest addresses fit.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Read and write for the owner, nothing for anyone else.
const MODE: u32 = 0o600;

/// Why a private file cannot be read or written.
#[derive(Debug, Error)]
pub enum PrivateFileError {
    /// A file is there already and must not be replaced.
    #[error("{} exists already and is not replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The permissions let others in.
    #[error("{} has mode {mode:04o}, so that other users could {danger} it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What others could have done: read or change.
        danger: &'static str,
    },
    /// Not a regular file, or larger than such a file can be.
    #[error("{} is {found}, which this program did not write", path.display())]
    Strange {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PrivateFileError {
    /// What to try next.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Exists { path } => format!("move {} away if it is not needed", path.display()),
            Self::Exposed { path, danger, .. } => format!(
                "`chmod 600 {}` if you are sure that nobody did {danger} it",
                path.display()
            ),
            Self::Strange { path, .. } => format!("look at what is at {}", path.display()),
            Self::Io { path, .. } => format!(
                "check the owner and the free space of {}, or run as its owner",
                path.parent().unwrap_or(path).display()
            ),
        }
    }
}

/// What a private file must be kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Others may neither read nor write it.
    Secret,
    /// Others may read it, not write it.
    Unchanged,
}

impl Kept {
    fn forbidden(self) -> (u32, &'static str) {
        match self {
            Self::Secret => (0o077, "read"),
            Self::Unchanged => (0o022, "change"),
        }
    }
}

/// The bytes of the file at `path`, or `None` where there is none.
///
/// # Errors
/// When it cannot be read, is no regular file, is too large, or was open to
/// other users.
pub fn read(path: &Path, kept: Kept) -> Result<Option<Vec<u8>>, PrivateFileError> {
    let file = match open_to_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let metadata = file.metadata().map_err(failed("look at", path))?;
    if !metadata.is_file() {
        return Err(strange(path, "not a regular file"));
    }
    let (forbidden, danger) = kept.forbidden();
    if metadata.mode() & forbidden != 0 {
        return Err(PrivateFileError::Exposed {
            path: path.into(),
            mode: metadata.mode() & 0o7777,
            danger,
        });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(strange(path, "larger than 256 KiB"));
    }
    Ok(Some(bytes))
}

fn open_to_read(path: &Path) -> io::Result<File> {
    // Not blocking: a fifo in the file's place must not hang the start.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Writes a file that must not be there yet.
///
/// # Errors
/// When a file is there, or the disk refuses.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    write_then_rename(path, bytes, RenameFlags::NOREPLACE)
}

/// Puts `bytes` in the place of the file at `path`, all at once.
///
/// # Errors
/// When the disk refuses; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    write_then_rename(path, bytes, RenameFlags::empty())
}

fn write_then_rename(
    path: &Path,
    bytes: &[u8],
    flags: RenameFlags,
) -> Result<(), PrivateFileError> {
    let aside = path.with_extension("new");
    write_aside(&aside, bytes).map_err(failed("write", &aside))?;
    rename(&aside, path, flags)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("synchronise", directory))
}

fn write_aside(aside: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(aside) {
        // Left by a crash.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(aside)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(aside: &Path, path: &Path, flags: RenameFlags) -> Result<(), PrivateFileError> {
    let Err(error) = rustix::fs::renameat_with(CWD, aside, CWD, path, flags) else {
        return Ok(());
    };
    // The error to report is the one of the rename.
    drop(std::fs::remove_file(aside));
    if error == rustix::io::Errno::EXIST {
        return Err(PrivateFileError::Exists { path: path.into() });
    }
    Err(failed("put in place", path)(error.into()))
}

/// Keeps other processes from changing the private files of a directory for as
/// long as it lives.
#[derive(Debug)]
#[must_use]
pub struct WriteLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits for the other writers of `directory`; they hold the lock for one
/// change of one small file.
///
/// # Errors
/// When the lock file cannot be made.
pub fn lock(directory: &Path) -> Result<WriteLock, PrivateFileError> {
    let path = directory.join(".private.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed("open", &path))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", &path)(error.into()))?;
    Ok(WriteLock(file))
}

fn strange(path: &Path, found: &'static str) -> PrivateFileError {
    PrivateFileError::Strange {
        path: path.into(),
        found,
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::Io {
        doing,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_created_file_is_for_its_owner_only_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        create(&path, b"secret").unwrap();
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(read(&path, Kept::Secret).unwrap().unwrap(), b"secret");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn creating_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        create(&path, b"first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert!(matches!(error, PrivateFileError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn replacing_survives_what_a_crash_left_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust.toml");
        std::fs::write(path.with_extension("new"), b"half").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn files_open_to_others_are_refused() {
        let table = [
            (0o600, Kept::Secret, true),
            (0o400, Kept::Secret, true),
            (0o640, Kept::Secret, false),
            (0o604, Kept::Secret, false),
            (0o644, Kept::Unchanged, true),
            (0o620, Kept::Unchanged, false),
            (0o602, Kept::Unchanged, false),
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"x").unwrap();
        for (mode, kept, readable) in table {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let result = read(&path, kept);
            assert_eq!(result.is_ok(), readable, "{mode:o} {kept:?} {result:?}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(read(&path, Kept::Secret).unwrap().is_none());
        assert!(read(directory.path(), Kept::Secret).is_err());
        symlink("/dev/null", &path).unwrap();
        assert!(read(&path, Kept::Secret).is_err());
    }

    #[test]
    fn a_file_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let limit = usize::try_from(FILE_BYTES_MAX).unwrap();
        replace(&path, &vec![b'x'; limit]).unwrap();
        assert_eq!(read(&path, Kept::Secret).unwrap().unwrap().len(), limit);
        replace(&path, &vec![b'x'; limit + 1]).unwrap();
        assert!(read(&path, Kept::Secret).is_err());
    }
}
