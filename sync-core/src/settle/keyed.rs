//! Paths findable by what a file is known by under another name.

use std::collections::{BTreeMap, BTreeSet};

use crate::{content::ContentId, path::RelPath};

/// What a file is known by when it appears under another name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// Its content, anywhere in the tree.
    Content(ContentId),
    /// The name of the artifact in it, in the same directory.
    Artifact(Option<RelPath>, String),
}

/// The keys of a file at `path`, the surest first.
pub(super) fn keys_of(
    path: &RelPath,
    content: Option<ContentId>,
    artifact: Option<String>,
) -> Vec<Key> {
    let artifact = artifact.map(|name| Key::Artifact(path.parent(), name));
    let content = content.map(Key::Content);
    content.into_iter().chain(artifact).collect()
}

/// Paths with their keys.
#[derive(Default, Debug)]
pub(super) struct Keyed {
    keys: BTreeMap<RelPath, Vec<Key>>,
    paths: BTreeMap<Key, BTreeSet<RelPath>>,
}

impl Keyed {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn insert(&mut self, path: RelPath, keys: Vec<Key>) {
        self.remove(&path);
        for key in &keys {
            let paths = self.paths.entry(key.clone()).or_default();
            paths.insert(path.clone());
        }
        self.keys.insert(path, keys);
    }

    pub(super) fn remove(&mut self, path: &RelPath) {
        for key in self.keys.remove(path).into_iter().flatten() {
            if let Some(paths) = self.paths.get_mut(&key) {
                paths.remove(path);
                if paths.is_empty() {
                    self.paths.remove(&key);
                }
            }
        }
    }

    /// The first path with one of `keys`.
    pub(super) fn find(&self, keys: &[Key]) -> Option<RelPath> {
        let paths = keys.iter().find_map(|key| self.paths.get(key))?;
        paths.first().cloned()
    }
}
