//! `status`: what this node is and how its peers are.

use std::time::Duration;

use sync_daemon::{
    at_rest,
    config::Config,
    control::Request,
    events::{Event, JsonLine, Status},
    failure::{Failure, FailureKind},
};

use super::Context;
use crate::{
    args, backend,
    error::{Outcome, Stop},
    render::{
        nagios::{self, Level},
        status,
    },
    terminal::Line,
};

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: args::Status) -> Outcome {
    if args.nagios {
        return nagios(context).await;
    }
    let config = context.config()?;
    if args.watch {
        return watch(context, &config).await;
    }
    let status = ask(&config).await?;
    match args.role {
        true => context.terminal.answer(&Line::new(status.role.name())),
        false => show(context, &status),
    }
    match status.conflict {
        _ if !status.running => Err(not_running(&config).into()),
        Some(conflict) if args.role => Err(Failure::new(FailureKind::Role, conflict.detail).into()),
        _ => Ok(()),
    }
}

/// The daemon's answer, or what the disk knows.
async fn ask(config: &Config) -> Result<Status, Stop> {
    let mut answer = None;
    let mut keep = |event| {
        if let Event::Status(status) = event {
            answer = Some(*status);
        }
    };
    let running = backend::ask_daemon(config, Request::Status, &mut keep).await?;
    if !running {
        return Ok(at_rest::status(config)?);
    }
    answer.ok_or_else(|| {
        let message = "asking for the status: the daemon gave none";
        let failure = Failure::new(FailureKind::Protocol, message)
            .hint("daemon and command are of different releases: restart the daemon");
        Stop::Failure(failure)
    })
}

fn show(context: &Context, status: &Status) {
    let terminal = &context.terminal;
    if terminal.json() {
        let event = Event::Status(Box::new(status.clone()));
        terminal.answer_json(&JsonLine::new(&event));
    } else {
        let lines = status::screen(status, status::now_s());
        lines.iter().for_each(|line| terminal.answer(line));
    }
}

async fn watch(context: &Context, config: &Config) -> Outcome {
    let mut tick = tokio::time::interval(WATCH_EVERY);
    loop {
        tick.tick().await;
        let status = ask(config).await?;
        if !context.terminal.json() && context.terminal.is_screen() {
            context.terminal.clear_screen();
        }
        show(context, &status);
    }
}

fn not_running(config: &Config) -> Failure {
    let state_dir = config.node.state_dir.display();
    Failure::new(
        FailureKind::Unreachable,
        format!("the daemon of this node does not run (no one answers at {state_dir})"),
    )
    .hint("`apim-sync daemon`, or `systemctl start apim-sync`")
}

/// Whatever goes wrong is for Nagios a state too.
async fn nagios(context: &Context) -> Outcome {
    let asked = match context.config() {
        Ok(config) => ask(&config).await,
        Err(failure) => Err(failure.into()),
    };
    let (level, line) = match asked {
        Ok(status) => nagios::judge(&status),
        Err(Stop::Failure(failure)) => (
            Level::Unknown,
            nagios::line(Level::Unknown, &failure.message),
        ),
        Err(stop) => return Err(stop),
    };
    context.terminal.answer(&Line::new(line));
    match level.exit_code() {
        0 => Ok(()),
        code => Err(Stop::Code(code)),
    }
}
