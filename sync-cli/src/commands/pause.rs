//! `pause` and `resume`: hold sending and go on.

use sync_daemon::{
    control::{self, Request},
    events::Event,
    failure::{Failure, FailureKind},
};

use super::Context;
use crate::{
    args::{PartArgs, Pause, Resume},
    backend,
    error::Outcome,
    render::quantity,
    terminal::Line,
};

pub(crate) async fn pause(context: &Context, args: Pause) -> Outcome {
    // Whole seconds, and never none.
    let seconds = args.period.map(|it| it.as_secs().max(1));
    let what = what(&args.part);
    let request = Request::Pause(control::Pause {
        seconds,
        part: part(args.part),
    });
    tell_daemon(context, request, "pausing").await?;
    let until = match seconds {
        Some(seconds) => format!("for {}", quantity::seconds(seconds as f64)),
        None => "until `apim-sync resume`".into(),
    };
    context
        .terminal
        .note(&Line::new(format!("sending{what} is paused {until}")));
    Ok(())
}

pub(crate) async fn resume(context: &Context, args: Resume) -> Outcome {
    let what = what(&args.part);
    tell_daemon(context, Request::Resume(part(args.part)), "resuming").await?;
    let line = format!("sending{what} goes on");
    context.terminal.note(&Line::new(line));
    Ok(())
}

fn part(args: PartArgs) -> control::Part {
    control::Part {
        tree: args.tree,
        tenant: args.tenant,
    }
}

/// ` of tenant 7`, or nothing where everything is meant.
fn what(args: &PartArgs) -> String {
    let escape = |name: &String| sync_core::path::escape(name.as_bytes());
    match (&args.tree, &args.tenant) {
        (None, None) => String::new(),
        (Some(tree), None) => format!(" of {}", escape(tree)),
        (None, Some(tenant)) => format!(" of tenant {}", escape(tenant)),
        (Some(tree), Some(tenant)) => {
            format!(" of tenant {} of {}", escape(tenant), escape(tree))
        }
    }
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
