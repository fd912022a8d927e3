//! What one run of the binary did.

use std::process::Output;

use serde_json::Value;

/// Exit code and output of one run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Outcome {
    /// Takes what a finished process left.
    #[must_use]
    pub fn new(command: String, output: &Output) -> Self {
        Self {
            command,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one; shows the output.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code of `{}`\n--- stdout\n{}--- stderr\n{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The JSON lines on stdout.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| {
                    panic!(
                        "`{}` printed a line that is not JSON ({error}): {line}",
                        self.command
                    )
                })
            })
            .collect()
    }

    /// The JSON lines with this `message_type`.
    #[must_use]
    pub fn messages(&self, message_type: &str) -> Vec<Value> {
        self.json_lines()
            .into_iter()
            .filter(|line| line["message_type"] == message_type)
            .collect()
    }

    /// The one JSON line with this `message_type`.
    ///
    /// # Panics
    /// When there is none or more than one.
    #[must_use]
    pub fn message(&self, message_type: &str) -> Value {
        let mut lines = self.messages(message_type);
        assert_eq!(
            lines.len(),
            1,
            "`{}` should print one `{message_type}`\n--- stdout\n{}--- stderr\n{}",
            self.command,
            self.stdout,
            self.stderr
        );
        lines.remove(0)
    }
}
