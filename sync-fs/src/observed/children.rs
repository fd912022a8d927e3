//! How many entries each directory of a tree holds: what the manifest, a trie
//! by hash, cannot say without a look at every path.
//!
//! So a look below one directory that meets as many entries as are known there
//! has met all of them, and nothing has to be searched for what is missing. Takes
//! a path and a number for each directory that holds something.

use std::collections::BTreeMap;

use sync_core::Manifest;

/// The number of entries directly in each directory that has any, by the bytes of
/// its path; empty for the root.
#[derive(Clone, Debug, Default)]
pub(super) struct Children(BTreeMap<Box<[u8]>, usize>);

impl Children {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let mut children = Self::default();
        for record in manifest.iter() {
            children.added(record.path_bytes());
        }
        children
    }

    /// An entry came to be known.
    pub(super) fn added(&mut self, path: &[u8]) {
        let parent = parent(path);
        match self.0.get_mut(parent) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(parent.into(), 1)),
        }
    }

    /// A known entry was forgotten.
    pub(super) fn removed(&mut self, path: &[u8]) {
        let parent = parent(path);
        if let Some(count) = self.0.get_mut(parent) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(parent);
            }
        }
    }

    /// How many entries are below `directory`, at any depth.
    pub(super) fn below(&self, directory: &[u8]) -> usize {
        let (mut first, mut end) = (directory.to_vec(), directory.to_vec());
        first.push(b'/');
        end.push(b'/' + 1); // the byte after the separator ends what is below
        let direct = self.0.get(directory).copied().unwrap_or(0);
        let deeper = self
            .0
            .range(first.into_boxed_slice()..end.into_boxed_slice());
        direct + deeper.map(|(_, count)| count).sum::<usize>()
    }
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or(b"", |slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that sort before, as and after the separator.
    const PATHS: [&str; 9] = [
        "a", "a/b", "a/b/c", "a/b/d", "a-x", "a-x/b", "a.x", "a0", "a0/b",
    ];

    #[test]
    fn what_is_below_a_directory_is_counted_at_every_depth() {
        let mut children = Children::default();
        PATHS
            .iter()
            .for_each(|path| children.added(path.as_bytes()));
        for left in (0..=PATHS.len()).rev() {
            for directory in PATHS {
                let below = format!("{directory}/");
                let expected = PATHS[..left].iter().filter(|path| path.starts_with(&below));
                let count = children.below(directory.as_bytes());
                assert_eq!(count, expected.count(), "{directory} of {left}");
            }
            if let Some(last) = left.checked_sub(1) {
                children.removed(PATHS[last].as_bytes());
            }
        }
        assert!(children.0.is_empty(), "{children:?}");
    }
}
