//! Why a request was not done, in the form that reaches a user.
//!
//! A [`Failure`] has a kind (from which the exit code follows), a message that
//! says what was being done, to what and why it failed, and a hint: the next
//! command to try. It crosses the control socket. How it looks on a terminal is
//! the command line's concern; the small error types of each module are its
//! sources.

use std::error::Error;

use serde::{Deserialize, Serialize};

/// What went wrong, in the classes that scripts tell apart by exit code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Anything without a class of its own.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Not an error of the run: the two sides differ.
    Differences,
    /// Some files were not applied.
    Partial,
    /// A safety rule stopped the run before it changed anything.
    Halted,
    /// The role or the epoch of a node forbids it.
    Role,
    /// A peer does not answer, or not in time.
    Unreachable,
    /// A key is not pinned, or not the pinned one.
    Trust,
    /// The hot deployer of the passive refused what was copied.
    Rejected,
    /// The two nodes have no protocol version in common, or one broke it.
    Protocol,
    /// Another process holds the lock of the state directory.
    Locked,
}

impl FailureKind {
    /// The exit code that scripts rely on.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Differences => 3,
            Self::Partial => 4,
            Self::Halted => 5,
            Self::Role => 6,
            Self::Unreachable => 7,
            Self::Trust => 8,
            Self::Rejected => 9,
            Self::Protocol => 10,
            Self::Locked => 11,
        }
    }
}

/// A request that was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// The class.
    pub kind: FailureKind,
    /// What was being done, to what, and why it failed: one line, no full stop.
    pub message: String,
    /// What to try next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// A failure whose message is `doing` and then every cause of `error`,
    /// outermost first; a cause that only repeats the one before is left out.
    #[must_use]
    pub fn caused_by(kind: FailureKind, doing: impl Into<String>, error: &dyn Error) -> Self {
        let mut message = doing.into();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self::new(kind, message)
    }

    /// The same failure, saying what to try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        use FailureKind::{
            Differences, Failed, Halted, Locked, Partial, Protocol, Rejected, Role, Trust,
            Unreachable, Usage,
        };
        let documented = [
            (Failed, 1),
            (Usage, 2),
            (Differences, 3),
            (Partial, 4),
            (Halted, 5),
            (Role, 6),
            (Unreachable, 7),
            (Trust, 8),
            (Rejected, 9),
            (Protocol, 10),
            (Locked, 11),
        ];
        for (kind, code) in documented {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_message_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open `a.xml`")]
        struct Outer(#[source] std::io::Error);

        let error = Outer(std::io::Error::other("disk on fire"));
        let failure = Failure::caused_by(FailureKind::Failed, "pushing `synapse-configs`", &error);
        assert_eq!(
            failure.message,
            "pushing `synapse-configs`: cannot open `a.xml`: disk on fire"
        );

        let repeating = std::io::Error::other(Outer(std::io::Error::other("disk on fire")));
        let failure = Failure::caused_by(FailureKind::Failed, "pushing", &repeating);
        assert_eq!(
            failure.message,
            "pushing: cannot open `a.xml`: disk on fire"
        );
    }
}
