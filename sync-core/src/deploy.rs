//! Which generations the hot deployer has had its interval for, and what of them
//! it refused.
//!
//! The deployer says nothing: it takes what it finds at its next poll, or moves it
//! away. So a generation counts as deployed once one interval has passed since it
//! was applied, except for the paths that were refused meanwhile. Where several
//! generations put the same path, what happens to it counts for the newest. The
//! clock is the caller's: every `now` is the time since one arbitrary start and
//! never goes back.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    entry::Entry,
    generation::{Action, Change, Generation},
    path::RelPath,
};

/// Generations watched at one time; beyond, the oldest counts as part of the next.
/// At ten a second, which is more than settling lets through, 25 seconds.
pub const WATCHED_MAX: usize = 256;
/// Changes of a generation up to which its paths are remembered one by one.
const PATHS_MAX: usize = 1_000;

/// Which paths a generation put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Covered {
    /// These.
    These(BTreeSet<RelPath>),
    /// So many that only those count as left alone that had been refused before and
    /// were not put again.
    AllBut(BTreeSet<RelPath>),
}

impl Covered {
    /// Every path of the tree.
    #[must_use]
    pub fn everything() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    /// The files that `changes` put; `refused` are the paths that the deployer had
    /// refused before.
    #[must_use]
    pub fn by(changes: &[Change], refused: impl IntoIterator<Item = RelPath>) -> Self {
        let put = changes
            .iter()
            .filter(|change| matches!(change.action, Action::Put(Entry::File(_))))
            .map(|change| &change.path);
        if changes.len() <= PATHS_MAX {
            return Self::These(put.cloned().collect());
        }
        let mut alone: BTreeSet<RelPath> = refused.into_iter().collect();
        if !alone.is_empty() {
            put.for_each(|path| {
                alone.remove(path);
            });
        }
        Self::AllBut(alone)
    }

    fn has(&self, path: &RelPath) -> bool {
        match self {
            Self::These(paths) => paths.contains(path),
            Self::AllBut(paths) => !paths.contains(path),
        }
    }

    /// What either covers.
    fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(mut some), Self::These(more)) => {
                some.extend(more);
                if some.len() > PATHS_MAX {
                    return Self::everything();
                }
                Self::These(some)
            }
            (Self::AllBut(mut some), Self::AllBut(more)) => {
                some.retain(|path| more.contains(path));
                Self::AllBut(some)
            }
            (Self::AllBut(mut alone), Self::These(put))
            | (Self::These(put), Self::AllBut(mut alone)) => {
                alone.retain(|path| !put.contains(path));
                Self::AllBut(alone)
            }
        }
    }
}

/// A generation that has had its interval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployed {
    /// Which.
    pub generation: Generation,
    /// Those of its paths that the deployer refused, in order.
    pub rejected: Vec<RelPath>,
}

/// The generations that wait for the deployer.
#[derive(Debug)]
pub struct Deployments {
    interval: Duration,
    /// Oldest first.
    watched: VecDeque<Watched>,
    begun: u64,
}

#[derive(Debug)]
struct Watched {
    /// Which beginning this was, from 1.
    number: u64,
    generation: Generation,
    covered: Covered,
    until: Duration,
}

impl Deployments {
    /// None yet; each takes `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            watched: VecDeque::new(),
            begun: 0,
        }
    }

    /// A generation was applied. The same number may come again: a healing one has
    /// that of the state which it heals.
    pub fn applied(&mut self, generation: Generation, covered: Covered, now: Duration) {
        self.begun += 1;
        self.watched.push_back(Watched {
            number: self.begun,
            generation,
            covered,
            until: now + self.interval,
        });
        if self.watched.len() > WATCHED_MAX
            && let (Some(oldest), Some(next)) = (self.watched.pop_front(), self.watched.front_mut())
        {
            let covered = std::mem::replace(&mut next.covered, Covered::everything());
            next.covered = oldest.covered.union(covered);
        }
    }

    /// How many generations were applied.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many of them, the first ones, have had their interval.
    #[must_use]
    pub fn ended(&self) -> u64 {
        let first = self.watched.front();
        first.map_or(self.begun, |watched| watched.number - 1)
    }

    /// When to ask what is [`due`](Self::due).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.watched.front().map(|watched| watched.until)
    }

    /// The generations whose interval is over; `rejected` are the paths that the
    /// deployer refuses now.
    pub fn due(&mut self, now: Duration, rejected: &[RelPath]) -> Vec<Deployed> {
        let mut over = Vec::new();
        while self.watched.front().is_some_and(|it| it.until <= now)
            && let Some(ended) = self.watched.pop_front()
        {
            let newest = |path: &&RelPath| {
                ended.covered.has(path) && !self.watched.iter().any(|it| it.covered.has(path))
            };
            over.push(Deployed {
                generation: ended.generation,
                rejected: rejected.iter().filter(newest).cloned().collect(),
            });
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentId, FileEntry, Mode, Mtime};

    const INTERVAL: Duration = Duration::from_secs(15);

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn paths<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<RelPath> {
        texts.into_iter().map(path).collect()
    }

    fn these<const N: usize>(texts: [&str; N]) -> Covered {
        Covered::These(texts.map(path).into())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn deployed(generation: u64, rejected: &[&str]) -> Deployed {
        Deployed {
            generation: Generation(generation),
            rejected: paths(rejected.iter().copied()),
        }
    }

    #[test]
    fn a_generation_is_deployed_after_one_interval_but_for_what_was_refused() {
        let mut watched = Deployments::new(INTERVAL);
        assert_eq!(watched.next_deadline(), None);
        watched.applied(Generation(7), these(["a", "b", "c"]), seconds(100));
        assert_eq!(watched.next_deadline(), Some(seconds(115)));
        assert_eq!(watched.due(seconds(114), &paths(["b"])), []);
        // `z` was refused long ago, and is no part of this generation.
        let over = watched.due(seconds(115), &paths(["b", "z"]));
        assert_eq!(over, [deployed(7, &["b"])]);
        assert_eq!(watched.next_deadline(), None);
    }

    #[test]
    fn of_generations_that_overlap_the_newest_counts_for_each_path() {
        let mut watched = Deployments::new(INTERVAL);
        watched.applied(Generation(1), these(["a", "b"]), seconds(0));
        watched.applied(Generation(2), these(["b"]), seconds(10));
        let refused = paths(["a", "b"]);
        assert_eq!(watched.due(seconds(15), &refused), [deployed(1, &["a"])]);
        assert_eq!((watched.begun(), watched.ended()), (2, 1));
        assert_eq!(watched.due(seconds(25), &refused), [deployed(2, &["b"])]);
        assert_eq!((watched.begun(), watched.ended()), (2, 2));
    }

    #[test]
    fn a_generation_healed_meanwhile_has_two_intervals() {
        let mut watched = Deployments::new(INTERVAL);
        watched.applied(Generation(3), these(["a"]), seconds(0));
        watched.applied(Generation(3), these(["a"]), seconds(5));
        assert_eq!(watched.due(seconds(16), &paths(["a"])), [deployed(3, &[])]);
        assert_eq!((watched.begun(), watched.ended()), (2, 1));
        let over = watched.due(seconds(20), &paths(["a"]));
        assert_eq!(over, [deployed(3, &["a"])]);
    }

    #[test]
    fn of_a_large_generation_only_what_was_refused_before_is_left_alone() {
        let put = |number: usize| Change {
            path: path(&format!("{number}")),
            action: Action::Put(Entry::File(FileEntry {
                mode: Mode::new(0o644),
                mtime: Mtime {
                    seconds: 0,
                    nanoseconds: 0,
                },
                length: 0,
                content: ContentId::of(b""),
            })),
        };
        let changes: Vec<Change> = (0..=PATHS_MAX).map(put).collect();
        let covered = Covered::by(&changes, paths(["before", "5"]));
        assert_eq!(covered, Covered::AllBut([path("before")].into()));
        let mut watched = Deployments::new(INTERVAL);
        watched.applied(Generation(1), covered, seconds(0));
        let over = watched.due(seconds(15), &paths(["5", "before", "new"]));
        assert_eq!(over, [deployed(1, &["5", "new"])]);
        let few = Covered::by(&changes[..2], paths(["before"]));
        assert_eq!(few, these(["0", "1"]));
        let mut gone = changes[..2].to_vec();
        gone[0].action = Action::Delete;
        assert_eq!(Covered::by(&gone, []), these(["1"]));
    }

    #[test]
    fn too_many_at_one_time_count_together() {
        let mut watched = Deployments::new(INTERVAL);
        for number in 0..=WATCHED_MAX as u64 {
            let covered = Covered::These([path(&number.to_string())].into());
            watched.applied(Generation(number), covered, seconds(number));
        }
        let refused = paths(["0", "1"]);
        let over = watched.due(seconds(16), &refused);
        assert_eq!(over, [deployed(1, &["0", "1"])]);
        assert_eq!(watched.ended(), 2);
    }

    #[test]
    fn coverings_together_leave_alone_what_both_do() {
        let but =
            |texts: &[&str]| Covered::AllBut(paths(texts.iter().copied()).into_iter().collect());
        let cases = [
            (these(["a"]), these(["b"]), these(["a", "b"])),
            (but(&["a", "b"]), these(["b"]), but(&["a"])),
            (these(["b"]), but(&["a", "b"]), but(&["a"])),
            (but(&["a", "b"]), but(&["b", "c"]), but(&["b"])),
        ];
        for (one, other, both) in cases {
            assert_eq!(one.clone().union(other.clone()), both, "{one:?} {other:?}");
        }
    }
}
