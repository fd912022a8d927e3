//! What is told of a hook: which it is and how its program ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment at which a program of the operator's is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// This node has become active, or active in another epoch.
    OnPromote,
    /// This node has become passive.
    OnDemote,
    /// A tree has a new generation: published here, or applied here.
    OnGeneration,
    /// Something is held until a person has looked at it.
    OnHalt,
    /// Paths of this passive are not what was agreed.
    OnDrift,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::OnPromote,
        Self::OnDemote,
        Self::OnGeneration,
        Self::OnHalt,
        Self::OnDrift,
    ];

    /// The name, as in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnPromote => "on_promote",
            Self::OnDemote => "on_demote",
            Self::OnGeneration => "on_generation",
            Self::OnHalt => "on_halt",
            Self::OnDrift => "on_drift",
        }
    }
}

/// How a hook's program ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum HookOutcome {
    /// By itself.
    Exited {
        /// Its exit code; 0 is success.
        code: i32,
    },
    /// By a signal that was not ours.
    Killed {
        /// The signal.
        signal: i32,
    },
    /// It was killed because it had not ended in time.
    Deadline,
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
}

impl HookOutcome {
    /// Whether it did what it was for.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        *self == Self::Exited { code: 0 }
    }
}

impl fmt::Display for HookOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code: 0 } => f.write_str("succeeded"),
            Self::Exited { code } => write!(f, "exit code {code}"),
            Self::Killed { signal } => write!(f, "killed by signal {signal}"),
            Self::Deadline => f.write_str("killed at its deadline"),
            Self::NotStarted { reason } => write!(f, "not started: {reason}"),
        }
    }
}

/// One run of a hook.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HookRun {
    /// The hook.
    pub hook: Hook,
    /// When it began, in seconds since 1970 (UTC).
    pub unix_seconds: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: HookOutcome,
    /// How long it took.
    pub seconds: f64,
}

/// The last run of a hook, and how many there were since the node started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HookStatus {
    /// The last run.
    #[serde(flatten)]
    pub last: HookRun,
    /// Runs since the node started.
    pub runs: u64,
    /// Those that did not succeed.
    pub failures: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_from_json_as_it_was() {
        for outcome in [
            HookOutcome::Exited { code: 3 },
            HookOutcome::Killed { signal: 9 },
            HookOutcome::Deadline,
            HookOutcome::NotStarted {
                reason: "no such file".into(),
            },
        ] {
            let status = HookStatus {
                last: HookRun {
                    hook: Hook::OnPromote,
                    unix_seconds: 7,
                    outcome,
                    seconds: 0.5,
                },
                runs: 2,
                failures: 1,
            };
            let text = serde_json::to_string(&status).unwrap();
            assert!(text.contains("\"hook\":\"on_promote\""), "{text}");
            assert_eq!(serde_json::from_str::<HookStatus>(&text).unwrap(), status);
        }
    }
}
