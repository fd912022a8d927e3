//! The source gate: is this content a whole, well-formed XML document?
//!
//! An artifact that is written in place may be read half full; sent, it would be
//! rejected by the deployer and moved away. So XML that is not well-formed is
//! held on the active and reported. quick-xml splits the document into events;
//! what it leaves to its users (one root, names, attributes, references,
//! characters) is checked here. Whether an artifact makes sense is the
//! deployer's business.

mod text;

use std::borrow::Cow;

use quick_xml::{
    Reader,
    events::{BytesDecl, BytesPI, BytesRef, BytesStart, Event},
};
use thiserror::Error;

use crate::path::escape;

/// Characters of a reason: enough for a sentence and a long name.
const REASON_CHARACTERS_MAX: usize = 200;

/// Why a content is not well-formed XML.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct IllFormed {
    /// Where it was noticed, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Checks a whole document.
///
/// # Errors
/// The first place where `content` is not well-formed.
pub fn well_formed(content: &[u8]) -> Result<(), IllFormed> {
    let text = text::decode(content)?;
    let mut reader = Reader::from_str(&text);
    reader.config_mut().enable_all_checks(true);
    let mut document = Document::default();
    loop {
        let start = reader.buffer_position();
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => return Err(at(&text, reader.error_position(), error)),
        };
        let last = matches!(event, Event::Eof);
        document
            .take(event, start == 0)
            .map_err(|reason| at(&text, start, reason))?;
        if last {
            return Ok(());
        }
    }
}

/// Reasons quote the document, so they are cut short and made safe to show.
fn at(text: &str, offset: u64, reason: impl ToString) -> IllFormed {
    let offset = usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()));
    let lines_before = text.as_bytes()[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n');
    let reason: String = reason
        .to_string()
        .chars()
        .take(REASON_CHARACTERS_MAX)
        .collect();
    IllFormed {
        line: 1 + lines_before.count(),
        reason: escape(reason.as_bytes()),
    }
}

/// What has been seen of the document so far.
#[derive(Default)]
struct Document {
    /// Elements that are open.
    open: Vec<String>,
    /// Whether the root element was opened.
    rooted: bool,
    /// Whether a document type was declared: it may declare entities.
    doctype: bool,
}

type Checked = Result<(), Cow<'static, str>>;

impl Document {
    fn take(&mut self, event: Event<'_>, first: bool) -> Checked {
        match event {
            Event::Start(element) => {
                self.element(&element)?;
                self.open.push(element.name().as_ref().to_owned());
                Ok(())
            }
            Event::Empty(element) => self.element(&element),
            Event::End(_) => self
                .open
                .pop()
                .map(|_| ())
                .ok_or("an element is closed that was not opened".into()),
            Event::Text(text) => self.text(&text),
            Event::CData(data) => self
                .inside("a CDATA section")
                .and_then(|()| check_characters(&data)),
            Event::GeneralRef(reference) => self
                .inside("a reference")
                .and_then(|()| self.reference(&reference)),
            Event::Comment(comment) => check_characters(&comment),
            Event::Decl(declaration) if first => check_declaration(&declaration),
            Event::Decl(_) => Err("the XML declaration is not at the start".into()),
            Event::PI(instruction) => check_instruction(&instruction),
            Event::DocType(_) => self.document_type(),
            Event::Eof => self.end(),
        }
    }

    fn element(&mut self, element: &BytesStart<'_>) -> Checked {
        if self.open.is_empty() && self.rooted {
            return Err("a second root element".into());
        }
        self.rooted = true;
        check_name(element.name().as_ref())?;
        check_spacing(element.attributes_raw())?;
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|error| Cow::from(error.to_string()))?;
            check_name(attribute.key.as_ref())?;
            self.attribute_value(&attribute.value)?;
        }
        Ok(())
    }

    fn attribute_value(&self, value: &str) -> Checked {
        if value.contains('<') {
            return Err("`<` in an attribute value".into());
        }
        check_characters(value)?;
        for piece in value.split('&').skip(1) {
            let (name, _) = piece
                .split_once(';')
                .ok_or("`&` without a closing `;` in an attribute value")?;
            self.reference(&BytesRef::new(name))?;
        }
        Ok(())
    }

    fn text(&self, text: &str) -> Checked {
        if text.bytes().all(|byte| b" \t\r\n".contains(&byte)) {
            return Ok(());
        }
        self.inside("text")?;
        if text.contains("]]>") {
            return Err("`]]>` in text".into());
        }
        check_characters(text)
    }

    fn reference(&self, reference: &BytesRef<'_>) -> Checked {
        match reference.resolve_char_ref() {
            Err(error) => Err(error.to_string().into()),
            Ok(Some(character)) if is_character(character) => Ok(()),
            Ok(Some(_)) => Err(format!("`&{};` is no XML character", &**reference).into()),
            Ok(None) => self.entity(reference),
        }
    }

    fn entity(&self, name: &str) -> Checked {
        check_name(name)?;
        if self.doctype || ["lt", "gt", "amp", "apos", "quot"].contains(&name) {
            Ok(())
        } else {
            Err(format!("the entity `&{name};` is not declared").into())
        }
    }

    fn inside(&self, what: &str) -> Checked {
        if self.open.is_empty() {
            Err(format!("{what} outside the root element").into())
        } else {
            Ok(())
        }
    }

    fn document_type(&mut self) -> Checked {
        if self.rooted || self.doctype {
            return Err("a document type in the wrong place".into());
        }
        self.doctype = true;
        Ok(())
    }

    fn end(&self) -> Checked {
        match self.open.last() {
            Some(name) => Err(format!("the document ends before `</{name}>`").into()),
            None if self.rooted => Ok(()),
            None => Err("no root element: the document is empty".into()),
        }
    }
}

/// `version`, then maybe `encoding`, then maybe `standalone`.
fn check_declaration(declaration: &BytesDecl<'_>) -> Checked {
    let element = BytesStart::from_content(&**declaration, "xml".len());
    check_spacing(element.attributes_raw())?;
    let mut rest = &["version", "encoding", "standalone"][..];
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| Cow::from(error.to_string()))?;
        let (name, value) = (attribute.key.as_ref(), &*attribute.value);
        let place = rest.iter().position(|&wanted| wanted == name);
        let place = place.filter(|&place| place == 0 || rest.len() < 3);
        let place = place.filter(|_| pseudo_attribute_is_legal(name, value));
        let place = place.ok_or_else(|| {
            format!("`{name}=\"{value}\"` is out of place in the XML declaration")
        })?;
        rest = &rest[place + 1..];
    }
    if rest.len() == 3 {
        return Err("the XML declaration does not begin with `version`".into());
    }
    Ok(())
}

fn pseudo_attribute_is_legal(name: &str, value: &str) -> bool {
    let encoding = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        "version" => ["1.0", "1.1"].contains(&value),
        "standalone" => ["yes", "no"].contains(&value),
        _ => {
            value.starts_with(|first: char| first.is_ascii_alphabetic())
                && value.bytes().all(encoding)
        }
    }
}

fn check_instruction(instruction: &BytesPI<'_>) -> Checked {
    check_name(instruction.target())?;
    if instruction.target().eq_ignore_ascii_case("xml") {
        return Err("a processing instruction must not be named `xml`".into());
    }
    check_characters(instruction)
}

/// Attributes stand apart from each other by white space.
fn check_spacing(attributes: &str) -> Checked {
    let mut quote = None;
    let mut closed = false;
    for byte in attributes.bytes() {
        if closed && !byte.is_ascii_whitespace() {
            return Err("no white space between two attributes".into());
        }
        closed = quote == Some(byte);
        quote = match quote {
            Some(_) if closed => None,
            None if byte == b'"' || byte == b'\'' => Some(byte),
            other => other,
        };
    }
    Ok(())
}

fn check_name(name: &str) -> Checked {
    let mut characters = name.chars();
    if characters.next().is_some_and(starts_name) && characters.all(continues_name) {
        Ok(())
    } else {
        Err(format!("`{}` is not an XML name", escape(name.as_bytes())).into())
    }
}

/// `NameStartChar` of XML 1.0, without the byte order mark: an editor's slip.
fn starts_name(character: char) -> bool {
    matches!(character, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar` of XML 1.0.
fn continues_name(character: char) -> bool {
    starts_name(character)
        || matches!(character, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// `Char` of XML 1.0.
fn is_character(character: char) -> bool {
    !matches!(character, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}')
}

fn check_characters(text: &str) -> Checked {
    match text.chars().find(|&character| !is_character(character)) {
        Some(character) => Err(format!(
            "the character U+{:04X} is not allowed in XML",
            u32::from(character)
        )
        .into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(content: &[u8]) -> String {
        well_formed(content).map_or_else(|error| error.to_string(), |()| "ok".into())
    }

    #[test]
    fn whole_documents_pass() {
        let cases: &[&[u8]] = &[
            b"<a/>",
            b"<a></a >\n",
            b"\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<!-- c -->\n<?p q?>\n<a/><!-- d -->\n",
            b"<?xml version='1.0' encoding='utf8' standalone='yes'?><a/>",
            b"<a b='1' c = \"2>\">&lt;&#65;&#x1F600;<![CDATA[<&]]></a>",
            b"<ns:a xmlns:ns='urn:x' ns:b='&quot;'/>",
            b"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
            b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xE9</a>",
            b"\xFF\xFE<\0a\0/\0>\0",
            "<\u{e9}t\u{e9}>\u{1F600}</\u{e9}t\u{e9}>".as_bytes(),
        ];
        for content in cases {
            assert_eq!(verdict(content), "ok", "{}", escape(content));
        }
    }

    #[test]
    fn anything_else_is_held_with_line_and_reason() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "line 1: no root element: the document is empty"),
            (b" \n", "line 2: no root element: the document is empty"),
            (
                b"<!-- c -->\n",
                "line 2: no root element: the document is empty",
            ),
            (b"<a>\n<b>\n", "line 3: the document ends before `</b>`"),
            (b"<a>\n<b x='1", "line 2: syntax error"),
            (
                b"<a>\n</b>",
                "line 2: ill-formed document: expected `</a>`, but `</b>` was found",
            ),
            (
                b"<a/>\n</a>",
                "line 2: ill-formed document: close tag `</a>`",
            ),
            (b"<a/>\n<b/>", "line 2: a second root element"),
            (b"<a/>\nx", "line 1: text outside the root element"),
            (b"x<a/>", "line 1: text outside the root element"),
            (b"&amp;<a/>", "line 1: a reference outside the root element"),
            (
                b"<![CDATA[x]]><a/>",
                "line 1: a CDATA section outside the root element",
            ),
            (
                b"\n<?xml version='1.0'?><a/>",
                "line 2: the XML declaration is not at the start",
            ),
            (
                b"<?xml encoding='UTF-8'?><a/>",
                "line 1: `encoding=\"UTF-8\"` is out of place in the XML declaration",
            ),
            (
                b"<?xml ?><a/>",
                "line 1: the XML declaration does not begin with `version`",
            ),
            (
                b"<?xml encoding='x' version='1.0'?><a/>",
                "line 1: `encoding=\"x\"` is out of place in the XML declaration",
            ),
            (b"<a b='1' b='2'/>", "line 1: "),
            (b"<a b=1/>", "line 1: "),
            (b"<a b/>", "line 1: "),
            (
                b"<a b='1'c='2'/>",
                "line 1: no white space between two attributes",
            ),
            (b"<a b='<'/>", "line 1: `<` in an attribute value"),
            (
                b"<a b='x & y'/>",
                "line 1: `&` without a closing `;` in an attribute value",
            ),
            (b"<a b='&x;'/>", "line 1: the entity `&x;` is not declared"),
            (
                b"<a>&nbsp;</a>",
                "line 1: the entity `&nbsp;` is not declared",
            ),
            (
                b"<a>x & y</a>",
                "line 1: ill-formed document: entity or character reference not closed",
            ),
            (b"<a>&#0;</a>", "line 1: "),
            (b"<a>&#x1F;</a>", "line 1: `&#x1F;` is no XML character"),
            (b"<a>&#xD800;</a>", "line 1: "),
            (
                b"<a>\x01</a>",
                "line 1: the character U+0001 is not allowed in XML",
            ),
            (b"<a>]]></a>", "line 1: `]]>` in text"),
            (
                b"<a><!-- x -- y --></a>",
                "line 1: ill-formed document: forbidden string `--`",
            ),
            (
                b"<a><!-- x ---></a>",
                "line 1: ill-formed document: forbidden string `--`",
            ),
            (b"<1a/>", "line 1: `1a` is not an XML name"),
            (b"< a/>", "line 1: `` is not an XML name"),
            (
                b"<a><?XML x?></a>",
                "line 1: a processing instruction must not be named `xml`",
            ),
            (b"<a>\n\xFF</a>", "line 2: not UTF-8"),
            (
                b"\xFE\xFF\0<\0a\0/\0>\0",
                "line 1: half a character of UTF-16 at the end",
            ),
            (
                b"<a/><!DOCTYPE a>",
                "line 1: a document type in the wrong place",
            ),
            (
                b"<a>\0\0\0\0",
                "line 1: the character U+0000 is not allowed in XML",
            ),
        ];
        for (content, expected) in cases {
            let verdict = verdict(content);
            assert!(
                verdict.starts_with(expected),
                "{}: {verdict}",
                escape(content)
            );
        }
    }

    #[test]
    fn every_cut_through_an_artifact_is_held() {
        let artifact =
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<api name=\"a\" context=\"/a\">\n\
            <!-- c --><resource methods='GET'><![CDATA[x]]>&amp;</resource>\n</api>";
        assert_eq!(verdict(artifact), "ok");
        for end in 0..artifact.len() {
            assert_ne!(verdict(&artifact[..end]), "ok", "cut at {end}");
        }
    }

    #[test]
    fn a_reason_is_short_and_safe_to_show() {
        let content = format!("<a>&\x1b[2J{};</a>", "x".repeat(5000));
        let reason = well_formed(content.as_bytes()).unwrap_err().reason;
        assert!(reason.len() < 300 && !reason.contains('\x1b'), "{reason}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_gate_panic(pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "<a", "</a>", ">", "/>", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<?xml ", "<!DOCTYPE ",
                    "[", "]", "&", ";", "&#", "&#x", "=", "'", "\"", " ", "\n", "b", "version", "1.0", "encoding", "\u{e9}",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                proptest::collection::vec(any::<u8>(), 0..4),
            ],
            0..24,
        )) {
            let content = pieces.concat();
            if let Err(error) = well_formed(&content) {
                prop_assert!(error.line >= 1 && !error.reason.is_empty());
            }
        }
    }
}
