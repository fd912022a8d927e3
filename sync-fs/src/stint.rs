//! What a work directory holds from the role that its tree had before.
//!
//! A passive keeps a journal, an active does not: so a work directory with a
//! journal is a passive's, one with a snapshot alone an active's. A node that
//! changes its role takes over what the other role left through
//! [`begin_active`] or [`begin_passive`], before the tree is opened. Both can be
//! cut off anywhere and begun again.
//!
//! What an active leaves was never agreed with anybody who is active now: until
//! the first generation of the new active is applied, whatever that generation
//! replaces or deletes is kept aside (see [`Replica::know_agreed`]). What a
//! passive leaves was agreed up to its last generation, and stays on record, so
//! that it can be told what either side did since.

use std::path::Path;

use sync_core::{Manifest, Position, RelPath};
use thiserror::Error;

use crate::{
    replica::{ApplyError, CheckpointError, Replica, ReplicaError, ReplicaOptions},
    root::{AbsentIsNone, DiskError, Root, RootError},
    state::{Loaded, TreeState},
};

/// The snapshot that both roles keep.
pub(crate) const STATE: &[u8] = b"state";
/// What was agreed when this node last stopped being passive.
pub(crate) const AGREED: &[u8] = b"agreed";
/// There from the time when the tree becomes an active's until, under a passive
/// again, what stands in it is agreed.
pub(crate) const RETURNING: &[u8] = b"returning";

/// Why one role cannot take over from the other.
#[derive(Debug, Error)]
pub enum StintError {
    /// The work directory cannot be opened.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The work directory cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the passive left cannot be opened.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// A generation that was acknowledged cannot be applied wholly.
    #[error(transparent)]
    Unfinished(#[from] ApplyError),
    /// What was applied cannot be made durable.
    #[error(transparent)]
    NotSaved(#[from] CheckpointError),
    /// Another directory stands in the tree's place.
    #[error(
        "`{0}` is not the directory that was synchronised: its file system is not mounted, or it was replaced"
    )]
    Replaced(String),
}

/// Takes over as the active. What a passive left is brought to its end: every
/// generation that was acknowledged is applied and saved. Nothing to do where the
/// last owner was an active, or there was none.
///
/// # Errors
/// Where that is impossible; the work directory then still is the passive's.
pub fn begin_active(options: ReplicaOptions) -> Result<(), StintError> {
    let work_dir = options.work_dir.clone();
    if !work_dir.join("journal").exists() {
        return Ok(());
    }
    let (mut replica, recovery) = Replica::open(options)?;
    if recovery.root_replaced {
        return Err(StintError::Replaced(replica.shown_root()));
    }
    if let Some(error) = recovery.unfinished {
        return Err(error.into());
    }
    replica.hand_over()?;
    drop(replica);
    mark_active(&work_dir)?;
    let work = Root::open(&work_dir)?;
    // Last: without it the work directory is an active's.
    work.remove_file(&name(b"journal")).absent_is_none()?;
    work.sync_directory(None)?;
    Ok(())
}

/// Notes that the tree is an active's from now on, whatever else comes to be
/// saved of it.
///
/// # Errors
/// Where the work directory cannot be written.
pub fn mark_active(work_dir: &Path) -> Result<(), StintError> {
    let work = Root::open(work_dir)?;
    if work.stat(&name(RETURNING))?.is_none() {
        work.create_file(&name(RETURNING))?.sync_all()?;
        work.sync_directory(None)?;
    }
    Ok(())
}

/// Takes over as a passive. Returns whether the last owner was an active, so that
/// what stands in the tree is not agreed.
///
/// # Errors
/// Where the work directory cannot be read or written.
pub fn begin_passive(work_dir: &Path) -> Result<bool, StintError> {
    if !work_dir.exists() {
        return Ok(false);
    }
    let work = Root::open(work_dir)?;
    let is = |file: &[u8]| work.stat(&name(file)).map(|stat| stat.is_some());
    // An active of an earlier release left no mark.
    if is(STATE)? && !is(b"journal")? {
        mark_active(work_dir)?;
    }
    Ok(is(RETURNING)?)
}

/// What was agreed when this node last stopped being passive, if it is known.
#[must_use]
pub fn last_agreed(work_dir: &Path) -> Option<(Position, Manifest)> {
    let work = Root::open(work_dir).ok()?;
    match TreeState::load_from(&work, AGREED) {
        Loaded::State(state) => Some((state.position, state.agreed.manifest().clone())),
        Loaded::Missing | Loaded::Damaged(_) => None,
    }
}

pub(crate) fn name(file: &[u8]) -> RelPath {
    RelPath::new(file).expect("a plain name is a path")
}
