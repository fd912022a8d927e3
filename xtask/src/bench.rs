//! `cargo xtask bench`: the benchmark beside the rivals, with all it needs.

use std::path::Path;

use crate::{
    steps::{cargo_command, finish},
    tools,
};

/// What is measured without `--full`: under five minutes.
const QUICK: [&str; 8] = ["W1", "W3", "W4", "W5", "W6", "W7", "W8", "W9"];
/// Asks for every workload.
const FULL: &str = "--full";

/// Installs what is missing, builds both sides as they are shipped, measures.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    tools::install(root)?;
    // The measuring program starts the product's binary from beside itself.
    let mut build = cargo_command(root);
    build.args(["build", "--release", "-p", "sync-cli", "-p", "sync-benches"]);
    finish(build)?;
    let mut measure = cargo_command(root);
    measure.args([
        "run",
        "--release",
        "-p",
        "sync-benches",
        "--bin",
        "rivals",
        "--",
    ]);
    match arguments {
        [] => measure.args(QUICK),
        [only] if only == FULL => &mut measure,
        named => measure.args(named),
    };
    finish(measure)
}
