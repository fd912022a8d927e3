//! Carrying out a durable generation: every path becomes what the commit says,
//! in the order of the plan, by one rename each.
//!
//! Every step first looks at what is there; a path that already is as it should
//! be is left alone. So a generation can be applied again from the start after
//! any interruption: retry, recovery and first attempt are the same code.
//! Nothing is synced here; see the checkpoint.

use std::time::Instant;

use sync_core::{Entry, Generation, Position, RelPath, journal::Placed};
use thiserror::Error;

use super::{
    Replica,
    aside::Aside,
    judge::History,
    past::Draft,
    prepared::Prepared,
    run::{Around, Effect, Run},
    with_causes,
};
use crate::{
    observed::{Observed, Sighting},
    root::{Cause, DiskError},
};

/// A generation that is durable and not wholly applied.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) position: Position,
    pub(super) changes: Vec<Placed>,
    /// Files that only need their names.
    pub(super) prepared: Prepared,
    /// What earlier generations, not in `agreed`, gave to the same paths.
    pub(super) history: History,
    /// What is known for the record; none where the commits are recorded one by one.
    pub(super) draft: Option<Draft>,
    /// Files whose time was moved, for the deployer to see the change.
    pub(super) bumped: u32,
}

/// What applying did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where the tree stands now.
    pub position: Position,
    /// What was not as agreed and is kept aside.
    pub kept_aside: Vec<Aside>,
    /// Files whose modification time differs from the source's so that the
    /// deployer sees the change.
    pub bumped: u32,
}

/// Why a generation is not wholly applied. It stays durable and is applied by
/// [`Replica::resume`] when the cause is gone.
#[derive(Debug, Error)]
#[error(
    "cannot apply generation {generation} at `{path}` (step {step} of {steps}); it is durable and will be applied when the cause is gone"
)]
pub struct ApplyError {
    /// The generation.
    pub generation: Generation,
    /// Where it stopped.
    pub path: RelPath,
    /// Which step failed, from 1.
    pub step: usize,
    /// Of how many.
    pub steps: usize,
    /// What was moved aside before it stopped.
    pub kept_aside: Vec<Aside>,
    /// Why.
    pub source: DiskError,
}

impl ApplyError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.source.cause() == Cause::Full
    }
}

impl Replica {
    /// Applies the generation that was just committed.
    ///
    /// # Errors
    /// Where a step fails; the generation stays durable, see
    /// [`Replica::resume`].
    pub fn apply(&mut self, committed: super::Committed) -> Result<Applied, ApplyError> {
        debug_assert_eq!(committed.position, self.durable());
        self.resume().map(|applied| {
            applied.unwrap_or(Applied {
                position: self.position,
                kept_aside: Vec::new(),
                bumped: 0,
            })
        })
    }

    /// Applies what is durable and not wholly applied yet; `None` where there is
    /// nothing.
    ///
    /// # Errors
    /// As [`Replica::apply`].
    pub fn resume(&mut self) -> Result<Option<Applied>, ApplyError> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(None);
        };
        let mut prepared = std::mem::take(&mut pending.prepared);
        let result = self.carry_out(&pending, &mut prepared);
        match result {
            Ok(run) => {
                self.discard(prepared);
                Ok(Some(self.note_applied(pending, run)))
            }
            Err(error) => {
                prepared.forget_placed();
                self.pending = Some(Pending {
                    prepared,
                    ..pending
                });
                Err(error)
            }
        }
    }

    /// Removes what was prepared and is of no use: it only takes space.
    pub(super) fn discard(&self, prepared: Prepared) {
        if let Err(error) = prepared.discard(&self.work) {
            tracing::warn!(
                error = with_causes(&error),
                "cannot remove files that were prepared in vain"
            );
        }
    }

    fn carry_out(
        &mut self,
        pending: &Pending,
        prepared: &mut Prepared,
    ) -> Result<Outcome, ApplyError> {
        let mut run = Run::new(
            Around {
                root: &self.root,
                work: &self.work,
                agreed: &self.agreed,
                owned: self.returning.as_ref().map(|returning| &returning.known),
                preset: self.options.preset,
                exclude: &self.options.exclude,
                contents: &mut self.contents,
                archive: &mut self.archive,
                prepared,
            },
            pending,
        );
        let plan = run.plan();
        let steps = plan.steps().len();
        for (at, step) in plan.steps().iter().enumerate() {
            let mut result = run.step(step);
            if is_full(&result) && self.reserve.give_up(&self.work).unwrap_or(false) {
                result = run.step(step);
            }
            if is_full(&result) && run.archive_gives_way() {
                result = run.step(step);
            }
            if let Err(source) = result {
                return Err(ApplyError {
                    generation: pending.position.generation,
                    path: step.path.clone(),
                    step: at + 1,
                    steps,
                    kept_aside: run.finish().1,
                    source,
                });
            }
        }
        let (effects, kept_aside) = run.finish();
        Ok(Outcome {
            effects,
            kept_aside,
        })
    }

    fn note_applied(&mut self, pending: Pending, outcome: Outcome) -> Applied {
        self.note_seconds(&pending.changes);
        let record = self.begin_record(&pending);
        self.note_effects(outcome.effects);
        for kept in &outcome.kept_aside {
            self.unsynced.note_aside(kept);
        }
        self.has_returned();
        // After a rebuild nobody knows whether the rest is as agreed: the root is
        // that of what is, so that a peer sees it.
        self.position = Position {
            root: self.agreed.manifest().root(),
            ..pending.position
        };
        if let Some(record) = record {
            self.finish_record(record);
        }
        Applied {
            position: self.position,
            kept_aside: outcome.kept_aside,
            bumped: pending.bumped,
        }
    }

    fn note_effects(&mut self, effects: Vec<Effect>) {
        let mut fresh = Vec::new();
        for effect in effects {
            match effect {
                Effect::Put(sighting) => {
                    self.unsynced.note(&sighting.path);
                    self.recipes.note(&sighting.path, &sighting.entry);
                    fresh.push(sighting);
                }
                Effect::Gone(path) => {
                    self.unsynced.note(&path);
                    self.recipes.forget(&path);
                    self.take_up(std::mem::take(&mut fresh));
                    let entry = self.agreed.remove(&path);
                    self.deleted.note(&path, entry.as_ref());
                }
            }
        }
        self.take_up(fresh);
        self.recipes.none_comes();
    }

    fn take_up(&mut self, sightings: Vec<Sighting>) {
        if self.agreed.is_empty() {
            self.agreed = Observed::from_sightings(sightings);
        } else {
            sightings
                .into_iter()
                .for_each(|sighting| self.agreed.put(sighting));
        }
    }

    /// What stood at the changed paths until now may have been seen.
    fn note_seconds(&mut self, changes: &[Placed]) {
        if !self.options.preset.is_deployed() {
            return;
        }
        let now = Instant::now();
        for Placed { change, .. } in changes {
            if let Some(Entry::File(old)) = self.agreed.manifest().get(&change.path) {
                self.recent.note(&change.path, old.mtime.seconds, now);
            }
        }
    }
}

struct Outcome {
    effects: Vec<Effect>,
    kept_aside: Vec<Aside>,
}

fn is_full(result: &Result<(), DiskError>) -> bool {
    matches!(result, Err(error) if error.cause() == Cause::Full)
}
