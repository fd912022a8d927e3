//! The checks, as a table, and the loop that runs them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{readme, tools};

/// One check.
pub(crate) struct Step {
    /// What the terminal shows and what `cargo xtask test NAME` takes.
    name: &'static str,
    work: Work,
}

enum Work {
    /// Puts missing tools in place.
    Tools,
    /// `cargo` with these arguments and environment.
    Cargo {
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
    /// `cargo audit` against a copy of the advisory database, if there is one.
    Advisories,
    /// Every test but doc tests, through nextest where it is.
    Tests,
    /// The commands that the README promises are the commands run here.
    Readme,
}

const fn cargo(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step {
        name,
        work: Work::Cargo {
            arguments,
            environment: &[],
        },
    }
}

/// Cheap checks first; the tests last, so that the last line is their summary.
#[rustfmt::skip]
const TEST: [Step; 11] = [
    Step { name: "tools", work: Work::Tools },
    cargo("format", &["fmt", "--all", "--check"]),
    Step { name: "readme", work: Work::Readme },
    cargo("licences", &["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]),
    Step { name: "advisories", work: Work::Advisories },
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    cargo("build", &["build", "--workspace"]),
    cargo("demo", &["run", "--", "demo"]),
    Step { name: "docs", work: Work::Cargo {
        arguments: &["doc", "--workspace", "--no-deps", "--document-private-items"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    } },
    cargo("doctests", &["test", "--workspace", "--doc"]),
    Step { name: "tests", work: Work::Tests },
];

/// What CI runs after that: the first command of the README, as a user has it.
const RELEASE_DEMO: Step = cargo("release-demo", &["run", "--release", "--", "demo"]);

/// An advisory that is accepted, with its reason; `deny.toml` says the same.
const ADVISORIES_ACCEPTED: [(&str, &str); 1] = [(
    "RUSTSEC-2025-0141",
    "bincode 2.0.1 is complete, pinned exactly, length-limited and behind golden vectors",
)];

/// The steps of `cargo xtask test`.
pub(crate) fn test() -> Vec<Step> {
    TEST.into()
}

/// The steps of `cargo xtask ci`.
pub(crate) fn ci() -> Vec<Step> {
    let mut steps = test();
    let tests = steps.len() - 1;
    steps.insert(tests, RELEASE_DEMO);
    steps
}

/// Prints the names.
pub(crate) fn list(steps: &[Step]) {
    for step in steps {
        eprintln!("{}", step.name);
    }
}

/// Runs `steps`, or those named in `only`, and stops at the first that fails.
pub(crate) fn run(root: &Path, steps: &[Step], only: &[String]) -> Result<(), String> {
    if let Some(unknown) = only
        .iter()
        .find(|name| !steps.iter().any(|step| step.name == **name))
    {
        return Err(format!(
            "`{unknown}` is not a step; `cargo xtask steps` lists them"
        ));
    }
    let chosen = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    let count = steps.iter().filter(chosen).count();
    for (index, step) in steps.iter().filter(chosen).enumerate() {
        eprintln!("=== {}/{count} {}", index + 1, step.name);
        let start = Instant::now();
        perform(root, &step.work).map_err(|error| format!("step `{}`: {error}", step.name))?;
        // The tests say their own time, in what must stay the last line.
        if !matches!(step.work, Work::Tests) {
            eprintln!(
                "=== {} took {:.1} s",
                step.name,
                start.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

fn perform(root: &Path, work: &Work) -> Result<(), String> {
    match work {
        Work::Tools => tools::install(root),
        Work::Readme => readme::check(root),
        Work::Advisories => advisories(root),
        Work::Tests => tests(root),
        Work::Cargo {
            arguments,
            environment,
        } => {
            let mut command = cargo_command(root);
            command.args(*arguments).envs(environment.iter().copied());
            finish(command)
        }
    }
}

fn tests(root: &Path) -> Result<(), String> {
    announce_skips(root);
    let mut command = cargo_command(root);
    if tools::on_path("cargo-nextest") {
        command.args(["nextest", "run", "--workspace"]);
    } else {
        eprintln!("cargo-nextest is missing: `cargo test` runs the tests instead");
        command.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    }
    finish(command)
}

/// A test that finds something absent passes silently, so it is said here.
fn announce_skips(root: &Path) {
    let corpus = env::var_os("SYNC_TESTS_CORPUS")
        .map_or_else(|| root.join("../shared/wso2/corpus"), PathBuf::from);
    if !corpus.is_dir() {
        eprintln!(
            "SKIPPED: e2e corpus::*: no real artifact trees at {}; point SYNC_TESTS_CORPUS at some",
            corpus.display()
        );
    }
    let homes = env::var_os("SYNC_TESTS_HOMES")
        .map_or_else(|| root.join("../shared/wso2/homes"), PathBuf::from);
    if !homes.is_dir() {
        eprintln!(
            "SKIPPED: apim-config homes: no stock API Manager homes at {}; point SYNC_TESTS_HOMES at \
             a directory with wso2am-VERSION in it",
            homes.display()
        );
    }
    if !tools::is_root() {
        eprintln!("SKIPPED: e2e disk_full::*: only root may mount a small disk");
        eprintln!("SKIPPED: e2e cluster::keepalived*: only root may make network namespaces");
    }
}

fn advisories(root: &Path) -> Result<(), String> {
    let database = env::var_os("SYNC_ADVISORY_DB")
        .map_or_else(|| root.join("../shared/advisory-db"), PathBuf::from);
    if !database.is_dir() {
        eprintln!(
            "SKIPPED: no advisory database at {}; point SYNC_ADVISORY_DB at a copy of \
             https://github.com/rustsec/advisory-db",
            database.display()
        );
        return Ok(());
    }
    let mut command = cargo_command(root);
    command.args([
        "audit",
        "--no-fetch",
        "--stale",
        "--deny",
        "warnings",
        "--db",
    ]);
    command.arg(database);
    for (id, reason) in ADVISORIES_ACCEPTED {
        eprintln!("accepted: {id}: {reason}");
        command.args(["--ignore", id]);
    }
    finish(command)
}

/// The cargo that runs this program.
pub(crate) fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs `command` to its end with this program's terminal.
pub(crate) fn finish(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}")),
        Err(error) => Err(format!("{shown} did not start: {error}")),
    }
}
