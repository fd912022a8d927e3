//! The source gate: is this content a whole, well-formed XML document?
//!
//! An artifact that is written in place may be read half full; sent, it would be
//! rejected by the deployer and moved away. So XML that is not well-formed is
//! held on the active and reported. quick-xml splits the document into events;
//! what it leaves to its users (one root, names, attributes, references,
//! characters) is checked here. Whether an artifact makes sense is the
//! deployer's business.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    events::{BytesDecl, BytesPI, BytesRef, BytesStart, Event},
};
use thiserror::Error;

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
    let text = decode(content)?;
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

fn at(text: &str, offset: u64, reason: impl ToString) -> IllFormed {
    let offset = usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()));
    IllFormed {
        line: 1 + text.as_bytes()[..offset]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
        reason: reason.to_string(),
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

fn check_declaration(declaration: &BytesDecl<'_>) -> Checked {
    let wrong = |error: &dyn ToString| Cow::from(format!("XML declaration: {}", error.to_string()));
    declaration.xml_version().map_err(|error| wrong(&error))?;
    if let Some(encoding) = declaration.encoding() {
        let encoding = encoding.map_err(|error| wrong(&error))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !encoding.starts_with(|first: char| first.is_ascii_alphabetic())
            || !encoding.bytes().all(legal)
        {
            return Err("XML declaration: not the name of an encoding".into());
        }
    }
    match declaration.standalone() {
        Some(Err(error)) => Err(wrong(&error)),
        Some(Ok(value)) if value != "yes" && value != "no" => {
            Err("XML declaration: `standalone` is neither `yes` nor `no`".into())
        }
        _ => Ok(()),
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
        Err(format!(
            "`{}` is not an XML name",
            crate::path::escape(name.as_bytes())
        )
        .into())
    }
}

/// `NameStartChar` of XML 1.0.
fn starts_name(character: char) -> bool {
    matches!(character, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
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

/// The document's text. UTF-8 and UTF-16 are decoded; of any other encoding
/// only the ASCII part, in which all markup is written, is understood.
fn decode(content: &[u8]) -> Result<Cow<'_, str>, IllFormed> {
    match content {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0, b'<', 0, b'?', ..] => utf16(content, u16::from_be_bytes),
        [b'<', 0, b'?', 0, ..] => utf16(content, u16::from_le_bytes),
        _ => match declared_encoding(content) {
            Some(name) if !name.eq_ignore_ascii_case(b"utf-8") => {
                Ok(content.iter().map(|&byte| char::from(byte)).collect())
            }
            _ => utf8(content),
        },
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, IllFormed> {
    std::str::from_utf8(bytes).map(Cow::from).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        at(&valid, error.valid_up_to() as u64, "not UTF-8")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, IllFormed> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return Err(at(&text, text.len() as u64, "not UTF-16")),
        }
    }
    if rest.is_empty() {
        Ok(text.into())
    } else {
        Err(at(
            &text,
            text.len() as u64,
            "half a character of UTF-16 at the end",
        ))
    }
}

/// What an XML declaration at the very start says of the encoding.
fn declared_encoding(content: &[u8]) -> Option<&[u8]> {
    let rest = content.strip_prefix(b"<?xml")?;
    let end = rest.windows(2).position(|pair| pair == b"?>")?;
    let declaration = &rest[..end];
    let keyword = declaration
        .windows(8)
        .position(|word| word == b"encoding")?;
    let mut quoted = declaration[keyword..].splitn(3, |&byte| byte == b'"' || byte == b'\'');
    quoted.nth(1)
}
