//! How a command ends: the one place where exit codes are chosen and failures
//! are shown.

use std::process::ExitCode;

use sync_daemon::failure::{Failure, FailureKind};

use crate::{
    signals::Signal,
    terminal::{Line, Paint, Terminal},
};

/// Why a command did not simply succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It failed, or found differences.
    Failure(Failure),
    /// A signal ended it.
    Signal(Signal),
    /// It said everything already; only the exit code is left.
    Code(u8),
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Self {
        Self::Failure(failure.into())
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<(), Stop>;

/// Shows what is left to show and chooses the exit code.
pub(crate) fn end(outcome: Outcome, terminal: &Terminal) -> ExitCode {
    let outcome = outcome.and_then(|()| terminal.finish().map_err(Stop::Failure));
    terminal.clear_progress();
    let code = match outcome {
        Ok(()) => 0,
        Err(Stop::Code(code)) => code,
        Err(Stop::Signal(signal)) => signal.exit_code(),
        Err(Stop::Failure(failure)) => {
            for line in lines(&failure) {
                terminal.complain(&line);
            }
            failure.kind.exit_code()
        }
    };
    ExitCode::from(code)
}

/// The failure for people: what happened, then what to try.
fn lines(failure: &Failure) -> Vec<Line> {
    let (paint, label) = match failure.kind {
        FailureKind::Differences => (Paint::Yellow, "differences"),
        FailureKind::Halted => (Paint::Red, "halted"),
        _ => (Paint::Red, "error"),
    };
    let first = Line::painted(paint, label).text(format!(": {}", failure.message));
    let hint = failure.hint.as_ref();
    let hint = hint.map(|hint| Line::painted(Paint::Bold, "try").text(format!(": {hint}")));
    std::iter::once(first).chain(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_its_message_and_what_to_try() {
        let failure =
            Failure::new(FailureKind::Unreachable, "pushing: no answer").hint("`apim-sync status`");
        let shown: Vec<_> = lines(&failure).iter().map(Line::plain).collect();
        assert_eq!(
            shown,
            ["error: pushing: no answer", "try: `apim-sync status`"]
        );
    }

    #[test]
    fn differences_are_not_called_an_error() {
        let failure = Failure::new(FailureKind::Differences, "2 paths");
        assert_eq!(lines(&failure)[0].plain(), "differences: 2 paths");
    }
}
