//! `config check`: what is done, missing or wrong in one home, or in both.

use std::{collections::BTreeMap, path::Path};

use apim_config::{
    finding::{Finding, Row, State},
    home::Home,
    pair::{Mismatch, Relation, mismatches},
    plan::plan,
    secret::Secrets,
    setup::{Setup, View},
    version::{Layout, Version},
};
use serde::Serialize;
use sync_daemon::{
    events::SCHEMA,
    failure::{Failure, FailureKind},
};

use super::{Context, description, home};
use crate::{
    args::config::Check,
    error::Outcome,
    terminal::{Line, Paint},
};

/// A finding as a line of JSON.
#[derive(Serialize)]
struct FindingLine<'a> {
    message_type: &'static str,
    schema: u32,
    node: &'a str,
    row: u8,
    title: &'static str,
    state: &'static str,
    file: &'a str,
    line: Option<usize>,
    place: &'a str,
    found: Option<&'a str>,
    wanted: Option<&'a str>,
    why: &'a str,
}

/// Two values that do not fit as a line of JSON.
#[derive(Serialize)]
struct MismatchLine<'a> {
    message_type: &'static str,
    schema: u32,
    file: &'a str,
    place: &'a str,
    must: &'static str,
    active: &'a str,
    passive: &'a str,
    why: &'a str,
}

/// One home's result as a line of JSON.
#[derive(Serialize)]
struct SummaryLine<'a> {
    message_type: &'static str,
    schema: u32,
    node: &'a str,
    version: String,
    rows: BTreeMap<u8, &'static str>,
    findings: usize,
    warnings: usize,
    in_order: bool,
}

pub(super) fn run(context: &Context, args: &Check) -> Outcome {
    let setup = description::setup(context, &args.setup.setup)?;
    let secrets = description::secrets(context, &setup, &args.setup.setup)?;
    let found = match (&args.home_a, &args.home_p) {
        (Some(active), Some(passive)) => both(context, &setup, &secrets, [active, passive])?,
        _ => {
            let (node, home) = named(args)?;
            one(context, description::view(&setup, node)?, &secrets, home)?.2
        }
    };
    if found == 0 {
        return Ok(());
    }
    let findings = if found == 1 { "finding" } else { "findings" };
    let failure = Failure::new(FailureKind::Differences, format!("{found} {findings}"));
    Err(failure
        .hint("`apim-sync config apply -n` shows what would mend them; what is damaged or missing as a whole is mended by hand")
        .into())
}

/// One node and its home, which the command line demands where not both homes
/// are given.
fn named(args: &Check) -> Result<(&str, &Path), Failure> {
    args.node
        .as_deref()
        .zip(args.home.as_deref())
        .ok_or_else(|| {
            Failure::new(FailureKind::Usage, "there is no home to check")
                .hint("`--node NAME --home DIR`, or both homes: `--home-a DIR --home-p DIR`")
        })
}

/// Both homes, and what they are to each other.
fn both(
    context: &Context,
    setup: &Setup,
    secrets: &Secrets,
    homes: [&Path; 2],
) -> Result<usize, Failure> {
    let [active, passive] = setup.views();
    let (a, version, found_a) = one(context, active, secrets, homes[0])?;
    let (p, other, found_p) = one(context, passive, secrets, homes[1])?;
    let mut found = found_a + found_p;
    if !version.same_line(other) {
        let message = format!(
            "{} is {version} and {} is {other}",
            active.node.name, passive.node.name
        );
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("both nodes of a pair have to be of one release"));
    }
    let unfit = mismatches(setup, version, (&a, &p));
    unfit
        .iter()
        .for_each(|mismatch| tell_mismatch(context, setup, mismatch));
    found += unfit.len();
    if found == 0 && !context.terminal.json() {
        let line =
            "the two homes fit together: what has to be equal is, what has to differ differs";
        context.terminal.answer(&Line::new(line));
    }
    Ok(found)
}

/// One home; how many findings it has, warnings not counted.
fn one(
    context: &Context,
    view: View<'_>,
    secrets: &Secrets,
    root: &Path,
) -> Result<(Home, Version, usize), Failure> {
    let home = home::read(root)?;
    let plan = plan(&home, view, secrets).map_err(|error| home::refused(root, &error))?;
    let warnings = plan.findings.iter().filter(|it| it.state == State::Warning);
    let warnings = warnings.count();
    let found = plan.findings.len() - warnings;
    let rows = rows(plan.version, &plan.findings);
    if context.terminal.json() {
        for finding in &plan.findings {
            context.terminal.answer_json(&line(view, finding));
        }
        context.terminal.answer_json(&SummaryLine {
            message_type: "summary",
            schema: SCHEMA,
            node: &view.node.name,
            version: plan.version.to_string(),
            rows: rows
                .iter()
                .map(|(row, state)| (row.number(), *state))
                .collect(),
            findings: found,
            warnings,
            in_order: found == 0,
        });
    } else {
        tell(context, view, (root, plan.version), &rows, &plan.findings);
    }
    Ok((home, plan.version, found))
}

/// Every step of a home and how it stands: its worst finding.
fn rows(version: Version, findings: &[Finding]) -> BTreeMap<Row, &'static str> {
    let all: &[Row] = match version.layout() {
        Layout::Files => &[
            Row::DataSources,
            Row::Connector,
            Row::Users,
            Row::Registry,
            Row::Keystore,
            Row::Portals,
            Row::Cluster,
            Row::Gateway,
            Row::OtherBroker,
            Row::Publishers,
            Row::Carbon,
            Row::Tomcat,
            Row::OwnBroker,
            Row::Throttling,
            Row::KeyValidation,
        ],
        Layout::DeploymentToml => &[
            Row::Connector,
            Row::Keystore,
            Row::Gateway,
            Row::DeploymentToml,
        ],
    };
    let state = |row: &Row| {
        let of_row = findings.iter().filter(|finding| finding.row == *row);
        let worst = of_row.map(|finding| finding.state).max();
        (*row, worst.map_or("done", State::name))
    };
    all.iter().map(state).collect()
}

fn line<'a>(view: View<'a>, finding: &'a Finding) -> FindingLine<'a> {
    FindingLine {
        message_type: "finding",
        schema: SCHEMA,
        node: &view.node.name,
        row: finding.row.number(),
        title: finding.row.title(),
        state: finding.state.name(),
        file: &finding.file,
        line: finding.line,
        place: &finding.place,
        found: finding.found.as_deref(),
        wanted: finding.wanted.as_deref(),
        why: &finding.why,
    }
}

fn paint(state: &str) -> Paint {
    match state {
        "done" => Paint::Green,
        "warning" => Paint::Yellow,
        _ => Paint::Red,
    }
}

fn tell(
    context: &Context,
    view: View<'_>,
    (root, version): (&Path, Version),
    rows: &BTreeMap<Row, &'static str>,
    findings: &[Finding],
) {
    let terminal = &context.terminal;
    let role = if view.is_active() {
        "active"
    } else {
        "passive"
    };
    let head = format!(", {role}, at {} (API Manager {version})", root.display());
    terminal.answer(&Line::painted(Paint::Bold, view.node.name.as_str()).text(head));
    for (row, state) in rows {
        let line = Line::painted(paint(state), format!("  {state:<8}"));
        let number = row.number();
        terminal.answer(&line.text(format!(" {number:>2}  {}", row.title())));
    }
    for finding in findings {
        let at = finding
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        let place = format!(" {}{at}: {}", finding.file, finding.place);
        let state = finding.state.name();
        terminal.answer(&Line::painted(paint(state), state).text(place));
        for (label, text) in [
            ("found ", finding.found.as_deref()),
            ("wanted", finding.wanted.as_deref()),
            ("why   ", Some(finding.why.as_str())),
        ] {
            if let Some(text) = text {
                terminal.answer(&Line::painted(Paint::Dim, format!("    {label}  ")).text(text));
            }
        }
    }
}

fn tell_mismatch(context: &Context, setup: &Setup, mismatch: &Mismatch) {
    let terminal = &context.terminal;
    let must = match mismatch.relation {
        Relation::Equal => "equal",
        Relation::Different => "different",
    };
    if terminal.json() {
        terminal.answer_json(&MismatchLine {
            message_type: "mismatch",
            schema: SCHEMA,
            file: mismatch.file,
            place: mismatch.name,
            must,
            active: &mismatch.active,
            passive: &mismatch.passive,
            why: mismatch.why,
        });
        return;
    }
    let head = format!(" {}: the {} must be {must}", mismatch.file, mismatch.name);
    terminal.answer(&Line::painted(Paint::Red, "unfit").text(head));
    let [active, passive] = setup.nodes();
    for (label, text) in [
        (active.name.as_str(), mismatch.active.as_str()),
        (passive.name.as_str(), mismatch.passive.as_str()),
        ("why", mismatch.why),
    ] {
        terminal.answer(&Line::painted(Paint::Dim, format!("    {label:<8}")).text(text));
    }
}
