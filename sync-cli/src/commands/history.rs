//! `history`: the generations of this node's trees, and what was kept aside.

use sync_daemon::{
    control::{self, Request},
    events::{Event, JsonLine},
};

use super::{Context, check_tree};
use crate::{args::History, backend, error::Outcome, render::history, terminal::Line};

pub(crate) async fn run(context: &Context, args: History) -> Outcome {
    let config = context.config()?;
    if args.check {
        return check(context, args).await;
    }
    check_tree(&config, args.tree.as_deref())?;
    let asked = control::History {
        tree: args.tree,
        path: args.path,
        limit: Some(args.limit),
    };
    let all_paths = context.global.verbose > 0 || asked.path.is_some();
    let show = |event| show(context, event, all_paths);
    let work = async {
        let running = backend::ask_daemon(&config, Request::History(asked.clone()), &show).await?;
        if !running {
            let events = sync_daemon::history::tell(&config, &asked)?;
            events.into_iter().for_each(&show);
        }
        Ok(())
    };
    backend::within(args.timeout.timeout, "reading the history", &config, work).await
}

async fn check(context: &Context, args: History) -> Outcome {
    let config = context.config()?;
    let show = |event| show(context, event, false);
    let work = async {
        if !backend::ask_daemon(&config, Request::CheckHistory, &show).await? {
            sync_daemon::history::check(&config, show)?;
        }
        Ok(())
    };
    backend::within(
        args.timeout.timeout,
        "checking the audit log",
        &config,
        work,
    )
    .await
}

fn show(context: &Context, event: Event, all_paths: bool) {
    let terminal = &context.terminal;
    match event {
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Generation(report) => {
            let lines = history::generation(&report, all_paths);
            lines.iter().for_each(|line| terminal.answer(line));
        }
        Event::AuditFinding(finding) => terminal.answer(&history::finding(&finding)),
        Event::AuditChecked(checked) => terminal.answer(&history::checked(&checked)),
        Event::Aside(aside) => terminal.answer(&Line::new(format!(
            "kept aside: {}  {}  as {}",
            aside.tree, aside.path.path, aside.kept_at
        ))),
        _ => {}
    }
}
