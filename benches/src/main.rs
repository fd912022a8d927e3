//! `rivals`: apim-sync and its rivals, the same work, the same disk, turn by turn.
//!
//! Everything runs on a fresh ext4 file system in memory and in a network
//! namespace of its own, so that neither the machine's disk nor its traffic is
//! measured. After each round the copies are compared byte by byte: a fast wrong
//! copy is no result.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod contestants;
mod large;
mod link;
mod machine;
mod meter;
mod options;
mod plot;
mod process;
mod race;
mod report;
mod row;
mod sample;
mod seclusion;
mod stage;
mod table;
mod workloads;

use std::{env, process::ExitCode};

use options::Options;
use report::Report;
use workloads::WORKLOADS;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("rivals: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let report = if options.reports.is_empty() {
        measured(options)?
    } else {
        Report::load(&options.reports)?
    };
    println!("{}", table::markdown(&report.rows));
    if options.save {
        report.publish()?;
    }
    Ok(())
}

fn measured(options: &Options) -> Result<Report, String> {
    seclusion::enter()?;
    let mut report = Report::new(machine::facts());
    for workload in &WORKLOADS {
        if options.wants(workload) {
            eprintln!("{}: {}", workload.id, workload.work);
            let rows = workload.rows(options);
            eprintln!("{}", table::markdown(&rows));
            report.rows.extend(rows);
            report.keep()?;
        }
    }
    eprintln!("raw samples: {}", report.file().display());
    Ok(report)
}
