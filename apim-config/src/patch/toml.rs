//! Places in a TOML file: `deployment.toml` of API Manager 3.x.

use std::ops::Range;

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::{Changes, Place, Want};
use crate::{
    edit::{Edit, line, line_end},
    finding::Refusal,
};

/// A TOML file.
pub(crate) struct Toml<'t> {
    file: &'t str,
    text: &'t str,
    document: Document<&'t str>,
}

/// A key of a table and what it should say, as TOML writes it.
pub(crate) struct Setting<'a> {
    /// The key.
    pub key: &'a str,
    /// What it should say.
    pub want: Want<'a>,
}

impl<'t> Toml<'t> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not TOML.
    pub(crate) fn parse(file: &'t str, text: &'t str) -> Result<Self, Refusal> {
        match Document::parse(text) {
            Ok(document) => Ok(Self {
                file,
                text,
                document,
            }),
            Err(error) => Err(Refusal {
                file: file.to_owned(),
                line: error.span().map(|span| line(text, span.start)),
                reason: format!("it is not TOML: {}", error.message().replace('\n', ", ")),
            }),
        }
    }

    /// The tables of an array of tables; none where it is absent.
    ///
    /// # Errors
    /// When the path names something else.
    pub(crate) fn tables(&self, path: &[&str]) -> Result<Vec<&Table>, Refusal> {
        match self.item(path) {
            None => Ok(Vec::new()),
            Some(Item::ArrayOfTables(tables)) => Ok(tables.iter().collect()),
            Some(other) => Err(self.refuse(
                other.span(),
                format!(
                    "`{}` is not written as [[{}]]",
                    path.join("."),
                    path.join(".")
                ),
            )),
        }
    }

    /// The text of a value below the root, without quotes.
    #[must_use]
    pub(crate) fn plain(&self, path: &[&str]) -> Option<String> {
        self.item(path).and_then(Item::as_value).map(plain)
    }

    /// Makes the keys of `[path]` say what is wanted; a missing table is added
    /// at the end.
    ///
    /// # Errors
    /// When the table is written in a way that is not edited here.
    pub(crate) fn set(
        &self,
        path: &[&str],
        settings: &[Setting<'_>],
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        // `[a.b]` names `a` too, without making it.
        let only_named =
            |item: &Item| matches!(item, Item::Table(it) if it.is_implicit() && !it.is_dotted());
        match self.item(path).filter(|item| !only_named(item)) {
            None => {
                self.check_parents(path)?;
                self.append(&format!("[{}]", path.join(".")), settings, changes);
                Ok(())
            }
            Some(Item::Table(table)) => self.set_in(table, &path.join("."), settings, changes),
            Some(other) => Err(self.no_table(path, other)),
        }
    }

    /// Makes the keys of one table say what is wanted.
    ///
    /// # Errors
    /// When a key holds a table.
    pub(crate) fn set_in(
        &self,
        table: &Table,
        path: &str,
        settings: &[Setting<'_>],
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        for setting in settings {
            let place = |at: usize| Place {
                file: self.file,
                line: line(self.text, at),
                place: format!("{path}.{}", setting.key),
            };
            match table.get(setting.key) {
                None if table.is_dotted() => {
                    let reason =
                        format!("`{path}` is written as dotted keys, not as a table [{path}]");
                    return Err(self.refuse(table.span(), reason));
                }
                None => {
                    let at = self.end_of(table);
                    let edit = Edit {
                        range: at..at,
                        replacement: self.lines_after(at, std::slice::from_ref(setting)),
                    };
                    let finding = setting.want.missed(place(at), None);
                    changes.findings.push(finding);
                    // Before tables that are added at the same place.
                    let first = changes.edits.iter().position(|edit| is_table_at(edit, at));
                    let index = first.unwrap_or(changes.edits.len());
                    changes.edits.insert(index, edit);
                }
                Some(item) => {
                    let value = item.as_value().zip(item.span());
                    let (value, span) = value.ok_or_else(|| {
                        self.refuse(
                            item.span(),
                            format!("`{path}.{}` is a table, not a value", setting.key),
                        )
                    })?;
                    let found = plain(value);
                    let elsewhere = setting.want.secret && is_reference(&found);
                    if found != plain_of(setting.want.value) && !elsewhere {
                        let edit = Edit {
                            range: span.clone(),
                            replacement: setting.want.value.to_owned(),
                        };
                        changes.mend(edit, setting.want.missed(place(span.start), Some(&found)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a table at the end of the file.
    pub(crate) fn append(&self, header: &str, settings: &[Setting<'_>], changes: &mut Changes) {
        let at = self.text.len();
        let ending = line_end(self.text, at);
        let begun = changes.edits.iter().any(|edit| is_table_at(edit, at));
        let gap = if begun || self.text.is_empty() || self.text.ends_with('\n') {
            ""
        } else {
            ending
        };
        let lines: String = settings
            .iter()
            .map(|setting| format!("{} = {}{ending}", setting.key, setting.want.value))
            .collect();
        let edit = Edit {
            range: at..at,
            replacement: format!("{gap}{ending}{header}{ending}{lines}"),
        };
        changes.edits.push(edit);
        let name = header.trim_matches(['[', ']']);
        changes.findings.extend(settings.iter().map(|setting| {
            let place = Place {
                file: self.file,
                line: line(self.text, at),
                place: format!("{name}.{}", setting.key),
            };
            setting.want.missed(place, None)
        }));
    }

    fn lines_after(&self, at: usize, settings: &[Setting<'_>]) -> String {
        let ending = line_end(self.text, at);
        settings
            .iter()
            .map(|setting| format!("{ending}{} = {}", setting.key, setting.want.value))
            .collect()
    }

    /// The end of the last line of a table's own values, or of its header.
    fn end_of(&self, table: &Table) -> usize {
        let values = table.iter().filter(|(_, item)| item.is_value());
        let last = values
            .filter_map(|(_, item)| item.span())
            .map(|span| span.end)
            .max();
        let header = table.span().map(|span| span.start);
        let at = last.or(header).unwrap_or(self.text.len());
        let end = self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |newline| at + newline);
        end - usize::from(self.text[..end].ends_with('\r'))
    }

    /// A table can be added below tables only, not below `{ ... }` or a value.
    fn check_parents(&self, path: &[&str]) -> Result<(), Refusal> {
        for end in 1..path.len() {
            if let Some(item) = self.item(&path[..end])
                && item.is_value()
            {
                return Err(self.no_table(&path[..end], item));
            }
        }
        Ok(())
    }

    fn no_table(&self, path: &[&str], item: &Item) -> Refusal {
        let path = path.join(".");
        self.refuse(
            item.span(),
            format!("`{path}` is not written as a table [{path}]"),
        )
    }

    fn item(&self, path: &[&str]) -> Option<&Item> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(
            TableLike::get(self.document.as_table(), first)?,
            |item, key| item.as_table_like()?.get(key),
        )
    }

    /// A refusal at a span.
    pub(crate) fn refuse(&self, span: Option<Range<usize>>, reason: String) -> Refusal {
        Refusal {
            file: self.file.to_owned(),
            line: span.map(|span| line(self.text, span.start)),
            reason,
        }
    }
}

/// Whether an edit adds a table at a place: a key has no line end of its own.
fn is_table_at(edit: &Edit, at: usize) -> bool {
    edit.range.start == at && edit.replacement.ends_with('\n')
}

/// A value without quotes, so that `4000` and `"4000"` are the same.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.value().clone(),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(plain).collect();
            items.join(", ")
        }
        other => other.to_string().trim().to_owned(),
    }
}

/// Whether a value only says where the secret is: in the vault, in the
/// environment, in another key.
fn is_reference(value: &str) -> bool {
    ["$secret{", "$env{", "$ref{"]
        .iter()
        .any(|prefix| value.starts_with(prefix))
}

fn plain_of(literal: &str) -> String {
    literal
        .parse::<Value>()
        .map_or_else(|_| literal.to_owned(), |value| plain(&value))
}

/// A text as TOML writes it.
#[must_use]
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Row;

    const TEXT: &str = "# head\r\n[server]\r\nhost = \"a\" # why\r\n#offset=0\r\n\r\n[x.y]\r\n[[g]]\r\nname = \"n\"\r\nurl = 'u'\r\n";

    fn set(path: &[&str], key: &str, value: &str) -> (String, Changes) {
        let toml = Toml::parse("deployment.toml", TEXT).unwrap();
        let mut changes = Changes::default();
        let want = Want::new(Row::DeploymentToml, value, "because");
        toml.set(path, &[Setting { key, want }], &mut changes)
            .unwrap();
        (changes.applied_to(TEXT), changes)
    }

    #[test]
    fn values_change_and_everything_else_stays() {
        let (text, changes) = set(&["server"], "host", "\"lb\"");
        assert_eq!(text, TEXT.replace("\"a\"", "\"lb\""));
        assert_eq!(changes.findings[0].line, Some(3));
        assert_eq!(set(&["server"], "host", "\"a\"").1, Changes::default());
    }

    #[test]
    fn a_key_comes_after_a_comment_of_any_characters() {
        let text = "[a]\r\nb = 1 # \u{e9}\r\n";
        let toml = Toml::parse("deployment.toml", text).unwrap();
        let mut changes = Changes::default();
        let want = Want::new(Row::DeploymentToml, "2", "because");
        toml.set(&["a"], &[Setting { key: "c", want }], &mut changes)
            .unwrap();
        assert_eq!(
            changes.applied_to(text),
            "[a]\r\nb = 1 # \u{e9}\r\nc = 2\r\n"
        );
    }

    #[test]
    fn a_secret_that_is_elsewhere_stays_there() {
        let text = "[a]\np = \"$secret{admin}\"\n";
        let toml = Toml::parse("deployment.toml", text).unwrap();
        let mut changes = Changes::default();
        let want = Want::new(Row::DeploymentToml, "\"clear\"", "because").secret();
        toml.set(&["a"], &[Setting { key: "p", want }], &mut changes)
            .unwrap();
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn a_missing_key_comes_after_the_tables_last_one() {
        let (text, _) = set(&["server"], "offset", "1");
        assert_eq!(text, TEXT.replace("# why\r\n", "# why\r\noffset = 1\r\n"));
        let (text, _) = set(&["x", "y"], "k", "1");
        assert_eq!(text, TEXT.replace("[x.y]\r\n", "[x.y]\r\nk = 1\r\n"));
    }

    #[test]
    fn a_missing_table_comes_at_the_end() {
        let (text, changes) = set(&["clustering"], "domain", "\"d\"");
        assert_eq!(
            text,
            format!("{TEXT}\r\n[clustering]\r\ndomain = \"d\"\r\n")
        );
        assert_eq!(changes.findings[0].place, "clustering.domain");
    }

    #[test]
    fn tables_that_are_added_have_one_blank_line_between_them() {
        let toml = Toml::parse("deployment.toml", "a = 1").unwrap();
        let mut changes = Changes::default();
        for table in ["x", "y"] {
            let want = Want::new(Row::DeploymentToml, "1", "because");
            toml.set(&[table], &[Setting { key: "k", want }], &mut changes)
                .unwrap();
        }
        assert_eq!(
            changes.applied_to("a = 1"),
            "a = 1\n\n[x]\nk = 1\n\n[y]\nk = 1\n"
        );
    }

    #[test]
    fn a_key_of_the_last_table_stays_in_it_when_tables_are_added() {
        let text = "[a]\nb = 1";
        let toml = Toml::parse("deployment.toml", text).unwrap();
        let mut changes = Changes::default();
        for (table, key) in [("x", "k"), ("a", "c"), ("y", "k")] {
            let want = Want::new(Row::DeploymentToml, "1", "because");
            toml.set(&[table], &[Setting { key, want }], &mut changes)
                .unwrap();
        }
        let expected = "[a]\nb = 1\nc = 1\n\n[x]\nk = 1\n\n[y]\nk = 1\n";
        assert_eq!(changes.applied_to(text), expected);
    }

    #[test]
    fn a_table_that_is_only_named_gets_a_header() {
        let text = "[[a.b]]\nc = 1\n";
        let toml = Toml::parse("deployment.toml", text).unwrap();
        let mut changes = Changes::default();
        let want = Want::new(Row::DeploymentToml, "1", "because");
        toml.set(&["a"], &[Setting { key: "k", want }], &mut changes)
            .unwrap();
        let result = changes.applied_to(text);
        assert_eq!(result, format!("{text}\n[a]\nk = 1\n"));
        assert!(Toml::parse("deployment.toml", &result).is_ok());
    }

    #[test]
    fn tables_of_an_array_are_edited_one_by_one() {
        let toml = Toml::parse("deployment.toml", TEXT).unwrap();
        let tables = toml.tables(&["g"]).unwrap();
        let mut changes = Changes::default();
        let want = Want::new(Row::Gateway, "\"v\"", "because");
        toml.set_in(
            tables[0],
            "g",
            &[Setting { key: "url", want }],
            &mut changes,
        )
        .unwrap();
        assert_eq!(changes.applied_to(TEXT), TEXT.replace("'u'", "\"v\""));
        assert!(toml.tables(&["none"]).unwrap().is_empty());
        assert!(toml.tables(&["server"]).is_err());
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        let refusal = Toml::parse("deployment.toml", "[a]\nb = \n").err().unwrap();
        assert_eq!(refusal.line, Some(2));
    }
}
