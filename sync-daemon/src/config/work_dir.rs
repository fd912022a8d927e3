//! Where a tree's work directory has to be.
//!
//! Staged files reach the tree by rename, so they must be on its mount. The
//! default place is in the state directory; where that is on another mount, a
//! directory beside the tree takes its place.

use std::path::{Path, PathBuf};

use sync_fs::root::{Mount, Root};

/// The `work_dir` that a tree at `tree` needs, if the state directory is no
/// place for it: a hidden directory beside the tree. `None` also where nothing
/// beside the tree is on its mount: the node will then say so itself.
#[must_use]
pub fn work_dir_beside(tree: &Path, name: &str, state_dir: &Path) -> Option<PathBuf> {
    let tree_mount = mount_of(tree)?;
    if mount_of(state_dir) == Some(tree_mount) {
        return None;
    }
    let parent = tree.parent()?;
    let fits = mount_of(parent) == Some(tree_mount);
    fits.then(|| parent.join(format!(".apim-sync-{name}")))
}

/// The mount of the nearest directory that exists.
fn mount_of(path: &Path) -> Option<Mount> {
    path.ancestors()
        .find_map(|path| Root::open(path).ok())
        .and_then(|root| root.mount().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_needed_where_the_state_is_on_the_same_mount() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, state) = (
            directory.path().join("tree"),
            directory.path().join("state"),
        );
        std::fs::create_dir(&tree).unwrap();
        assert_eq!(work_dir_beside(&tree, "t", &state), None);
    }

    #[test]
    fn a_tree_on_another_mount_gets_a_directory_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        if mount_of(directory.path()) == mount_of(elsewhere.path()) {
            return;
        }
        let tree = elsewhere.path().join("deep/tree");
        assert_eq!(
            work_dir_beside(&tree, "t", directory.path()),
            Some(elsewhere.path().join("deep/.apim-sync-t"))
        );
    }
}
