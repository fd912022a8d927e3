//! Reading what the setup touches of an `APIM_HOME`.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use apim_config::{
    home::{DIRECTORIES, FILES, Home, HomeError, NAMES},
    plan::Plan,
    text::FILE_BYTES_MAX,
};
use sync_daemon::failure::{Failure, FailureKind};

/// Files of a directory at the most: a home has some dozens.
const FILES_MAX: usize = 10_000;

/// Reads a home.
pub(super) fn read(root: &Path) -> Result<Home, Failure> {
    gather(root).map_err(|(path, error)| {
        let doing = format!("reading the home `{}`: {path}", root.display());
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("run as the user that owns the home, and name its top directory with `--home`")
    })
}

/// A home that is refused as a whole.
pub(super) fn refused(root: &Path, error: &HomeError) -> Failure {
    let doing = format!("looking at the home `{}`", root.display());
    let hint = match error {
        HomeError::NoVersion => {
            "name the directory that holds `bin` and `repository` with `--home`"
        }
        HomeError::Version { .. } => "nothing was changed",
        HomeError::Mixed(_) => {
            "take the files of the other release from the pack again; nothing was changed"
        }
        HomeError::Other { .. } => {
            "correct `version` in the description, or name another home; nothing was changed"
        }
    };
    Failure::caused_by(FailureKind::Usage, doing, error).hint(hint)
}

/// The home's own path, links followed.
pub(super) fn absolute(root: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(root).map_err(|error| {
        let doing = format!("finding the home `{}`", root.display());
        Failure::caused_by(FailureKind::Usage, doing, &error)
            .hint("name an APIM_HOME with `--home`")
    })
}

/// A home with a file that is not understood is left alone as a whole.
pub(super) fn refuse(root: &Path, plan: &Plan) -> Result<(), Failure> {
    if plan.refusals.is_empty() {
        return Ok(());
    }
    let reasons: Vec<_> = plan.refusals.iter().map(ToString::to_string).collect();
    let message = format!(
        "patching the home `{}`: {}",
        root.display(),
        reasons.join("; ")
    );
    Err(Failure::new(FailureKind::Failed, message)
        .hint("mend the file by hand or take it from the pack; no file of the home was changed"))
}

fn gather(root: &Path) -> Result<Home, (String, io::Error)> {
    if !root.is_dir() {
        let error = io::Error::new(io::ErrorKind::NotADirectory, "it is no directory");
        return Err((".".into(), error));
    }
    let mut home = Home::default();
    for path in FILES {
        if let Some(content) = content(&root.join(path)).map_err(at(path))? {
            home.insert(path, content);
            if others_read(&root.join(path)).map_err(at(path))? {
                home.mark_readable(path);
            }
        }
    }
    for (directory, ending) in DIRECTORIES {
        for name in names(&root.join(directory)).map_err(at(directory))? {
            let path = format!("{directory}/{name}");
            let wanted = name.ends_with(ending).then(|| content(&root.join(&path)));
            if let Some(content) = wanted.transpose().map_err(at(&path))?.flatten() {
                home.insert(path, content);
            }
        }
    }
    for directory in NAMES {
        let names = names(&root.join(directory)).map_err(at(directory))?;
        home.insert_names(directory, names);
    }
    Ok(home)
}

fn at(path: &str) -> impl Fn(io::Error) -> (String, io::Error) {
    let path = path.to_owned();
    move |error| (path.clone(), error)
}

/// A file's content, up to a byte more than is allowed: what is too large is
/// refused where it is understood. `None` where there is no such file.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Whether others than its owner can read a file.
pub(super) fn others_read(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

/// The names in a directory, in order; none where it is absent. A name that is
/// not UTF-8 is no file of ours.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in listing {
        if names.len() == FILES_MAX {
            return Err(io::Error::other(format!(
                "it holds more than {FILES_MAX} files"
            )));
        }
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
