//! What a request reports while it runs, and what it found.
//!
//! The same values cross the control socket, become lines of `--json` and are
//! drawn for people. As JSON each is one object with a `message_type`; the
//! names of the fields are a contract with scripts. Nothing here prints.

use serde::{Deserialize, Serialize};
use sync_core::RelPath;

use crate::audit_log::Evidence;

mod drift;
mod history;
mod hook;
mod status;

pub use drift::{Drift, DriftCause, DriftKind};
pub use history::{
    AuditCheckedReport, AuditFindingReport, GenerationOrigin, GenerationReport, PastAction,
    PastChange, PastStep, TraceReport, TraceStep,
};
pub use hook::{Hook, HookOutcome, HookRun, HookStatus};
pub use status::{
    AppliedState, ConflictStatus, GuardStatus, HaltedPlan, HeldPath, LastVerify, LeaseStatus,
    PauseStatus, PeerState, PeerStatus, Role, Status, TenantState, TenantStatus, TreeState,
    TreeStatus,
};

/// Version of the JSON lines.
pub const SCHEMA: u32 = 1;

/// One report of a running request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub enum Event {
    /// A path that a push or a bootstrap changed, or would change.
    Change(ChangeReport),
    /// A path that a push sent and the passive's hot deployer rejected.
    Rejected(RejectedReport),
    /// A path on which a verify found the two sides different.
    Difference(DifferenceReport),
    /// A path on which a verify found the two sides equal; only on request.
    Same(SameReport),
    /// The end of one tree with one peer.
    Summary(Summary),
    /// How far a long piece of work has come.
    Progress(Progress),
    /// Something a person should read; the request goes on.
    Notice(Notice),
    /// A path that would be lost if the roles changed now.
    Pending(PendingReport),
    /// Whether the roles could change now.
    Readiness(ReadinessReport),
    /// A path on which both sides differ, and what each did.
    ThreeWay(ThreeWayReport),
    /// Something that was kept aside.
    Aside(AsideReport),
    /// One step of a change of role, as planned or as done.
    Step(StepReport),
    /// What a change of role has made of this node, or would.
    Standing(StandingReport),
    /// The state of the node.
    Status(Box<Status>),
    /// A hook that was run for a request.
    Hook(HookRun),
    /// One generation of the past.
    Generation(Box<GenerationReport>),
    /// One generation that touched a path that is traced.
    Trace(TraceReport),
    /// Something that is wrong with the audit log.
    AuditFinding(AuditFindingReport),
    /// The end of a check of the audit log.
    AuditChecked(AuditCheckedReport),
}

impl Event {
    /// A notice.
    #[must_use]
    pub fn notice(text: impl Into<String>) -> Self {
        Self::Notice(Notice { text: text.into() })
    }
}

/// An [`Event`] as a line of `--json`: the schema's version beside its fields.
#[derive(Debug, Serialize)]
pub struct JsonLine<'a> {
    schema: u32,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> JsonLine<'a> {
    /// Wraps `event`.
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        Self {
            schema: SCHEMA,
            event,
        }
    }
}

/// A path as text: bytes that are not printable UTF-8, and `%`, as `%XX`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathText {
    /// The text.
    pub path: String,
    /// Whether the text differs from the bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escaped: bool,
}

impl From<&RelPath> for PathText {
    fn from(path: &RelPath) -> Self {
        Self {
            path: path.escaped(),
            escaped: path.needs_escape(),
        }
    }
}

/// What happens to a path on the passive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It did not exist.
    Create,
    /// Its content changes.
    Update,
    /// It goes.
    Delete,
    /// Only its mode changes.
    Metadata,
    /// It takes the content of a path that goes.
    Rename,
}

/// One path of a generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeReport {
    /// The tree.
    pub tree: String,
    /// The peer that receives it.
    pub peer: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// What happens to it.
    pub action: ChangeAction,
    /// Where a renamed file was before, escaped as the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// rsync's eleven columns.
    pub itemized: String,
    /// Length of the new content.
    pub bytes: u64,
    /// Content bytes that went over the wire for it, before compression of the
    /// whole stream; 0 where the passive had the content.
    pub sent_bytes: u64,
}

/// A path that the passive's hot deployer rejected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RejectedReport {
    /// The tree.
    pub tree: String,
    /// The passive.
    pub peer: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
}

/// How the passive's side of a path differs from the active's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Not on the passive.
    Missing,
    /// Only on the passive.
    Extra,
    /// Another kind or content.
    Content,
    /// Another mode, or a modification time that the deployer would take for a
    /// change.
    Metadata,
    /// One side could not read it.
    Unreadable,
}

/// One path on which a verify found a difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DifferenceReport {
    /// The tree.
    pub tree: String,
    /// The tenant, in a tree of tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The peer compared with.
    pub peer: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// The class of the difference.
    pub kind: DifferenceKind,
    /// What exactly differs, for people.
    pub detail: String,
}

/// One path on which a verify found no difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SameReport {
    /// The tree.
    pub tree: String,
    /// The peer compared with.
    pub peer: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
}

/// The end of one tree with one peer. The fields tell which kind it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Summary {
    /// Of a verify.
    Verify(VerifySummary),
    /// Of a push or a bootstrap.
    Transfer(TransferSummary),
}

/// What a push or a bootstrap did.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TransferSummary {
    /// The tree.
    pub tree: String,
    /// The other node.
    pub peer: String,
    /// Files and links changed; directories are not counted.
    pub files: u64,
    /// Bytes in the new contents.
    pub bytes: u64,
    /// Bytes this node sent for it.
    pub sent_bytes: u64,
    /// Bytes this node received for it.
    pub received_bytes: u64,
    /// The generation both stand at now (a dry run: the one it starts from).
    pub generation: u64,
    /// The root both stand at now, in hexadecimal.
    pub root: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether nothing was changed because only a plan was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whether the passive's hot deployer rejects nothing of the tree, where that
    /// was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<bool>,
}

/// What a verify found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VerifySummary {
    /// The tree.
    pub tree: String,
    /// The one tenant of it that was compared, if it was only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The other node.
    pub peer: String,
    /// Files compared.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Paths that differ.
    pub differences: u64,
    /// This node's root, in hexadecimal.
    pub root_local: String,
    /// The peer's root, in hexadecimal.
    pub root_peer: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether both sides are the same.
    pub in_sync: bool,
    /// Where the signed result is, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What a progress counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Files.
    Files,
    /// Bytes.
    Bytes,
}

/// How far a long piece of work has come. Reports of one task follow each
/// other; a task ends when `done` reaches `total` or another begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, to what: `reading synapse-configs`.
    pub task: String,
    /// Units done.
    pub done: u64,
    /// Units in all; `None` while unknown.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Bytes moved or read so far.
    pub bytes: u64,
}

/// A path that would be lost if the roles changed now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingReport {
    /// The tree.
    pub tree: String,
    /// The peer compared with.
    pub peer: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
}

/// Whether the roles could change now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadinessReport {
    /// Whether nothing would be lost.
    pub ready: bool,
    /// The peer with which this node is in step.
    pub peer: Option<String>,
    /// Paths that would be lost.
    pub pending: u64,
    /// What is not in order, or not known.
    pub reasons: Vec<String>,
}

/// What one side did to a path since the last agreed state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideChange {
    /// It is as agreed.
    Same,
    /// It was not there.
    Added,
    /// It has another kind or content.
    Changed,
    /// It has another mode.
    Metadata,
    /// It was there.
    Deleted,
    /// It is there; what was agreed is not known.
    Present,
    /// It is not there; what was agreed is not known.
    Absent,
}

/// A path on which both sides differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ThreeWayReport {
    /// The tree.
    pub tree: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// This node's name.
    pub node: String,
    /// The peer's name.
    pub peer: String,
    /// What was done on this node.
    pub here: SideChange,
    /// What was done on the peer.
    pub there: SideChange,
}

/// Something that was kept aside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AsideReport {
    /// The tree.
    pub tree: String,
    /// Where it stood.
    #[serde(flatten)]
    pub path: PathText,
    /// Where it is, below the tree's work directory.
    pub kept_at: String,
    /// Its length.
    pub bytes: u64,
}

/// One step of a change of role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepReport {
    /// What is done.
    pub text: String,
    /// Whether it is only a plan.
    pub dry_run: bool,
}

/// What this node is after a change of role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StandingReport {
    /// The node's name.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// Its epoch.
    pub epoch: u64,
    /// Whether that is something new.
    pub changed: bool,
    /// Whether nothing was changed because only a plan was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Something a person should read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// One line or more.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(event: &Event) -> serde_json::Value {
        serde_json::to_value(JsonLine::new(event)).unwrap()
    }

    #[test]
    fn every_line_carries_its_type_and_the_schema() {
        let line = json(&Event::notice("watching again"));
        assert_eq!(line["message_type"], "notice");
        assert_eq!(line["schema"], 1);
        assert_eq!(line["text"], "watching again");
    }

    #[test]
    fn a_path_says_whether_it_was_escaped() {
        let report = |bytes: &[u8]| {
            json(&Event::Same(SameReport {
                tree: "t".into(),
                peer: "p".into(),
                path: PathText::from(&RelPath::new(bytes).unwrap()),
            }))
        };
        assert_eq!(report(b"a.xml")["path"], "a.xml");
        assert!(report(b"a.xml").get("escaped").is_none());
        assert_eq!(report(b"a\xff")["path"], "a%FF");
        assert_eq!(report(b"a\xff")["escaped"], true);
    }

    #[test]
    fn both_summaries_come_back_as_what_they_were() {
        let verify = Summary::Verify(VerifySummary {
            tree: "t".into(),
            tenant: None,
            peer: "p".into(),
            files: 1,
            bytes: 2,
            differences: 0,
            root_local: "aa".into(),
            root_peer: "aa".into(),
            seconds: 0.5,
            in_sync: true,
            evidence: None,
        });
        let transfer = Summary::Transfer(TransferSummary {
            tree: "t".into(),
            peer: "p".into(),
            files: 1,
            bytes: 2,
            sent_bytes: 3,
            received_bytes: 4,
            generation: 5,
            root: "aa".into(),
            seconds: 0.5,
            dry_run: false,
            deployed: Some(true),
        });
        for summary in [verify, transfer] {
            let event = Event::Summary(summary);
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }
}
