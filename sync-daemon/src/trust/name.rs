//! What people call a node.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes in a node's name, so that names stay readable in tables.
const NAME_BYTES_MAX: usize = 64;

/// What people call a node: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no node name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no node name: use 1 to 64 letters, digits, `.`, `_` and `-`, not starting \
     with `.` or `-`"
)]
pub struct NodeNameError {
    text: String,
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(legal)
            && !text.starts_with(['.', '-'])
        {
            Ok(Self(text.into()))
        } else {
            Err(NodeNameError {
                text: text.escape_debug().take(100).collect(),
            })
        }
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_tables_files_and_commands() {
        for text in ["a", "apim-1", "APIM_1.example.com", "7", &"x".repeat(64)] {
            assert_eq!(text.parse::<NodeName>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "-rf",
            ".hidden",
            "a b",
            "a/b",
            "é",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
    }
}
