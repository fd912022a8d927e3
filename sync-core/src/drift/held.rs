//! What the policy `hold` keeps a generation from: replacing or deleting what
//! somebody changed on the passive.

use std::collections::BTreeMap;

use super::Cause;
use crate::{
    entry::Entry,
    generation::{Action, TreeName},
    path::RelPath,
    wire::PlanId,
};

/// What a generation does, by path.
pub type Actions<'a> = BTreeMap<&'a RelPath, &'a Action>;

/// A path that is not as agreed, as a look of now found it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Where.
    pub path: &'a RelPath,
    /// What stands there.
    pub disk: Option<&'a Entry>,
    /// Who made it differ.
    pub cause: Cause,
}

impl Found<'_> {
    /// Whether a generation would undo what a hand did here. What the deployer did
    /// is no decision of anybody's.
    #[must_use]
    pub fn is_undone_by(&self, changes: &Actions<'_>) -> bool {
        self.cause == Cause::Edited
            && match changes.get(self.path) {
                Some(Action::Delete) => self.disk.is_some(),
                Some(Action::Put(new)) => self.disk.is_none_or(|disk| !disk.same_identity(new)),
                None => self.disk.is_some() && goes_with_its_directory(changes, self.path),
            }
    }
}

/// Whether a directory above the path is deleted, or becomes a file.
fn goes_with_its_directory(changes: &Actions<'_>, path: &RelPath) -> bool {
    std::iter::successors(path.parent(), RelPath::parent).any(|above| {
        matches!(
            changes.get(&above),
            Some(Action::Delete | Action::Put(Entry::File(_) | Entry::Symlink { .. }))
        )
    })
}

/// Names the decision over `found`: another edit asks for another decision.
#[must_use]
pub fn held_plan<'a>(tree: &TreeName, found: impl IntoIterator<Item = Found<'a>>) -> PlanId {
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 held drift");
    let mut update = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    update(tree.as_str().as_bytes());
    for found in found {
        update(found.path.as_bytes());
        match found.disk {
            None => update(b"missing"),
            Some(Entry::Directory { mode }) => update(&mode.bits().to_le_bytes()),
            Some(Entry::File(file)) => {
                update(&file.mode.bits().to_le_bytes());
                update(&file.content.0);
            }
            Some(Entry::Symlink { target }) => update(target),
        }
    }
    let hash = hasher.finalize();
    let (id, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    PlanId(*id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentId, FileEntry, Mode, Mtime};

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

    #[test]
    fn only_what_a_hand_did_and_would_be_lost_is_held() {
        use Cause::{Edited, Rejected, Restored};
        let changes = [
            ("d", Action::Put(file("a file now"))),
            ("gone", Action::Delete),
            ("gone/a", Action::Delete),
            ("x", Action::Put(file("new"))),
        ]
        .map(|(at, action)| (path(at), action));
        let changes: Actions<'_> = changes
            .iter()
            .map(|(path, action)| (path, action))
            .collect();
        let cases = [
            ("x", Some("by hand"), Edited, true),
            ("x", None, Edited, true),
            ("x", Some("new"), Edited, false), // the same idea
            ("x", Some("old"), Rejected, false),
            ("x", Some("old"), Restored, false),
            ("gone/a", Some("by hand"), Edited, true),
            ("gone/a", None, Edited, false),
            ("gone/made/here", Some("by hand"), Edited, true),
            ("gone/made/here", None, Edited, false),
            ("d/made", Some("by hand"), Edited, true),
            ("elsewhere", Some("by hand"), Edited, false),
        ];
        for (at, disk, cause, expected) in cases {
            let disk = disk.map(file);
            let found = Found {
                path: &path(at),
                disk: disk.as_ref(),
                cause,
            };
            assert_eq!(
                found.is_undone_by(&changes),
                expected,
                "{at} {disk:?} {cause:?}"
            );
        }
    }

    #[test]
    fn a_decision_is_over_exactly_what_stands_there() {
        let tree = TreeName::new("t").unwrap();
        let plan = |disks: &[(&str, Option<&str>)]| {
            let disks: Vec<_> = disks
                .iter()
                .map(|(at, disk)| (path(at), disk.map(file)))
                .collect();
            let found = disks.iter().map(|(path, disk)| Found {
                path,
                disk: disk.as_ref(),
                cause: Cause::Edited,
            });
            held_plan(&tree, found)
        };
        let one = plan(&[("a", Some("by hand"))]);
        assert_eq!(plan(&[("a", Some("by hand"))]), one);
        assert_ne!(plan(&[("a", Some("by hand, again"))]), one);
        assert_ne!(plan(&[("a", None)]), one);
        assert_ne!(plan(&[("b", Some("by hand"))]), one);
        assert_ne!(plan(&[("a", Some("by hand")), ("b", None)]), one);
        let other = TreeName::new("u").unwrap();
        assert_ne!(held_plan(&other, []), held_plan(&tree, []));
    }
}
