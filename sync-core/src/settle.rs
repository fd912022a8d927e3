//! When a path that was touched is looked at, and when a deletion is believed.
//!
//! Events are hints. A path is due once its whole burst is quiet, so that files
//! written together travel together. A deletion is held, because the publisher
//! deletes and rewrites a file to update it; it is believed after a second look,
//! or at once when the artifact appears under another name. Looking, reading and
//! deciding what changed are the caller's; so is the clock: every `now` is the
//! time since one arbitrary start and never goes back.

mod appeared;
mod holds;
mod keyed;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use appeared::Appeared;
use holds::Holds;
use keyed::keys_of;

use crate::{content::ContentId, limits::TOUCHED_PATHS_MAX, path::RelPath};

/// How long to wait for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Quiet time after which a burst is over.
    pub settle: Duration,
    /// Time after the first touch at which a burst is looked at though it goes
    /// on.
    pub burst_max: Duration,
    /// Time for which a deletion is held.
    pub delete_hold: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(50),
            burst_max: Duration::from_secs(1),
            delete_hold: Duration::from_secs(10),
        }
    }
}

/// What a look at a due path found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// Something is there and fit to travel.
    Present {
        /// Whether it differs from the manifest (or is not in it).
        changed: bool,
        /// Its content, of a file.
        content: Option<ContentId>,
        /// The name of the artifact in it, where known.
        artifact: Option<String>,
    },
    /// Nothing is there, but the manifest lists the path.
    Missing {
        /// The content that the manifest lists, of a file.
        content: Option<ContentId>,
        /// The name of the artifact that was in it, where known.
        artifact: Option<String>,
    },
    /// Nothing is there and the manifest does not list it either.
    Absent,
    /// It moved while it was read: look again.
    Unstable,
    /// Something is there that must not travel, for this reason.
    Unfit(String),
}

/// What is under way, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// Paths touched and not looked at yet.
    pub touched: usize,
    /// Deletions held.
    pub held_deletions: usize,
    /// Paths that must not travel as they are.
    pub unfit: usize,
}

/// The state machine.
///
/// Give it every hint ([`touched`](Self::touched)); at
/// [`next_deadline`](Self::next_deadline) take what is [`due`](Self::due), look
/// at each path, report what was [`observed`](Self::observed), and then take the
/// deletions [`released`](Self::released).
#[derive(Debug)]
pub struct Settle {
    pace: Pace,
    touched: BTreeSet<RelPath>,
    burst: Option<Burst>,
    rescan_needed: bool,
    holds: Holds,
    appeared: Appeared,
    unfit: BTreeMap<RelPath, String>,
    released: BTreeSet<RelPath>,
}

/// Touches that are looked at together.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Duration,
    last: Duration,
    flushed: bool,
}

impl Settle {
    /// Nothing touched, nothing held.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            touched: BTreeSet::new(),
            burst: None,
            rescan_needed: false,
            holds: Holds::default(),
            appeared: Appeared::default(),
            unfit: BTreeMap::new(),
            released: BTreeSet::new(),
        }
    }

    /// Something may have happened to `path`.
    pub fn touched(&mut self, path: RelPath, now: Duration) {
        if self.rescan_needed {
            return; // the rescan looks at every path
        }
        self.touched.insert(path);
        if self.touched.len() > TOUCHED_PATHS_MAX {
            self.rescan();
            return;
        }
        let burst = self.burst.get_or_insert(Burst {
            first: now,
            last: now,
            flushed: false,
        });
        burst.last = now;
    }

    /// Hints were lost: every path is to be looked at. Single touches are
    /// forgotten until [`take_rescan`](Self::take_rescan).
    pub fn rescan(&mut self) {
        self.rescan_needed = true;
        self.touched.clear();
        self.burst = None;
    }

    /// Whether the caller must look at every path now. Call it right before the
    /// rescan begins: touches count again from here on.
    pub fn take_rescan(&mut self) -> bool {
        std::mem::take(&mut self.rescan_needed)
    }

    /// Makes everything touched due now. Held deletions stay held.
    pub fn flush(&mut self) {
        if let Some(burst) = &mut self.burst {
            burst.flushed = true;
        }
    }

    /// The paths to look at now, each to be answered by
    /// [`observed`](Self::observed): the burst, if it is over, and the deletions
    /// whose hold ended.
    pub fn due(&mut self, now: Duration) -> Vec<RelPath> {
        let mut due = BTreeSet::new();
        if self.burst_ends().is_some_and(|end| end <= now) {
            due = std::mem::take(&mut self.touched);
            self.burst = None;
        }
        let again = now + self.pace.delete_hold;
        due.extend(self.holds.expired(now, again));
        due.into_iter().collect()
    }

    /// Takes in what a look at `path` found.
    pub fn observed(&mut self, path: RelPath, observation: Observation, now: Duration) {
        self.unfit.remove(&path);
        self.released.remove(&path);
        match observation {
            Observation::Present {
                changed,
                content,
                artifact,
            } => {
                self.holds.forget(&path);
                if changed {
                    self.appeared(path, content, artifact, now);
                }
            }
            Observation::Missing { content, artifact } => {
                self.appeared.forget(&path);
                self.missing(path, content, artifact, now);
            }
            Observation::Absent => self.forget(&path),
            Observation::Unstable => {
                self.forget(&path);
                self.touched(path, now);
            }
            Observation::Unfit(reason) => {
                self.forget(&path);
                self.unfit.insert(path, reason);
            }
        }
    }

    fn forget(&mut self, path: &RelPath) {
        self.holds.forget(path);
        self.appeared.forget(path);
    }

    fn appeared(
        &mut self,
        path: RelPath,
        content: Option<ContentId>,
        artifact: Option<String>,
        now: Duration,
    ) {
        let keys = keys_of(&path, content, artifact);
        match self.holds.take_match(&keys) {
            Some(old) => {
                self.released.insert(old);
            }
            None => {
                let until = now + self.pace.delete_hold;
                self.appeared.insert(path, keys, until);
            }
        }
    }

    fn missing(
        &mut self,
        path: RelPath,
        content: Option<ContentId>,
        artifact: Option<String>,
        now: Duration,
    ) {
        let keys = keys_of(&path, content, artifact);
        if self.holds.has_ended(&path) || self.appeared.take_match(&keys, now) {
            self.holds.forget(&path);
            self.released.insert(path);
        } else {
            let end = now + self.pace.delete_hold;
            self.holds.hold(path, keys, end);
        }
    }

    /// Takes the deletions that are believed since the last call.
    pub fn released(&mut self) -> Vec<RelPath> {
        std::mem::take(&mut self.released).into_iter().collect()
    }

    /// When [`due`](Self::due) has something next, or at once when a rescan is
    /// needed; `None` when nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.rescan_needed {
            return Some(Duration::ZERO);
        }
        self.burst_ends()
            .into_iter()
            .chain(self.holds.next_end())
            .min()
    }

    fn burst_ends(&self) -> Option<Duration> {
        self.burst.map(|burst| {
            if burst.flushed {
                burst.first
            } else {
                (burst.last + self.pace.settle).min(burst.first + self.pace.burst_max)
            }
        })
    }

    /// What is under way, in numbers.
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending {
            touched: self.touched.len(),
            held_deletions: self.holds.len(),
            unfit: self.unfit.len(),
        }
    }

    /// The deletions held, by path, with the end of each hold.
    pub fn held_deletions(&self) -> impl Iterator<Item = (&RelPath, Duration)> {
        self.holds.iter()
    }

    /// The paths that must not travel as they are, with the reason.
    pub fn unfit(&self) -> impl Iterator<Item = (&RelPath, &str)> {
        self.unfit
            .iter()
            .map(|(path, reason)| (path, reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::path;

    /// Plays a script: one line a step, `time what`, with what came out of it.
    ///
    /// `touch P`, `flush`, `lost`, `rescan`; `due` and `released` are followed by the
    /// paths expected; `next` by the deadline expected or `never`. Observations:
    /// `new P CONTENT [ARTIFACT]`, `same P`, `gone P CONTENT [ARTIFACT]`,
    /// `absent P`, `moved P`, `unfit P`.
    fn play(script: &str) -> Settle {
        let mut settle = Settle::new(Pace::default());
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            let now = Duration::from_millis(words[0].parse().unwrap());
            step(&mut settle, now, words[1], &words[2..], line);
        }
        settle
    }

    fn step(settle: &mut Settle, now: Duration, verb: &str, words: &[&str], line: &str) {
        let show = |paths: Vec<RelPath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        match verb {
            "touch" => words
                .iter()
                .for_each(|word| settle.touched(path(word), now)),
            "flush" => settle.flush(),
            "lost" => settle.rescan(),
            "rescan" => assert!(settle.take_rescan(), "{line}"),
            "due" => assert_eq!(show(settle.due(now)), words, "{line}"),
            "released" => assert_eq!(show(settle.released()), words, "{line}"),
            "next" => {
                let next = settle
                    .next_deadline()
                    .map(|next| next.as_millis().to_string());
                assert_eq!(next.as_deref().unwrap_or("never"), words[0], "{line}");
            }
            _ => settle.observed(path(words[0]), observation(verb, &words[1..]), now),
        }
    }

    fn observation(verb: &str, words: &[&str]) -> Observation {
        let content = words.first().map(|word| ContentId::of(word.as_bytes()));
        let artifact = words.get(1).map(ToString::to_string);
        match verb {
            "new" => Observation::Present {
                changed: true,
                content,
                artifact,
            },
            "same" => Observation::Present {
                changed: false,
                content,
                artifact,
            },
            "gone" => Observation::Missing { content, artifact },
            "absent" => Observation::Absent,
            "moved" => Observation::Unstable,
            "unfit" => Observation::Unfit("line 1: x".into()),
            _ => panic!("no such verb: {verb}"),
        }
    }

    #[test]
    fn a_burst_is_due_as_one_set_when_it_is_quiet() {
        play(
            "0 next never
             100 touch a
             130 touch b a
             130 next 180
             179 due
             180 due a b
             180 next never
             181 due",
        );
    }

    #[test]
    fn a_burst_that_goes_on_is_due_after_a_second() {
        let touches: String = (0..40).map(|n| format!("{} touch a\n", n * 30)).collect();
        let settle = play(&format!("{touches} 1180 next 1000\n 1180 due a"));
        assert_eq!(settle.pending(), Pending::default());
    }

    #[test]
    fn a_file_deleted_and_saved_again_is_never_deleted() {
        play(
            "0 touch api/a.xml
             50 due api/a.xml
             50 gone api/a.xml v1 A
             50 released
             50 next 10050
             5000 touch api/a.xml
             5050 due api/a.xml
             5050 new api/a.xml v2 A
             5050 released
             5050 next never
             60000 due
             60000 released",
        );
    }

    #[test]
    fn a_deletion_is_believed_after_its_hold_and_a_second_look() {
        play(
            "0 touch a
             50 due a
             50 gone a v1
             10049 due
             10050 due a
             10050 released
             10060 gone a v1
             10060 released a
             10060 next never
             10060 released",
        );
        // A second look that finds the file, or something unreadable, drops it.
        play(
            "0 gone a v1
             10000 due a
             10001 same a v1
             10001 released
             10001 next never",
        );
        play(
            "0 gone a v1
             10000 due a
             10001 moved a
             10051 due a
             10051 gone a v1
             10051 released
             10051 next 20051",
        );
    }

    #[test]
    fn a_second_look_that_is_never_answered_is_asked_for_again() {
        play(
            "0 gone a v1
             10000 due a
             10000 next 20000
             20000 due a
             20001 gone a v1
             20001 released a",
        );
    }

    #[test]
    fn another_touch_does_not_prolong_a_hold() {
        play(
            "0 gone a v1
             9000 touch a
             9050 due a
             9050 gone a v1
             9050 released
             9050 next 10000",
        );
    }

    #[test]
    fn a_rename_is_released_at_once_whichever_half_is_seen_first() {
        for (one, other) in [
            ("gone api/old.xml v1 A", "new api/new.xml v1 A"),
            ("gone api/old.xml v1 A", "new api/new.xml v2 A"),
            ("gone api/old.xml v1", "new other/new.xml v1"),
        ] {
            play(&format!(
                "0 {one}\n 5 {other}\n 5 released api/old.xml\n 5 next never"
            ));
            play(&format!(
                "0 {other}\n 5 {one}\n 5 released api/old.xml\n 5 next never"
            ));
        }
    }

    #[test]
    fn what_only_resembles_a_rename_is_not_one() {
        for other in [
            "new sequences/new.xml v2 A", // the same name in another directory
            "new api/new.xml v2 B",
            "same api/new.xml v1", // was there before
        ] {
            play(&format!("0 gone api/old.xml v1 A\n 5 {other}\n 5 released"));
        }
        // One new file stands for one deletion; an old one for none.
        play("0 new n v1\n 1 gone a v1\n 1 gone b v1\n 1 released a");
        play("0 gone a v1\n 0 gone b v1\n 1 new n v1\n 1 released a");
        play("0 new n v1\n 10000 gone a v1\n 10000 released");
        play("0 new n v1\n 1 gone n v1\n 1 released\n 2 gone a v1\n 2 released");
    }

    #[test]
    fn a_path_that_comes_back_before_it_is_taken_is_not_deleted() {
        play(
            "0 gone a v1
             1 new b v1
             2 new a v3
             2 released",
        );
    }

    #[test]
    fn what_must_not_travel_is_listed_until_it_is_mended_or_gone() {
        let mut settle = play("0 gone a v1\n 1 unfit a\n 1 next never\n 2 unfit b");
        assert_eq!(settle.unfit().count(), 2);
        settle.observed(path("a"), observation("new", &["v2"]), Duration::ZERO);
        settle.observed(path("b"), Observation::Absent, Duration::ZERO);
        assert_eq!(settle.pending(), Pending::default());
    }

    #[test]
    fn a_flush_makes_touches_due_but_not_deletions() {
        play(
            "0 gone a v1
             10 touch b
             10 flush
             10 next 10
             10 due b
             10 flush
             11 touch c
             11 due
             61 due c",
        );
    }

    #[test]
    fn an_unstable_path_is_looked_at_again() {
        play("0 touch a\n 50 due a\n 60 moved a\n 60 due\n 110 due a");
    }

    #[test]
    fn lost_hints_ask_for_a_rescan_and_touches_count_again_once_it_begins() {
        play(
            "0 gone held v1
             0 touch a
             1 lost
             2 touch b
             2 next 0
             100 due
             100 rescan
             101 touch c
             151 due c
             10000 due held",
        );
    }

    #[test]
    fn too_many_touches_become_one_rescan() {
        let mut settle = Settle::new(Pace::default());
        for n in 0..=TOUCHED_PATHS_MAX {
            settle.touched(path(&n.to_string()), Duration::ZERO);
        }
        assert_eq!(settle.pending().touched, 0);
        assert_eq!(settle.due(Duration::from_secs(9)), []);
        assert!(settle.take_rescan());
        assert!(!settle.take_rescan());
        settle.touched(path("a"), Duration::ZERO);
        assert_eq!(settle.due(Duration::from_secs(9)), [path("a")]);
    }
}
