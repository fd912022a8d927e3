//! Generations: numbered, fenced sets of changes between two roots.

use std::fmt;

use thiserror::Error;

use crate::{entry::Entry, limits::TREE_NAME_BYTES_MAX, manifest::Root, path::RelPath};

/// A fencing token: raised by every promotion, carried by every message; a
/// lower one is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// The number of a settled state of one tree. Grows by at least one with every
/// change; several numbers may travel as one step to a passive that was away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of a tree, the same on both nodes: 1 to 64 of `a-z A-Z 0-9 . _ -`,
/// not starting with `.` or `-` (it is also a directory name in the state).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeName(Box<str>);

/// Why text is not a [`TreeName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a tree name: 1 to 64 letters, digits, `.`, `_` or `-`, not starting with `.` or `-`", crate::path::escape(.0.as_bytes()))]
pub struct TreeNameError(String);

impl TreeName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// When the text breaks the rule of the type.
    pub fn new(text: &str) -> Result<Self, TreeNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let ok = (1..=TREE_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(legal)
            && !text.starts_with(['.', '-']);
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(TreeNameError(text.into()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// Where one tree of one node stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// Epoch of the generation last agreed.
    pub epoch: Epoch,
    /// Generation last agreed; 0 before the first.
    pub generation: Generation,
    /// Root over that generation's manifest.
    pub root: Root,
}

/// What identifies a step from one state of a tree to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenerationHeader {
    /// The tree it belongs to.
    pub tree: TreeName,
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The number of the state it leads to.
    pub generation: Generation,
    /// The root it starts from: applied only where this is the receiver's own.
    pub base: Root,
    /// The root it leads to.
    pub root: Root,
}

/// What happens to one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The path becomes this entry.
    Put(Entry),
    /// The path goes: an explicit tombstone, never «delete what is not listed».
    Delete,
}

/// One path of a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What.
    pub action: Action,
}
