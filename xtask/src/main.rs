//! `cargo xtask`: the project's own commands, the same for a developer and CI.
//!
//! `test` runs every check in the order of [`steps`], after [`tools`] has put
//! what they need in place. `ci` is `test` plus the README's commands as a
//! user would run them. Only the standard library is used, so that this
//! program is built in a second.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

mod bench;
mod readme;
mod steps;
mod tools;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
cargo xtask test [STEP...]   every check, or only the named steps, fail fast
cargo xtask ci               `test`, then the README's commands
cargo xtask steps            the names of the steps
cargo xtask bench [--full] [WORKLOAD...]
                             beside rsync on this machine: the quick workloads, all with every
                             rival, or those named; a wrong word shows what else there is";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    match run(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<(), String> {
    let root = workspace_root();
    match command {
        "test" => steps::run(&root, &steps::test(), rest),
        "ci" => steps::run(&root, &steps::ci(), rest),
        "bench" => bench::run(&root, rest),
        "steps" => {
            steps::list(&steps::ci());
            Ok(())
        }
        "help" | "--help" | "-h" => {
            eprintln!("{HELP}");
            Ok(())
        }
        other => Err(format!("`{other}` is not a command\n{HELP}")),
    }
}

/// The directory above this package: steps run there whatever the caller's
/// directory is.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
