//! The whole seconds that the deployer may have seen at a path lately.
//!
//! It polls every 15 s and compares modification times in whole seconds, so a
//! time that stood at a path within the last two polls must not come back with
//! another content.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use sync_core::RelPath;

/// Two intervals of the deployer.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Bounds the memory of a storm; what is forgotten early is only compared with
/// the time that stands there now.
const ENTRIES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct RecentSeconds {
    by_path: BTreeMap<RelPath, Vec<i64>>,
    /// Oldest first.
    order: VecDeque<(Instant, RelPath)>,
}

impl RecentSeconds {
    /// Notes that `seconds` stood at `path` until `now`.
    pub(super) fn note(&mut self, path: &RelPath, seconds: i64, now: Instant) {
        self.forget_old(now);
        self.by_path.entry(path.clone()).or_default().push(seconds);
        self.order.push_back((now, path.clone()));
    }

    /// What stood at `path` lately.
    pub(super) fn at(&self, path: &RelPath) -> &[i64] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((noted, _)) = self.order.front() {
            let old = now.saturating_duration_since(*noted) > REMEMBERED;
            if !old && self.order.len() < ENTRIES_MAX {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, path)) = self.order.pop_front() else {
            return;
        };
        if let Some(seconds) = self.by_path.get_mut(&path) {
            seconds.remove(0);
            if seconds.is_empty() {
                self.by_path.remove(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_remembered_for_two_polls() {
        let path = RelPath::new(b"api/a.xml").unwrap();
        let start = Instant::now();
        let mut recent = RecentSeconds::default();
        recent.note(&path, 100, start);
        recent.note(&path, 101, start + Duration::from_secs(20));
        assert_eq!(recent.at(&path), [100, 101]);
        recent.note(&path, 102, start + Duration::from_secs(31));
        assert_eq!(recent.at(&path), [101, 102]);
        let other = RelPath::new(b"api/b.xml").unwrap();
        recent.note(&other, 1, start + Duration::from_secs(100));
        assert!(recent.at(&path).is_empty());
    }
}
