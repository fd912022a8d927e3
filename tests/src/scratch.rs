//! Small file systems of their own, where this machine lets us mount them.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// A tmpfs of `bytes`; `None`, said on the terminal, where mounting is not
    /// allowed.
    ///
    /// # Panics
    /// When there is no temporary directory.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    #[must_use]
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={bytes}");
        match mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], directory.path()) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                println!("SKIPPED: no tmpfs can be mounted here: {error}");
                None
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file that takes all space but `bytes`; deleting it gives them back.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn fill_but(&self, bytes: u64) -> io::Result<PathBuf> {
        let space = rustix::fs::statvfs(self.path())?;
        let free = space.f_bavail * space.f_frsize;
        let ballast = self.path().join("ballast");
        let file = std::fs::File::create(&ballast)?;
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            free.saturating_sub(bytes).max(1),
        )?;
        Ok(ballast)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a daemon that still runs must not keep the mount for ever.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount(arguments: &[&str], target: &Path) -> Result<(), String> {
    let output = Command::new("mount")
        .args(arguments)
        .arg(target)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
