//! The tree of an active node: what differs on its disk from the manifest that
//! was accepted, and the contents behind the manifest.
//!
//! Observing changes nothing: each difference is handed out, and becomes part of
//! the manifest only when it is accepted. Whether it is, and when (a deletion is
//! held, a burst settles), is decided by the caller.

mod content;
mod observation;
mod observe;
mod rollback;
mod staging;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use sync_core::{
    Epoch, FileEntry, Generation, Manifest, Position, Preset, RelPath, exclude::Rules,
    recipe::Recipe,
};
use thiserror::Error;

pub use content::{Gone, LargeSource};
pub use observation::{Observation, Observations, State};
pub use rollback::{RolledBack, effective_changes, needed_contents};
pub use staging::{Arriving, Staging};

use crate::{
    archive::{Archive, ArchiveLimits},
    mount::{self, WorkError},
    observed::{Observed, Sighting},
    recipes::{RecipeJob, Recipes},
    root::{DiskError, Identity, Root, RootError},
    state::{Loaded, Snapshot, TreeState},
};

/// Artifact names remembered so that a deletion can be recognised as the first
/// half of a rename; of files beyond, it is held its full time.
const ARTIFACTS_MAX: usize = 10_000;

/// Which tree, and by which rules.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The root directory of the tree.
    pub path: PathBuf,
    /// Where the tree's snapshot is kept.
    pub work_dir: PathBuf,
    /// The tree's rules.
    pub preset: Preset,
    /// What is left out.
    pub exclude: Rules,
    /// Threads for scans, 1 or 2.
    pub threads: usize,
    /// How much is kept of earlier generations.
    pub archive: ArchiveLimits,
}

/// Why a tree cannot be a source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Its root cannot be opened.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Its work directory cannot be used.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The operating system does not say what it is.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why nothing on the disk may be believed now.
#[derive(Debug, Error)]
pub enum SourceProblem {
    /// The root is not there.
    #[error("the tree's directory has gone; nothing is sent until it is back")]
    Vanished(#[source] RootError),
    /// Another directory stands there.
    #[error(
        "`{path}` is not the directory that it was: its file system is not mounted, or it was \
         replaced; nothing is sent until it is back or the new one is confirmed"
    )]
    Replaced {
        /// The root, escaped.
        path: String,
    },
    /// The root holds nothing at all, and the manifest something.
    #[error("`{path}` is empty, and held {entries} entries; nothing is sent until it is confirmed")]
    Empty {
        /// The root, escaped.
        path: String,
        /// Entries in the manifest.
        entries: u64,
    },
    /// The root cannot be looked at.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the work directory told when the source was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// The manifest is that of this position.
    Known(Position),
    /// Nothing: the manifest is empty.
    New,
    /// There was a snapshot that cannot be used, for this reason: the manifest
    /// is empty, and the whole tree is read again.
    Damaged(String),
}

/// An active node's tree.
#[derive(Debug)]
pub struct Source {
    root: Root,
    work: Root,
    options: SourceOptions,
    start: Start,
    /// The directory whose content the manifest describes.
    identity: Identity,
    accepted: Observed,
    artifacts: HashMap<RelPath, Box<str>>,
    recipes: Recipes,
    archive: Archive,
    /// Which position the snapshot on the disk is of.
    saved: Option<Position>,
    /// Whether more is known by now.
    is_unsaved: bool,
}

impl Source {
    /// Opens the tree and what is known of it. Nothing is read from it yet.
    ///
    /// # Errors
    /// Where the root or the work directory cannot be used.
    pub fn open(options: SourceOptions) -> Result<Self, SourceError> {
        let root = Root::open(&options.path)?;
        let work = mount::open_work_directory(&root, &options.work_dir)?;
        let archive = Archive::open(&work, options.archive)?;
        let now = root.identity()?;
        let (mut saved, mut is_unsaved) = (None, true);
        let (start, identity, accepted) = match TreeState::load(&work) {
            Loaded::State(state) => {
                (saved, is_unsaved) = (Some(state.position), false);
                let start = Start::Known(state.position);
                (start, state.identity, state.agreed)
            }
            Loaded::Missing => (Start::New, now, Observed::new()),
            Loaded::Damaged(reason) => (Start::Damaged(reason), now, Observed::new()),
        };
        Ok(Self {
            root,
            work,
            options,
            start,
            identity,
            accepted,
            artifacts: HashMap::new(),
            recipes: Recipes::default(),
            archive,
            saved,
            is_unsaved,
        })
    }

    /// What was known when the source was opened.
    #[must_use]
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The entries that were accepted.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.accepted.manifest()
    }

    /// What is kept of earlier generations.
    pub fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// Makes one observation part of the manifest. Only what is there, what is
    /// missing, and what may not be seen any more change it; gives back whether
    /// this one did.
    pub fn accept(&mut self, observation: &Observation) -> bool {
        let path = &observation.path;
        self.is_unsaved = true;
        match &observation.state {
            State::Present {
                entry,
                seen,
                artifact,
            } => {
                self.remember(path, artifact.as_deref());
                self.recipes.note(path, entry);
                self.accepted.put(Sighting {
                    path: path.clone(),
                    entry: entry.clone(),
                    seen: *seen,
                });
                true
            }
            State::Missing { .. } | State::Excluded => {
                self.artifacts.remove(path);
                self.recipes.forget(path);
                self.accepted.remove(path).is_some()
            }
            State::Unstable | State::Unreadable(_) | State::IllFormed(_) => false,
        }
    }

    /// Makes all `observations` part of the manifest. Those of a first look are
    /// filed at once, which costs a fraction and leaves no holes in memory.
    pub fn accept_all(&mut self, observations: Vec<Observation>) {
        if !self.accepted.is_empty() {
            for observation in &observations {
                self.accept(observation);
            }
            return;
        }
        self.is_unsaved = true;
        let mut sightings = Vec::with_capacity(observations.len());
        for Observation { path, state } in observations {
            let State::Present {
                entry,
                seen,
                artifact,
            } = state
            else {
                continue; // nothing is listed that could be missing
            };
            self.remember(&path, artifact.as_deref());
            self.recipes.note(&path, &entry);
            sightings.push(Sighting { path, entry, seen });
        }
        self.accepted = Observed::from_sightings(sightings);
    }

    /// The whole content of a file: of a small one, or of one that is patched.
    ///
    /// # Errors
    /// Where it is not, or no longer, what `entry` says.
    pub fn read_whole(&self, path: &RelPath, entry: &FileEntry) -> Result<Vec<u8>, Gone> {
        content::read(&self.root, path, entry)
    }

    /// A large file, to be read in pieces.
    ///
    /// # Errors
    /// Where it is not, or no longer, as long as `entry` says.
    pub fn open_large(&self, path: &RelPath, entry: &FileEntry) -> Result<LargeSource, Gone> {
        let recipe = self.recipes.last(path).cloned();
        LargeSource::open(&self.root, path, entry, recipe)
    }

    /// A large file whose recipe is not known yet, to be read elsewhere.
    pub fn next_recipe(&mut self) -> Option<RecipeJob> {
        self.recipes.next(&self.root, self.accepted.manifest())
    }

    /// Remembers the recipe of the file at `path`.
    pub fn note_recipe(&mut self, path: &RelPath, recipe: Arc<Recipe>) {
        self.recipes.put(path, recipe, self.accepted.manifest());
    }

    /// Whether what is on the disk may be believed: the root is there, is the
    /// one it was, and is not suddenly empty. A root that went and came back is
    /// opened again.
    ///
    /// # Errors
    /// Says why not.
    pub fn check_root(&mut self) -> Result<(), SourceProblem> {
        match self.root.is_in_place() {
            Ok(true) => {}
            Ok(false) => self.reopen()?,
            Err(error) => return Err(SourceProblem::Vanished(error)),
        }
        if self.root.identity()? != self.identity {
            return Err(self.replaced());
        }
        let entries = self.manifest().totals().entries;
        if entries > 0 && self.root.is_empty()? {
            return Err(SourceProblem::Empty {
                path: self.shown(),
                entries,
            });
        }
        Ok(())
    }

    /// Takes the directory that stands in the root's place now for the tree:
    /// somebody confirmed it.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn confirm_root(&mut self) -> Result<(), SourceError> {
        self.root = Root::open(&self.options.path)?;
        self.identity = self.root.identity()?;
        self.is_unsaved = true;
        Ok(())
    }

    /// Writes the snapshot, unless it says all this: after a restart nothing
    /// that did not change is read again, and the manifest is this one.
    ///
    /// # Errors
    /// Where writing fails; the last snapshot then still stands.
    pub fn save(&mut self, epoch: Epoch, generation: Generation) -> Result<(), DiskError> {
        let position = Position {
            epoch,
            generation,
            root: self.manifest().root(),
        };
        if !self.is_unsaved && self.saved == Some(position) {
            return Ok(());
        }
        let snapshot = Snapshot {
            position,
            identity: self.identity,
            agreed: &self.accepted,
        };
        snapshot.save(&self.work)?;
        self.archive.sync();
        (self.is_unsaved, self.saved) = (false, Some(position));
        Ok(())
    }

    fn remember(&mut self, path: &RelPath, artifact: Option<&str>) {
        let room = self.artifacts.len() < ARTIFACTS_MAX;
        match artifact {
            Some(name) if room || self.artifacts.contains_key(path) => {
                self.artifacts.insert(path.clone(), name.into());
            }
            Some(_) => {}
            None => drop(self.artifacts.remove(path)),
        }
    }

    /// Opens the root again; another directory is not taken for it.
    fn reopen(&mut self) -> Result<(), SourceProblem> {
        let root = Root::open(&self.options.path).map_err(SourceProblem::Vanished)?;
        if root.identity()? != self.identity {
            return Err(self.replaced());
        }
        self.root = root;
        Ok(())
    }

    fn replaced(&self) -> SourceProblem {
        SourceProblem::Replaced { path: self.shown() }
    }

    fn shown(&self) -> String {
        self.root.place(None).to_string()
    }
}
