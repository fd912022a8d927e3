//! Small file systems of their own, where this machine lets us mount them.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::{NamedTempFile, TempDir};

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// A tmpfs of `bytes`; `None`, said on the terminal, where mounting is not
    /// allowed.
    #[must_use]
    pub fn tmpfs(bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        Self::mount(&["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// A fresh ext4 with a journal, of `bytes`, on a loop device over a file in
    /// memory; `None` as for [`Mounted::tmpfs`].
    ///
    /// # Panics
    /// When memory does not hold the file.
    #[must_use]
    pub fn ext4(bytes: u64) -> Option<Self> {
        let image = NamedTempFile::new_in("/dev/shm").expect("a file in memory");
        image
            .as_file()
            .set_len(bytes)
            .expect("a sparse file of any size");
        Self::image(image, &[])
    }

    /// The same for measuring: every page of the file has been written before, for
    /// the first touch of a page costs more than what is measured; nothing is
    /// left for the kernel to initialise later; there is an inode for each 4 KiB.
    ///
    /// # Panics
    /// When memory does not hold the file.
    #[must_use]
    pub fn warm_ext4(bytes: u64) -> Option<Self> {
        let later = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        Self::image(warm(bytes), &["-i", "4096", "-E", later])
    }

    fn image(image: NamedTempFile, options: &[&str]) -> Option<Self> {
        let path = image.path().to_str().expect("a plain name").to_owned();
        let mut make = Command::new("mkfs.ext4");
        let made = make.args(["-q", "-F"]).args(options).arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        // The loop device keeps the file; its name goes now, so that a killed test
        // leaves nothing.
        Self::mount(&["-t", "ext4", "-o", "loop", &path])
    }

    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn mount(arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        match mount(arguments, directory.path()) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                println!("SKIPPED: nothing can be mounted here: {error}");
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

/// A file in memory whose every page has been touched.
fn warm(bytes: u64) -> NamedTempFile {
    let mut image = NamedTempFile::new_in("/dev/shm").expect("a file in memory");
    let mut zeros = io::repeat(0).take(bytes);
    io::copy(&mut zeros, &mut image).expect("memory holds the file");
    image
}
