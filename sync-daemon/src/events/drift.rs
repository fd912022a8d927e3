//! Paths of a passive that are not what was agreed, as a status names them.

use serde::{Deserialize, Serialize};
use sync_core::drift::{Cause, Kind};

use super::PathText;

/// How a path of a passive is not what was agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Its content or mode is another.
    Edited,
    /// It is not there.
    Deleted,
    /// It is there, and was not agreed.
    Created,
}

/// Who made it differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftCause {
    /// Somebody on the passive.
    Edited,
    /// The hot deployer: it moved what was agreed to a `.back`.
    Rejected,
    /// The hot deployer: it wrote again what was deleted.
    Restored,
}

impl From<Kind> for DriftKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Edited => Self::Edited,
            Kind::Deleted => Self::Deleted,
            Kind::Created => Self::Created,
        }
    }
}

impl From<Cause> for DriftCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Edited => Self::Edited,
            Cause::Rejected => Self::Rejected,
            Cause::Restored => Self::Restored,
        }
    }
}

impl DriftCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Edited, Self::Rejected, Self::Restored];

    /// The name, as in JSON and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Rejected => "rejected",
            Self::Restored => "restored",
        }
    }
}

/// A path of a passive that is not what was agreed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drift {
    /// The tree.
    pub tree: String,
    /// The path.
    #[serde(flatten)]
    pub path: PathText,
    /// How it differs.
    pub kind: DriftKind,
    /// Who made it differ.
    pub cause: DriftCause,
    /// The passive, where that is not the node whose status this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// When that passive last said so, in seconds since 1970 (UTC), where it is
    /// away and cannot say more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_unix_seconds: Option<u64>,
}
