//! What a passive tree does between generations: finish what could not be
//! applied, and write checkpoints when it is idle.

use std::time::Duration;

use tracing::warn;

use super::passive::PassiveTree;
use crate::tree_thread::Stopped;

/// How often unfinished work is tried again, and how long a tree is idle before
/// a checkpoint.
const EVERY: Duration = Duration::from_secs(2);

/// Keeps one tree until its thread stops.
pub(super) async fn keep(tree: PassiveTree) -> Stopped {
    let mut last_problem = None;
    let mut last_root = None;
    loop {
        tokio::time::sleep(EVERY).await;
        // A generation being taken in comes first.
        let Ok(_turn) = tree.turn.try_lock() else {
            continue;
        };
        let root = Some(tree.state.borrow().position.root);
        let idle = std::mem::replace(&mut last_root, root) == root;
        let problem = match tree.tend(idle).await {
            Ok(result) => result.err(),
            Err(stopped) => return stopped,
        };
        if let (Some(problem), true) = (&problem, problem != last_problem) {
            warn!(tree = %tree.name, "{problem}");
        }
        last_problem = problem;
    }
}
