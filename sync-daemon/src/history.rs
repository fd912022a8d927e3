//! `history`: the generations of this node's trees, and what was kept aside.
//!
//! Reads the disk without the lock, whether or not a daemon runs: the log of a tree
//! is only appended to, and replaced whole.

use sync_core::{
    Entry, RelPath,
    history::{ChangeKind, GenerationRecord, LaterSteps, Origin, PathChange, Record, Time},
};
use sync_fs::archive;

use crate::{
    audit_log::{self, Checked, Finding, Trouble},
    config::{Config, TreeConfig},
    control::History,
    events::{
        AsideReport, AuditCheckedReport, AuditFindingReport, Event, GenerationOrigin,
        GenerationReport, PastAction, PastChange, PastStep, PathText,
    },
    failure::{Failure, FailureKind},
    identity::Identity,
    standing::Standing,
};

/// Generations of a tree that are told unless another number is asked for.
pub const LIMIT_DEFAULT: usize = 20;
/// Things kept aside that are listed for one tree.
const ASIDE_MAX: usize = 10_000;

/// A tree's generations, newest first, with all that became of them.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) generations: Vec<(GenerationRecord, Vec<LaterSteps>)>,
}

impl Past {
    /// Reads what is kept of a tree.
    pub(crate) fn read(config: &Config, tree: &TreeConfig) -> Result<Self, Failure> {
        let records = archive::records(&config.work_dir(tree)).map_err(|error| {
            let doing = format!("reading the history of {}", tree.name);
            Failure::caused_by(FailureKind::Failed, doing, &error)
                .hint("is the tree's work directory there, and this the user the daemon runs as?")
        })?;
        Ok(Self::of(records))
    }

    fn of(records: Vec<Record>) -> Self {
        let mut generations: Vec<(GenerationRecord, Vec<LaterSteps>)> = Vec::new();
        for record in records {
            match record {
                Record::Generation(record) => generations.push((record, Vec::new())),
                Record::Later(later) => {
                    let mut newest_first = generations.iter_mut().rev();
                    let of = newest_first.find(|(record, _)| {
                        let position = record.position;
                        position.generation == later.generation && position.root == later.root
                    });
                    // One whose generation is no longer kept says nothing.
                    if let Some((_, laters)) = of {
                        laters.push(later);
                    }
                }
            }
        }
        generations.reverse();
        Self { generations }
    }
}

/// What there is to tell, newest first.
///
/// # Errors
/// Where this is no node, or the disk cannot be read.
pub fn tell(config: &Config, asked: &History) -> Result<Vec<Event>, Failure> {
    Standing::load(&config.node.state_dir)?;
    let below = asked.path.as_deref().map(parse).transpose()?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    let wanted = |tree: &&TreeConfig| {
        let named = asked.tree.as_deref();
        named.is_none_or(|name| tree.name.as_str() == name)
    };
    let mut events = Vec::new();
    for tree in config.trees.iter().filter(wanted) {
        let past = Past::read(config, tree)?;
        let told = past.generations.iter().filter_map(|(record, laters)| {
            let report = report(tree.name.as_str(), record, laters, below.as_ref());
            report.map(|report| Event::Generation(Box::new(report)))
        });
        events.extend(told.take(limit));
        events.extend(aside(config, tree, below.as_ref())?);
    }
    Ok(events)
}

/// A path as it is below a tree.
pub(crate) fn parse(text: &str) -> Result<RelPath, Failure> {
    let bytes = text.trim_end_matches('/').as_bytes();
    RelPath::new(bytes).map_err(|error| {
        let shown = sync_core::path::escape(text.as_bytes());
        Failure::caused_by(FailureKind::Usage, format!("looking up `{shown}`"), &error)
            .hint("name a path as it is below the tree, such as `default/api`")
    })
}

/// What was kept aside of a tree.
pub(crate) fn aside(
    config: &Config,
    tree: &TreeConfig,
    below: Option<&RelPath>,
) -> Result<Vec<Event>, Failure> {
    let kept = sync_fs::replica::kept_aside(&config.work_dir(tree), ASIDE_MAX);
    let kept = kept.map_err(|error| {
        let doing = format!("listing what was kept aside of {}", tree.name);
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("is the tree's work directory there, and this the user the daemon runs as?")
    })?;
    let wanted = kept
        .into_iter()
        .filter(|aside| below.is_none_or(|below| aside.path.starts_with(below)));
    let events = wanted.map(|aside| {
        Event::Aside(AsideReport {
            tree: tree.name.to_string(),
            path: PathText::from(&aside.path),
            kept_at: aside.kept_at.escaped(),
            bytes: aside.bytes,
        })
    });
    Ok(events.collect())
}

/// One generation as it is told; none where it did not touch what was asked for.
pub(crate) fn report(
    tree: &str,
    record: &GenerationRecord,
    laters: &[LaterSteps],
    below: Option<&RelPath>,
) -> Option<GenerationReport> {
    let touches = |change: &&PathChange| below.is_none_or(|below| change.path.starts_with(below));
    let changes: Vec<PastChange> = record.changes.iter().filter(touches).map(change).collect();
    if below.is_some() && changes.is_empty() && record.is_whole() {
        return None;
    }
    let counts = record.counts;
    Some(GenerationReport {
        tree: tree.to_owned(),
        generation: record.position.generation.0,
        epoch: record.position.epoch.0,
        unix_ms: record.made_at_ms(),
        origin: origin(&record.origin),
        base: record.base.to_string(),
        root: record.position.root.to_string(),
        created: counts.created,
        updated: counts.updated,
        deleted: counts.deleted,
        metadata: counts.metadata,
        healed: counts.healed,
        listed: record.is_whole(),
        changes,
        steps: steps(record, laters),
    })
}

fn steps(record: &GenerationRecord, laters: &[LaterSteps]) -> Vec<PastStep> {
    let own = record.times.iter().map(|time| step(time, None));
    let later = laters.iter().flat_map(|later| {
        let peer = later.peer.as_deref();
        later.times.iter().map(move |time| step(time, peer))
    });
    own.chain(later).collect()
}

fn step(time: &Time, peer: Option<&str>) -> PastStep {
    PastStep {
        step: time.step.name().to_owned(),
        unix_ms: time.at_ms,
        peer: peer.map(str::to_owned),
    }
}

fn origin(origin: &Origin) -> GenerationOrigin {
    match origin {
        Origin::Start => GenerationOrigin::Start,
        Origin::Watch => GenerationOrigin::Watch,
        Origin::Rollback(to) => GenerationOrigin::Rollback { to: to.0 },
        Origin::Peer(from) => GenerationOrigin::Peer { from: from.clone() },
        Origin::Journal => GenerationOrigin::Journal,
    }
}

fn change(change: &PathChange) -> PastChange {
    let content = |entry: &Option<Entry>| {
        let file = entry.as_ref().and_then(Entry::as_file);
        file.map(|file| file.content.to_string())
    };
    PastChange {
        path: PathText::from(&change.path),
        action: match change.kind() {
            ChangeKind::Created => PastAction::Create,
            ChangeKind::Updated => PastAction::Update,
            ChangeKind::Deleted => PastAction::Delete,
            ChangeKind::Metadata => PastAction::Metadata,
            ChangeKind::Healed => PastAction::Heal,
        },
        before: content(&change.before),
        after: content(&change.after),
    }
}

/// Checks the audit log of a node at rest; no peer is asked.
///
/// # Errors
/// Where this is no node, the log cannot be read, or something is wrong with it.
pub fn check(config: &Config, mut tell: impl FnMut(Event)) -> Result<(), Failure> {
    let state_dir = &config.node.state_dir;
    let identity = Identity::load(state_dir)?;
    let checked = audit_log::check(state_dir, &identity.id());
    let checked = checked.map_err(|error| unreadable(&error))?;
    tell_check(&checked, 0).into_iter().for_each(&mut tell);
    tell(Event::notice(
        "no peer was asked whether the end is still there: the daemon of this node does not run",
    ));
    verdict(&checked)
}

pub(crate) fn unreadable(error: &std::io::Error) -> Failure {
    Failure::caused_by(FailureKind::Failed, "checking the audit log", error)
        .hint("run the command as the user the daemon runs as")
}

/// What a check found.
pub(crate) fn tell_check(checked: &Checked, witnesses: usize) -> Vec<Event> {
    let findings = checked.findings.iter().map(finding);
    let head = checked.head.as_ref();
    let summary = AuditCheckedReport {
        records: checked.records,
        first: checked.first.unwrap_or_default(),
        newest: head.map_or(0, |head| head.record),
        hash: head.map_or_else(String::new, |head| head.hash.clone()),
        witnesses: witnesses as u64,
        findings: checked.findings.len() as u64,
    };
    findings.chain([Event::AuditChecked(summary)]).collect()
}

/// Whether nothing is wrong.
pub(crate) fn verdict(checked: &Checked) -> Result<(), Failure> {
    match checked.findings.len() {
        0 => Ok(()),
        findings => Err(Failure::new(
            FailureKind::Differences,
            format!("checking the audit log: it is not as it was written (findings: {findings})"),
        )
        .hint("keep a copy of `audit` in the state directory before anything else is done")),
    }
}

fn finding(finding: &Finding) -> Event {
    let (kind, detail) = in_words(&finding.trouble);
    Event::AuditFinding(AuditFindingReport {
        kind: kind.to_owned(),
        file: finding.file.clone(),
        line: Some(finding.line).filter(|line| *line > 0),
        record: finding.record,
        detail,
    })
}

fn in_words(trouble: &Trouble) -> (&'static str, String) {
    match trouble {
        Trouble::Damaged => (
            "damaged",
            "no record: damaged, or cut off by a kill".to_owned(),
        ),
        Trouble::Foreign => (
            "foreign",
            "changed after it was signed, or never signed by this node".to_owned(),
        ),
        Trouble::Missing { first, last } if first == last => {
            ("missing", format!("record {first} is missing before it"))
        }
        Trouble::Missing { first, last } => (
            "missing",
            format!("records {first} to {last} are missing before it"),
        ),
        Trouble::Reordered => ("reordered", "stands behind a later one".to_owned()),
        Trouble::Unjoined => (
            "unjoined",
            "does not follow from the record before it: that is another than it was".to_owned(),
        ),
        Trouble::Rewritten { peer } => (
            "rewritten",
            format!("`{peer}` has seen another record of this number: the log was written anew"),
        ),
        Trouble::CutOff { peer } => (
            "cut_off",
            format!(
                "`{peer}` has seen it, and it is not there: the end was cut off, or the state directory is a backup's"
            ),
        ),
    }
}
