//! `pause` and `resume`: hold sending and go on.

use sync_daemon::{
    control::Request,
    events::Event,
    failure::{Failure, FailureKind},
};

use super::Context;
use crate::{args::Pause, backend, error::Outcome, render::quantity, terminal::Line};

pub(crate) async fn pause(context: &Context, args: Pause) -> Outcome {
    // Whole seconds, and never none.
    let seconds = args.period.map(|it| it.as_secs().max(1));
    tell_daemon(context, Request::Pause { seconds }, "pausing").await?;
    let until = match seconds {
        Some(seconds) => format!("for {}", quantity::seconds(seconds as f64)),
        None => "until `apim-sync resume`".into(),
    };
    context
        .terminal
        .note(&Line::new(format!("sending is paused {until}")));
    Ok(())
}

pub(crate) async fn resume(context: &Context) -> Outcome {
    tell_daemon(context, Request::Resume, "resuming").await?;
    context.terminal.note(&Line::new("sending goes on"));
    Ok(())
}

async fn tell_daemon(context: &Context, request: Request, doing: &str) -> Outcome {
    let config = context.config()?;
    let told = backend::ask_daemon(&config, request, |event| {
        if let Event::Notice(notice) = event {
            context.terminal.note(&Line::new(notice.text));
        }
    });
    if told.await? {
        return Ok(());
    }
    let state_dir = config.node.state_dir.display();
    Err(Failure::new(
        FailureKind::Unreachable,
        format!("{doing}: the daemon of this node does not run (no one answers at {state_dir})"),
    )
    .hint("`apim-sync daemon`, or `systemctl start apim-sync`")
    .into())
}
