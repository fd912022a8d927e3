//! Makes the recipes of large files while nothing else is to be done, so that
//! the first edit of one costs no search for its cuts.

use std::time::Duration;

use sync_core::Position;
use sync_fs::recipes::RecipeJob;
use tokio::task::spawn_blocking;

use super::{active::ActiveTree, passive::PassiveTree};
use crate::tree_thread::Stopped;

/// How long a tree is quiet before its large files are read.
const QUIET: Duration = Duration::from_secs(1);

/// Keeps the recipes of an active tree until its thread stops.
pub(super) async fn keep_active(tree: ActiveTree) -> Stopped {
    let mut last: Option<Position> = None;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = Some(tree.published.borrow().position);
        if std::mem::replace(&mut last, now) != now || tree.is_serving() {
            continue;
        }
        let job = match tree.thread.run(|tree| tree.source.next_recipe()).await {
            Ok(Some(job)) => job,
            Ok(None) => continue,
            Err(stopped) => return stopped,
        };
        let Some((path, recipe)) = run(job).await else {
            continue;
        };
        let noted = tree.thread.run(move |tree| {
            tree.source.note_recipe(&path, recipe.into());
        });
        if let Err(stopped) = noted.await {
            return stopped;
        }
    }
}

/// Keeps the recipes of a passive tree until its thread stops.
pub(super) async fn keep_passive(tree: PassiveTree) -> Stopped {
    let mut last: Option<Position> = None;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = Some(tree.state.borrow().position);
        if std::mem::replace(&mut last, now) != now || tree.turn.try_lock().is_err() {
            continue;
        }
        let job = match tree.thread.run(|tree| tree.replica.next_recipe()).await {
            Ok(Some(job)) => job,
            Ok(None) => continue,
            Err(stopped) => return stopped,
        };
        let Some((path, recipe)) = run(job).await else {
            continue;
        };
        let noted = tree.thread.run(move |tree| {
            tree.replica.note_recipe(&path, recipe);
        });
        if let Err(stopped) = noted.await {
            return stopped;
        }
    }
}

/// On a thread of its own: the tree's must stay free.
async fn run(job: RecipeJob) -> Option<(sync_core::RelPath, sync_core::recipe::Recipe)> {
    spawn_blocking(move || job.run()).await.ok().flatten()
}
