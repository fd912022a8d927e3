//! Generations, written for people.

use sync_daemon::events::{
    AuditCheckedReport, AuditFindingReport, GenerationOrigin, GenerationReport, PastAction,
    PastChange, TraceReport,
};

use super::{
    quantity::{count, counted},
    utc,
};
use crate::terminal::{Line, Paint};

/// Paths shown of one generation unless all are asked for.
const PATHS_SHOWN: usize = 5;

/// A generation: a line for it, and one for each path.
pub(crate) fn generation(report: &GenerationReport, all_paths: bool) -> Vec<Line> {
    let time = report
        .unix_ms
        .map_or_else(|| "time not known".to_owned(), utc::text);
    let head = Line::painted(
        Paint::Bold,
        format!("{} {}", report.tree, report.generation),
    )
    .text(format!(
        "  {time}  {}  {}",
        counts(report),
        origin(&report.origin)
    ));
    let shown = match all_paths {
        true => report.changes.len(),
        false => report.changes.len().min(PATHS_SHOWN),
    };
    let mut lines = vec![head];
    lines.extend(report.changes[..shown].iter().map(path));
    let more = report.changes.len() - shown;
    if more > 0 {
        let paths = counted(more as u64, "path", "paths");
        lines.push(Line::painted(
            Paint::Dim,
            format!("    and {paths} more (-v)"),
        ));
    }
    if !report.listed {
        let text = "    its paths are not listed: there are too many, or it was a first fill";
        lines.push(Line::painted(Paint::Dim, text));
    }
    lines
}

fn counts(report: &GenerationReport) -> String {
    let all = [
        ('+', report.created),
        ('~', report.updated + report.metadata),
        ('-', report.deleted),
        ('=', report.healed),
    ];
    let some = all.into_iter().filter(|(_, number)| *number > 0);
    let words: Vec<String> = some
        .map(|(sign, number)| format!("{sign}{}", count(number)))
        .collect();
    match words.is_empty() {
        true => "no change".to_owned(),
        false => words.join(" "),
    }
}

fn origin(origin: &GenerationOrigin) -> String {
    match origin {
        GenerationOrigin::Start => "found at start".to_owned(),
        GenerationOrigin::Watch => "edited here".to_owned(),
        GenerationOrigin::Rollback { to } => format!("rollback to {to}"),
        GenerationOrigin::Peer { from } => format!("from {from}"),
        GenerationOrigin::Journal => "taken up after an interruption".to_owned(),
    }
}

fn path(change: &PastChange) -> Line {
    let (paint, sign) = match change.action {
        PastAction::Create => (Paint::Green, "+"),
        PastAction::Update => (Paint::Yellow, "~"),
        PastAction::Delete => (Paint::Red, "-"),
        PastAction::Metadata => (Paint::Dim, "~"),
        PastAction::Heal => (Paint::Dim, "="),
    };
    let line = Line::new("    ").paint(paint, sign);
    let mode = match change.action {
        PastAction::Metadata => "  (mode)",
        PastAction::Heal => "  (healed)",
        _ => "",
    };
    line.text(format!(" {}{mode}", change.path.path))
}

/// One generation of a path's life: a line for each step.
pub(crate) fn trace(report: &TraceReport) -> Vec<Line> {
    let (tree, generation) = (&report.tree, report.generation);
    let head = Line::painted(Paint::Bold, format!("{tree} {generation}"));
    let mut lines = vec![head.text(format!("  {}", report.path.path))];
    let widest = report
        .steps
        .iter()
        .map(|step| step.clock.chars().count())
        .max();
    let width = widest.unwrap_or_default();
    lines.extend(report.steps.iter().map(|step| {
        let (time, clock) = (utc::text(step.unix_ms), &step.clock);
        let heard = if step.heard { " there" } else { "" };
        Line::new(format!("    {clock:width$}  {time}  {}{heard}", step.step))
    }));
    lines
}

/// One thing that is wrong with the audit log.
pub(crate) fn finding(finding: &AuditFindingReport) -> Line {
    let place = match finding.line {
        Some(line) => format!("{}:{line}", finding.file),
        None => "audit log".to_owned(),
    };
    let record = finding
        .record
        .map_or_else(String::new, |record| format!(" record {record}"));
    Line::painted(Paint::Red, format!("{place}:{record}")).text(format!(" {}", finding.detail))
}

/// The end of a check of the audit log.
pub(crate) fn checked(report: &AuditCheckedReport) -> Line {
    let records = counted(report.records, "record", "records");
    let (first, newest) = (report.first, report.newest);
    let witnesses = counted(report.witnesses, "peer", "peers");
    let line =
        Line::painted(Paint::Bold, "audit log").text(format!(": {records}, {first} to {newest}, "));
    match report.findings {
        0 => line
            .paint(Paint::Green, "as written")
            .text(match report.witnesses {
                0 => "; its end is not witnessed".to_owned(),
                _ => format!("; compared with what {witnesses} had seen"),
            }),
        findings => line.paint(Paint::Red, counted(findings, "finding", "findings")),
    }
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::PathText;

    use super::*;

    fn report(changes: usize) -> GenerationReport {
        let change = |n: usize| PastChange {
            path: PathText {
                path: format!("api/{n}.xml"),
                escaped: false,
            },
            action: PastAction::Update,
            before: None,
            after: None,
        };
        GenerationReport {
            tree: "t".into(),
            generation: 7,
            epoch: 1,
            unix_ms: Some(1_700_000_000_000),
            origin: GenerationOrigin::Rollback { to: 5 },
            base: "aa".into(),
            root: "bb".into(),
            created: 0,
            updated: changes as u64,
            deleted: 2,
            metadata: 0,
            healed: 0,
            listed: true,
            changes: (0..changes).map(change).collect(),
            steps: Vec::new(),
        }
    }

    fn plain(report: &GenerationReport, all_paths: bool) -> Vec<String> {
        generation(report, all_paths)
            .iter()
            .map(Line::plain)
            .collect()
    }

    #[test]
    fn a_generation_says_when_what_and_why() {
        let lines = plain(&report(1), false);
        assert_eq!(
            lines,
            [
                "t 7  2023-11-14 22:13:20.000 UTC  ~1 -2  rollback to 5",
                "    ~ api/0.xml"
            ]
        );
    }

    #[test]
    fn many_paths_are_shown_on_request() {
        let lines = plain(&report(9), false);
        assert_eq!(lines.len(), 1 + PATHS_SHOWN + 1);
        assert_eq!(lines[6], "    and 4 paths more (-v)");
        assert_eq!(plain(&report(9), true).len(), 1 + 9);
    }
}
