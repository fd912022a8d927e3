//! Who made a path of a passive differ from what was agreed: a hand, or the hot
//! deployer that reads the tree.
//!
//! The deployer refuses an artifact by moving its file to a `.back` beside it,
//! and, where an older version was deployed, by writing that one from its memory
//! in the file's place. A file moved like that is still the very file that was
//! put there, which no copy by hand is. And it writes sequences that it cannot
//! be without again when they are deleted. What is told apart here was observed by
//! the caller; where nothing speaks for the deployer, it was a hand.

mod heals;
mod held;

use bincode::{Decode, Encode};

use crate::{content::ContentId, entry::Entry, path::RelPath};

pub use heals::Heals;
pub use held::{Actions, Found, held_plan};

/// Names looked at for a file that the deployer moved away: it takes the first
/// free one, and nobody keeps so many.
pub const MOVED_NAMES_MAX: u32 = 100;

/// How a path differs, in the words of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Kind {
    /// Its content or mode is another.
    Edited,
    /// It is not there.
    Deleted,
    /// It is there, and was not agreed.
    Created,
}

/// Who made a path differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub enum Cause {
    /// Somebody on that node, by hand or with a program.
    Edited,
    /// The deployer moved away what was agreed.
    Rejected,
    /// The deployer wrote again what a generation had deleted.
    Restored,
}

/// What a passive does about what a hand changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Tell it. The path's next generation replaces it, and keeps it aside.
    #[default]
    Alert,
    /// Have the active replace it within seconds, and keep it aside.
    Heal,
    /// Take nothing that would replace it until a person has decided.
    Hold,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Heal, Self::Hold];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Heal => "heal",
            Self::Hold => "hold",
        }
    }
}

/// What is known of a path in a synapse tree that is not as agreed.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Where.
    pub path: &'a RelPath,
    /// What was agreed.
    pub agreed: Option<&'a Entry>,
    /// What stands there.
    pub disk: Option<&'a Entry>,
    /// The content of the very file that was put at the path, found under one of
    /// the [`moved_names`].
    pub moved: Option<ContentId>,
    /// The content that the path had when a generation deleted it, where that is
    /// remembered.
    pub deleted: Option<ContentId>,
}

impl Evidence<'_> {
    /// Who made the path differ.
    #[must_use]
    pub fn cause(&self) -> Cause {
        if self.is_rejected() {
            Cause::Rejected
        } else if self.is_restored() {
            Cause::Restored
        } else {
            Cause::Edited
        }
    }

    /// What was agreed has been moved away, and nothing or another file (the old
    /// version, in the deployer's own words) stands in its place.
    fn is_rejected(&self) -> bool {
        let Some(Entry::File(agreed)) = self.agreed else {
            return false;
        };
        let elsewhere = match self.disk {
            None => true,
            Some(Entry::File(disk)) => disk.content != agreed.content,
            Some(_) => false,
        };
        elsewhere && self.moved == Some(agreed.content)
    }

    fn is_restored(&self) -> bool {
        match (self.agreed, self.disk) {
            (None, Some(Entry::File(disk))) => {
                is_indispensable(self.path) || self.deleted == Some(disk.content)
            }
            _ => false,
        }
    }
}

/// Whether this is one of the sequences that the deployer always has, and writes
/// where there is none.
fn is_indispensable(path: &RelPath) -> bool {
    let mut inward = path.components().rev();
    let file = inward.next();
    matches!(file, Some(b"main.xml" | b"fault.xml")) && inward.next() == Some(b"sequences")
}

/// The names under which the deployer puts a file that it refuses, in the order
/// in which it tries them: `x.xml.back`, `x.xml.1.back`, and so on.
pub fn moved_names(path: &RelPath) -> impl Iterator<Item = RelPath> + use<> {
    let bytes = path.as_bytes().to_vec();
    (0..MOVED_NAMES_MAX).map_while(move |number| {
        let mut name = bytes.clone();
        match number {
            0 => name.extend_from_slice(b".back"),
            number => name.extend_from_slice(format!(".{number}.back").as_bytes()),
        }
        // A name that is too long can be nobody's.
        RelPath::new(&name).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{FileEntry, Mode, Mtime};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn file(content: &str) -> Entry {
        Entry::File(FileEntry {
            mode: Mode::new(0o644),
            mtime: Mtime {
                seconds: 0,
                nanoseconds: 0,
            },
            length: content.len() as u64,
            content: ContentId::of(content.as_bytes()),
        })
    }

    /// The cause for contents; `-` is nothing, `/` a directory.
    fn cause(at: &str, agreed: &str, disk: &str, moved: &str, deleted: &str) -> Cause {
        let entry = |content: &str| match content {
            "-" => None,
            "/" => Some(Entry::Directory {
                mode: Mode::new(0o755),
            }),
            content => Some(file(content)),
        };
        let content = |text: &str| (text != "-").then(|| ContentId::of(text.as_bytes()));
        let (agreed, disk) = (entry(agreed), entry(disk));
        Evidence {
            path: &path(at),
            agreed: agreed.as_ref(),
            disk: disk.as_ref(),
            moved: content(moved),
            deleted: content(deleted),
        }
        .cause()
    }

    #[test]
    fn a_hand_and_the_deployer_are_told_apart() {
        use Cause::{Edited, Rejected, Restored};
        let api = "default/api/a.xml";
        let main = "default/sequences/main.xml";
        let cases = [
            // A new artifact of bad content is moved away.
            (api, "new", "-", "new", "-", Rejected),
            // A bad update is moved away, and the old version written back: as it
            // was, or in the deployer's own words.
            (api, "new", "old", "new", "-", Rejected),
            (api, "new", "old, written anew", "new", "-", Rejected),
            // What was moved away is of another time.
            (api, "new", "-", "older", "-", Edited),
            (api, "new", "old", "older", "-", Edited),
            // Nothing was moved away.
            (api, "new", "-", "-", "-", Edited),
            (api, "new", "by hand", "-", "-", Edited),
            // Only the time or the mode is another.
            (api, "new", "new", "new", "-", Edited),
            // Something else stands in the way.
            (api, "new", "/", "new", "-", Edited),
            (api, "/", "-", "new", "-", Edited),
            // Sequences that are always there come back, whatever they hold, and
            // so may others from memory.
            (main, "-", "anything", "-", "-", Restored),
            ("t/sequences/fault.xml", "-", "it", "-", "-", Restored),
            (api, "-", "old", "-", "old", Restored),
            (api, "-", "by hand", "-", "old", Edited),
            (api, "-", "by hand", "-", "-", Edited),
            ("default/api/main.xml", "-", "it", "-", "-", Edited),
            (main, "-", "/", "-", "-", Edited),
            // One that was agreed and is another is a hand's.
            (main, "agreed", "by hand", "-", "-", Edited),
        ];
        for (at, agreed, disk, moved, deleted, expected) in cases {
            let found = cause(at, agreed, disk, moved, deleted);
            assert_eq!(found, expected, "{at} {agreed} {disk} {moved} {deleted}");
        }
    }

    #[test]
    fn the_names_are_those_of_the_deployer_and_end() {
        let shown = |at: &str| -> Vec<_> {
            let names = moved_names(&path(at)).take(3);
            names.map(|name| name.escaped()).collect()
        };
        assert_eq!(
            shown("default/api/a.xml"),
            [
                "default/api/a.xml.back",
                "default/api/a.xml.1.back",
                "default/api/a.xml.2.back"
            ]
        );
        assert_eq!(moved_names(&path("a.xml")).count(), 100);
        assert_eq!(moved_names(&path(&"x".repeat(250))).count(), 1);
    }
}
