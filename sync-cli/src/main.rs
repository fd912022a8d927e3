//! `apim-sync`: the command line of the engine.
//!
//! Parses, runs one command, chooses the exit code. What a node does is in the
//! libraries; what it looks like is in `render`.

mod args;
mod backend;
mod commands;
mod engine;
mod error;
mod home;
mod log;
mod render;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;
use sync_daemon::failure::{Failure, FailureKind};

use crate::{
    args::{Cli, Command},
    commands::Context,
    error::Outcome,
    log::Usual,
    terminal::Terminal,
};

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let usual = match command {
        Command::Daemon(_) => Usual::Info,
        _ => Usual::Warnings,
    };
    log::start(&global, usual);
    let context = Context {
        terminal: Terminal::new(&global),
        global,
    };
    let outcome = run(&context, command);
    error::end(outcome, &context.terminal)
}

/// Runs the command on one thread: the network's; files have threads of their
/// own.
fn run(context: &Context, command: Command) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by(FailureKind::Failed, "starting the runtime", &error))?;
    let outcome = runtime.block_on(commands::run(context, command));
    // A cancelled command may have left a blocking call behind; it is not
    // waited for.
    runtime.shutdown_background();
    outcome
}
