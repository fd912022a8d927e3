//! What a home's files were before the first `apply`: copied once, never
//! overwritten.

use std::{
    fs::DirBuilder,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use apim_config::plan::FilePlan;
use sync_daemon::failure::{Failure, FailureKind};

/// Where the copies of a home's files are: below `directory`, at the home's own
/// path, so that homes do not meet and restoring is one `cp -a`.
pub(super) fn place(directory: &Path, home: &Path) -> PathBuf {
    let below = home.strip_prefix("/").unwrap_or(home);
    directory.join("config-backup").join(below)
}

/// Copies every file that is about to change and was not copied before; how many
/// were.
pub(super) fn keep(place: &Path, files: &[FilePlan]) -> Result<usize, Failure> {
    let mut copied = 0;
    for file in files {
        let Some(before) = &file.before else {
            continue;
        };
        let to = place.join(&file.path);
        let made = copy(&to, before).map_err(|error| {
            let doing = format!("copying {} to `{}`", file.path, to.display());
            Failure::caused_by(FailureKind::Failed, doing, &error)
                .hint("no file was changed; name another place with `--backup-dir DIR`")
        })?;
        copied += usize::from(made);
    }
    Ok(copied)
}

/// Whether it was made: an older copy is the original, and stays.
fn copy(to: &Path, content: &[u8]) -> io::Result<bool> {
    let directory = to.parent().unwrap_or(to);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    if to.try_exists()? {
        return Ok(false);
    }
    // Named only when it is whole: half a copy must not pass for the original.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(to) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_copy_is_the_one_that_stays() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path(), Path::new("/opt/wso2am"));
        let to = place.join("repository/conf/a.xml");
        assert!(copy(&to, b"stock").unwrap());
        assert!(!copy(&to, b"patched").unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"stock");
        assert!(to.starts_with(directory.path().join("config-backup/opt/wso2am")));
    }
}
