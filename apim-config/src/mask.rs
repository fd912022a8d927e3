//! Where passwords stand in a file, so that nobody is shown one: neither those
//! that are written nor those that were there before.

use std::{collections::BTreeMap, ops::Range};

use roxmltree::Document;
use toml_edit::{Document as Toml, Item, TableLike};

use crate::{
    amqp::BrokerUrl,
    patch::xml::{inner, trimmed},
    secret::MASK,
};

/// The words that a secret follows.
const WORDS: [&str; 3] = ["pass", "pwd", "secret"];

/// What a password looks like that was not in the file before.
const NEW_MASK: &str = "*** (new)";

/// The two versions of a file as they may be shown. A file that is not
/// understood is not shown at all.
#[must_use]
pub(crate) fn masked(path: &str, before: &str, after: &str) -> (String, String) {
    let old = spans(path, before);
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for span in &old {
        *known.entry(&before[span.clone()]).or_default() += 1;
    }
    let after_masked = replaced(after, spans(path, after), |secret| {
        match known.get_mut(secret).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                MASK
            }
            None => NEW_MASK,
        }
    });
    let before_masked = replaced(before, old, |_| MASK);
    let net = |text: String| net(&text, path.ends_with(".toml"));
    (net(before_masked), net(after_masked))
}

/// The text with something else instead of each span; a span inside of another
/// one goes with it.
fn replaced<'m>(
    text: &str,
    mut spans: Vec<Range<usize>>,
    mut instead: impl FnMut(&str) -> &'m str,
) -> String {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        if span.start < at {
            continue;
        }
        result.push_str(&text[at..span.start]);
        result.push_str(instead(&text[span.clone()]));
        at = span.end;
    }
    result.push_str(&text[at..]);
    result
}

/// A value as it may be shown: a password in a URL is masked.
#[must_use]
pub(crate) fn shown(value: &str) -> String {
    net(value, false)
}

/// What the parsers do not see: passwords in URLs, in comments, in lines that are
/// continued. Looks at each line for what a password follows.
fn net(text: &str, is_toml: bool) -> String {
    let mut result = String::with_capacity(text.len());
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        let ending = &line[bare.len()..];
        let masked = if continued {
            MASK.to_owned()
        } else {
            net_line(bare, is_toml)
        };
        continued = bare.ends_with('\\') && (continued || masked.contains(MASK));
        result.push_str(&masked);
        result.push_str(ending);
    }
    result
}

fn net_line(line: &str, is_toml: bool) -> String {
    let lower = line.to_ascii_lowercase();
    let mut spans: Vec<Range<usize>> = Vec::new();
    for word in WORDS {
        let found = lower.match_indices(word).map(|(at, _)| at);
        spans.extend(found.filter_map(|at| assigned(line, at)));
    }
    if is_toml
        && lower
            .trim_start_matches(['#', ' ', '\t'])
            .starts_with("key")
    {
        let at = lower.find("key").unwrap_or_default();
        spans.extend(assigned(line, at));
    }
    spans.extend(in_addresses(line));
    spans.retain(|span| !line[span.clone()].starts_with(MASK));
    replaced(line, spans, |_| MASK)
}

/// What is assigned to the name in which a word stands: `passwordX = "value"`,
/// `password=value&`.
fn assigned(line: &str, word: usize) -> Option<Range<usize>> {
    let rest = &line[word..];
    let name = rest.trim_start_matches(|it: char| it.is_ascii_alphanumeric() || "_.-".contains(it));
    let sign = name.trim_start_matches(['"', '\'']).trim_start();
    let value = sign.strip_prefix(['=', ':'])?.trim_start();
    let (value, ends): (&str, &[char]) = match value.chars().next()? {
        '"' => (&value[1..], &['"']),
        '\'' => (&value[1..], &['\'']),
        _ => (value, &['&', ';', '"', '\'', '<', ' ', '\t', ',', ')']),
    };
    let end = value.find(ends).unwrap_or(value.len());
    let start = line.len() - value.len();
    (end > 0).then_some(start..start + end)
}

/// The password of every `USER:PASSWORD@` in a line.
fn in_addresses(line: &str) -> Vec<Range<usize>> {
    let password = |(at, _): (usize, &str)| {
        let before = &line[..at];
        let blank = before
            .rfind([' ', '\t', '\'', '"', '>', '='])
            .map_or(0, |index| index + 1);
        let slashes = before.rfind("//").map_or(0, |index| index + 2);
        let start = blank.max(slashes);
        let colon = start + before[start..].find(':')? + 1;
        (colon < at).then_some(colon..at)
    };
    line.match_indices('@').filter_map(password).collect()
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
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

fn in_xml(text: &str) -> Option<Vec<Range<usize>>> {
    let document = Document::parse(text).ok()?;
    let mut spans = Vec::new();
    for node in document.descendants() {
        let is_leaf = !node.children().any(|child| child.is_element());
        if node.is_element() && is_leaf && (is_password(node.tag_name().name()) || named(node)) {
            spans.extend(inner(text, node).map(|range| trimmed(text, range)));
        }
        if node.is_comment() {
            spans.extend(in_comment(text, node.range()));
        }
        for attribute in node.attributes() {
            let is_value = attribute.name() == "value" && named(node);
            if is_value || is_password(attribute.name()) {
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

fn in_properties(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        let start = line.find("amqp://");
        let url = start.map(|start| (start, line[start..].trim_end().trim_end_matches('\\')));
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
            continue;
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
    fn what_the_parsers_do_not_see_is_masked_too() {
        let cases = [
            (
                "a.xml",
                "<a><url>jdbc:x?user=u&amp;password=P0&amp;x=1</url></a>",
            ),
            (
                "a.xml",
                "<a><connectionProperties>user=x;password=P0</connectionProperties></a>",
            ),
            ("a.xml", "<a><property name=\"password\" value=\"P0\"/></a>"),
            (
                "a.xml",
                "<a><password>x<![CDATA[P0]]></password><pwd>P0</pwd><clientSecret>P0</clientSecret></a>",
            ),
            (
                "a.toml",
                "x_password = { min_password = \"P0\" }\npassthru = { password = 'P0' }\n",
            ),
            ("a.properties", "#old.password = P0\nx = 1\n"),
            (
                "a.properties",
                "k = amqp://a:P0@c/d?brokerlist='tcp://h:1' amqp://a:P0@c\n",
            ),
            ("a.properties", "k = amqp://a:P0\\\n   P0@c\nl = 2\n"),
            ("a.properties", "k = amqp:/a:P0@c\n"),
            ("a.xml", "<a><ServerURL>https://adm:P0@h/</ServerURL></a>"),
            ("a.toml", "# password = \"P0\"\n#password=\"P0\" old\n"),
            ("a.toml", "connectionProperties = \"password=P0\"\n"),
            (
                "a.toml",
                "[encryption]\nkey = \"P0\"\nclient_secret = 'P0'\n",
            ),
        ];
        for (path, text) in cases {
            let (shown, _) = masked(path, text, text);
            assert!(!shown.contains("P0"), "{shown}");
            assert!(shown.contains(MASK), "{shown}");
        }
        let rule = "<a><Property name=\"PasswordJavaRegEx\">^[a]{5,30}$</Property><!-- the password for it --></a>";
        assert!(
            masked("a.xml", rule, rule)
                .0
                .contains("the password for it")
        );
    }

    #[test]
    fn what_is_not_understood_is_not_shown() {
        assert_eq!(masked("a.xml", "<a><password>x", "").0, "***");
    }
}
