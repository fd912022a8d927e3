//! Reading the description, and the passwords that it names.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use apim_config::{
    secret::{Secret, SecretSource, Secrets},
    setup::{Setup, View},
};
use sync_core::path::escape;
use sync_daemon::failure::{Failure, FailureKind};

use super::{Context, home::others_read};
use crate::terminal::Line;

/// Bytes of a description or a password file that are read at the most.
const BYTES_MAX: u64 = 1 << 20;

/// The description's text.
pub(super) fn text(file: &Path) -> Result<String, Failure> {
    read(file).map_err(|error| {
        let doing = format!("reading the description `{}`", file.display());
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "make one with `apim-sync config init`, or name another with `--setup FILE`"
            }
            _ => "name another with `--setup FILE`, or run as its owner",
        };
        Failure::caused_by(FailureKind::Usage, doing, &error).hint(hint)
    })
}

/// The description, understood.
pub(super) fn setup(context: &Context, file: &Path) -> Result<Setup, Failure> {
    let setup = parse(file, &text(file)?)?;
    for warning in setup.warnings() {
        context.terminal.complain(&Line::new(warning));
    }
    Ok(setup)
}

/// Understands a description's text.
pub(super) fn parse(file: &Path, text: &str) -> Result<Setup, Failure> {
    Setup::parse(text).map_err(|error| {
        let doing = format!("reading the description `{}`", file.display());
        Failure::caused_by(FailureKind::Usage, doing, &error)
            .hint("correct that line; `apim-sync config init --setup FILE` writes every key with a comment")
    })
}

/// The setup as the node of that name sees it.
pub(super) fn view<'s>(setup: &'s Setup, name: &str) -> Result<View<'s>, Failure> {
    setup.view(name).ok_or_else(|| {
        let [active, passive] = setup.nodes();
        let name = escape(name.as_bytes());
        let message = format!("--node {name}: the description has no such node");
        Failure::new(FailureKind::Usage, message)
            .hint(format!("one of: {}, {}", active.name, passive.name))
    })
}

/// The passwords that the description names. A relative path is relative to it.
pub(super) fn secrets(
    context: &Context,
    setup: &Setup,
    description: &Path,
) -> Result<Secrets, Failure> {
    let beside = description.parent().unwrap_or(Path::new(""));
    let secret = |what: &str, source: &SecretSource| {
        let source = match source {
            SecretSource::File(path) => SecretSource::File(beside.join(path)),
            SecretSource::Variable(name) => SecretSource::Variable(name.clone()),
        };
        resolve(context, &source).map_err(|reason| {
            let message = format!("reading the password of {what} from {source}: {reason}");
            Failure::new(FailureKind::Usage, message).hint(
                "write it to that file, for its owner only, or set the variable; it is never given in a flag",
            )
        })
    };
    Ok(Secrets {
        database: secret("the database user", &setup.database.password)?,
        admin: secret("the administrator", &setup.admin.password)?,
    })
}

fn resolve(context: &Context, source: &SecretSource) -> Result<Secret, String> {
    let text = match source {
        SecretSource::File(path) => {
            warn_if_readable(context, path);
            read(path).map_err(|error| error.to_string())?
        }
        SecretSource::Variable(name) => match env::var(name) {
            Ok(text) => text,
            Err(env::VarError::NotPresent) => return Err("it is not set".into()),
            Err(env::VarError::NotUnicode(_)) => return Err("it is not UTF-8".into()),
        },
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err("there is nothing in it".into());
    }
    if line.trim() != line {
        return Err("it begins or ends with a blank, which files of a home do not keep".into());
    }
    if line.chars().any(char::is_control) {
        return Err("it has control characters".into());
    }
    Ok(Secret::new(line))
}

/// A password that others can read is none.
fn warn_if_readable(context: &Context, path: &Path) {
    if others_read(path).is_ok_and(|readable| readable) {
        let line = format!(
            "`{}` holds a password and can be read by others: `chmod 600` it",
            path.display()
        );
        context.terminal.complain(&Line::new(line));
    }
}

/// A small text file.
pub(super) fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(file)?
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > BYTES_MAX {
        return Err(io::Error::other(format!(
            "it has more than {BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}
