//! `rivals`: apim-sync and rsync, the same work, the same disk, turn by turn.
//!
//! Everything runs on a fresh ext4 file system in memory and in a network
//! namespace of its own, so that neither the machine's disk nor its traffic is
//! measured. Samples of the contestants alternate; medians and ratios are
//! printed, raw samples kept as JSON. After every sample the trees are compared
//! byte by byte: a fast wrong copy is no result.
//!
//! ```text
//! cargo run --release -p sync-benches --bin rivals -- W1 W3 W5 W6 W7
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod large;
mod machine;
mod report;
mod rsync;
mod seclusion;
mod stage;
mod workloads;

use std::{env, process::ExitCode};

use report::Report;
use workloads::WORKLOADS;

fn main() -> ExitCode {
    let chosen: Vec<String> = env::args().skip(1).collect();
    match run(&chosen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("rivals: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(chosen: &[String]) -> Result<(), String> {
    let known = |id: &String| WORKLOADS.iter().any(|workload| workload.id == id);
    if let Some(unknown) = chosen.iter().find(|id| !known(id)) {
        return Err(format!(
            "`{unknown}` is not a workload; they are:\n{}",
            list()
        ));
    }
    seclusion::enter()?;
    let mut report = Report::new(machine::facts());
    for workload in &WORKLOADS {
        if chosen.is_empty() || chosen.iter().any(|id| id == workload.id) {
            eprintln!("{}: {}", workload.id, workload.work);
            report.add(workload, (workload.measure)()?);
        }
    }
    println!("{}", report.table());
    let file = report.save()?;
    eprintln!("raw samples: {}", file.display());
    Ok(())
}

fn list() -> String {
    let lines = WORKLOADS
        .iter()
        .map(|workload| format!("  {}  {}\n", workload.id, workload.work));
    lines.collect()
}
