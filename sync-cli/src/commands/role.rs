//! `promote` and `demote`: which role this node has.

use sync_daemon::{
    control::{self, Request},
    events::{Event, HookRun, JsonLine, StandingReport},
};

use super::Context;
use crate::{
    args::RoleChange,
    backend,
    error::Outcome,
    terminal::{Line, Paint},
};

pub(crate) async fn promote(context: &Context, args: RoleChange) -> Outcome {
    change(context, args, Request::Promote, "promoting").await
}

pub(crate) async fn demote(context: &Context, args: RoleChange) -> Outcome {
    change(context, args, Request::Demote, "demoting").await
}

async fn change(
    context: &Context,
    args: RoleChange,
    request: impl FnOnce(control::RoleChange) -> Request,
    doing: &str,
) -> Outcome {
    let config = context.config()?;
    let request = request(control::RoleChange {
        confirm: args.confirm,
        dry_run: args.dry_run,
    });
    let work = backend::ask(&config, request, |event| show(context, event));
    backend::within(args.timeout.timeout, doing, &config, work).await
}

fn show(context: &Context, event: Event) {
    let terminal = &context.terminal;
    match event {
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::Step(step) if step.dry_run => terminal.answer(&Line::new(step.text)),
        Event::Step(step) => terminal.note(&Line::new(step.text)),
        Event::Hook(run) => terminal.note(&hook(&run)),
        Event::Standing(standing) => terminal.answer(&Line::new(in_words(&standing))),
        _ => {}
    }
}

fn hook(run: &HookRun) -> Line {
    let (name, outcome) = (run.hook.name(), &run.outcome);
    if run.outcome.succeeded() {
        return Line::new(format!("{name} {outcome}"));
    }
    Line::painted(Paint::Yellow, "warning").text(format!(
        ": {name}: {outcome}; the role has changed all the same. The daemon's log has what it said; run it again by hand"
    ))
}

fn in_words(standing: &StandingReport) -> String {
    let verb = match (standing.dry_run, standing.changed) {
        (true, _) => "would be",
        (false, true) => "is now",
        (false, false) => "is already",
    };
    let (node, role, epoch) = (&standing.node, standing.role.name(), standing.epoch);
    format!("{node} {verb} {role}, epoch {epoch}")
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::Role;

    use super::*;

    #[test]
    fn a_plan_a_change_and_nothing_to_do_are_told_apart() {
        let told = |dry_run, changed| {
            in_words(&StandingReport {
                node: "apim-2".into(),
                role: Role::Active,
                epoch: 2,
                changed,
                dry_run,
            })
        };
        assert_eq!(told(true, true), "apim-2 would be active, epoch 2");
        assert_eq!(told(false, true), "apim-2 is now active, epoch 2");
        assert_eq!(told(false, false), "apim-2 is already active, epoch 2");
    }
}
