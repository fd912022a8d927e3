//! Why a description is refused: line, key, reason, nearest legal key.

use thiserror::Error;

use crate::edit::line;

/// Why a description is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetupError {
    /// Not TOML, a key is missing or has the wrong type.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// What the parser says, on one line.
        message: String,
    },
    /// A key that means nothing.
    #[error("line {line}: unknown key `{key}`{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// Where, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The legal key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that cannot work.
    #[error("line {line}: {key}: {reason}")]
    Value {
        /// Where, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// Why not.
        reason: String,
    },
    /// The whole cannot work.
    #[error("{0}")]
    Whole(String),
}

impl SetupError {
    pub(super) fn of_toml(error: &toml::de::Error, text: &str) -> Self {
        let line = line(text, error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', ", ");
        let mut quoted = message.split('`').skip(1).step_by(2);
        match (message.starts_with("unknown field"), quoted.next()) {
            (true, Some(key)) => Self::UnknownKey {
                line,
                // A password itself has no key; it is named, not told.
                nearest: match key {
                    "password" => Some("password_file".to_owned()),
                    _ => nearest(key, quoted),
                },
                key: key.to_owned(),
            },
            _ => Self::Syntax { line, message },
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

/// The candidate that looks most like `word`, if any does.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
