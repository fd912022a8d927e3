//! `trace`: the life of one path on both nodes.

use sync_daemon::{
    control::{self, Request},
    events::{Event, JsonLine},
};

use super::{Context, check_tree};
use crate::{args::Trace, backend, error::Outcome, render::history, terminal::Line};

pub(crate) async fn run(context: &Context, args: Trace) -> Outcome {
    let config = context.config()?;
    check_tree(&config, args.tree.as_deref())?;
    let request = Request::Trace(control::Trace {
        path: args.path,
        tree: args.tree,
    });
    let work = backend::ask(&config, request, |event| show(context, event));
    backend::within(args.timeout.timeout, "tracing", &config, work).await
}

fn show(context: &Context, event: Event) {
    let terminal = &context.terminal;
    match event {
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Trace(report) => {
            let lines = history::trace(&report);
            lines.iter().for_each(|line| terminal.answer(line));
        }
        _ => {}
    }
}
