//! Why a configuration is refused: file, line, key, reason, nearest legal key.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use sync_core::path::escape;
use thiserror::Error;

use super::source::line;
use crate::failure::{Failure, FailureKind};

/// Where a value was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A line of the file.
    Line(PathBuf, usize),
    /// The file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML, a key is missing or has the wrong type.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser says, on one line.
        message: String,
    },
    /// A key that means nothing.
    #[error("{origin}: unknown key `{}` {section}{}", escape(key.as_bytes()), suggestion(nearest.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// Where it stands: `in [watch]`, `at the top level`.
        section: String,
        /// The legal key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that cannot work.
    #[error("{origin}: {key}: {reason}")]
    Value {
        /// Where.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// Why not.
        reason: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

impl ConfigError {
    pub(super) fn of_toml(error: &toml::de::Error, text: &str, file: &Path) -> Self {
        let start = error.span().map(|span| span.start);
        let origin = match start {
            Some(at) => Origin::Line(file.to_owned(), line(text, at)),
            None => Origin::File(file.to_owned()),
        };
        match unknown_field(error.message()) {
            Some((key, legal)) => Self::UnknownKey {
                origin,
                section: section(text, start.unwrap_or(0)),
                nearest: nearest(key, &legal),
                key: key.to_owned(),
            },
            None => Self::Syntax {
                origin,
                message: error.message().replace('\n', ", "),
            },
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make one with `apim-sync init`, or name another with `-C FILE`"
            }
            ConfigError::Read { .. } => "name another file with `-C FILE`, or run as its owner",
            ConfigError::Value {
                origin: Origin::Variable(_),
                ..
            } => "correct or unset the variable",
            _ => "correct the file, then `apim-sync status`",
        };
        Self::caused_by(FailureKind::Usage, "loading the configuration", &error).hint(hint)
    }
}

/// The key and the legal keys, from serde's message: ``unknown field `a`,
/// expected one of `b`, `c` ``.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    Some((words.next()?, words.collect()))
}

/// The legal key that looks most like `key`, if any does.
fn nearest(key: &str, legal: &[&str]) -> Option<String> {
    legal
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| (*candidate).to_owned())
}

/// Where byte `at` stands: in the table of the last header before its line. An
/// unknown table stands at the top level itself.
fn section(text: &str, at: usize) -> String {
    let is_header = |line: &&str| line.starts_with('[') && line.contains(']');
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let top = is_header(&text[line_start..].trim_start());
    match text[..line_start].lines().map(str::trim).rfind(is_header) {
        Some(header) if !top => {
            let end = header.rfind(']').map_or(header.len(), |end| end + 1);
            format!("in {}", escape(&header.as_bytes()[..end]))
        }
        _ => "at the top level".into(),
    }
}
