//! What a home's files were before the first `apply`: copied once, never
//! overwritten.

use std::{
    fs::{self, DirBuilder, File, FileTimes, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use apim_config::{plan::FilePlan, version::Version};
use sync_daemon::failure::{Failure, FailureKind};

/// Where the copies of a home's files are: below `directory`, by the release that
/// they are of and the home's own path, so that homes do not meet.
pub(super) fn place(directory: &Path, version: Version, home: &Path) -> PathBuf {
    let below = home.strip_prefix("/").unwrap_or(home);
    let release = version.to_string();
    directory.join(TOP).join(release).join(below)
}

/// Nobody else looks below this directory: what is in it has the owners and modes
/// of the home, so that `cp -a` brings it back as it was.
const TOP: &str = "config-backup";

/// Copies every file that is about to change and was not copied before; how many
/// were.
pub(super) fn keep(place: &Path, home: &Path, files: &[FilePlan]) -> Result<usize, Failure> {
    let mut copied = 0;
    for file in files.iter().filter(|file| file.before.is_some()) {
        let made = copy(place, home, Path::new(&file.path)).map_err(|error| {
            let doing = format!("copying {} to `{}`", file.path, place.display());
            Failure::caused_by(FailureKind::Failed, doing, &error)
                .hint("no file was changed; name another place with `--backup-dir DIR`")
        })?;
        copied += usize::from(made);
    }
    Ok(copied)
}

/// Whether it was made: an older copy is the original, and stays.
fn copy(place: &Path, home: &Path, path: &Path) -> io::Result<bool> {
    let to = place.join(path);
    if to.try_exists()? {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    make_directories(place, home, directory)?;
    // Named only when it is whole: half a copy must not pass for the original.
    let mut file = tempfile::NamedTempFile::new_in(place.join(directory))?;
    let mut original = File::open(home.join(path))?;
    io::copy(&mut original, &mut file)?;
    like(&original.metadata()?, file.as_file())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&to) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Makes the directories of a copy as those of the home are.
fn make_directories(place: &Path, home: &Path, below: &Path) -> io::Result<()> {
    let is_top = |path: &Path| path.file_name() == Some(TOP.as_ref());
    let top = place.ancestors().find(|path| is_top(path)).unwrap_or(place);
    DirBuilder::new().recursive(true).mode(0o700).create(top)?;
    fs::create_dir_all(place)?;
    let mut steps: Vec<&Path> = below.ancestors().collect();
    steps.reverse();
    for step in steps {
        let made = place.join(step);
        if !made.try_exists()? {
            fs::create_dir(&made)?;
        }
        like(&fs::metadata(home.join(step))?, &File::open(&made)?)?;
    }
    Ok(())
}

/// Gives a copy the owner, mode and time of its original; in this order, as a new
/// owner takes bits of the mode away.
fn like(original: &Metadata, copy: &File) -> io::Result<()> {
    let made = copy.metadata()?;
    if (made.uid(), made.gid()) != (original.uid(), original.gid()) {
        fchown(copy, Some(original.uid()), Some(original.gid()))?;
    }
    copy.set_permissions(original.permissions())?;
    copy.set_times(FileTimes::new().set_modified(original.modified()?))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_first_copy_is_the_one_that_stays_and_it_is_like_the_original() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        let file = Path::new("repository/conf/a.xml");
        fs::create_dir_all(home.join("repository/conf")).unwrap();
        fs::write(home.join(file), "stock").unwrap();
        fs::set_permissions(home.join(file), Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(home.join("repository"), Permissions::from_mode(0o750)).unwrap();
        let state = directory.path().join("state");
        let place = place(&state, "2.6.0".parse().unwrap(), Path::new("/opt/am"));
        assert_eq!(place, state.join("config-backup/2.6.0/opt/am"));
        assert!(copy(&place, &home, file).unwrap());
        fs::write(home.join(file), "patched").unwrap();
        assert!(!copy(&place, &home, file).unwrap());
        assert_eq!(fs::read(place.join(file)).unwrap(), b"stock");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.join(file)), 0o640);
        assert_eq!(mode(&place.join("repository")), 0o750);
        assert_eq!(mode(&state.join("config-backup")), 0o700);
    }
}
