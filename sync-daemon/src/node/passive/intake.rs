//! A generation on its way into a passive tree: begun, completed with contents,
//! committed, applied, or given up.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use sync_core::{
    Action, Change, Entry, FileEntry, GenerationHeader, Position, RelPath,
    deploy::Covered,
    guard::Guard,
    journal::Lead,
    patch::Sketch,
    recipe::Recipe,
    section::Content,
    wire::{Range, Refusal},
};
use sync_fs::{
    Replica,
    replica::{Intake, IntakeError, LargeIntake},
};
use tracing::warn;

use super::{
    super::{deploying::rejected, error::with_causes, peers::Halt},
    Answer, AppliedGeneration, IntakeState, PassiveState, PassiveTree, REPLACED, Released,
    no_generation,
};
use crate::tree_thread::Stopped;

impl PassiveTree {
    /// Begins to take a generation in.
    pub(in crate::node) async fn begin(
        &self,
        header: GenerationHeader,
        changes: Vec<Change>,
        guard: Guard,
        released: Released,
        sender: String,
    ) -> Answer<()> {
        let replacing = self.replacing.load(Ordering::Relaxed);
        let wanted = changes.iter().filter(|change| puts_file(change)).count() as u64;
        let covered = Covered::by(&changes, rejected(&self.state.borrow()));
        let drifted = drifted(&self.state.borrow(), &changes);
        self.state.send_modify(|state| {
            state.intake = IntakeState {
                wanted,
                ..IntakeState::default()
            }
        });
        let begun = self
            .thread
            .run(move |tree| {
                tree.replaced |= !tree.replica.is_in_place();
                if tree.replaced {
                    return Err(Refusal::Unable(REPLACED.to_owned()));
                }
                tree.replica.set_overwrite(replacing);
                let (agreed, preset) = (tree.replica.agreed(), tree.replica.options().preset);
                let verdict = guard.judge(agreed, &changes, &header.tree, preset);
                let plan = released.of(&verdict);
                let mut intake = tree.replica.begin(header, changes, &guard, plan)?;
                // Whoever confirmed that files here may be replaced has decided.
                if !replacing {
                    tree.hold(&intake, &released)?;
                }
                intake.sent_by(&sender);
                tree.intake = Some(intake);
                tree.covered = covered;
                tree.drifted = drifted;
                Ok(())
            })
            .await?;
        self.state
            .send_modify(|state| state.halt = halt_of(begun.as_ref().err()));
        Ok(begun)
    }

    /// Takes small contents, by position in the change list. One that is not
    /// needed (the passive has it already) is dropped, one whose steps make something
    /// else of what is here stays wanted.
    pub(in crate::node) async fn put_small(&self, contents: Vec<(u32, Content)>) -> Answer<()> {
        let files = contents.len() as u64;
        let bytes = contents.iter().map(|(_, content)| content.bytes()).sum();
        let put = self
            .with_intake(move |replica, intake| {
                for (position, content) in contents {
                    let put = match content {
                        Content::Gone => Ok(()),
                        Content::Whole(bytes) => replica.put_small(intake, position, bytes),
                        Content::Steps(steps) => replica.put_steps(intake, position, &steps),
                    };
                    match put {
                        Ok(()) | Err(IntakeError::NotWanted { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .await?;
        self.arrived(files, bytes);
        Ok(put)
    }

    /// Whether every content of the generation is here.
    pub(in crate::node) async fn has_all_contents(&self) -> Answer<bool> {
        self.with_intake(|replica, intake| Ok(replica.has_all_contents(intake)))
            .await
    }

    /// Contents of more than `over` bytes to ask for as patches of what is here.
    pub(in crate::node) async fn wanted_patches(&self, over: u64) -> Answer<Vec<(u32, FileEntry)>> {
        self.with_intake(move |replica, intake| replica.wanted_patches(intake, over))
            .await
    }

    /// A sketch of what is here like the content at `position`, which has `length`
    /// bytes; without pieces where there is nothing.
    pub(in crate::node) async fn sketch(&self, position: u32, length: u64) -> Answer<Sketch> {
        self.with_intake(move |replica, intake| {
            let old = replica.content_like(intake, position)?;
            Ok(Sketch::of(old, length))
        })
        .await
    }

    /// Takes a content made of a patch; `false` when it is not the one announced.
    pub(in crate::node) async fn put_patched(
        &self,
        position: u32,
        content: Vec<u8>,
    ) -> Answer<bool> {
        let bytes = content.len() as u64;
        let put = self
            .with_intake(move |replica, intake| replica.put_patched(intake, position, content))
            .await?;
        if put == Ok(true) {
            self.arrived(1, bytes);
        }
        Ok(put)
    }

    /// Small contents to ask for; a frame's worth at a time, none when all are here.
    pub(in crate::node) async fn wanted_small(&self) -> Answer<Vec<Range>> {
        self.with_intake(|replica, intake| replica.wanted_small(intake))
            .await
    }

    /// Large contents to fetch.
    pub(in crate::node) async fn wanted_large(&self) -> Answer<Vec<(u32, FileEntry)>> {
        self.with_intake(|replica, intake| replica.wanted_large(intake))
            .await
    }

    /// Begins one large content; gives the recipes of local files that may have
    /// parts of it.
    pub(in crate::node) async fn large(&self, position: u32) -> Answer<Vec<Arc<Recipe>>> {
        self.thread
            .run(move |tree| {
                let intake = tree.intake.as_ref().ok_or_else(no_generation)?;
                let mut large = tree.replica.large(intake, position).map_err(refusal)?;
                let sources = large.local_sources().map_err(refusal)?;
                let recipes = sources
                    .iter()
                    .map(|source| Arc::clone(source.recipe()))
                    .collect();
                tree.large = Some(large);
                Ok(recipes)
            })
            .await
    }

    /// Copies bytes of a local file into the large content under way.
    pub(in crate::node) async fn copy_local(
        &self,
        source: usize,
        local_offset: u64,
        offset: u64,
        length: u64,
    ) -> Answer<()> {
        self.with_large(move |large| large.copy_local(source, local_offset, offset, length))
            .await
    }

    /// Writes bytes of the large content under way.
    pub(in crate::node) async fn write_at(&self, offset: u64, bytes: Bytes) -> Answer<()> {
        let count = bytes.len() as u64;
        let written = self
            .with_large(move |large| large.write_at(offset, &bytes))
            .await?;
        self.arrived(0, count);
        Ok(written)
    }

    /// Checks and keeps the large content under way.
    pub(in crate::node) async fn finish_large(&self, recipe: Option<Recipe>) -> Answer<()> {
        let finished = self
            .thread
            .run(move |tree| {
                let large = tree.large.take().ok_or_else(no_generation)?;
                tree.replica.finish(large, recipe).map_err(refusal)
            })
            .await?;
        self.arrived(1, 0);
        Ok(finished)
    }

    /// Makes the generation durable.
    pub(in crate::node) async fn commit(&self) -> Answer<Position> {
        self.thread
            .run(|tree| {
                let intake = tree.intake.take().ok_or_else(no_generation)?;
                let committed = tree
                    .replica
                    .commit(intake)
                    .map_err(|error| error.refusal())?;
                let position = committed.position();
                tree.committed = Some(committed);
                Ok(position)
            })
            .await
    }

    /// Makes the generation durable as one of a span: it counts once the lead's does.
    pub(in crate::node) async fn commit_led(&self, lead: Lead) -> Answer<Position> {
        self.thread
            .run(move |tree| {
                let intake = tree.intake.take().ok_or_else(no_generation)?;
                let tentative = tree
                    .replica
                    .commit_led(intake, &lead)
                    .map_err(|error| error.refusal())?;
                let position = tentative.position();
                tree.tentative = Some(tentative);
                Ok(position)
            })
            .await
    }

    /// The lead's generation is durable: so is this tree's.
    pub(in crate::node) async fn confirm(&self) -> Result<(), Stopped> {
        self.thread
            .run(|tree| {
                if let Some(tentative) = tree.tentative.take() {
                    tree.committed = Some(tree.replica.confirm(tentative));
                }
            })
            .await
    }

    /// The lead's generation did not become durable: this tree's never was.
    pub(in crate::node) async fn withdraw(&self) -> Result<(), Stopped> {
        self.thread
            .run(|tree| {
                if let Some(tentative) = tree.tentative.take() {
                    tree.replica.withdraw(tentative);
                }
            })
            .await?;
        self.abandon().await
    }

    /// Makes every name show the generation.
    pub(in crate::node) async fn apply(&self) -> Answer<AppliedGeneration> {
        let (applied, covered, drifted, state) = self
            .thread
            .run(|tree| {
                let applied = tree.apply();
                let covered = std::mem::replace(&mut tree.covered, Covered::everything());
                let drifted = std::mem::take(&mut tree.drifted);
                (applied, covered, drifted, tree.state())
            })
            .await?;
        if let Ok(applied) = &applied {
            self.note_applied(applied.position.generation, covered);
        }
        self.publish(state, applied.as_ref().err());
        self.look_at(drifted).await?;
        Ok(applied.map(|applied| {
            for aside in &applied.kept_aside {
                warn!(tree = %self.name, "not as expected, kept aside: {aside}");
            }
            let kept_aside = u32::try_from(applied.kept_aside.len()).unwrap_or(u32::MAX);
            AppliedGeneration {
                position: applied.position,
                kept_aside,
            }
        }))
    }

    /// Notes how the last generation ended; whether that is news.
    pub(in crate::node) fn note_refused(&self, refusal: Option<&Refusal>) -> bool {
        self.state.send_if_modified(|state| {
            let news = state.refused.as_ref() != refusal;
            state.refused = refusal.cloned();
            news
        })
    }

    /// Gives a generation up; contents that came are kept for the next attempt.
    pub(in crate::node) async fn abandon(&self) -> Result<(), Stopped> {
        let staged = self
            .thread
            .run(|tree| {
                tree.large = None;
                if let Some(intake) = tree.intake.take()
                    && let Err(error) = tree.replica.give_up(intake)
                {
                    warn!(
                        "contents that came may have to come again: {}",
                        with_causes(&error)
                    );
                }
                tree.replica.staged_contents()
            })
            .await?;
        self.state.send_modify(|state| {
            state.staged = staged;
            state.intake = IntakeState::default();
        });
        Ok(())
    }

    fn arrived(&self, files: u64, bytes: u64) {
        self.state.send_modify(|state| {
            state.intake.arrived += files;
            state.intake.bytes += bytes;
        });
    }

    async fn with_intake<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica, &mut Intake) -> Result<R, IntakeError> + Send + 'static,
    ) -> Answer<R> {
        self.thread
            .run(move |tree| {
                let intake = tree.intake.as_mut().ok_or_else(no_generation)?;
                work(&mut tree.replica, intake).map_err(refusal)
            })
            .await
    }

    async fn with_large(
        &self,
        work: impl FnOnce(&mut LargeIntake) -> Result<(), IntakeError> + Send + 'static,
    ) -> Answer<()> {
        self.thread
            .run(move |tree| work(tree.large.as_mut().ok_or_else(no_generation)?).map_err(refusal))
            .await
    }
}

fn halt_of(refusal: Option<&Refusal>) -> Option<Halt> {
    match refusal {
        Some(Refusal::Guard {
            plan,
            deletions,
            files,
        }) => Some(Halt {
            plan: *plan,
            tenant: None,
            deletions: *deletions,
            files: *files,
            drifted: 0,
            reason: "this passive's own guard".to_owned(),
        }),
        Some(Refusal::Held { plan, paths }) => Some(Halt::held(*plan, *paths)),
        _ => None,
    }
}

/// The paths of `changes` that are not as agreed now, as far as is known.
fn drifted(state: &PassiveState, changes: &[Change]) -> Vec<RelPath> {
    if state.drift.is_empty() {
        return Vec::new();
    }
    let paths = changes.iter().map(|change| &change.path);
    paths
        .filter(|path| state.drift.contains_key(*path))
        .cloned()
        .collect()
}

fn puts_file(change: &Change) -> bool {
    matches!(&change.action, Action::Put(Entry::File(_)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn refusal(error: IntakeError) -> Refusal {
    error.refusal()
}
