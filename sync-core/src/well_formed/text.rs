//! From bytes to the characters of an XML document.

use std::borrow::Cow;

use super::{IllFormed, at};

/// The document's text. UTF-8 and UTF-16 are decoded; of any other encoding
/// only the ASCII part, in which all markup is written, is understood.
pub(super) fn decode(content: &[u8]) -> Result<Cow<'_, str>, IllFormed> {
    match content {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0, b'<', 0, b'?', ..] => utf16(content, u16::from_be_bytes),
        [b'<', 0, b'?', 0, ..] => utf16(content, u16::from_le_bytes),
        _ => match declared_encoding(content) {
            Some(name) if !is_utf8(name) => {
                Ok(content.iter().map(|&byte| char::from(byte)).collect())
            }
            _ => utf8(content),
        },
    }
}

fn is_utf8(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8")
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
