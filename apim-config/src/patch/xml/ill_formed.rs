//! Why a file is not well-formed, in words that quote nothing of it.

use roxmltree::Error;

/// The line and the reason. What the parser quotes from the file is left out: a
/// password may be there, with an `&` or a `<` that nobody has escaped. The
/// parser does not say where a document ends too early, so that is said here.
pub(super) fn ill_formed(text: &str, error: &Error) -> (usize, String) {
    let last = text.lines().count().max(1);
    let line = usize::try_from(error.pos().row).map_or(last, |row| row.min(last));
    let (line, reason) = match error {
        Error::UnexpectedEndOfStream | Error::UnclosedRootNode => (last, cut_off(text)),
        Error::UnknownEntityReference(..) | Error::MalformedEntityReference(_) => (
            line,
            "an `&` begins no entity; in a value it is written `&amp;`".to_owned(),
        ),
        Error::UnexpectedCloseTag(..) | Error::UnexpectedEntityCloseTag(_) => (
            line,
            "a tag is closed that is not open; in a value `<` is written `&lt;`".to_owned(),
        ),
        Error::UnknownNamespace(..) => (line, "a namespace prefix is not declared".to_owned()),
        Error::DtdDetected => (
            line,
            "it has a DOCTYPE, which is not edited here".to_owned(),
        ),
        Error::DuplicatedAttribute(..) => (line, "an attribute stands twice".to_owned()),
        _ => (line, "the parser does not get past this place".to_owned()),
    };
    (line, format!("it is not well-formed XML: {reason}"))
}

/// Says what the file ends with, where that is the beginning of a closing tag
/// whose element was opened.
fn cut_off(text: &str) -> String {
    let tail = text
        .rfind("</")
        .map_or("", |start| text[start..].trim_end());
    let name = tail.trim_start_matches("</");
    let is_name = |it: char| it.is_ascii_alphanumeric() || "-_.:".contains(it);
    let opened =
        !name.is_empty() && name.chars().all(is_name) && text.contains(&format!("<{name}"));
    if opened {
        format!("it is cut off after `{tail}`")
    } else {
        "it is cut off".to_owned()
    }
}
