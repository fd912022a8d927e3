//! `bootstrap`: fill this passive node from the active.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use sync_daemon::{
    config::Config,
    control::{self, Request},
    events::{Event, JsonLine, Summary},
    failure::{Failure, FailureKind},
};

use super::{Context, check_tree};
use crate::{
    args::Bootstrap,
    backend,
    error::{Outcome, Stop},
    render::changes::{self, Direction},
    terminal::Line,
};

pub(crate) async fn run(context: &Context, args: Bootstrap) -> Outcome {
    let config = context.config()?;
    check_tree(&config, args.tree.as_deref())?;
    check_confirmed(&config, args.confirm.as_deref())?;
    let timeout = args.timeout.timeout;
    let mut request = control::Bootstrap {
        from: args.from,
        tree: args.tree,
        confirm: args.confirm,
    };
    let first = fill(context, &config, &request, timeout).await;
    let Err(Stop::Failure(failure)) = first else {
        return first;
    };
    if failure.kind != FailureKind::Halted || request.confirm.is_some() || !can_ask(context) {
        return Err(failure.into());
    }
    request.confirm = Some(confirmation(context, &config, failure)?);
    fill(context, &config, &request, timeout).await
}

async fn fill(
    context: &Context,
    config: &Config,
    request: &control::Bootstrap,
    timeout: Option<std::time::Duration>,
) -> Outcome {
    let request = Request::Bootstrap(request.clone());
    let work = backend::ask(config, request, |event| show(context, config, event));
    let outcome = backend::within(timeout, "bootstrapping", config, work).await;
    context.terminal.clear_progress();
    outcome
}

fn check_confirmed(config: &Config, confirm: Option<&str>) -> Result<(), Failure> {
    match confirm {
        Some(name) if name != config.node.name.as_str() => {
            let own = &config.node.name;
            let name = sync_core::path::escape(name.as_bytes());
            let message = format!("--confirm {name}: this node is called {own}");
            Err(Failure::new(FailureKind::Halted, message)
                .hint("check that this is the node whose trees are to be replaced"))
        }
        _ => Ok(()),
    }
}

fn can_ask(context: &Context) -> bool {
    !context.global.no_input && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Has a person type the node's name, who has read what would be replaced.
fn confirmation(context: &Context, config: &Config, refused: Failure) -> Result<String, Failure> {
    let own = config.node.name.as_str();
    context.terminal.complain(&Line::new(&refused.message));
    let question = format!("Type {own} to replace it (what is there now is kept aside): ");
    let asked = io::stderr().write_all(question.as_bytes());
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim() == own => Ok(own.to_owned()),
        Ok(_) => Err(refused),
        Err(error) => {
            Err(
                Failure::caused_by(FailureKind::Failed, "asking for a confirmation", &error)
                    .hint(format!("`apim-sync bootstrap --confirm {own}`")),
            )
        }
    }
}

fn show(context: &Context, config: &Config, event: Event) {
    let terminal = &context.terminal;
    match event {
        Event::Progress(progress) => terminal.progress(&progress),
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Change(change) if context.global.verbose > 0 => {
            terminal.answer(&changes::in_words(&change, config.trees.len() > 1));
        }
        Event::Summary(Summary::Transfer(summary)) => {
            terminal.note(&changes::summary(&summary, Direction::FromPeer));
            if context.global.stats {
                let stats = changes::stats(&summary);
                stats.iter().for_each(|line| terminal.answer(line));
            }
        }
        _ => {}
    }
}
