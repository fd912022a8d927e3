//! `release`: approve a plan that the deletion guard halted.

use sync_daemon::{control::Request, events::Event};

use super::Context;
use crate::{args::Release, backend, error::Outcome, terminal::Line};

pub(crate) async fn run(context: &Context, args: Release) -> Outcome {
    let config = context.config()?;
    let plan = args.plan.clone();
    let request = Request::Release { plan: args.plan };
    backend::ask(&config, request, |event| {
        if let Event::Notice(notice) = event {
            context.terminal.note(&Line::new(notice.text));
        }
    })
    .await?;
    context
        .terminal
        .note(&Line::new(format!("plan {plan} is released")));
    Ok(())
}
