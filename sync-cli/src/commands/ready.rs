//! `ready`: what would be lost if the roles changed now.

use sync_daemon::{
    control::Request,
    events::{Event, JsonLine, ReadinessReport},
};

use super::Context;
use crate::{args::Ready, backend, error::Outcome, terminal::Line};

pub(crate) async fn run(context: &Context, args: Ready) -> Outcome {
    let config = context.config()?;
    let work = backend::ask(&config, Request::Ready, |event| show(context, event));
    backend::within(
        args.timeout.timeout,
        "looking whether all is ready",
        &config,
        work,
    )
    .await
}

fn show(context: &Context, event: Event) {
    let terminal = &context.terminal;
    match event {
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Pending(pending) => {
            let (tree, path) = (pending.tree, pending.path.path);
            terminal.answer(&Line::new(format!("pending: {tree}  {path}")));
        }
        Event::Readiness(report) => {
            let lines = in_words(&report);
            lines
                .into_iter()
                .for_each(|line| terminal.answer(&Line::new(line)));
        }
        _ => {}
    }
}

fn in_words(report: &ReadinessReport) -> Vec<String> {
    match &report.peer {
        Some(peer) if report.ready => {
            vec![format!("ready: nothing would be lost, in step with {peer}")]
        }
        _ => report
            .reasons
            .iter()
            .map(|reason| format!("not in order: {reason}"))
            .collect(),
    }
}
