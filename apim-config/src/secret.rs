//! Passwords: named in the description, never part of it, shown to nobody.

use std::{fmt, path::PathBuf};

/// What stands for a secret wherever people read.
pub const MASK: &str = "***";

/// Where a secret is; whoever reads files and variables resolves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file `{}`", path.display()),
            Self::Variable(name) => write!(f, "the variable ${name}"),
        }
    }
}

/// A secret. It has no `Display`, and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for a file that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Every secret of a setup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secrets {
    /// Of the database user.
    pub database: Secret,
    /// Of the product's administrator.
    pub admin: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secrets = Secrets {
            database: Secret::new("hunter2"),
            admin: Secret::new("hunter3"),
        };
        let shown = format!("{secrets:?}");
        assert!(shown.contains(MASK) && !shown.contains("hunter"), "{shown}");
    }
}
