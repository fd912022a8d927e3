//! What is handed out of a look at an active node's tree.

use std::time::Duration;

use sync_core::{ContentId, Entry, RelPath, path::PathError, settle, well_formed::IllFormed};

use crate::{
    observed::Seen,
    scan::{Problem, Progress, Trouble},
};

/// One path that differs from the accepted manifest, or could not be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Where.
    pub path: RelPath,
    /// What is there.
    pub state: State,
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// An entry that the manifest does not list, or lists differently.
    Present {
        /// The entry.
        entry: Entry,
        /// The stat under which it was read.
        seen: Seen,
        /// The name of the artifact in it, where it is known.
        artifact: Option<String>,
    },
    /// Nothing, though the manifest lists an entry.
    Missing {
        /// That entry.
        entry: Entry,
        /// The name of the artifact that was in it, where it is known.
        artifact: Option<String>,
    },
    /// A file that changed each time while it was read.
    Unstable,
    /// Something that cannot be read. What the manifest lists there, and below,
    /// still stands.
    Unreadable(Trouble),
    /// A new content that is not well-formed XML.
    IllFormed(IllFormed),
    /// Something that is listed and may not be seen any more. Accepting it
    /// takes it out of the manifest, which deletes it on every passive.
    Excluded,
}

/// All that one look found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observations {
    /// The differences, in the order of their paths, each path once.
    pub list: Vec<Observation>,
    /// Links and special files that are ignored.
    pub ignored: Vec<Problem>,
    /// Names that cannot be paths, escaped, and why.
    pub illegal_names: Vec<(String, PathError)>,
    /// Entries whose stat or modification time changed and nothing else; they
    /// are taken up already.
    pub refreshed: usize,
    /// Where only some paths were looked at: the directories that stand there and
    /// below, in order.
    pub directories: Vec<RelPath>,
    /// The work done.
    pub work: Progress,
}

impl Observation {
    /// Whether this is a file whose inode changed after `since`, which is
    /// counted from the Unix epoch.
    #[must_use]
    pub fn changed_since(&self, since: Duration) -> bool {
        let State::Present { entry, seen, .. } = &self.state else {
            return false;
        };
        // What does not fit is centuries away.
        let since_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        entry.as_file().is_some() && seen.key.ctime_ns > since_ns
    }

    /// The same in the words of [`settle`].
    #[must_use]
    pub fn for_settle(&self) -> settle::Observation {
        match &self.state {
            State::Present {
                entry, artifact, ..
            } => settle::Observation::Present {
                changed: true,
                content: content_of(entry),
                artifact: artifact.clone(),
            },
            State::Missing { entry, artifact } => settle::Observation::Missing {
                content: content_of(entry),
                artifact: artifact.clone(),
            },
            State::Unstable => settle::Observation::Unstable,
            State::Unreadable(trouble) => settle::Observation::Unfit(trouble.to_string()),
            State::IllFormed(fault) => {
                settle::Observation::Unfit(format!("is not well-formed XML: {fault}"))
            }
            State::Excluded => settle::Observation::Unfit(
                "was sent before and is excluded now; it stays as it is on the passive".into(),
            ),
        }
    }
}

fn content_of(entry: &Entry) -> Option<ContentId> {
    entry.as_file().map(|file| file.content)
}
