//! Finding the exact span of a value with a parser, and editing the text there.
//!
//! One module a format. Each finds places and notes in [`Changes`] what is not
//! as wanted; nothing is written before every place of a home was found.

use crate::{
    edit::{self, Edit},
    finding::{Finding, Row, State},
    mask,
    secret::MASK,
};

pub(crate) mod properties;
pub(crate) mod site_json;
pub(crate) mod toml;
pub(crate) mod xml;

/// What a file's places need, gathered before anything is changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    /// The edits that make it so.
    pub edits: Vec<Edit>,
    /// What was found instead of what they write.
    pub findings: Vec<Finding>,
    /// What no edit can mend.
    pub by_hand: Vec<Finding>,
}

/// What one place should say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Want<'a> {
    /// The step it belongs to.
    pub row: Row,
    /// The value.
    pub value: &'a str,
    /// What goes wrong otherwise.
    pub why: &'a str,
    /// Whether the value is for nobody's eyes.
    pub secret: bool,
}

impl<'a> Want<'a> {
    /// A value that may be shown.
    #[must_use]
    pub(crate) fn new(row: Row, value: &'a str, why: &'a str) -> Self {
        Self {
            row,
            value,
            why,
            secret: false,
        }
    }

    /// The same, for nobody's eyes.
    #[must_use]
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The finding that a place says `found` (or nothing) instead.
    #[must_use]
    pub(crate) fn missed(&self, at: Place<'_>, found: Option<&str>) -> Finding {
        let shown = |text: &str| {
            if self.secret {
                MASK.to_owned()
            } else {
                mask::shown(text)
            }
        };
        Finding {
            row: self.row,
            state: if found.is_some() {
                State::Wrong
            } else {
                State::Missing
            },
            file: at.file.to_owned(),
            line: Some(at.line),
            place: at.place,
            found: found.map(shown),
            wanted: Some(shown(self.value)),
            why: self.why.to_owned(),
        }
    }
}

/// Where something was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place<'a> {
    /// The file, relative to `APIM_HOME`.
    pub file: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The place, for people.
    pub place: String,
}

impl Changes {
    /// Notes an edit and what it mends.
    pub(crate) fn mend(&mut self, edit: Edit, finding: Finding) {
        self.edits.push(edit);
        self.findings.push(finding);
    }

    /// The text with every edit made.
    #[must_use]
    pub(crate) fn applied_to(&self, text: &str) -> String {
        edit::apply(text, &self.edits)
    }
}
