//! One writer: the lock on a node's state directory.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use sync_core::path::escape;
use thiserror::Error;

/// Bytes of a process id in decimal, with room.
const PID_BYTES_MAX: u64 = 20;

/// The lock, held until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "another apim-sync{} works on `{directory}`; stop it first, or ask it \
         (`apim-sync status`)", .pid.map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    AlreadyLocked {
        /// The state directory, escaped.
        directory: String,
        /// The process, where it can be told.
        pid: Option<u32>,
    },
    /// The directory or the file in it cannot be made, opened or written.
    #[error("cannot lock the state directory `{directory}`")]
    Io {
        /// The state directory, escaped.
        directory: String,
        /// Why not.
        source: io::Error,
    },
}

impl StateLock {
    /// Takes the lock of `directory`, making it with mode 0700 where it is
    /// missing. Does not wait.
    ///
    /// # Errors
    /// [`LockError::AlreadyLocked`] where another process has it.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let shown = escape(directory.as_os_str().as_encoded_bytes());
        let failed = |source| LockError::Io {
            directory: shown.clone(),
            source,
        };
        let mut file = open(directory).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::AlreadyLocked {
                    pid: read_pid(&file),
                    directory: shown,
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn open(directory: &Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(directory.join("lock"))
}

/// The process that wrote the file last: the holder, or about to be.
fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock_and_gets_it_afterwards() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("lib/apim-sync");
        let first = StateLock::acquire(&state).unwrap();
        let mode = fs::metadata(&state).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let second = StateLock::acquire(&state).unwrap_err();
        let own = std::process::id();
        assert!(
            matches!(second, LockError::AlreadyLocked { pid: Some(pid), .. } if pid == own),
            "{second}"
        );
        drop(first);
        StateLock::acquire(&state).unwrap();
    }

    #[test]
    fn a_state_directory_that_is_a_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateLock::acquire(file.path()).unwrap_err();
        let name = file.path().to_str().unwrap().to_owned();
        assert!(error.to_string().contains(&name), "{error}");
    }
}
