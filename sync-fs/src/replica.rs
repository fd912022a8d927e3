//! The passive side of one tree: takes generations, makes them durable, applies
//! them, and knows what stands on the disk instead.
//!
//! The life of a generation: [`Replica::begin`] checks it and finds out which
//! contents are missing; they go into the journal or the staging directory as
//! they come; [`Replica::commit`] writes one record, after which it survives
//! power loss; [`Replica::apply`] carries out the plan with one rename a file;
//! a [`Replica::checkpoint`] later makes the tree itself durable and recycles
//! the journal. [`Replica::open`] begins with recovery. docs/journal.md says why
//! in this order.
//!
//! A replica blocks and belongs to one thread. Which generations there are, and
//! when to apply, heal or checkpoint, is decided by its owner.

mod accept;
mod apply;
mod aside;
mod checkpoint;
mod commit;
mod contents;
mod deleted;
mod drift;
mod going_back;
mod hold;
mod intake;
mod judge;
mod large;
mod leftovers;
mod options;
mod past;
mod patched;
mod prepared;
mod ready;
mod recent;
mod recover;
mod reserve;
mod returning;
mod run;
mod stream;
mod swap;
mod syncer;
mod writer;

use sync_core::{Manifest, Position};

pub use apply::{Applied, ApplyError};
pub use aside::{Aside, KeptAside, kept_aside};
pub use checkpoint::{CheckpointError, Unsaved};
pub use commit::{CommitError, Committed, Tentative};
pub use drift::{AdoptError, Drift, DriftKind, Drifted};
pub use hold::Held;
pub use intake::{Intake, IntakeError};
pub use large::{LargeIntake, LocalSource};
pub use options::ReplicaOptions;
pub use recover::{Basis, Recovery, ReplicaError};

pub(crate) use contents::{
    finished_name as finished_content, has_content, partial_name as partial_content,
};
pub(crate) use going_back::{GoingBack, clear_staging, sort_out_staging};

use crate::{archive::Archive, observed::Observed, recipes::Recipes, root::Root, with_causes};
use apply::Pending;
use checkpoint::Unsynced;
use contents::Contents;
use deleted::DeletedFiles;
use recent::RecentSeconds;
use reserve::Reserve;
use returning::Returning;

/// The passive side of one tree.
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    root: Root,
    work: Root,
    /// Where the tree stands: committed and applied.
    position: Position,
    /// What the generation at `position` says, with the times as applied, and
    /// the stat under which the disk had it.
    agreed: Observed,
    contents: Contents,
    reserve: Reserve,
    /// A generation that is durable and not wholly applied.
    pending: Option<Pending>,
    /// Whether a generation of a span waits to be confirmed.
    tentative: bool,
    /// There while what stands in the tree was an active's.
    returning: Option<Returning>,
    recent: RecentSeconds,
    deleted: DeletedFiles,
    unsynced: Unsynced,
    recipes: Recipes,
    archive: Archive,
}

impl Replica {
    /// Where the tree stands. A generation that is durable but not wholly
    /// applied does not count; see [`Replica::durable`].
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the tree stands or will stand when [`Replica::resume`] succeeds.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.pending
            .as_ref()
            .map_or(self.position, |pending| pending.position)
    }

    /// What the last applied generation says, with the times as applied.
    #[must_use]
    pub fn agreed(&self) -> &Manifest {
        self.agreed.manifest()
    }

    /// Contents that an interrupted transfer left and that will not be wanted
    /// again.
    #[must_use]
    pub fn staged_contents(&self) -> u64 {
        self.contents.uncommitted()
    }

    /// Whether the tree was never synchronised.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.position.generation.0 == 0
    }

    /// Lets the first generations replace and delete files that were never
    /// synchronised, or forbids it again.
    pub fn set_overwrite(&mut self, overwrite: bool) {
        self.options.overwrite = overwrite;
    }

    /// Whether the tree's root is still the directory that was opened.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.root.is_in_place().unwrap_or(false)
    }

    /// What is kept of earlier generations.
    pub fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// What the replica was opened with.
    #[must_use]
    pub fn options(&self) -> &ReplicaOptions {
        &self.options
    }

    /// Why nothing can be committed at the moment, if so: the journal failed and
    /// waits for a checkpoint to replace it.
    #[must_use]
    pub fn degraded(&self) -> Option<&str> {
        self.contents.journal().failure()
    }
}
