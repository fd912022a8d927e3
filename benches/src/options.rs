//! What the caller wants measured, and how often.

use std::path::PathBuf;

use crate::workloads::{self, Workload};

/// What is accepted, for messages.
pub(crate) const USAGE: &str = "\
rivals [--full] [--rounds N] [--scale F] [--releases DIR] [--save] [WORKLOAD...]
rivals --report FILE [--report FILE...] [--save]

  --full       every workload and every rival; without it W1 and W3 to W9
  --rounds N   measured rounds (otherwise 3 to 200, as each workload needs)
  --scale F    multiplies every number of files and bytes, to try things small
  --releases D more families of trees for W12: D/FAMILY/VERSION/...
  --save       redraws the table of docs/performance.md, and performance.svg
  --report F   measures nothing: draws table and plot from raw samples";

/// A run, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) full: bool,
    pub(crate) rounds: Option<usize>,
    pub(crate) scale: f64,
    pub(crate) save: bool,
    pub(crate) reports: Vec<PathBuf>,
    /// Where more trees for W12 lie.
    pub(crate) releases: Option<PathBuf>,
    chosen: Vec<String>,
}

impl Options {
    /// Reads the command line.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            full: false,
            rounds: None,
            scale: 1.0,
            save: false,
            reports: Vec::new(),
            releases: None,
            chosen: Vec::new(),
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--full" => options.full = true,
                "--save" => options.save = true,
                "--rounds" => options.rounds = Some(value(word, words.next())?),
                "--scale" => options.scale = value(word, words.next())?,
                "--releases" => options.releases = Some(value(word, words.next())?),
                "--report" => options.reports.push(value(word, words.next())?),
                id if workloads::named(id).is_some() => options.chosen.push(id.to_owned()),
                other => return Err(format!("`{other}` is not understood\n{USAGE}")),
            }
        }
        options.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.rounds == Some(0) || !(0.0001..=1.0).contains(&self.scale) {
            return Err(format!(
                "--rounds is at least 1, --scale above 0 and at most 1\n{USAGE}"
            ));
        }
        if self.save && self.scale < 1.0 {
            return Err("--save keeps figures of full size only: leave --scale out".to_owned());
        }
        Ok(self)
    }

    /// Whether a workload is measured in this run.
    pub(crate) fn wants(&self, workload: &Workload) -> bool {
        if self.chosen.is_empty() {
            return self.full || workload.quick;
        }
        let mut chosen = self.chosen.iter().filter_map(|id| workloads::named(id));
        chosen.any(|chosen| chosen.id == workload.id)
    }

    /// How often something is measured that is measured `usual` times by default.
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(usual)
    }

    /// Files of a large tree, in which looking costs what it costs in the field.
    pub(crate) fn many(&self) -> usize {
        self.scaled(100_000, 1_000)
    }

    /// A number of files or bytes in this run; never less than `least`.
    pub(crate) fn scaled(&self, number: usize, least: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "counts far below 2^52, times at most 1"
        )]
        let scaled = (number as f64 * self.scale) as usize;
        scaled.max(least.min(number))
    }
}

fn value<T: std::str::FromStr>(option: &str, text: Option<&String>) -> Result<T, String> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{option} needs a value\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    fn wants(line: &str, id: &str) -> bool {
        parse(line).unwrap().wants(workloads::named(id).unwrap())
    }

    #[test]
    fn a_quick_run_leaves_out_what_takes_long() {
        assert!(wants("", "W1") && wants("", "W9"));
        assert!(!wants("", "W2") && !wants("", "W10"));
        assert!(wants("--full", "W17"));
    }

    #[test]
    fn named_workloads_are_the_only_ones() {
        assert!(wants("--full W3 W12", "W12") && !wants("--full W3 W12", "W1"));
        assert!(wants("W17", "W14"));
    }

    #[test]
    fn figures_of_a_small_run_are_not_kept() {
        assert!(parse("--scale 0.1 --save").is_err());
        assert_eq!(parse("--scale 0.1").unwrap().scaled(1000, 10), 100);
        assert_eq!(parse("--scale 0.001").unwrap().scaled(1000, 10), 10);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(
            parse("W99").is_err() && parse("--rounds").is_err() && parse("--rounds 0").is_err()
        );
    }
}
