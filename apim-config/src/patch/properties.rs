//! Places in a Java properties file: one key, one value, as
//! `java.util.Properties` reads them.

use std::ops::Range;

use super::{Changes, Place, Want};
use crate::{
    edit::{Edit, line, line_end},
    finding::Refusal,
    mask,
};

/// A properties file.
pub(crate) struct Properties<'t> {
    file: &'t str,
    text: &'t str,
    entries: Vec<Entry>,
}

/// A key and its value as they are written, escapes and continued lines
/// included.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
}

impl<'t> Properties<'t> {
    /// Reads a file. Every text is a properties file.
    #[must_use]
    pub(crate) fn parse(file: &'t str, text: &'t str) -> Self {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = logical_line_end(text, at);
            entries.extend(entry(text, at..end));
            at = next_line(text, end);
        }
        Self {
            file,
            text,
            entries,
        }
    }

    /// The value of a key, as it is written.
    ///
    /// # Errors
    /// When the key stands twice with different values.
    pub(crate) fn value(&self, key: &str) -> Result<Option<&'t str>, Refusal> {
        Ok(self
            .entry(key)?
            .map(|entry| &self.text[entry.value.clone()]))
    }

    /// The value of the first key that ends like this one, stray characters
    /// before it or not.
    #[must_use]
    pub(crate) fn value_of_any(&self, key: &str) -> Option<&'t str> {
        let entry = self
            .entries
            .iter()
            .find(|entry| self.text[entry.key.clone()].ends_with(key))?;
        Some(&self.text[entry.value.clone()])
    }

    /// Makes a key's value what is wanted. `value` is what to write where the
    /// present one does not do; a missing key is added at the end.
    ///
    /// # Errors
    /// When the key stands twice with different values.
    pub(crate) fn set(
        &self,
        key: &str,
        want: &Want<'_>,
        shown: (Option<&str>, &str),
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let finding = |line, found: Option<&str>| {
            let place = Place {
                file: self.file,
                line,
                place: key.to_owned(),
            };
            let mut finding = want.missed(place, found);
            finding.found = shown.0.or(found).map(mask::shown);
            finding.wanted = Some(shown.1.to_owned());
            finding
        };
        if let Some(entry) = self.entry(key)? {
            let found = &self.text[entry.value.clone()];
            if found != want.value {
                let edit = Edit {
                    range: entry.value.clone(),
                    replacement: want.value.to_owned(),
                };
                changes.mend(edit, finding(line(self.text, entry.key.start), Some(found)));
            }
            return Ok(());
        }
        let end = self.text.len();
        let ending = line_end(self.text, end);
        let mut gap = String::new();
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            gap.push_str(ending);
        }
        if is_continued(self.text.trim_end_matches(['\r', '\n'])) {
            // Else the key would be part of the last value.
            gap.push_str(ending);
        }
        let edit = Edit {
            range: end..end,
            replacement: format!("{gap}{key} = {}{ending}", want.value),
        };
        changes.mend(edit, finding(line(self.text, end), None));
        Ok(())
    }

    /// Takes away what a copy from a web page left before a key: a key is then
    /// read under another name.
    pub(crate) fn clean(&self, key: &str, want: &Want<'_>, changes: &mut Changes) -> bool {
        let stray = self.entries.iter().find(|entry| {
            let written = &self.text[entry.key.clone()];
            written
                .strip_suffix(key)
                .is_some_and(|before| !before.is_empty() && !before.is_ascii())
        });
        let Some(stray) = stray else {
            return false;
        };
        let edit = Edit {
            range: stray.key.start..stray.key.end - key.len(),
            replacement: String::new(),
        };
        let place = Place {
            file: self.file,
            line: line(self.text, stray.key.start),
            place: key.to_owned(),
        };
        changes.mend(
            edit,
            want.missed(place, Some("stray characters before the key")),
        );
        true
    }

    fn entry(&self, key: &str) -> Result<Option<&Entry>, Refusal> {
        let mut all = self
            .entries
            .iter()
            .filter(|entry| self.text[entry.key.clone()] == *key);
        let first = all.next();
        match (first, all.next()) {
            (Some(first), Some(second)) => Err(Refusal {
                file: self.file.to_owned(),
                line: Some(line(self.text, second.key.start)),
                reason: format!(
                    "`{key}` stands twice, at line {} and here: which one counts is not clear; remove one",
                    line(self.text, first.key.start)
                ),
            }),
            _ => Ok(first),
        }
    }
}

/// The end of the line that starts at `at`, continued lines included, without
/// its line end.
fn logical_line_end(text: &str, at: usize) -> usize {
    let comment = text[at..]
        .trim_start_matches([' ', '\t', '\x0c'])
        .starts_with(['#', '!']);
    let mut from = at;
    loop {
        let end = text[from..]
            .find(['\n', '\r'])
            .map_or(text.len(), |index| from + index);
        if comment || !is_continued(&text[from..end]) || end == text.len() {
            return end;
        }
        from = next_line(text, end);
    }
}

/// Whether a line goes on in the next one: an odd number of backslashes ends it.
fn is_continued(line: &str) -> bool {
    let slashes = line.len() - line.trim_end_matches('\\').len();
    !slashes.is_multiple_of(2)
}

/// The start of the line after the line end at `end`.
fn next_line(text: &str, end: usize) -> usize {
    let rest = &text[end..];
    let ending = if rest.starts_with("\r\n") { 2 } else { 1 };
    (end + ending).min(text.len())
}

fn entry(text: &str, line: Range<usize>) -> Option<Entry> {
    let blank = [' ', '\t', '\x0c'];
    let source = &text[line.clone()];
    let start = line.start + (source.len() - source.trim_start_matches(blank).len());
    let source = &text[start..line.end];
    if source.is_empty() || source.starts_with(['#', '!']) {
        return None;
    }
    let mut escaped = false;
    let key_len = source
        .find(|it| {
            let ends = !escaped && (blank.contains(&it) || matches!(it, '=' | ':'));
            escaped = !escaped && it == '\\';
            ends
        })
        .unwrap_or(source.len());
    let rest = source[key_len..].trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let value = rest.trim_start_matches(blank);
    Some(Entry {
        key: start..start + key_len,
        value: line.end - value.len()..line.end,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finding::Row;

    const TEXT: &str = "# a = comment \\\nb=1\r\n  c : 2 \n\n!d=3\ne\\=f = x\\\n  y\ng";

    fn set(text: &str, key: &str, value: &str) -> (String, Changes) {
        let mut changes = Changes::default();
        let want = Want::new(Row::OwnBroker, value, "because");
        Properties::parse("j.properties", text)
            .set(key, &want, (None, value), &mut changes)
            .unwrap();
        (changes.applied_to(text), changes)
    }

    #[test]
    fn keys_and_values_are_those_that_java_reads() {
        let properties = Properties::parse("j.properties", TEXT);
        let value = |key| properties.value(key).unwrap();
        assert_eq!(value("a"), None);
        assert_eq!(value("b"), Some("1"));
        assert_eq!(value("c"), Some("2 "));
        assert_eq!(value("d"), None);
        assert_eq!(value("e\\=f"), Some("x\\\n  y"));
        assert_eq!(value("g"), Some(""));
    }

    #[test]
    fn only_the_value_changes_and_a_missing_key_is_added() {
        let (text, changes) = set(TEXT, "b", "5");
        assert_eq!(text, TEXT.replace("b=1", "b=5"));
        assert_eq!(changes.findings[0].line, Some(2));
        assert_eq!(set(TEXT, "b", "1").1, Changes::default());
        assert_eq!(set(TEXT, "z", "9").0, format!("{TEXT}\nz = 9\n"));
        assert_eq!(set("a=1\\\n", "z", "9").0, "a=1\\\n\nz = 9\n");
        assert_eq!(set("a=1\r\n", "z", "9").0, "a=1\r\nz = 9\r\n");
    }

    #[test]
    fn stray_characters_before_a_key_are_taken_away() {
        let text = "\u{c2}\u{a0}a.b = 1\n";
        let mut changes = Changes::default();
        let want = Want::new(Row::OtherBroker, "a.b", "because");
        let properties = Properties::parse("j.properties", text);
        assert!(properties.clean("a.b", &want, &mut changes));
        assert_eq!(changes.applied_to(text), "a.b = 1\n");
        assert!(!Properties::parse("j", "xa.b = 1\n").clean("a.b", &want, &mut changes));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let properties = Properties::parse("j.properties", "a=1\nb=2\na=3\n");
        assert_eq!(properties.value("a").unwrap_err().line, Some(3));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[a-c=: \\\\\t\r\n#!\u{e9}]{0,40}") {
            let properties = Properties::parse("j", &text);
            for entry in &properties.entries {
                prop_assert!(entry.key.end <= entry.value.start);
                prop_assert!(text.get(entry.value.clone()).is_some());
            }
        }
    }
}
