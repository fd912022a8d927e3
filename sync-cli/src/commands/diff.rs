//! `diff`: both sides and the last agreed state, and what was kept aside.

use sync_daemon::{
    control::Request,
    events::{Event, JsonLine, SideChange, ThreeWayReport},
};

use super::Context;
use crate::{args::Diff, backend, error::Outcome, terminal::Line};

pub(crate) async fn run(context: &Context, args: Diff) -> Outcome {
    let config = context.config()?;
    let request = Request::Diff { path: args.path };
    let work = backend::ask(&config, request, |event| show(context, event));
    backend::within(args.timeout.timeout, "comparing", &config, work).await
}

fn show(context: &Context, event: Event) {
    let terminal = &context.terminal;
    match event {
        Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
        event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
        Event::ThreeWay(report) => terminal.answer(&Line::new(in_words(&report))),
        Event::Aside(aside) => terminal.answer(&Line::new(format!(
            "kept aside: {}  {}  as {}",
            aside.tree, aside.path.path, aside.kept_at
        ))),
        _ => {}
    }
}

fn in_words(report: &ThreeWayReport) -> String {
    format!(
        "{}  {}: {} on {}, {} on {}",
        report.tree,
        report.path.path,
        word(report.here),
        report.node,
        word(report.there),
        report.peer
    )
}

fn word(change: SideChange) -> &'static str {
    match change {
        SideChange::Same => "as agreed",
        SideChange::Added => "added",
        SideChange::Changed => "changed",
        SideChange::Metadata => "mode changed",
        SideChange::Deleted => "deleted",
        SideChange::Present => "there",
        SideChange::Absent => "not there",
    }
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::PathText;

    use super::*;

    #[test]
    fn a_line_says_who_did_what() {
        let report = ThreeWayReport {
            tree: "t".into(),
            path: PathText {
                path: "a.xml".into(),
                escaped: false,
            },
            node: "apim-1".into(),
            peer: "apim-2".into(),
            here: SideChange::Changed,
            there: SideChange::Same,
        };
        assert_eq!(
            in_words(&report),
            "t  a.xml: changed on apim-1, as agreed on apim-2"
        );
    }
}
