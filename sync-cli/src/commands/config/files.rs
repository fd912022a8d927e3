//! Writing several files so that either all of them are there or none.
//!
//! Everything that can fail for want of rights or space comes first: each file is
//! staged beside its place and is on the disk before the first one is renamed.
//! Should a rename fail all the same, those that were made are taken back.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, fchown},
    path::{Path, PathBuf},
};

use sync_daemon::failure::{Failure, FailureKind};
use tempfile::{Builder, NamedTempFile, TempPath};

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
    /// What is at the place now, under a second name: owner, mode and time are
    /// its own, should it have to come back.
    old: Option<TempPath>,
}

/// Writes all of them, or none.
pub(super) fn write_all(files: &[NewFile]) -> Result<(), Failure> {
    sweep(files)?;
    let staged: Vec<_> = files
        .iter()
        .map(|file| stage(file).map_err(|error| failed(file, &error)))
        .collect::<Result<_, _>>()?;
    for one in &staged {
        check_unchanged(one).map_err(|error| failed(one.file, &error))?;
    }
    let mut made = Vec::new();
    for one in staged {
        if let Err(error) = one.ready.persist(&one.target) {
            take_back(made);
            return Err(failed(one.file, &error.error));
        }
        made.push((one.target, one.old));
    }
    for (target, _) in &made {
        sync_directory(target)?;
    }
    Ok(())
}

/// Refuses files whose place is not below `root`, links followed.
pub(super) fn check_below(root: &Path, files: &[NewFile]) -> Result<(), Failure> {
    for file in files {
        let checked = target_of(file).and_then(|target| {
            let directory = nearest_directory(&target)?;
            Ok(directory.starts_with(fs::canonicalize(root)?))
        });
        match checked {
            Ok(true) => {}
            Ok(false) => {
                let message = format!(
                    "writing `{}`: a link leads from there out of `{}`",
                    file.path.display(),
                    root.display()
                );
                return Err(Failure::new(FailureKind::Failed, message)
                    .hint("make the linked files part of the home; nothing was written there"));
            }
            Err(error) => return Err(failed(file, &error)),
        }
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
    make_directory(directory)?;
    let mut ready = staged_in(directory)?;
    ready.write_all(&file.content)?;
    give_to_owner(file, &target, directory, ready.as_file())?;
    ready.as_file().sync_all()?;
    let old = second_name(&target)?;
    Ok(Staged {
        file,
        target,
        ready,
        old,
    })
}

/// A second name for what is at a place; `None` where nothing is. It also shows
/// beforehand that the place can be replaced: a file that is immutable or a mount
/// of its own gets no second name.
fn second_name(target: &Path) -> io::Result<Option<TempPath>> {
    if !target.try_exists()? {
        return Ok(None);
    }
    let free = staged_in(directory_of(target))?.into_temp_path();
    fs::remove_file(&free)?;
    fs::hard_link(target, &free)?;
    Ok(Some(free))
}

/// Makes a directory, and those above it, for the owner of the nearest one that
/// is there.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory_of(directory);
    make_directory(parent)?;
    fs::create_dir(directory)?;
    let owner = fs::metadata(parent)?;
    let made = fs::metadata(directory)?;
    if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
        chown(directory, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The nearest directory of a path that exists, links followed.
pub(super) fn nearest_directory(path: &Path) -> io::Result<PathBuf> {
    let mut directory = directory_of(path);
    loop {
        match fs::canonicalize(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory = directory_of(directory);
            }
            found => return found,
        }
    }
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

/// Removes what a run that was killed has left beside files: passwords may be in
/// it.
pub(super) fn sweep(files: &[NewFile]) -> Result<(), Failure> {
    files
        .iter()
        .try_for_each(|file| sweep_beside(file).map_err(|error| failed(file, &error)))
}

fn sweep_beside(file: &NewFile) -> io::Result<()> {
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
fn take_back(made: Vec<(PathBuf, Option<TempPath>)>) {
    for (target, old) in made {
        match old {
            Some(old) => drop(old.persist(target)),
            None => drop(fs::remove_file(target)),
        }
    }
}

/// Makes a file's new name last. The files are in place by now.
fn sync_directory(target: &Path) -> Result<(), Failure> {
    let directory = directory_of(target);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| {
        let doing = format!("making `{}` durable", target.display());
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("every file is in place, but a power cut may undo it: see `dmesg`, then run the command again")
    })
}

pub(super) fn directory_of(path: &Path) -> &Path {
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
    fn what_was_replaced_comes_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").unwrap();
        fs::set_permissions(path("a"), Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(path("a")).unwrap();
        let mut files = [
            new(path("a"), Some("old"), "new"),
            new(path("made"), None, "new"),
        ];
        files[0].secret = true;
        let mut made = Vec::new();
        for file in &files {
            let Staged {
                target, ready, old, ..
            } = stage(file).unwrap();
            ready.persist(&target).unwrap();
            made.push((target, old));
        }
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "new");
        take_back(made);
        let after = fs::metadata(path("a")).unwrap();
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
        assert_eq!(after.mode(), before.mode());
        assert_eq!(after.ino(), before.ino());
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_replaced_is_noticed_before_any_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a"), "old").unwrap();
        fs::create_dir(path("b")).unwrap();
        let files = [
            new(path("a"), Some("old"), "new"),
            new(path("b"), None, "new"),
        ];
        assert!(write_all(&files).is_err());
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
    }

    #[test]
    fn a_link_out_of_the_root_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("home/conf")).unwrap();
        fs::create_dir(path("outside")).unwrap();
        symlink(path("outside"), path("home/linked")).unwrap();
        let inside = [new(path("home/conf/new/a"), None, "x")];
        check_below(&path("home"), &inside).unwrap();
        let outside = [new(path("home/linked/a"), None, "x")];
        assert!(check_below(&path("home"), &outside).is_err());
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
