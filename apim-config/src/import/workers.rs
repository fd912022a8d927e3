//! The workers list: a target a line.

use super::{At, ImportError, SourceFile};

/// Workers of one list.
pub(super) const WORKERS_MAX: usize = 1_000;
/// Bytes of one target: a path has at most 4,096.
const TARGET_BYTES_MAX: usize = 5_000;

/// A target and its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Worker {
    pub(super) line: usize,
    pub(super) text: String,
}

/// The list, and what the script did not cope with in it.
#[derive(Default, Debug)]
pub(super) struct Workers {
    pub(super) workers: Vec<Worker>,
    /// Lines that hold a comment.
    pub(super) comments: Vec<usize>,
    /// Lines that end as on Windows.
    pub(super) returns: Vec<usize>,
}

/// Reads the list. Blank lines and `#` comments are none of it; a blank ends a
/// target, as it does for the script.
pub(super) fn read(text: &str) -> Result<Workers, ImportError> {
    let mut list = Workers::default();
    for (index, written) in text.split('\n').enumerate() {
        let line = index + 1;
        if written.ends_with('\r') && !written.trim().is_empty() {
            list.returns.push(line);
        }
        for word in written.split_whitespace() {
            if word.starts_with('#') {
                list.comments.push(line);
                break;
            }
            list.add(line, word)?;
        }
    }
    Ok(list)
}

impl Workers {
    fn add(&mut self, line: usize, word: &str) -> Result<(), ImportError> {
        let refused = |reason| {
            let at = At {
                file: SourceFile::Workers,
                line,
            };
            let by_hand = "keep one target a line: user@host:/path";
            Err(ImportError::Line {
                at,
                reason,
                by_hand,
            })
        };
        if self.workers.len() == WORKERS_MAX {
            return refused(format!("there are more than {WORKERS_MAX} workers"));
        }
        if word.len() > TARGET_BYTES_MAX {
            return refused(format!(
                "the target is longer than {TARGET_BYTES_MAX} bytes"
            ));
        }
        let text = word.to_owned();
        self.workers.push(Worker { line, text });
        Ok(())
    }
}
