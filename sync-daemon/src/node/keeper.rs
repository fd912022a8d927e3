//! What a passive tree does between generations: finish what could not be
//! applied, and write checkpoints when it is idle.
//!
//! A checkpoint writes the snapshot of the whole tree. So the larger that is, the
//! longer the tree has to be quiet before one, lest every edit of a very large
//! tree writes it all. What is not saved costs a restart the reading of the
//! journal, which waits for nothing once it is large.

use std::time::Duration;

use sync_core::Root;
use sync_fs::replica::Unsaved;
use tokio::time::Instant;
use tracing::warn;

use super::passive::PassiveTree;
use crate::tree_thread::Stopped;

/// How often unfinished work is tried again, and how long a tree is quiet before
/// any checkpoint.
const EVERY: Duration = Duration::from_secs(2);
/// A second of quiet is waited for each so many bytes of the snapshot: 13 s with
/// 100,000 files, 2 minutes with 1,000,000.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 1 << 20;
/// The longest quiet that is waited for.
const QUIET_MAX: Duration = Duration::from_secs(600);

/// Keeps one tree until its thread stops.
pub(super) async fn keep(tree: PassiveTree) -> Stopped {
    let mut last_problem = None;
    let mut quiet = Quiet::default();
    loop {
        tokio::time::sleep(EVERY).await;
        // A generation being taken in comes first.
        let Ok(_turn) = tree.turn.try_lock() else {
            continue;
        };
        let root = tree.state.borrow().position.root;
        let quiet = quiet.at(root, Instant::now());
        let problem = match tree.tend(move |unsaved| quiet >= needed(unsaved)).await {
            Ok(result) => result.err(),
            Err(stopped) => return stopped,
        };
        if let (Some(problem), true) = (&problem, problem != last_problem) {
            warn!(tree = %tree.name, "{problem}");
        }
        last_problem = problem;
    }
}

/// Since when a tree stands where it stands.
#[derive(Default)]
struct Quiet(Option<(Root, Instant)>);

impl Quiet {
    /// How long the tree has stood at `root`, as far as was seen.
    fn at(&mut self, root: Root, now: Instant) -> Duration {
        let since = match self.0 {
            Some((last, since)) if last == root => since,
            _ => now,
        };
        self.0 = Some((root, since));
        now - since
    }
}

/// How long a tree has to be quiet before this is saved. A journal that holds as
/// much as the snapshot waits no longer: saving at most doubles what was written.
fn needed(unsaved: Unsaved) -> Duration {
    let Unsaved {
        snapshot_bytes,
        journal_bytes,
    } = unsaved;
    if journal_bytes >= snapshot_bytes {
        return EVERY;
    }
    Duration::from_secs(snapshot_bytes / SNAPSHOT_BYTES_PER_SECOND).clamp(EVERY, QUIET_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_large_snapshot_waits_for_a_long_quiet() {
        for (snapshot_bytes, journal_bytes, seconds) in [
            (0, 10_000, 2),
            (MIB, 10_000, 2),
            (13 * MIB, 10_000, 13),
            (132 * MIB, 10_000, 132),
            (132 * MIB, 131 * MIB, 132),
            (132 * MIB, 132 * MIB, 2),
            (10_000 * MIB, 10_000, 600),
        ] {
            let unsaved = Unsaved {
                snapshot_bytes,
                journal_bytes,
            };
            assert_eq!(needed(unsaved).as_secs(), seconds, "{unsaved:?}");
        }
    }

    #[test]
    fn every_change_begins_the_quiet_anew() {
        let begun = Instant::now();
        let (one, changed) = (Root::empty(), Root([1; 32]));
        let mut quiet = Quiet::default();
        let quiet_at = |(seconds, root): (u64, Root)| {
            let now = begun + Duration::from_secs(seconds);
            quiet.at(root, now).as_secs()
        };
        let seen = [
            (0, one),
            (2, one),
            (9, one),
            (10, changed),
            (14, changed),
            (16, one),
        ];
        assert_eq!(seen.map(quiet_at), [0, 2, 9, 0, 4, 0]);
    }
}
