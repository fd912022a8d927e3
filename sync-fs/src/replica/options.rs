//! What a replica is opened with.

use std::path::PathBuf;

use sync_core::{Preset, TreeName, exclude::Rules};

use crate::archive::ArchiveLimits;

/// What a replica is opened with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The tree's name, the same on both nodes.
    pub tree: TreeName,
    /// The tree's root directory.
    pub root: PathBuf,
    /// Where state, journal, staging and aside live: on the tree's file system,
    /// outside the tree.
    pub work_dir: PathBuf,
    /// The tree's rules.
    pub preset: Preset,
    /// What is not synchronised.
    pub exclude: Rules,
    /// Whether the first generations may replace and delete files that were
    /// never synchronised.
    pub overwrite: bool,
    /// What the journal is preallocated to and cut back to.
    pub journal_bytes: u64,
    /// What is kept back so that recovery works on a full disk.
    pub reserve_bytes: u64,
    /// How much is kept of earlier generations.
    pub archive: ArchiveLimits,
}

impl ReplicaOptions {
    /// The default journal: some thousand typical generations between two
    /// checkpoints, or one first fill of a typical node.
    pub const JOURNAL_BYTES: u64 = 16 << 20;
    /// The default reserve: the snapshot of a tree of 10,000 files, or one file
    /// of any usual size at a time.
    pub const RESERVE_BYTES: u64 = 4 << 20;

    /// Options with every default.
    pub fn new(
        tree: TreeName,
        root: impl Into<PathBuf>,
        work_dir: impl Into<PathBuf>,
        preset: Preset,
    ) -> Self {
        Self {
            tree,
            root: root.into(),
            work_dir: work_dir.into(),
            preset,
            exclude: Rules::new(),
            overwrite: false,
            journal_bytes: Self::JOURNAL_BYTES,
            reserve_bytes: Self::RESERVE_BYTES,
            archive: ArchiveLimits::default(),
        }
    }
}
