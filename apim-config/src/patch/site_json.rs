//! Places in a portal's `site.json`, which is no JSON: it has `//` comments and
//! trailing commas.

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Object, ObjectProp, Value},
    common::Ranged,
    parse_to_ast,
};

use super::{Changes, Place, Want};
use crate::{
    edit::{Edit, line},
    finding::Refusal,
};

/// A portal's settings.
pub(crate) struct SiteJson<'t> {
    file: &'t str,
    text: &'t str,
    root: Object<'t>,
}

impl<'t> SiteJson<'t> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no object with comments and trailing commas at the most.
    pub(crate) fn parse(file: &'t str, text: &'t str) -> Result<Self, Refusal> {
        let options = ParseOptions {
            allow_missing_commas: false,
            allow_hexadecimal_numbers: false,
            ..ParseOptions::default()
        };
        let refuse = |at: usize, reason: &str| Refusal {
            file: file.to_owned(),
            line: Some(line(text, at)),
            reason: format!("it is no JSON, even with comments: {reason}"),
        };
        // What the parser quotes from the file is left out.
        let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
            refuse(
                error.range().start,
                "the parser does not get past this place",
            )
        })?;
        match parsed.value {
            Some(Value::Object(root)) => Ok(Self { file, text, root }),
            _ => Err(refuse(0, "it holds no object")),
        }
    }

    /// The object under a name of the outermost one.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub(crate) fn object(&self, name: &str) -> Result<&Object<'t>, Refusal> {
        let property = self.only(&self.root, name)?;
        let object = property.and_then(|property| property.value.as_object());
        object.ok_or_else(|| Refusal {
            file: self.file.to_owned(),
            line: property.map(|property| line(self.text, property.range.start)),
            reason: format!("there is no object `{name}`"),
        })
    }

    /// Makes the value under `name` in `object` what is wanted: `want.value` as
    /// JSON writes it.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub(crate) fn set(
        &self,
        (object, name): (&Object<'t>, &str),
        path: &str,
        want: &Want<'_>,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let Some(property) = self.only(object, name)? else {
            return Err(Refusal {
                file: self.file.to_owned(),
                line: Some(line(self.text, object.range.start)),
                reason: format!("there is no `{path}`"),
            });
        };
        let range = property.value.start()..property.value.end();
        let found = &self.text[range.clone()];
        if found != want.value {
            let edit = Edit {
                range: range.clone(),
                replacement: want.value.to_owned(),
            };
            changes.mend(
                edit,
                want.missed(self.place(range.start, path), Some(found)),
            );
        }
        Ok(())
    }

    /// Makes the list under `name`, where there is one, hold a text.
    ///
    /// # Errors
    /// When there is more than one list of that name, or it is no list.
    pub(crate) fn hold(
        &self,
        name: &str,
        want: &Want<'_>,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let Some(property) = self.only(&self.root, name)? else {
            return Ok(());
        };
        let start = property.value.start();
        let Some(list) = property.value.as_array() else {
            return Err(Refusal {
                file: self.file.to_owned(),
                line: Some(line(self.text, start)),
                reason: format!("`{name}` is no list"),
            });
        };
        let holds = list.elements.iter().any(|element| {
            element
                .as_string_lit()
                .is_some_and(|text| text.value == want.value)
        });
        if holds {
            return Ok(());
        }
        let quoted = quoted(want.value);
        let (at, replacement) = match list.elements.last() {
            Some(last) => (last.end(), format!(", {quoted}")),
            None => (list.range.start + 1, quoted),
        };
        let found = &self.text[list.range.start..list.range.end];
        let edit = Edit {
            range: at..at,
            replacement,
        };
        changes.mend(edit, want.missed(self.place(start, name), Some(found)));
        Ok(())
    }

    fn only<'o>(
        &self,
        object: &'o Object<'t>,
        name: &str,
    ) -> Result<Option<&'o ObjectProp<'t>>, Refusal> {
        let mut all = object
            .properties
            .iter()
            .filter(|property| property.name.as_str() == name);
        let first = all.next();
        match all.next() {
            Some(second) => Err(Refusal {
                file: self.file.to_owned(),
                line: Some(line(self.text, second.range.start)),
                reason: format!("`{name}` stands twice: which one counts is not clear; remove one"),
            }),
            None => Ok(first),
        }
    }

    fn place(&self, at: usize, place: &str) -> Place<'t> {
        Place {
            file: self.file,
            line: line(self.text, at),
            place: place.to_owned(),
        }
    }
}

/// A text as JSON writes it.
#[must_use]
pub(crate) fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Row;

    const TEXT: &str = "{ // \u{e9}\n  \"proxy\" : {\n    \"enabled\" : false,   // true , \"auto\"\n    \"host\":\"a\",\n  //\"enabled\" : 1\n  },\n  \"names\" : [\"localhost\"],\n}";

    #[test]
    fn only_the_values_change() {
        let json = SiteJson::parse("site.json", TEXT).unwrap();
        let proxy = json.object("proxy").unwrap();
        let mut changes = Changes::default();
        let want = |value| Want::new(Row::Portals, value, "because");
        json.set(
            (proxy, "enabled"),
            "proxy.enabled",
            &want("true"),
            &mut changes,
        )
        .unwrap();
        json.set((proxy, "host"), "proxy.host", &want("\"a\""), &mut changes)
            .unwrap();
        json.hold("names", &want("lb"), &mut changes).unwrap();
        json.hold("absent", &want("lb"), &mut changes).unwrap();
        let expected = TEXT
            .replace("\"enabled\" : false", "\"enabled\" : true")
            .replace("[\"localhost\"]", "[\"localhost\", \"lb\"]");
        assert_eq!(changes.applied_to(TEXT), expected);
        assert_eq!(changes.findings[0].line, Some(3));
        assert_eq!(changes.findings[0].found.as_deref(), Some("false"));
    }

    #[test]
    fn what_is_cut_off_twice_or_absent_is_refused() {
        for (text, reason) in [
            ("{ \"proxy\": {", "no JSON"),
            ("[]", "no object"),
            ("{}", "no object `proxy`"),
            ("{\"proxy\":{},\"proxy\":{}}", "twice"),
        ] {
            let refusal = SiteJson::parse("site.json", text)
                .and_then(|json| json.object("proxy").map(drop))
                .unwrap_err();
            assert!(refusal.reason.contains(reason), "{refusal}");
        }
    }
}
