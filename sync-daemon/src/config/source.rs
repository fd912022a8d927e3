//! Where settings come from: the file's text, overridden by `APIM_SYNC_*`
//! variables; and which line or variable a value came from.

use std::path::Path;

use toml::Spanned;

use super::{
    error::{ConfigError, Origin},
    file::FileConfig,
};

/// The variables that override single keys: (key, variable).
pub const VARIABLES: &[(&str, &str)] = &[
    ("node.name", "APIM_SYNC_NAME"),
    ("node.listen", "APIM_SYNC_LISTEN"),
    ("node.advertise", "APIM_SYNC_ADVERTISE"),
    ("node.state_dir", "APIM_SYNC_STATE_DIR"),
    ("watch.settle_ms", "APIM_SYNC_SETTLE_MS"),
    ("watch.delete_hold_ms", "APIM_SYNC_DELETE_HOLD_MS"),
    ("watch.rescan_s", "APIM_SYNC_RESCAN_S"),
    ("guard.max_delete", "APIM_SYNC_GUARD_MAX_DELETE"),
    ("guard.min_files", "APIM_SYNC_GUARD_MIN_FILES"),
    ("drift.policy", "APIM_SYNC_DRIFT_POLICY"),
    ("history.generations", "APIM_SYNC_HISTORY_GENERATIONS"),
    ("history.bytes", "APIM_SYNC_HISTORY_BYTES"),
];

type Environment = fn(&str) -> Option<std::ffi::OsString>;

/// A value and where it was given.
pub(super) struct Given<T> {
    pub(super) key: &'static str,
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    /// The value is refused, for `reason`.
    pub(super) fn refused(&self, reason: impl ToString) -> ConfigError {
        ConfigError::Value {
            origin: self.origin.clone(),
            key: self.key,
            reason: reason.to_string(),
        }
    }
}

/// The file's text and the variables over it.
pub(super) struct Source<'a> {
    text: &'a str,
    file: &'a Path,
    environment: Environment,
}

impl<'a> Source<'a> {
    pub(super) fn with_process_environment(text: &'a str, file: &'a Path) -> Self {
        Self::new(text, file, |name| std::env::var_os(name))
    }

    pub(super) fn without_environment(text: &'a str, file: &'a Path) -> Self {
        Self::new(text, file, |_| None)
    }

    pub(super) fn new(text: &'a str, file: &'a Path, environment: Environment) -> Self {
        Self {
            text,
            file,
            environment,
        }
    }

    pub(super) fn parse(&self) -> Result<FileConfig, ConfigError> {
        toml::from_str(self.text)
            .map_err(|error| ConfigError::of_toml(&error, self.text, self.file))
    }

    /// The whole file is refused, for `reason`.
    pub(super) fn refused(&self, key: &'static str, reason: impl ToString) -> ConfigError {
        ConfigError::Value {
            origin: Origin::File(self.file.to_owned()),
            key,
            reason: reason.to_string(),
        }
    }

    /// A value as the file gives it; no variable overrides it.
    pub(super) fn in_file<T>(&self, key: &'static str, value: Spanned<T>) -> Given<T> {
        Given {
            key,
            origin: self.line_of(&value),
            value: value.into_inner(),
        }
    }

    /// A text, from the variable of `key` or else from the file.
    pub(super) fn text(
        &self,
        key: &'static str,
        value: Spanned<String>,
    ) -> Result<Given<String>, ConfigError> {
        let over = self.variable(key)?;
        Ok(over.unwrap_or_else(|| self.in_file(key, value)))
    }

    /// As [`Source::text`], where the file need not have the key.
    pub(super) fn text_or_none(
        &self,
        key: &'static str,
        value: Option<Spanned<String>>,
    ) -> Result<Option<Given<String>>, ConfigError> {
        match value {
            Some(value) => self.text(key, value).map(Some),
            None => self.variable(key),
        }
    }

    /// A number, from the variable of `key` or else from the file.
    pub(super) fn number(
        &self,
        key: &'static str,
        value: Option<Spanned<u64>>,
    ) -> Result<Option<Given<u64>>, ConfigError> {
        if let Some(given) = self.variable(key)? {
            let value = given
                .value
                .parse()
                .map_err(|_| given.refused(format!("`{}` is not a whole number", given.value)))?;
            let origin = given.origin;
            return Ok(Some(Given { key, value, origin }));
        }
        Ok(value.map(|value| Given {
            key,
            origin: self.line_of(&value),
            value: value.into_inner(),
        }))
    }

    fn variable(&self, key: &'static str) -> Result<Option<Given<String>>, ConfigError> {
        let Some((_, name)) = VARIABLES.iter().find(|(of, _)| *of == key) else {
            return Ok(None);
        };
        let Some(value) = (self.environment)(name) else {
            return Ok(None);
        };
        let origin = Origin::Variable(name);
        match value.into_string() {
            Ok(value) => Ok(Some(Given { key, value, origin })),
            Err(_) => Err(ConfigError::Value {
                origin,
                key,
                reason: "it is not UTF-8".into(),
            }),
        }
    }

    fn line_of<T>(&self, value: &Spanned<T>) -> Origin {
        Origin::Line(self.file.to_owned(), line(self.text, value.span().start))
    }
}

/// The number of the line that holds byte `at`, from 1.
pub(super) fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}
