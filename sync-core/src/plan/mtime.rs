//! Which modification time a changed file gets on the passive.

use crate::entry::Mtime;

/// The modification time for a content that changes in a synapse tree.
///
/// The deployer takes a file for changed when its time differs in whole seconds
/// from the one it last saw, older or newer. So the source's time is moved
/// forward by whole seconds until it differs from `current` (what the passive's
/// file has now) and from `recently_seen` (seconds that the deployer may have
/// seen at this path).
#[must_use]
pub fn applied_mtime(source: Mtime, current: Option<Mtime>, recently_seen: &[i64]) -> Mtime {
    let taken = |seconds: &i64| {
        current.is_some_and(|mtime| mtime.seconds == *seconds) || recently_seen.contains(seconds)
    };
    let later = source.seconds..=i64::MAX;
    let earlier = (i64::MIN..source.seconds).rev();
    let seconds = later.chain(earlier).find(|seconds| !taken(seconds));
    Mtime {
        seconds: seconds.unwrap_or(source.seconds),
        ..source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_differ_from_what_the_deployer_saw() {
        let cases: &[(i64, Option<i64>, &[i64], i64)] = &[
            (100, None, &[], 100),
            (100, Some(99), &[], 100),
            (100, Some(101), &[], 100),
            (100, Some(100), &[], 101),
            (100, Some(100), &[101, 102], 103),
            (100, Some(101), &[100], 102),
            (-1, Some(-1), &[0], 1),
            (i64::MAX, Some(i64::MAX), &[], i64::MAX - 1),
        ];
        for &(source, current, seen, expected) in cases {
            let at = |seconds, nanoseconds| Mtime {
                seconds,
                nanoseconds,
            };
            // Nanoseconds do not count: the current file differs in them only.
            let applied = applied_mtime(at(source, 5), current.map(|s| at(s, 7)), seen);
            assert_eq!(applied, at(expected, 5), "{source} {current:?} {seen:?}");
        }
    }
}
