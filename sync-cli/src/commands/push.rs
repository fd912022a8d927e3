//! `push`: everything that differs goes to the passive now.

use sync_daemon::{
    config::Config,
    control::{self, Request, Wait},
    events::{Event, JsonLine, Summary},
};

use super::{Context, check_tree};
use crate::{
    args::{Push, WaitArg},
    backend,
    error::Outcome,
    render::changes::{self, Direction},
    terminal::Line,
};

pub(crate) async fn run(context: &Context, args: Push) -> Outcome {
    let config = context.config()?;
    check_tree(&config, args.tree.as_deref())?;
    let shown = Shown::new(context, &config, args.itemize_changes, args.dry_run);
    let timeout = args.timeout.timeout;
    let request = Request::Push(request(args));
    let work = backend::ask(&config, request, |event| {
        shown.event(context, event);
    });
    backend::within(timeout, "pushing", &config, work).await
}

fn request(args: Push) -> control::Push {
    control::Push {
        tree: args.tree,
        tenant: args.tenant,
        wait: match args.wait {
            WaitArg::None => Wait::None,
            WaitArg::Durable => Wait::Durable,
            WaitArg::Applied => Wait::Applied,
            WaitArg::Deployed => Wait::Deployed,
        },
        dry_run: args.dry_run,
        max_delete: args.max_delete,
    }
}

/// What of the events is shown.
pub(super) struct Shown {
    several_trees: bool,
    itemized: bool,
    in_words: bool,
    stats: bool,
}

impl Shown {
    pub(super) fn new(context: &Context, config: &Config, itemized: bool, dry_run: bool) -> Self {
        Self {
            several_trees: config.trees.len() > 1,
            itemized,
            in_words: dry_run || context.global.verbose > 0,
            stats: context.global.stats,
        }
    }

    pub(super) fn event(&self, context: &Context, event: Event) {
        let terminal = &context.terminal;
        match event {
            Event::Progress(progress) => terminal.progress(&progress),
            Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
            event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
            Event::Change(change) if self.itemized => {
                terminal.answer(&changes::itemized(&change, self.several_trees));
            }
            Event::Change(change) if self.in_words => {
                terminal.answer(&changes::in_words(&change, self.several_trees));
            }
            Event::Rejected(rejected) => {
                terminal.answer(&changes::rejected(&rejected, self.several_trees));
            }
            Event::Summary(Summary::Transfer(summary)) => {
                terminal.note(&changes::summary(&summary, Direction::ToPeer));
                if self.stats {
                    let stats = changes::stats(&summary);
                    stats.iter().for_each(|line| terminal.answer(line));
                }
            }
            _ => {}
        }
    }
}
