//! Opening a replica: first of all, whatever was interrupted is finished.
//!
//! The snapshot says where the tree stood, the journal what was committed since.
//! The two must join: the snapshot's position is one of the segment's. All
//! commits after it are folded into one set of changes and applied like any
//! other, so that no older generation shows on the way and files that are right
//! are not touched. A snapshot that is damaged, lost or does not join is no
//! reason to stop: the disk is read in full and taken for what it is.

use std::{
    collections::BTreeMap, fs::DirBuilder, io, ops::ControlFlow, os::unix::fs::DirBuilderExt,
    path::Path, time::Instant,
};

use sync_core::{
    Action, Change, Entry, Epoch, Generation, Position, RelPath, Root as TreeRoot,
    journal::{Commit, Placed, counting},
    path::escape,
    plan::apply_changes,
};
use thiserror::Error;

use super::{
    Replica, ReplicaOptions,
    apply::{ApplyError, Pending},
    aside::{ASIDE, Aside},
    checkpoint::{CheckpointError, Unsynced},
    contents::{Contents, STAGING, make_directory},
    deleted::DeletedFiles,
    judge::History,
    leftovers,
    prepared::{self, Prepared},
    recent::RecentSeconds,
    reserve::Reserve,
    returning::Returning,
    with_causes,
};
use crate::{
    archive::Archive,
    journal::{Found, Journal, JournalError},
    observed::Observed,
    recipes::Recipes,
    root::{DiskError, Root, RootError},
    scan::ScanError,
    state::{Loaded, TreeState},
};

/// Why a replica cannot be opened.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The tree's root, or the work directory, cannot be opened.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The work directory cannot be made.
    #[error("cannot make the work directory `{path}`")]
    WorkDir {
        /// The directory, escaped.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A rename between the two would not be one step.
    #[error(
        "the work directory `{work_dir}` is not on the file system (mount) of the tree `{root}`; set `work_dir` in its `[[tree]]` to a directory beside the tree"
    )]
    OtherMount {
        /// The work directory, escaped.
        work_dir: String,
        /// The tree, escaped.
        root: String,
    },
    /// The deployer would read what is being prepared.
    #[error(
        "the work directory `{work_dir}` is inside the tree `{root}`; set `work_dir` in its `[[tree]]` to a directory beside the tree"
    )]
    WorkDirInTree {
        /// The work directory, escaped.
        work_dir: String,
        /// The tree, escaped.
        root: String,
    },
    /// The work directory cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The tree cannot be looked at.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// What recovery started from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Basis {
    /// Nothing: the tree was never synchronised.
    New,
    /// The snapshot, which is whole and joins with the journal.
    Snapshot,
    /// The disk, read in full: this node was active before, and what it had then
    /// was agreed with nobody who is active now.
    Returned,
    /// The disk, read in full, and why the snapshot was of no use. The position
    /// may not be one a peer knows: compare.
    Rebuilt(String),
}

/// What opening a replica found and did.
#[derive(Debug)]
pub struct Recovery {
    /// What recovery started from.
    pub basis: Basis,
    /// Whether a journal was there that could not be believed.
    pub journal_damaged: bool,
    /// Whether the tree's root is not the directory it was.
    pub root_replaced: bool,
    /// Generations found in the journal that the snapshot did not have.
    pub redone: Vec<Generation>,
    /// Paths they touch, each compared with the disk.
    pub paths_checked: usize,
    /// Things an interruption left in the staging directory, now removed.
    pub leftovers_removed: u32,
    /// What was not as agreed and is kept aside.
    pub kept_aside: Vec<Aside>,
    /// Why the generations could not be applied wholly, if so.
    pub unfinished: Option<ApplyError>,
    /// Why the result could not be made durable, if so; it will be tried again.
    pub not_saved: Option<CheckpointError>,
}

impl Replica {
    /// Opens the replica of a tree and finishes what was interrupted.
    ///
    /// # Errors
    /// Where the tree or the work directory cannot be used.
    pub fn open(options: ReplicaOptions) -> Result<(Self, Recovery), ReplicaError> {
        let (root, work) = open_roots(&options)?;
        let loaded = TreeState::load(&work);
        let base = match &loaded {
            Loaded::State(state) => state.position,
            Loaded::Missing | Loaded::Damaged(_) => never(),
        };
        let (journal, mut found) =
            Journal::open(&work, &options.tree, base, options.journal_bytes)?;
        let commits = std::mem::take(&mut found.commits);
        found.commits = counting(commits, |lead| options.is_reached(lead));
        let mut start = Start::of(loaded, &mut found);
        let returning = Returning::of(&work)?;
        let root_replaced = match start.identity {
            Some(identity) => root.identity()? != identity,
            None => false,
        };
        let untouched = found.commits.is_empty() && !root_replaced;
        if returning.is_some() && untouched && start.basis == Basis::Snapshot {
            start.basis = Basis::Returned;
        }
        let mut replica = Self {
            reserve: Reserve::new(options.reserve_bytes),
            contents: Contents::new(journal),
            position: start.position,
            agreed: start.agreed,
            pending: None,
            tentative: false,
            returning,
            recent: RecentSeconds::default(),
            deleted: DeletedFiles::default(),
            unsynced: Unsynced::default(),
            recipes: Recipes::default(),
            archive: Archive::open(&work, options.archive)?,
            options,
            root,
            work,
        };
        let mut recovery = Recovery {
            basis: start.basis,
            journal_damaged: found.damaged,
            root_replaced,
            redone: Vec::new(),
            paths_checked: 0,
            leftovers_removed: 0,
            kept_aside: Vec::new(),
            unfinished: None,
            not_saved: None,
        };
        let journal_is_whole = found.base.is_some() && !found.damaged;
        replica.recover(found.commits, journal_is_whole, &mut recovery)?;
        Ok((replica, recovery))
    }

    fn recover(
        &mut self,
        commits: Vec<Commit>,
        journal_is_whole: bool,
        recovery: &mut Recovery,
    ) -> Result<(), ReplicaError> {
        if matches!(recovery.basis, Basis::Rebuilt(_) | Basis::Returned) {
            let Position {
                epoch, generation, ..
            } = self.position;
            self.take_disk_as_agreed(epoch, generation, &mut |_| ControlFlow::Continue(()))?;
        }
        let last = commits
            .last()
            .map_or(self.position, |commit| commit.position());
        let durable = journal_is_whole.then_some(last.generation);
        let (work, contents) = (&self.work, &mut self.contents);
        let left = leftovers::sort_out(work, &self.agreed, contents, &commits, durable)?;
        recovery.leftovers_removed = left.removed;
        recovery.kept_aside = left.kept_aside;
        if let Some(pending) = self.fold(&commits) {
            recovery.redone = commits
                .iter()
                .map(|commit| commit.header.generation)
                .collect();
            recovery.paths_checked = pending.changes.len();
            let before = self.agreed.manifest().clone();
            self.pending = Some(pending);
            self.redo(recovery);
            self.record_commits(before, &commits);
        }
        if recovery.unfinished.is_none() && self.has_unsaved() {
            recovery.not_saved = self.checkpoint().err();
        }
        if let Err(error) = self.reserve.take(&self.work) {
            // Recovery did without; no generation is accepted without it.
            tracing::warn!(error = with_causes(&error), "cannot keep space in reserve");
        }
        Ok(())
    }

    fn redo(&mut self, recovery: &mut Recovery) {
        match self.resume() {
            Ok(applied) => {
                recovery
                    .kept_aside
                    .extend(applied.into_iter().flat_map(|applied| applied.kept_aside));
            }
            Err(error) => recovery.unfinished = Some(error),
        }
    }

    /// All commits as one set of changes, the last one of each path counting.
    fn fold(&mut self, commits: &[Commit]) -> Option<Pending> {
        let last = commits.last()?;
        let now = Instant::now();
        let mut changes: BTreeMap<RelPath, Placed> = BTreeMap::new();
        let mut history = History::new();
        for placed in commits.iter().flat_map(|commit| &commit.changes) {
            let path = &placed.change.path;
            if let Action::Put(Entry::File(file)) = &placed.change.action {
                history.entry(path.clone()).or_default().push(file.content);
                self.recent.note(path, file.mtime.seconds, now);
            }
            changes.insert(path.clone(), placed.clone());
        }
        Some(Pending {
            position: last.position(),
            changes: changes.into_values().collect(),
            prepared: Prepared::default(),
            history,
            draft: None,
            bumped: 0,
        })
    }
}

/// Where recovery starts from.
struct Start {
    position: Position,
    agreed: Observed,
    identity: Option<crate::root::Identity>,
    basis: Basis,
}

impl Start {
    /// Joins snapshot and journal; takes the commits that the snapshot has out
    /// of what was found.
    fn of(loaded: Loaded, found: &mut Found) -> Self {
        let reason = match loaded {
            Loaded::State(state) => match join(&state, found) {
                Ok(()) => return Self::whole(*state),
                Err(reason) => reason,
            },
            Loaded::Missing if is_untouched(found) => return Self::new(),
            Loaded::Missing => "there is none, but a journal".to_owned(),
            Loaded::Damaged(reason) => reason,
        };
        Self {
            position: found.base.unwrap_or(never()),
            agreed: Observed::new(),
            identity: None,
            basis: Basis::Rebuilt(reason),
        }
    }

    fn whole(state: TreeState) -> Self {
        Self {
            position: state.position,
            agreed: state.agreed,
            identity: Some(state.identity),
            basis: Basis::Snapshot,
        }
    }

    fn new() -> Self {
        Self {
            position: never(),
            agreed: Observed::new(),
            identity: None,
            basis: Basis::New,
        }
    }
}

/// Whether the journal never took a generation.
fn is_untouched(found: &Found) -> bool {
    let base = found.base.unwrap_or(never());
    found.commits.is_empty() && base.generation == Generation(0) && !found.damaged
}

/// Leaves in `found` the commits after the snapshot's position.
fn join(state: &TreeState, found: &mut Found) -> Result<(), String> {
    let Some(base) = found.base else {
        return Ok(()); // a new journal, which starts at the snapshot
    };
    let first_contact = state.position.generation == Generation(0) && found.commits.is_empty();
    if first_contact {
        return Ok(());
    }
    let position_of = |index: usize| match index.checked_sub(1) {
        Some(before) => found.commits[before].position(),
        None => base,
    };
    let at = (0..=found.commits.len())
        .rev()
        .find(|index| position_of(*index) == state.position)
        .ok_or_else(|| {
            format!(
                "it is of generation {}, which the journal does not know",
                state.position.generation
            )
        })?;
    found.commits.drain(..at);
    check_roots(state, &found.commits)
}

/// Every commit must lead from the position before it to its own.
fn check_roots(state: &TreeState, commits: &[Commit]) -> Result<(), String> {
    let mut agreed = state.agreed.manifest().clone();
    for commit in commits {
        let changes: Vec<Change> = commit
            .changes
            .iter()
            .map(|placed| placed.change.clone())
            .collect();
        let starts_here = agreed.root() == commit.header.base;
        agreed = apply_changes(&agreed, &changes);
        if !starts_here || agreed.root() != commit.header.root {
            let generation = commit.header.generation;
            return Err(format!(
                "generation {generation} of the journal does not follow from it"
            ));
        }
    }
    Ok(())
}

/// Where a tree stands before the first contact.
fn never() -> Position {
    Position {
        epoch: Epoch(0),
        generation: Generation(0),
        root: TreeRoot::empty(),
    }
}

fn open_roots(options: &ReplicaOptions) -> Result<(Root, Root), ReplicaError> {
    let root = Root::open(&options.root)?;
    refuse_inside(&options.work_dir, &options.root)?;
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(&options.work_dir)
        .map_err(|source| ReplicaError::WorkDir {
            path: shown(&options.work_dir),
            source,
        })?;
    let work = Root::open(&options.work_dir)?;
    if root.mount()? != work.mount()? {
        return Err(ReplicaError::OtherMount {
            work_dir: shown(&options.work_dir),
            root: shown(&options.root),
        });
    }
    refuse_inside(&options.work_dir, &options.root)?;
    make_directory(&work, STAGING)?;
    prepared::clear(&work)?;
    make_directory(&work, ASIDE)?;
    Ok((root, work))
}

/// Before the directory is made by its name alone, after by where it leads.
fn refuse_inside(work_dir: &Path, root: &Path) -> Result<(), ReplicaError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(work_dir).starts_with(real(root)) || work_dir.starts_with(root) {
        return Err(ReplicaError::WorkDirInTree {
            work_dir: shown(work_dir),
            root: shown(root),
        });
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
