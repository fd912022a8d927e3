//! Where passwords stand in a file, so that nobody is shown one: neither those
//! that are written nor those that were there before.

use std::{collections::BTreeSet, ops::Range};

use roxmltree::Document;
use toml_edit::{Document as Toml, Item, TableLike};

use crate::{amqp::BrokerUrl, edit::Edit, edit::apply, secret::MASK};

/// What a password looks like that was not in the file before.
const NEW_MASK: &str = "*** (new)";

/// The two versions of a file as they may be shown. A file that is not
/// understood is not shown at all.
#[must_use]
pub fn masked(path: &str, before: &str, after: &str) -> (String, String) {
    let old = spans(path, before);
    let known: BTreeSet<&str> = old.iter().map(|span| &before[span.clone()]).collect();
    let mask = |text: &str, spans: Vec<Range<usize>>| {
        let edits: Vec<Edit> = spans
            .into_iter()
            .map(|range| Edit {
                replacement: if known.contains(&text[range.clone()]) {
                    MASK.to_owned()
                } else {
                    NEW_MASK.to_owned()
                },
                range,
            })
            .collect();
        apply(text, &edits)
    };
    (mask(before, old.clone()), mask(after, spans(path, after)))
}

/// Where passwords stand.
fn spans(path: &str, text: &str) -> Vec<Range<usize>> {
    if text.is_empty() {
        return Vec::new();
    }
    let found = match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("xml") => in_xml(text),
        Some("toml") => in_toml(text),
        Some("properties") => Some(in_properties(text)),
        _ => Some(Vec::new()),
    };
    // A file that cannot be read may have a password anywhere.
    let everything = 0..text.len();
    found.unwrap_or_else(|| std::iter::once(everything).collect())
}

fn is_password(name: &str) -> bool {
    name.to_ascii_lowercase().contains("pass")
}

fn in_xml(text: &str) -> Option<Vec<Range<usize>>> {
    let document = Document::parse(text).ok()?;
    let mut spans = Vec::new();
    for node in document.descendants() {
        if node.is_text()
            && node
                .parent_element()
                .is_some_and(|parent| is_password(parent.tag_name().name()) || named(parent))
        {
            spans.push(trimmed(text, node.range()));
        }
        if node.is_comment() {
            spans.extend(in_comment(text, node.range()));
        }
        for attribute in node.attributes() {
            if is_password(attribute.name()) {
                spans.push(attribute.range_value());
            }
        }
    }
    spans.retain(|span| !span.is_empty());
    Some(spans)
}

/// `<Property name="password">`, but not a rule about passwords.
fn named(node: roxmltree::Node<'_, '_>) -> bool {
    node.attribute("name")
        .is_some_and(|name| name.eq_ignore_ascii_case("password") || name.ends_with("Password"))
}

/// Passwords in elements that are commented out: `<password>...</password>`.
fn in_comment(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let comment = &text[range.clone()];
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(open) = comment[from..].find('>').map(|index| from + index) {
        let tag = comment[..open]
            .rfind('<')
            .map_or("", |start| &comment[start + 1..open]);
        let end = comment[open..].find('<').map(|index| open + index);
        let Some(end) = end else {
            break;
        };
        if is_password(tag) && !tag.starts_with('/') && end > open + 1 {
            spans.push(range.start + open + 1..range.start + end);
        }
        from = end;
    }
    spans
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}

fn in_properties(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        let start = line.find("amqp://");
        let url = start.map(|start| (start, line[start..].trim_end()));
        if let Some((start, url)) = url {
            let begin = from + start;
            match BrokerUrl::parse(url).and_then(|url| url.password()) {
                Some(password) => spans.push(begin + password.start..begin + password.end),
                None => spans.push(begin..begin + url.len()),
            }
        }
        from += line.len();
    }
    spans
}

fn in_toml(text: &str) -> Option<Vec<Range<usize>>> {
    let document = Toml::parse(text).ok()?;
    let mut spans = Vec::new();
    in_table(document.as_table(), &mut spans);
    Some(spans)
}

/// Tables nest as deep as the file's headers say, which the parser bounds.
fn in_table(table: &dyn TableLike, spans: &mut Vec<Range<usize>>) {
    for (key, item) in table.iter() {
        if is_password(key) && item.is_value() {
            spans.extend(item.span());
        }
        match item {
            Item::ArrayOfTables(tables) => tables.iter().for_each(|table| in_table(table, spans)),
            item => {
                if let Some(table) = item.as_table_like() {
                    in_table(table, spans);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown_and_a_new_one_is_told_apart() {
        let before = "<a keystorePass=\"k\">\n <password> old1 </password>\n <Password>old2</Password>\n <!--password>old3</password--><x>y</x>\n</a>";
        let after = before.replace("old1", "new1");
        let (shown_before, shown_after) = masked("a.xml", before, &after);
        assert_eq!(
            shown_before,
            "<a keystorePass=\"***\">\n <password> *** </password>\n <Password>***</Password>\n <!--password>***</password--><x>y</x>\n</a>"
        );
        assert_eq!(
            shown_after,
            shown_before.replacen("> *** <", "> *** (new) <", 1)
        );
    }

    #[test]
    fn passwords_in_addresses_and_tables_are_masked() {
        let url = "k = amqp://admin:secret@c/carbon?brokerlist='tcp://h:1'\n# amqp://a:b\n";
        let (shown, _) = masked("jndi.properties", url, url);
        assert_eq!(
            shown,
            "k = amqp://admin:***@c/carbon?brokerlist='tcp://h:1'\n# ***\n"
        );
        let toml = "[a]\npassword = \"p\"\n[[b]]\nkey_password = 'q'\nuser = \"u\"\n";
        let (shown, _) = masked("d.toml", toml, toml);
        assert_eq!(
            shown,
            "[a]\npassword = ***\n[[b]]\nkey_password = ***\nuser = \"u\"\n"
        );
    }

    #[test]
    fn what_is_not_understood_is_not_shown() {
        assert_eq!(masked("a.xml", "<a><password>x", "").0, "***");
    }
}
