//! Whether what stands on the disk is what this replica put there.
//!
//! The cheap proof is a stat equal to the one remembered; the other is the hash
//! of the content. What neither proves is somebody else's and is never lost.

use std::collections::BTreeMap;

use sync_core::{ContentId, Entry, FileEntry, Manifest, RelPath};

use super::{contents::hash, returning::is_known_content};
use crate::{
    observed::{Observed, Seen},
    root::{AbsentIsNone, Cause, DiskError, Kind, Root, Stat, StatKey},
};

/// Contents that commits of the journal gave to paths: what a recovery may find
/// on the disk beside what was agreed before them.
pub(super) type History = BTreeMap<RelPath, Vec<ContentId>>;

/// Knows what belongs on the disk.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) agreed: &'a Observed,
    /// What alone is ours of it, where that is not all.
    pub(super) owned: Option<&'a Manifest>,
    pub(super) history: &'a History,
}

/// What a content on the disk proved to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Known(ContentId),
    /// Nothing but zeros, or nothing: there is nothing to lose.
    Blank(ContentId),
    /// It does not hold still, may not be read, or has gone.
    Unknown,
}

impl Judge<'_> {
    /// The entry that `agreed` has at `path` if the stat alone proves that it
    /// still stands there.
    pub(super) fn proven(&self, path: &RelPath, stat: &Stat) -> Option<Entry> {
        let known = self.agreed.known(path.as_bytes())?;
        (known.seen.key == stat.key && !known.seen.racy).then(|| known.record.entry())
    }

    /// The content of the regular file at `path`.
    pub(super) fn content(
        &self,
        root: &Root,
        path: &RelPath,
        stat: &Stat,
    ) -> Result<Content, DiskError> {
        match self.proven(path, stat) {
            Some(Entry::File(file)) => Ok(Content::Known(file.content)),
            _ => read_content(root, path),
        }
    }

    /// Whether a file with this content at `path` is one this replica put there.
    pub(super) fn is_ours(&self, path: &RelPath, content: Content) -> bool {
        let content = match content {
            Content::Known(content) => content,
            Content::Blank(_) => return true,
            Content::Unknown => return false,
        };
        let owned = self.owned.unwrap_or(self.agreed.manifest());
        let in_history = || {
            let at_path = self.history.get(path);
            at_path.is_some_and(|contents| contents.contains(&content))
        };
        is_known_content(owned, path, content) || in_history()
    }

    /// Whether what stands at `at` of `root`, and belongs to `path`, is
    /// something this replica put there. Of a directory the kind is enough: what
    /// is in it is judged by itself.
    pub(super) fn is_known(
        &self,
        root: &Root,
        at: &RelPath,
        path: &RelPath,
        stat: &Stat,
    ) -> Result<bool, DiskError> {
        let agreed = self.agreed.manifest().get(path);
        match stat.kind {
            Kind::File => Ok(self.is_ours(path, read_content(root, at)?)),
            Kind::Directory => Ok(agreed.is_some_and(|it| it.is_directory())),
            Kind::Symlink => match self.owned.map_or(agreed, |owned| owned.get(path)) {
                Some(Entry::Symlink { target }) => {
                    let text = root.read_link(at).absent_is_none()?;
                    Ok(text.is_none_or(|text| text == target))
                }
                _ => Ok(false),
            },
            Kind::Special => Ok(false),
        }
    }

    /// As [`Judge::is_known`] for what stands at `path` of the tree itself.
    pub(super) fn is_known_in_tree(
        &self,
        root: &Root,
        path: &RelPath,
        stat: &Stat,
    ) -> Result<bool, DiskError> {
        match self.proven(path, stat) {
            Some(_) if self.owned.is_none() => Ok(true),
            Some(Entry::File(file)) => Ok(self.is_ours(path, Content::Known(file.content))),
            _ => self.is_known(root, path, path, stat),
        }
    }
}

/// The content of a regular file, read now.
fn read_content(root: &Root, path: &RelPath) -> Result<Content, DiskError> {
    let opened = match root.open_file(path).absent_is_none() {
        Err(error) if error.cause() == Cause::Denied => None,
        result => result?,
    };
    let content = opened.map(|file| hash(&file)).transpose()?.flatten();
    Ok(match content {
        None => Content::Unknown,
        Some(hashed) if hashed.is_blank => Content::Blank(hashed.content),
        Some(hashed) => Content::Known(hashed.content),
    })
}

/// How long after a change the clock that stamps files may still show the same
/// time: one tick of the slowest kernel, doubled.
const TICK_NS: u64 = 20_000_000;

/// How an entry is remembered that was just put in place.
///
/// A write that followed within the same tick of the clock would leave the
/// change time as it is, but set the modification time to the tick: only where
/// that is what stands there already does the stat prove nothing.
pub(super) fn seen_after_put(stat: &Stat) -> Seen {
    match stat.kind {
        Kind::Directory => Seen {
            key: StatKey {
                inode: stat.key.inode,
                ..StatKey::default()
            },
            racy: false,
        },
        _ => Seen {
            key: stat.key,
            racy: stat.key.mtime_ns.abs_diff(stat.key.ctime_ns) <= TICK_NS,
        },
    }
}

/// How an entry is remembered that has to be looked at again.
pub(super) fn seen_never() -> Seen {
    Seen {
        key: StatKey::default(),
        racy: true,
    }
}

/// Whether the file has the content of `entry`.
pub(super) fn has_content(content: Content, entry: &FileEntry) -> bool {
    matches!(content, Content::Known(content) | Content::Blank(content) if content == entry.content)
}
