//! `--exclude`, `--include` and `--exclude-from`: rules in the order given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, FromArgMatches};
use sync_daemon::{
    control::{self, FilterRule},
    failure::{Failure, FailureKind},
};

/// The flags as clap reads them; their order is in the positions.
#[derive(Args, Debug)]
struct Flags {
    /// Leave paths that match alone (rsync's syntax; the first rule that matches decides)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Keep paths that match although a later rule leaves them out
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Read exclude patterns from a file, one a line; `#` and `;` begin comments
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
}

/// The rules of one run, in the order of the command line.
#[derive(Debug, Default)]
pub(crate) struct FilterArgs(Vec<Given>);

#[derive(Debug, Clone)]
enum Given {
    Rule(FilterRule),
    File(PathBuf),
}

impl FilterArgs {
    /// The rules, with the files read and every pattern checked.
    pub(crate) fn rules(&self) -> Result<Vec<FilterRule>, Failure> {
        let mut rules = Vec::new();
        for given in &self.0 {
            match given {
                Given::Rule(rule) => rules.push(rule.clone()),
                Given::File(file) => rules.push(read(file)?),
            }
        }
        control::rules(&rules).map_err(|error| {
            Failure::caused_by(FailureKind::Usage, "reading the filter rules", &error)
                .hint("see the FILTER RULES section of `man rsync` for the syntax")
        })?;
        Ok(rules)
    }
}

fn read(file: &Path) -> Result<FilterRule, Failure> {
    fs::read_to_string(file)
        .map(FilterRule::ExcludeLines)
        .map_err(|error| {
            let doing = format!("reading the exclude patterns in `{}`", file.display());
            Failure::caused_by(FailureKind::Usage, doing, &error)
                .hint("name a readable text file with `--exclude-from`")
        })
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let exclude = flags.exclude.into_iter().map(FilterRule::Exclude);
        let include = flags.include.into_iter().map(FilterRule::Include);
        let mut given: Vec<(usize, Given)> = Vec::new();
        given.extend(at(matches, "exclude").zip(exclude.map(Given::Rule)));
        given.extend(at(matches, "include").zip(include.map(Given::Rule)));
        given.extend(
            at(matches, "exclude_from").zip(flags.exclude_from.into_iter().map(Given::File)),
        );
        given.sort_by_key(|(position, _)| *position);
        Ok(Self(given.into_iter().map(|(_, given)| given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where on the command line the values of a flag stand.
fn at<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = usize> + 'a {
    matches.indices_of(id).into_iter().flatten()
}

impl Args for FilterArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn rules_keep_the_order_of_the_command_line() {
        let line = [
            "apim-sync",
            "verify",
            "--exclude=*.back",
            "--include",
            "a",
            "--exclude",
            "*",
        ];
        let Command::Verify(verify) = Cli::try_parse_from(line).unwrap().command else {
            panic!("it is a verify");
        };
        assert_eq!(
            verify.filter.rules().unwrap(),
            [
                FilterRule::Exclude("*.back".into()),
                FilterRule::Include("a".into()),
                FilterRule::Exclude("*".into()),
            ]
        );
    }

    #[test]
    fn a_malformed_pattern_is_a_usage_error() {
        let filter = FilterArgs(vec![Given::Rule(FilterRule::Exclude("a[".into()))]);
        let failure = filter.rules().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains("`a[`"), "{failure}");
    }
}
