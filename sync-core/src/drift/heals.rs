//! How often the policy `heal` asks for the same path: somebody, or something,
//! that changes it again each time wins after a few.

use std::{collections::BTreeMap, time::Duration};

use crate::{entry::Entry, path::RelPath};

/// Times that a path is healed to the same agreed state within [`FORGOTTEN_AFTER`].
const TIMES_MAX: u32 = 3;
/// A path that was left alone for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// Paths remembered; with so many under way no further one is healed.
const PATHS_MAX: usize = 10_000;

/// What was healed lately. The clock is the caller's: every `now` is the time since
/// one arbitrary start and never goes back.
#[derive(Debug, Default)]
pub struct Heals {
    by_path: BTreeMap<RelPath, Heal>,
}

#[derive(Debug)]
struct Heal {
    agreed: Option<Entry>,
    times: u32,
    last: Duration,
}

impl Heals {
    /// Whether to heal `path` to `agreed` once more; if so, that is noted.
    pub fn admit(&mut self, path: &RelPath, agreed: Option<&Entry>, now: Duration) -> bool {
        if self.by_path.len() >= PATHS_MAX {
            self.forget_old(now);
        }
        let is_full = self.by_path.len() >= PATHS_MAX;
        match self.by_path.get_mut(path) {
            Some(heal) if heal.is_for(agreed) && !heal.is_old(now) => {
                let admitted = heal.times < TIMES_MAX;
                if admitted {
                    heal.times += 1;
                    heal.last = now;
                }
                admitted
            }
            None if is_full => false,
            _ => {
                let heal = Heal {
                    agreed: agreed.cloned(),
                    times: 1,
                    last: now,
                };
                self.by_path.insert(path.clone(), heal);
                true
            }
        }
    }

    fn forget_old(&mut self, now: Duration) {
        self.by_path.retain(|_, heal| !heal.is_old(now));
    }
}

impl Heal {
    /// Whether the same was agreed: each heal gives a file another time.
    fn is_for(&self, agreed: Option<&Entry>) -> bool {
        match (&self.agreed, agreed) {
            (Some(before), Some(now)) => before.same_identity(now),
            (None, None) => true,
            _ => false,
        }
    }

    fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) >= FORGOTTEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentId, FileEntry, Mode, Mtime};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn file(content: &[u8], seconds: i64) -> Entry {
        Entry::File(FileEntry {
            mode: Mode::new(0o644),
            mtime: Mtime {
                seconds,
                nanoseconds: 0,
            },
            length: content.len() as u64,
            content: ContentId::of(content),
        })
    }

    #[test]
    fn a_path_is_healed_three_times_until_what_is_agreed_changes_or_an_hour_passed() {
        let mut heals = Heals::default();
        let a = path("a");
        let minute = |number: u64| Duration::from_secs(60 * number);
        // The time under which it stands there is another after each.
        let mut seconds = 0;
        let mut admit = |content: &[u8], now| {
            seconds += 1;
            heals.admit(&a, Some(&file(content, seconds)), now)
        };
        for number in 0..3 {
            assert!(admit(b"first", minute(number)));
        }
        assert!(!admit(b"first", minute(3)));
        assert!(admit(b"second", minute(3)), "something else is agreed");
        assert!(admit(b"second", minute(4)));
        assert!(admit(b"second", minute(5)));
        assert!(!admit(b"second", minute(64)));
        assert!(admit(b"second", minute(65)), "an hour after the last");
        assert!(heals.admit(&path("b"), None, minute(65)));
    }

    #[test]
    fn beyond_what_is_remembered_nothing_is_healed() {
        let mut heals = Heals::default();
        let now = Duration::from_secs(1);
        for number in 0..PATHS_MAX {
            assert!(heals.admit(&path(&number.to_string()), None, now));
        }
        assert!(!heals.admit(&path("one more"), None, now));
        assert!(heals.admit(&path("7"), None, now), "a known one still is");
        let later = now + FORGOTTEN_AFTER;
        assert!(heals.admit(&path("one more"), None, later));
    }
}
