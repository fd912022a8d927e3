//! Copying a home: everything but what belongs to one node, with modes, times,
//! owners and links as they are.

use std::{
    fs::{self, DirBuilder, File, FileTimes},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use sync_daemon::{
    events::{Progress, Unit},
    failure::{Failure, FailureKind},
};

use super::files::{directory_of, nearest_directory};

/// What is left out, relative to the home. The directories themselves are made.
pub(super) const LEFT_OUT: [&str; 6] = [
    "repository/database",
    "repository/logs",
    "tmp",
    "repository/deployment/server/webapps/.tmp",
    ".apim-sync",
    "wso2carbon.pid",
];

/// Directories below each other at the most: a home has a dozen.
const DEPTH_MAX: usize = 100;

/// How much was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Where a copy grows until it is whole: beside its place, under another name.
pub(super) fn partial_of(to: &Path) -> Result<PathBuf, Failure> {
    let name = to.file_name().ok_or_else(|| {
        Failure::new(
            FailureKind::Usage,
            format!("`{}` names no directory", to.display()),
        )
    })?;
    let mut partial = name.to_owned();
    partial.push(".apim-sync-partial");
    let partial = to.with_file_name(partial);
    if partial.exists() {
        let message = format!(
            "`{}` is there: an earlier copy was interrupted, or another one runs",
            partial.display()
        );
        return Err(Failure::new(FailureKind::Failed, message)
            .hint("remove it if no other copy runs, then run the command again"));
    }
    Ok(partial)
}

/// Copies the home `from` to `to`, which must be absent. Links are copied as
/// links, but for those on the way to one of `own`: the copy needs those files for
/// itself.
pub(super) fn tree(
    (from, to): (&Path, &Path),
    own: &[PathBuf],
    mut report: impl FnMut(Progress),
) -> Result<Copied, Failure> {
    let failed = |(path, error): (PathBuf, io::Error)| {
        let doing = format!("copying `{}`", path.display());
        Failure::caused_by(FailureKind::Failed, doing, &error).hint(
            "nothing is left of the copy; free space, or run as the owner of the home, and run it again",
        )
    };
    check_outside(from, to)?;
    let home = Source { from, own };
    let mut counted = Copied::default();
    home.count(Path::new(""), &mut counted, 0)
        .map_err(&failed)?;
    let mut copied = Copied::default();
    let mut step = |copied: &Copied| {
        report(Progress {
            task: format!("copying {}", from.display()),
            done: copied.files,
            total: Some(counted.files),
            unit: Unit::Files,
            bytes: copied.bytes,
        });
    };
    make_private(to).map_err(|error| failed((to.to_owned(), error)))?;
    home.directory(to, Path::new(""), &mut copied, &mut step)
        .map_err(&failed)?;
    let top = fs::metadata(from).and_then(|metadata| finish(&metadata, to));
    top.map_err(|error| failed((from.to_owned(), error)))?;
    Ok(copied)
}

/// Refuses a copy that would grow inside of what it is copied from.
fn check_outside(from: &Path, to: &Path) -> Result<(), Failure> {
    let real = |path: &Path, real: io::Result<PathBuf>| {
        real.map_err(|error| {
            let doing = format!("finding `{}`", path.display());
            Failure::caused_by(FailureKind::Failed, doing, &error)
        })
    };
    let source = real(from, fs::canonicalize(from))?;
    if real(to, nearest_directory(to))?.starts_with(&source) {
        let message = format!("`{}` is inside of `{}`", to.display(), from.display());
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("name a directory outside of the home with `--to`"));
    }
    Ok(())
}

/// Gives the copy its name.
pub(super) fn take_place(partial: &Path, to: &Path) -> Result<(), Failure> {
    // An empty directory may be there, which the rename replaces.
    let renamed = fs::rename(partial, to).and_then(|()| File::open(directory_of(to))?.sync_all());
    renamed.map_err(|error| {
        let doing = format!("naming the copy `{}`", to.display());
        Failure::caused_by(FailureKind::Failed, doing, &error)
    })
}

fn is_left_out(path: &Path) -> bool {
    LEFT_OUT.iter().any(|left| path == Path::new(left))
}

type Step<T> = Result<T, (PathBuf, io::Error)>;

/// The entries of a directory, in order.
fn entries(directory: &Path) -> Step<Vec<fs::DirEntry>> {
    let at = |error| (directory.to_owned(), error);
    let listing = fs::read_dir(directory).map_err(at)?;
    let mut entries = listing.collect::<io::Result<Vec<_>>>().map_err(at)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// The directory in which a copy grows: nobody else's until it is whole.
fn make_private(to: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)
}

/// The home that is copied.
struct Source<'a> {
    from: &'a Path,
    own: &'a [PathBuf],
}

impl Source<'_> {
    /// What is at a path: links are not followed, unless the copy needs the file
    /// or the directory for itself.
    fn metadata(&self, path: &Path) -> io::Result<fs::Metadata> {
        let source = self.from.join(path);
        if self.own.iter().any(|own| own.starts_with(path)) {
            fs::metadata(source)
        } else {
            fs::symlink_metadata(source)
        }
    }

    fn count(&self, below: &Path, counted: &mut Copied, depth: usize) -> Step<()> {
        let here = self.from.join(below);
        if depth > DEPTH_MAX {
            let error = io::Error::other(format!("it is nested more than {DEPTH_MAX} deep"));
            return Err((here, error));
        }
        for entry in entries(&here)? {
            let path = below.join(entry.file_name());
            let at = |error| (self.from.join(&path), error);
            let metadata = self.metadata(&path).map_err(at)?;
            if is_left_out(&path) {
                continue;
            }
            if metadata.is_dir() {
                self.count(&path, counted, depth + 1)?;
            } else {
                counted.files += 1;
                counted.bytes += metadata.len();
            }
        }
        Ok(())
    }

    fn directory(
        &self,
        to: &Path,
        below: &Path,
        copied: &mut Copied,
        step: &mut impl FnMut(&Copied),
    ) -> Step<()> {
        for entry in entries(&self.from.join(below))? {
            let path = below.join(entry.file_name());
            let (source, target) = (self.from.join(&path), to.join(&path));
            let at = |error| (source.clone(), error);
            let metadata = self.metadata(&path).map_err(at)?;
            if metadata.is_dir() {
                fs::create_dir(&target).map_err(at)?;
                if !is_left_out(&path) {
                    self.directory(to, &path, copied, step)?;
                }
                finish(&metadata, &target).map_err(at)?;
            } else if !is_left_out(&path) {
                file(&source, &target, &metadata).map_err(at)?;
                copied.files += 1;
                copied.bytes += metadata.len();
                step(copied);
            }
        }
        Ok(())
    }
}

fn file(source: &Path, target: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_symlink() {
        symlink(fs::read_link(source)?, target)?;
        return own(metadata, target);
    }
    if !metadata.is_file() {
        return Err(io::Error::other(
            "it is neither file, directory nor link; stop the server first",
        ));
    }
    fs::copy(source, target)?;
    finish(metadata, target)
}

/// Owner, mode and time as they were; in this order, as a new owner takes bits
/// of the mode away.
fn finish(metadata: &fs::Metadata, target: &Path) -> io::Result<()> {
    own(metadata, target)?;
    fs::set_permissions(target, metadata.permissions())?;
    let times = FileTimes::new().set_modified(metadata.modified()?);
    File::open(target)?.set_times(times)
}

fn own(metadata: &fs::Metadata, target: &Path) -> io::Result<()> {
    let made = fs::symlink_metadata(target)?;
    let owner = (metadata.uid(), metadata.gid());
    if (made.uid(), made.gid()) == owner {
        return Ok(());
    }
    if made.is_symlink() {
        lchown(target, Some(owner.0), Some(owner.1))
    } else {
        chown(target, Some(owner.0), Some(owner.1))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copy_is_whole_and_without_what_belongs_to_one_node() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        for path in [
            "bin/wso2server.sh",
            "repository/database/x.db",
            "repository/logs/y.log",
            "repository/conf/tmp/kept",
            "wso2carbon.pid",
        ] {
            let path = from.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "content").unwrap();
        }
        let script = from.join("bin/wso2server.sh");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("wso2server.sh", from.join("bin/link")).unwrap();
        let mut reports = Vec::new();
        let copied = tree((&from, &to), &[], |progress| reports.push(progress)).unwrap();
        assert_eq!(copied.files, 3);
        assert_eq!(
            reports.last().map(|it| it.done),
            reports.last().and_then(|it| it.total)
        );
        assert!(to.join("repository/database").is_dir());
        assert!(!to.join("repository/database/x.db").exists());
        assert!(!to.join("wso2carbon.pid").exists());
        assert_eq!(
            fs::read_link(to.join("bin/link")).unwrap(),
            Path::new("wso2server.sh")
        );
        let made = fs::metadata(to.join("bin/wso2server.sh")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o755);
        assert_eq!(
            made.modified().unwrap(),
            fs::metadata(&script).unwrap().modified().unwrap()
        );
    }

    #[test]
    fn what_the_copy_writes_is_its_own_and_the_top_is_like_the_original() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let outside = directory.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&from).unwrap();
        fs::write(outside.join("x.xml"), "content").unwrap();
        symlink(&outside, from.join("conf")).unwrap();
        symlink(outside.join("x.xml"), from.join("y.xml")).unwrap();
        symlink(outside.join("x.xml"), from.join("z.xml")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o710)).unwrap();
        let own = ["conf/x.xml", "conf/new.xml", "y.xml"].map(PathBuf::from);
        tree((&from, &to), &own, |_| ()).unwrap();
        assert!(!to.join("conf").is_symlink() && to.join("conf/x.xml").is_file());
        assert!(!to.join("y.xml").is_symlink());
        assert!(to.join("z.xml").is_symlink());
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o777,
            0o710
        );
    }

    #[test]
    fn a_copy_into_itself_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let failure =
            tree((directory.path(), &directory.path().join("b")), &[], |_| ()).unwrap_err();
        assert!(failure.message.contains("inside of"), "{failure}");
        let deep = directory.path().join("not/there/yet/b");
        let failure = tree((directory.path(), &deep), &[], |_| ()).unwrap_err();
        assert!(failure.message.contains("inside of"), "{failure}");
        assert!(!directory.path().join("not").exists());
    }
}
