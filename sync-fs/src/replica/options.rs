//! What a replica is opened with.

use std::{collections::BTreeMap, path::PathBuf};

use sync_core::{Preset, TreeName, exclude::Rules, journal::Lead};

use crate::{
    archive::ArchiveLimits,
    journal,
    root::Root,
    state::{Loaded, TreeState},
};

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
    /// The work directories of the other trees that generations may span.
    pub siblings: BTreeMap<TreeName, PathBuf>,
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
            siblings: BTreeMap::new(),
            archive: ArchiveLimits::default(),
        }
    }

    /// Whether another tree has come to the generation that decides about one of
    /// this tree's. Where nothing can be told, what may have been acknowledged is
    /// kept: the tree is gone from the configuration, or what it knew is lost.
    pub(super) fn is_reached(&self, lead: &Lead) -> bool {
        let Some(work_dir) = self.siblings.get(&lead.tree) else {
            return true;
        };
        let stands_at = Root::open(work_dir).ok().and_then(|work| {
            let by_journal = journal::stands_at(&work).ok()?;
            by_journal.or_else(|| match TreeState::load(&work) {
                Loaded::State(state) => Some(state.position),
                Loaded::Missing | Loaded::Damaged(_) => None,
            })
        });
        stands_at.is_none_or(|position| lead.is_reached_by(&position))
    }
}
