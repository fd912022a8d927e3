//! `verify`: compare both sides, change nothing.

use sync_daemon::{
    config::Config,
    control::{self, Request},
    events::{Event, JsonLine, Summary},
};

use super::{Context, check_tree};
use crate::{args::Verify, backend, error::Outcome, render::differences, terminal::Line};

pub(crate) async fn run(context: &Context, args: Verify) -> Outcome {
    let config = context.config()?;
    check_tree(&config, args.tree.as_deref())?;
    let combined = args.combined;
    let request = Request::Verify(control::Verify {
        peer: args.peer,
        tree: args.tree,
        tenant: args.tenant,
        quick: args.quick,
        sign: args.sign,
        combined,
        filter: args.filter.rules()?,
    });
    let work = backend::ask(&config, request, |event| {
        show(context, &config, combined, event);
    });
    backend::within(args.timeout.timeout, "verifying", &config, work).await
}

fn show(context: &Context, config: &Config, combined: bool, event: Event) {
    let terminal = &context.terminal;
    let several_trees = config.trees.len() > 1;
    match event {
        Event::Progress(progress) => terminal.progress(&progress),
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Difference(it) if combined => {
            terminal.answer(&differences::combined(&it, several_trees));
        }
        Event::Same(it) if combined => terminal.answer(&differences::same(&it, several_trees)),
        Event::Difference(it) => terminal.answer(&differences::in_words(&it, several_trees)),
        Event::Summary(Summary::Verify(summary)) => {
            let line = differences::summary(&summary);
            if let Some(evidence) = &summary.evidence {
                terminal.note(&differences::evidence(evidence));
            }
            if combined {
                terminal.note(&line);
            } else {
                terminal.answer(&line);
            }
        }
        _ => {}
    }
}
