//! What the latest generations deleted: a file that comes back with the same
//! content was written by the deployer from its memory, not by a hand.
//!
//! Kept in memory only: what a restart forgets is taken for a hand's, and told
//! all the same.

use std::collections::{BTreeMap, VecDeque};

use sync_core::{ContentId, Entry, RelPath};

/// Deletions remembered; beyond, the oldest is forgotten.
const DELETIONS_MAX: usize = 10_000;

/// The files that the latest generations deleted.
#[derive(Debug, Default)]
pub(super) struct DeletedFiles {
    /// The number of the path's last deletion, and what was deleted.
    last: BTreeMap<RelPath, (u64, ContentId)>,
    /// Oldest first.
    order: VecDeque<(u64, RelPath)>,
    next: u64,
}

impl DeletedFiles {
    /// Notes that `entry`, agreed until now, was deleted at `path`.
    pub(super) fn note(&mut self, path: &RelPath, entry: Option<&Entry>) {
        let Some(Entry::File(file)) = entry else {
            return;
        };
        if self.order.len() >= DELETIONS_MAX {
            self.forget_oldest();
        }
        self.order.push_back((self.next, path.clone()));
        self.last.insert(path.clone(), (self.next, file.content));
        self.next += 1;
    }

    /// What `path` held when it was last deleted.
    pub(super) fn content(&self, path: &RelPath) -> Option<ContentId> {
        self.last.get(path).map(|(_, content)| *content)
    }

    fn forget_oldest(&mut self) {
        let Some((number, path)) = self.order.pop_front() else {
            return;
        };
        if self
            .last
            .get(&path)
            .is_some_and(|(last, _)| *last == number)
        {
            self.last.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::{FileEntry, Mode, Mtime};

    use super::*;

    fn file(content: &[u8]) -> Entry {
        Entry::File(FileEntry {
            mode: Mode::new(0o644),
            mtime: Mtime {
                seconds: 0,
                nanoseconds: 0,
            },
            length: content.len() as u64,
            content: ContentId::of(content),
        })
    }

    #[test]
    fn the_last_deletion_of_a_path_counts_and_the_oldest_is_forgotten() {
        let path = |number: usize| RelPath::new(format!("{number}.xml").as_bytes()).unwrap();
        let mut deleted = DeletedFiles::default();
        deleted.note(&path(0), Some(&file(b"first")));
        deleted.note(&path(1), Some(&file(b"one")));
        deleted.note(&path(0), Some(&file(b"second")));
        for number in 2..DELETIONS_MAX {
            deleted.note(&path(number), Some(&file(b"more")));
        }
        assert_eq!(deleted.content(&path(0)), Some(ContentId::of(b"second")));
        assert_eq!(deleted.content(&path(1)), Some(ContentId::of(b"one")));
        deleted.note(&path(DELETIONS_MAX), Some(&file(b"last")));
        assert_eq!(deleted.content(&path(1)), None);
        assert_eq!(deleted.last.len(), DELETIONS_MAX);
        assert_eq!(deleted.order.len(), DELETIONS_MAX);
    }
}
