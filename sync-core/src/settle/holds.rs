//! Deletions that are held, findable by the end of the hold and by their keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::keyed::{Key, Keyed};
use crate::path::RelPath;

/// Held deletions; at most one for each entry of the manifest.
#[derive(Default, Debug)]
pub(super) struct Holds {
    files: Keyed,
    holds: BTreeMap<RelPath, Hold>,
    by_end: BTreeSet<(Duration, RelPath)>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    end: Duration,
    /// Whether the hold ended and the path is being looked at again.
    ended: bool,
}

impl Holds {
    /// Holds a deletion; one that is held already keeps its end.
    pub(super) fn hold(&mut self, path: RelPath, keys: Vec<Key>, end: Duration) {
        if self.holds.contains_key(&path) {
            return;
        }
        self.files.insert(path.clone(), keys);
        self.by_end.insert((end, path.clone()));
        self.holds.insert(path, Hold { end, ended: false });
    }

    /// Forgets a deletion: the path is there again, or the deletion is believed.
    pub(super) fn forget(&mut self, path: &RelPath) {
        if let Some(hold) = self.holds.remove(path) {
            self.by_end.remove(&(hold.end, path.clone()));
            self.files.remove(path);
        }
    }

    /// The paths whose hold ended by `now`. They stay held until they are
    /// observed, and are given again at `again` if they are not.
    pub(super) fn expired(&mut self, now: Duration, again: Duration) -> Vec<RelPath> {
        let mut expired = Vec::new();
        while self.next_end().is_some_and(|end| end <= now) {
            expired.extend(self.by_end.pop_first().map(|(_, path)| path));
        }
        for path in &expired {
            let (end, ended) = (again, true);
            self.holds.insert(path.clone(), Hold { end, ended });
            self.by_end.insert((end, path.clone()));
        }
        expired
    }

    /// Whether the path's hold ended, so that one more absence settles it.
    pub(super) fn has_ended(&self, path: &RelPath) -> bool {
        self.holds.get(path).is_some_and(|hold| hold.ended)
    }

    /// Takes out the first held deletion with one of `keys`.
    pub(super) fn take_match(&mut self, keys: &[Key]) -> Option<RelPath> {
        let path = self.files.find(keys)?;
        self.forget(&path);
        Some(path)
    }

    pub(super) fn next_end(&self) -> Option<Duration> {
        self.by_end.first().map(|(end, _)| *end)
    }

    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, Duration)> {
        self.holds.iter().map(|(path, hold)| (path, hold.end))
    }
}
