//! What a passive tells the active of its trees beside the generations: drift,
//! and what the deployer took.

use bincode::{Decode, Encode};

use super::Refusal;
use crate::{
    deploy::Deployed,
    drift::{Cause, Kind},
    generation::{Generation, TreeName},
    path::RelPath,
};

/// Paths named in one report of a kind.
pub const REPORT_PATHS_MAX: usize = 1_000;
/// Generations in one report.
pub const REPORT_GENERATIONS_MAX: usize = 64;
/// Bytes of the paths named in one report of a kind: two kinds fit a frame.
const REPORT_BYTES_MAX: usize = 384 << 10;

/// A tree as its passive sees it now, in place of what it said before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TreeReport {
    /// The tree.
    pub tree: TreeName,
    /// The first paths that are not as agreed, at most [`REPORT_PATHS_MAX`].
    pub drift: Vec<DriftedPath>,
    /// How many there are in all.
    pub drifted: u64,
    /// Generations that have had the deployer's interval since the last report,
    /// oldest first, at most [`REPORT_GENERATIONS_MAX`].
    pub deployed: Vec<DeployedReport>,
}

/// A path that is not as agreed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DriftedPath {
    /// Where.
    pub path: RelPath,
    /// How it differs.
    pub kind: Kind,
    /// Who made it differ.
    pub cause: Cause,
}

/// A generation that has had the deployer's interval.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeployedReport {
    /// Which.
    pub generation: Generation,
    /// Seconds ago, by the passive's clock.
    pub seconds_ago: u64,
    /// The first of its paths that the deployer refused; of all generations of a
    /// report together at most [`REPORT_PATHS_MAX`].
    pub rejected: Vec<RelPath>,
}

impl TreeReport {
    /// Whether it keeps within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let rejected: usize = self.deployed.iter().map(|it| it.rejected.len()).sum();
        self.drift.len() <= REPORT_PATHS_MAX
            && self.deployed.len() <= REPORT_GENERATIONS_MAX
            && rejected <= REPORT_PATHS_MAX
    }
}

/// What the passive answers to [`Opening::Deployed`](super::Opening::Deployed).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum DeployedAnswer {
    /// The interval is not over. May come at any time before the others.
    Working,
    /// The deployer has had its interval for everything that was applied when this
    /// was asked.
    Deployed {
        /// Where the tree stands.
        generation: Generation,
        /// The first paths of the tree that the deployer refuses, at most
        /// [`REPORT_PATHS_MAX`].
        rejected: Vec<RelPath>,
        /// How many there are in all.
        rejected_in_all: u64,
    },
    /// Cannot say.
    Refused(Refusal),
}

/// As many paths as a report may name.
pub struct PathBudget {
    paths: usize,
    bytes: usize,
}

impl Default for PathBudget {
    fn default() -> Self {
        Self {
            paths: REPORT_PATHS_MAX,
            bytes: REPORT_BYTES_MAX,
        }
    }
}

impl PathBudget {
    /// Takes from the budget what naming `path` costs; whether there was enough.
    pub fn admits(&mut self, path: &RelPath) -> bool {
        let bytes = path.as_bytes().len();
        let enough = self.paths > 0 && bytes <= self.bytes;
        if enough {
            self.paths -= 1;
            self.bytes -= bytes;
        } else {
            // Whatever comes later is not named either.
            self.paths = 0;
        }
        enough
    }
}

/// The newest of `ended`, as a report names them; each with the seconds since.
#[must_use]
pub fn deployed_reports<'a>(
    ended: impl DoubleEndedIterator<Item = (&'a Deployed, u64)>,
) -> Vec<DeployedReport> {
    let mut budget = PathBudget::default();
    let newest = ended.rev().take(REPORT_GENERATIONS_MAX);
    let mut reports: Vec<_> = newest
        .map(|(deployed, seconds_ago)| {
            let rejected = deployed.rejected.iter();
            DeployedReport {
                generation: deployed.generation,
                seconds_ago,
                rejected: rejected
                    .take_while(|path| budget.admits(path))
                    .cloned()
                    .collect(),
            }
        })
        .collect();
    reports.reverse();
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec, limits::FRAME_BYTES_MAX};

    fn path(number: usize, length: usize) -> RelPath {
        let component = "x".repeat(250);
        let mut text = format!("{number:06}");
        while text.len() + 251 <= length {
            text = format!("{text}/{component}");
        }
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_largest_report_fits_a_frame() {
        for length in [10, 100, 400, 4_096] {
            let mut budget = PathBudget::default();
            let drift: Vec<_> = (0..1_100)
                .map(|number| path(number, length))
                .take_while(|path| budget.admits(path))
                .map(|path| DriftedPath {
                    path,
                    kind: Kind::Created,
                    cause: Cause::Restored,
                })
                .collect();
            let rejected = |_| Deployed {
                generation: Generation(u64::MAX),
                rejected: (0..40).map(|number| path(number, length)).collect(),
            };
            let ended: Vec<Deployed> = (0..70).map(rejected).collect();
            let report = TreeReport {
                tree: TreeName::new("t").unwrap(),
                drift,
                drifted: u64::MAX,
                deployed: deployed_reports(ended.iter().map(|it| (it, u64::MAX))),
            };
            assert!(report.is_bounded());
            assert!(!report.drift.is_empty());
            assert!(!report.deployed.last().unwrap().rejected.is_empty());
            let bytes = codec::encode(&report);
            assert!(bytes.len() <= FRAME_BYTES_MAX, "{length}: {}", bytes.len());
            assert_eq!(codec::decode::<TreeReport>(&bytes).unwrap(), report);
        }
    }
}
