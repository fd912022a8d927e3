//! Change lists: made from two manifests, checked, applied.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::{
    entry::{Entry, FileEntry},
    generation::{Action, Change},
    limits::TREE_ENTRIES_MAX,
    manifest::{Manifest, Record},
    path::RelPath,
    preset::Preset,
};

/// Why a change list does not lead from a tree to a tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Two changes for one path.
    #[error("`{0}` is changed twice in one generation")]
    Duplicate(RelPath),
    /// An entry whose parent would not be there.
    #[error("`{0}` would have no parent directory")]
    NoParent(RelPath),
    /// An entry whose parent would be a file or a link.
    #[error("`{0}` would lie below something that is not a directory")]
    BelowFile(RelPath),
    /// A directory goes, but something below it would stay.
    #[error("`{0}` would stay although its parent directory goes")]
    Orphan(RelPath),
    /// A symbolic link in a tree that has none.
    #[error("`{0}` is a symbolic link, which a synapse tree must not hold")]
    Symlink(RelPath),
    /// More changes than a tree may have entries.
    #[error("{0} changes in one generation, more than {TREE_ENTRIES_MAX}")]
    TooMany(usize),
}

/// The changes that turn `base` into `current`, sorted by path.
#[must_use]
pub fn changes_between(current: &Manifest, base: &Manifest) -> Vec<Change> {
    current
        .diff(base)
        .into_iter()
        .map(|difference| Change {
            path: difference.path,
            action: difference.ours.map_or(Action::Delete, Action::Put),
        })
        .collect()
}

/// `agreed` after `changes`. A file whose content stays keeps its modification
/// time; a change that changes nothing is legal.
#[must_use]
pub fn apply_changes(agreed: &Manifest, changes: &[Change]) -> Manifest {
    if agreed.is_empty() {
        return first_fill(changes);
    }
    let mut result = agreed.clone();
    for Change { path, action } in changes {
        match action {
            Action::Put(entry) => {
                let entry = settled(entry, agreed.get(path).as_ref());
                result.insert(path.clone(), entry);
            }
            Action::Delete => {
                result.remove(path);
            }
        }
    }
    result
}

/// Built at once, which costs a fraction of building it entry by entry.
fn first_fill(changes: &[Change]) -> Manifest {
    let entries = changes.iter().filter_map(|change| match &change.action {
        Action::Put(entry) => Some((change.path.clone(), entry.clone())),
        Action::Delete => None,
    });
    Manifest::from_entries(entries)
}

fn settled(entry: &Entry, old: Option<&Entry>) -> Entry {
    match (entry, old) {
        (Entry::File(new), Some(Entry::File(old))) if new.content == old.content => {
            Entry::File(FileEntry {
                mtime: old.mtime,
                ..*new
            })
        }
        _ => entry.clone(),
    }
}

/// Whether `changes`, which may come from a peer, turn the tree `agreed` into a
/// tree: every path once, every entry below a directory, nothing below a file,
/// no links in a synapse tree.
///
/// # Errors
/// The first path that breaks a rule.
pub fn check(agreed: &Manifest, changes: &[Change], preset: Preset) -> Result<(), PlanError> {
    if changes.len() > TREE_ENTRIES_MAX {
        return Err(PlanError::TooMany(changes.len()));
    }
    let actions = Actions::of(changes)?;
    let mut checked = None; // siblings mostly follow each other
    for Change { path, action } in changes {
        let Action::Put(entry) = action else { continue };
        if preset == Preset::Synapse && matches!(entry, Entry::Symlink { .. }) {
            return Err(PlanError::Symlink(path.clone()));
        }
        let parent = path.split().0;
        if parent.is_some() && parent != checked {
            check_parent(agreed, &actions, path)?;
            checked = parent;
        }
    }
    check_orphans(agreed, changes, &actions)
}

/// A change list by path.
struct Actions<'a>(Vec<&'a Change>);

impl<'a> Actions<'a> {
    fn of(changes: &'a [Change]) -> Result<Self, PlanError> {
        let mut changes: Vec<&Change> = changes.iter().collect();
        changes.sort_by(|a, b| a.path.cmp(&b.path)); // mostly so already
        let mut neighbours = changes.windows(2);
        match neighbours.find(|pair| pair[0].path == pair[1].path) {
            Some(pair) => Err(PlanError::Duplicate(pair[0].path.clone())),
            None => Ok(Self(changes)),
        }
    }

    fn get(&self, path: &[u8]) -> Option<&'a Action> {
        let of = |change: &&Change| change.path.as_bytes().cmp(path);
        let at = self.0.binary_search_by(of).ok()?;
        Some(&self.0[at].action)
    }
}

fn check_parent(agreed: &Manifest, actions: &Actions<'_>, path: &RelPath) -> Result<(), PlanError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let above = match actions.get(parent.as_bytes()) {
        Some(Action::Put(entry)) => Some(entry.is_directory()),
        Some(Action::Delete) => None,
        None => agreed.find(parent.as_bytes()).map(Record::is_directory),
    };
    match above {
        Some(true) => Ok(()),
        Some(false) => Err(PlanError::BelowFile(path.clone())),
        None => Err(PlanError::NoParent(path.clone())),
    }
}

/// Looks at all of `agreed`, but only when a directory goes.
fn check_orphans(
    agreed: &Manifest,
    changes: &[Change],
    actions: &Actions<'_>,
) -> Result<(), PlanError> {
    let gone: BTreeSet<&[u8]> = vanishing_directories(agreed, changes)
        .map(RelPath::as_bytes)
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let orphan = agreed.iter().map(Record::path).find(|path| {
        path.split().0.is_some_and(|parent| gone.contains(parent))
            && !matches!(actions.get(path.as_bytes()), Some(Action::Delete))
    });
    match orphan {
        Some(path) => Err(PlanError::Orphan(path)),
        None => Ok(()),
    }
}

/// Directories of `agreed` that are deleted or become something else.
fn vanishing_directories<'a>(
    agreed: &'a Manifest,
    changes: &'a [Change],
) -> impl Iterator<Item = &'a RelPath> {
    changes.iter().filter_map(|Change { path, action }| {
        let stays = matches!(action, Action::Put(Entry::Directory { .. }));
        (!stays && agreed.has_directory(path)).then_some(path)
    })
}
