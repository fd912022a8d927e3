//! New files of the last seconds: a deletion that comes after its new name is
//! recognised by them.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use super::keyed::{Key, Keyed};
use crate::{limits::APPEARED_PATHS_MAX, path::RelPath};

/// Files that appeared or changed lately, each good for one deletion.
#[derive(Default, Debug)]
pub(super) struct Appeared {
    files: Keyed,
    until: BTreeMap<RelPath, Duration>,
    by_until: BTreeSet<(Duration, RelPath)>,
}

impl Appeared {
    pub(super) fn insert(&mut self, path: RelPath, keys: Vec<Key>, until: Duration) {
        self.forget(&path);
        if self.files.len() >= APPEARED_PATHS_MAX
            && let Some((_, oldest)) = self.by_until.first().cloned()
        {
            self.forget(&oldest);
        }
        self.by_until.insert((until, path.clone()));
        self.until.insert(path.clone(), until);
        self.files.insert(path, keys);
    }

    pub(super) fn forget(&mut self, path: &RelPath) {
        if let Some(until) = self.until.remove(path) {
            self.by_until.remove(&(until, path.clone()));
            self.files.remove(path);
        }
    }

    /// Takes out one file with one of `keys`, if there is one.
    pub(super) fn take_match(&mut self, keys: &[Key], now: Duration) -> bool {
        self.forget_old(now);
        let found = self.files.find(keys);
        if let Some(path) = &found {
            self.forget(path);
        }
        found.is_some()
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((until, path)) = self.by_until.first().cloned()
            && until <= now
        {
            self.forget(&path);
        }
    }
}
