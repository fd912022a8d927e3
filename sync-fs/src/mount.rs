//! A tree's work directory: where it may be, and how much room it has.
//!
//! What is staged there is renamed into the tree, so both must be on one mount;
//! and nothing may be staged where the hot deployer looks, so neither may lie in
//! the other.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use sync_core::path::escape;
use thiserror::Error;

use crate::root::{DiskError, Root, RootError, Space};

/// Why a directory cannot be a tree's work directory.
#[derive(Debug, Error)]
pub enum WorkError {
    /// It cannot be made.
    #[error("cannot make the work directory `{work}`")]
    Make {
        /// The directory, escaped.
        work: String,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot use the work directory")]
    Open(#[from] RootError),
    /// The operating system does not say where it is.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A rename from it into the tree is impossible.
    #[error(
        "the work directory `{work}` is not on the file system of the tree `{tree}`: set `work_dir` \
         in its `[[tree]]` to a directory beside the tree, outside of what the server deploys"
    )]
    OtherMount {
        /// The tree, escaped.
        tree: String,
        /// The directory, escaped.
        work: String,
    },
    /// One lies in the other.
    #[error(
        "the work directory `{work}` and the tree `{tree}` lie in one another: set `work_dir` in \
         its `[[tree]]` to a directory beside the tree"
    )]
    Nested {
        /// The tree, escaped.
        tree: String,
        /// The directory, escaped.
        work: String,
    },
}

/// Opens the work directory of `tree`, making it with mode 0700 where it is
/// missing.
///
/// # Errors
/// Where it cannot be made or opened, or is in the wrong place.
pub fn open_work_directory(tree: &Root, work: &Path) -> Result<Root, WorkError> {
    let shown = || escape(work.as_os_str().as_encoded_bytes());
    let failed = |source| WorkError::Make {
        work: shown(),
        source,
    };
    // Asked before it is made: nothing is ever made inside the tree.
    let existing = work.ancestors().find_map(|above| above.canonicalize().ok());
    let real_tree = real_path(tree)?;
    if existing.is_some_and(|above| above.starts_with(&real_tree)) {
        return Err(nested(tree, shown()));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(work)
        .map_err(failed)?;
    let work = Root::open(work)?;
    check(tree, &work)?;
    Ok(work)
}

/// Checks that files can be renamed from `work` into `tree`, and that neither is
/// in the other.
///
/// # Errors
/// Says which rule is broken and what to set.
pub fn check(tree: &Root, work: &Root) -> Result<(), WorkError> {
    if tree.mount()? != work.mount()? {
        return Err(WorkError::OtherMount {
            tree: tree.place(None).to_string(),
            work: work.place(None).to_string(),
        });
    }
    let (real_tree, real_work) = (real_path(tree)?, real_path(work)?);
    if real_tree.starts_with(&real_work) || real_work.starts_with(&real_tree) {
        return Err(nested(tree, work.place(None).to_string()));
    }
    Ok(())
}

fn real_path(root: &Root) -> Result<PathBuf, RootError> {
    root.path().canonicalize().map_err(|source| RootError {
        path: root.place(None).to_string(),
        source,
    })
}

fn nested(tree: &Root, work: String) -> WorkError {
    let tree = tree.place(None).to_string();
    WorkError::Nested { tree, work }
}

/// Too little room for what is to come.
#[derive(Debug, Error)]
#[error(
    "`{place}` has {} bytes and {} inodes free, {} bytes and {} inodes are needed: make room; \
     nothing was changed", .free.bytes, .free.inodes, .needed.bytes, .needed.inodes
)]
pub struct NotEnoughSpace {
    /// Where, escaped.
    pub place: String,
    /// What is there.
    pub free: Space,
    /// What was asked for.
    pub needed: Space,
}

/// Why room could not be promised.
#[derive(Debug, Error)]
pub enum SpaceError {
    /// There is too little.
    #[error(transparent)]
    NotEnough(#[from] NotEnoughSpace),
    /// The operating system does not say.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Checks that the file system of `root` has room for `needed`.
///
/// # Errors
/// Where it has not.
pub fn require_space(root: &Root, needed: Space) -> Result<(), SpaceError> {
    let free = root.space()?;
    if free.bytes >= needed.bytes && free.inodes >= needed.inodes {
        return Ok(());
    }
    Err(SpaceError::NotEnough(NotEnoughSpace {
        place: root.place(None).to_string(),
        free,
        needed,
    }))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_work_directory_beside_the_tree_is_made_private() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tree")).unwrap();
        let tree = Root::open(&home.path().join("tree")).unwrap();
        let work = home.path().join("state/trees/one");
        open_work_directory(&tree, &work).unwrap();
        let mode = fs::metadata(&work).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        open_work_directory(&tree, &work).unwrap();
    }

    #[test]
    fn a_work_directory_inside_the_tree_or_around_it_is_refused() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tree")).unwrap();
        let tree = Root::open(&home.path().join("tree")).unwrap();
        std::os::unix::fs::symlink("tree", home.path().join("alias")).unwrap();
        for work in ["", "tree", "tree/.work", "alias/other"] {
            let refused = open_work_directory(&tree, &home.path().join(work));
            assert!(matches!(refused, Err(WorkError::Nested { .. })), "{work}");
        }
        assert!(tree.is_empty().unwrap());
    }

    #[test]
    fn a_work_directory_on_another_file_system_is_refused_with_the_setting_to_change() {
        let tree = Root::open(Path::new("/proc/self/fd")).unwrap();
        let home = tempfile::tempdir().unwrap();
        let error = open_work_directory(&tree, home.path()).unwrap_err();
        assert!(error.to_string().contains("set `work_dir`"), "{error}");
    }

    #[test]
    fn too_little_space_is_refused_before_anything_is_written() {
        let home = tempfile::tempdir().unwrap();
        let root = Root::open(home.path()).unwrap();
        let needed = |bytes, inodes| Space { bytes, inodes };
        require_space(&root, needed(1, 1)).unwrap();
        let error = require_space(&root, needed(u64::MAX, 1)).unwrap_err();
        assert!(matches!(error, SpaceError::NotEnough(_)));
        assert!(error.to_string().contains("make room"), "{error}");
    }
}
