//! Writing several files so that either all of them are there or none.
//!
//! Everything that can fail for want of rights or space comes first: each file is
//! staged beside its place and is on the disk before the first one is renamed.
//! Should a rename fail all the same, those that were made are taken back.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use sync_daemon::failure::{Failure, FailureKind};
use tempfile::{Builder, NamedTempFile};

/// What staged files are called: hidden, and without the ending by which a
/// deployer knows its files.
const PREFIX: &str = ".apim-sync-";
const SUFFIX: &str = ".new";

/// Bits of a file that holds a password: its owner's.
const SECRET_MODE: u32 = 0o600;
const OPEN_MODE: u32 = 0o644;

/// A file to write.
#[derive(Clone, Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    /// What is there as far as is known: it must not have changed meanwhile.
    pub(super) before: Option<Vec<u8>>,
    pub(super) content: Vec<u8>,
    pub(super) secret: bool,
}

/// A file that is ready to take its place.
struct Staged<'f> {
    file: &'f NewFile,
    /// The place itself, links followed.
    target: PathBuf,
    ready: NamedTempFile,
}

/// Writes all of them, or none.
pub(super) fn write_all(files: &[NewFile]) -> Result<(), Failure> {
    for file in files {
        sweep(file).map_err(|error| failed(file, &error))?;
    }
    let staged: Vec<_> = files
        .iter()
        .map(|file| stage(file).map_err(|error| failed(file, &error)))
        .collect::<Result<_, _>>()?;
    for one in &staged {
        check_unchanged(one).map_err(|error| failed(one.file, &error))?;
    }
    let mut made = Vec::new();
    for one in staged {
        let Staged {
            file,
            target,
            ready,
        } = one;
        if let Err(error) = ready.persist(&target) {
            take_back(&made);
            return Err(failed(file, &error.error));
        }
        made.push((file, target));
    }
    for (file, target) in &made {
        sync_directory(target).map_err(|error| failed(file, &error))?;
    }
    Ok(())
}

fn failed(file: &NewFile, error: &io::Error) -> Failure {
    let doing = format!("writing `{}`", file.path.display());
    Failure::caused_by(FailureKind::Failed, doing, error)
        .hint("no file was changed; run as the owner of the home, and see `df` for space")
}

fn stage(file: &NewFile) -> io::Result<Staged<'_>> {
    let target = target_of(file)?;
    let directory = directory_of(&target);
    fs::create_dir_all(directory)?;
    let mut ready = staged_in(directory)?;
    ready.write_all(&file.content)?;
    give_to_owner(file, &target, directory, ready.as_file())?;
    ready.as_file().sync_all()?;
    Ok(Staged {
        file,
        target,
        ready,
    })
}

fn staged_in(directory: &Path) -> io::Result<NamedTempFile> {
    Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .tempfile_in(directory)
}

/// The file itself, links followed.
fn target_of(file: &NewFile) -> io::Result<PathBuf> {
    match fs::canonicalize(&file.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(file.path.clone()),
        target => target,
    }
}

/// Removes what a run that was killed has staged beside a file: passwords may be
/// in it.
fn sweep(file: &NewFile) -> io::Result<()> {
    let target = target_of(file)?;
    let listing = match fs::read_dir(directory_of(&target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The new file has the old one's owner and mode, or the directory's owner; one
/// with a password is for its owner only.
fn give_to_owner(file: &NewFile, target: &Path, directory: &Path, ready: &File) -> io::Result<()> {
    let old = match fs::metadata(target) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let owner = match &old {
        Some(old) => (old.uid(), old.gid()),
        None => {
            let directory = fs::metadata(directory)?;
            (directory.uid(), directory.gid())
        }
    };
    let made = ready.metadata()?;
    if (made.uid(), made.gid()) != owner {
        fchown(ready, Some(owner.0), Some(owner.1))?;
    }
    let usual = old.map_or(OPEN_MODE, |old| old.permissions().mode() & 0o7777);
    let mode = if file.secret { SECRET_MODE } else { usual };
    ready.set_permissions(Permissions::from_mode(mode))
}

fn check_unchanged(staged: &Staged<'_>) -> io::Result<()> {
    let now = match fs::read(&staged.target) {
        Ok(now) => Some(now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if now == staged.file.before {
        return Ok(());
    }
    Err(io::Error::other(
        "somebody else changed it in the meantime; run the command again",
    ))
}

/// Puts back what was there: best effort, as the failure that is told about is
/// the one that led here.
fn take_back(made: &[(&NewFile, PathBuf)]) {
    for (file, target) in made {
        let _ = match &file.before {
            None => fs::remove_file(target),
            Some(content) => put_back(content, target),
        };
    }
}

fn put_back(content: &[u8], target: &Path) -> io::Result<()> {
    let mode = fs::metadata(target)?.permissions();
    let mut old = staged_in(directory_of(target))?;
    old.write_all(content)?;
    old.as_file().set_permissions(mode)?;
    old.persist(target)?;
    Ok(())
}

fn sync_directory(target: &Path) -> io::Result<()> {
    File::open(directory_of(target))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn new(path: PathBuf, before: Option<&str>, content: &str) -> NewFile {
        NewFile {
            path,
            before: before.map(|text| text.as_bytes().to_vec()),
            content: content.as_bytes().to_vec(),
            secret: false,
        }
    }

    #[test]
    fn all_files_are_written_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").unwrap();
        fs::write(path("b"), "other").unwrap();
        let files = [
            new(path("a"), Some("old"), "new"),
            new(path("b"), Some("old"), "new"),
        ];
        let failure = write_all(&files).unwrap_err();
        assert!(failure.message.contains("in the meantime"), "{failure}");
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        fs::write(path("b"), "old").unwrap();
        write_all(&files).unwrap();
        assert_eq!(fs::read_to_string(path("b")).unwrap(), "new");
    }

    #[test]
    fn a_rename_that_fails_takes_the_others_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").unwrap();
        // A directory at the place of a new file is noticed by the rename only.
        fs::create_dir(path("b")).unwrap();
        let staged = [
            new(path("a"), Some("old"), "new"),
            new(path("made"), None, "new"),
        ];
        let made = [(&staged[0], path("a")), (&staged[1], path("made"))];
        write_all(&staged).unwrap();
        take_back(&made);
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
        assert!(!path("made").exists());
        let blocked = [new(path("b"), None, "new")];
        assert!(write_all(&blocked).is_err());
    }

    #[test]
    fn what_a_killed_run_has_staged_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path(".apim-sync-a1b2c3.new"), "secret").unwrap();
        fs::write(path(".apim-sync"), "somebody's").unwrap();
        write_all(&[new(path("a"), None, "x")]).unwrap();
        assert!(!path(".apim-sync-a1b2c3.new").exists());
        assert!(path(".apim-sync").exists());
    }

    #[test]
    fn mode_and_links_are_kept_and_secrets_are_the_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("real"), "old").unwrap();
        fs::set_permissions(path("real"), Permissions::from_mode(0o640)).unwrap();
        symlink("real", path("link")).unwrap();
        write_all(&[new(path("link"), Some("old"), "new")]).unwrap();
        assert!(path("link").is_symlink());
        let mode = |name| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("real"), 0o640);
        let mut secret = new(path("real"), Some("new"), "secret");
        secret.secret = true;
        write_all(&[secret, new(path("sub/open"), None, "x")]).unwrap();
        assert_eq!(mode("real"), 0o600);
        assert_eq!(mode("sub/open"), 0o644);
    }
}
