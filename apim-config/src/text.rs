//! Bytes of a file as text and back, without changing a byte that is not meant.

use thiserror::Error;

/// Bytes of a configuration file that are read at the most; the largest stock
/// file has 60 KB.
pub const FILE_BYTES_MAX: usize = 4 << 20;

const BOM: &str = "\u{feff}";

/// A file's text and how it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    encoding: Encoding,
    /// The text, without a byte order mark.
    pub text: String,
    marked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Utf8,
    /// ISO-8859-1: every byte is a character.
    Latin1,
    /// The half of it that every encoding has.
    Ascii,
}

/// Why bytes are no text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextError {
    /// An encoding that is not read here.
    #[error("it is encoded as {0}; UTF-8 and ISO-8859-1 are edited here")]
    Encoding(String),
    /// Not UTF-8, though it should be.
    #[error("byte {0} is not UTF-8, and no other encoding is declared")]
    NotUtf8(usize),
    /// Too large to be a configuration file.
    #[error("it has {0} bytes; a configuration file has at most {FILE_BYTES_MAX}")]
    TooLarge(usize),
}

impl Text {
    /// The text of an XML file, by its byte order mark or declaration.
    ///
    /// # Errors
    /// When it is too large or encoded in another way.
    pub fn of_xml(bytes: &[u8]) -> Result<Self, TextError> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(TextError::Encoding("UTF-16".into()));
        }
        let unmarked = bytes.strip_prefix(BOM.as_bytes());
        let bytes = unmarked.unwrap_or(bytes);
        let mut text = match declared_encoding(bytes) {
            None => Self::of_utf8(bytes)?,
            Some(name) => match name.to_ascii_uppercase().as_str() {
                "UTF-8" => Self::of_utf8(bytes)?,
                "US-ASCII" | "ASCII" => Self {
                    encoding: Encoding::Ascii,
                    ..Self::of_latin1(bytes)?
                },
                "ISO-8859-1" | "LATIN1" | "ISO_8859-1" => Self::of_latin1(bytes)?,
                _ => return Err(TextError::Encoding(name)),
            },
        };
        text.marked |= unmarked.is_some();
        Ok(text)
    }

    /// The text of a file that is UTF-8.
    ///
    /// # Errors
    /// When it is too large or not UTF-8.
    pub fn of_utf8(bytes: &[u8]) -> Result<Self, TextError> {
        check_size(bytes)?;
        let text =
            std::str::from_utf8(bytes).map_err(|error| TextError::NotUtf8(error.valid_up_to()))?;
        let unmarked = text.strip_prefix(BOM);
        Ok(Self {
            encoding: Encoding::Utf8,
            marked: unmarked.is_some(),
            text: unmarked.unwrap_or(text).to_owned(),
        })
    }

    /// The text of a properties file, which Java reads as ISO-8859-1.
    ///
    /// # Errors
    /// When it is too large.
    pub fn of_latin1(bytes: &[u8]) -> Result<Self, TextError> {
        check_size(bytes)?;
        Ok(Self {
            encoding: Encoding::Latin1,
            text: bytes.iter().map(|&byte| char::from(byte)).collect(),
            marked: false,
        })
    }

    /// `text` as bytes in this text's encoding. A character that ISO-8859-1 does
    /// not have becomes a reference (`&#x20AC;`): only XML is edited in it with
    /// values that people choose.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u8> {
        let mark = if self.marked { BOM } else { "" };
        match self.encoding {
            Encoding::Utf8 => [mark, text].concat().into_bytes(),
            Encoding::Latin1 | Encoding::Ascii => {
                let last = match self.encoding {
                    Encoding::Ascii => 0x7f,
                    _ => 0xff,
                };
                let mut bytes = mark.as_bytes().to_vec();
                for character in text.chars() {
                    match u8::try_from(u32::from(character)) {
                        Ok(byte) if byte <= last => bytes.push(byte),
                        _ => {
                            let reference = format!("&#x{:X};", u32::from(character));
                            bytes.extend_from_slice(reference.as_bytes());
                        }
                    }
                }
                bytes
            }
        }
    }
}

fn check_size(bytes: &[u8]) -> Result<(), TextError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(TextError::TooLarge(bytes.len()));
    }
    Ok(())
}

/// What `<?xml version="1.0" encoding="..."?>` says. The declaration is ASCII in
/// every encoding that is edited here.
fn declared_encoding(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"<?xml") {
        return None;
    }
    let end = bytes.windows(2).position(|pair| pair == b"?>")?;
    let declaration = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let value = declaration.split_once("encoding")?.1.trim_start();
    let value = value.strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|it| matches!(it, '"' | '\''))?;
    Some(value[1..].split(quote).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?>\r\n<a>\xe9\xff</a>";
        let marked = b"\xef\xbb\xbf<a>\xc3\xa9</a>";
        let both = [BOM.as_bytes(), &latin[..]].concat();
        for bytes in [&latin[..], &marked[..], &both[..], b"<a/>"] {
            let text = Text::of_xml(bytes).unwrap();
            assert!(text.text.starts_with('<'));
            assert_eq!(text.encode(&text.text), bytes);
        }
        assert!(Text::of_xml(latin).unwrap().text.contains('\u{e9}'));
    }

    #[test]
    fn what_the_encoding_lacks_is_written_as_a_reference() {
        let text = Text::of_xml(b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>").unwrap();
        assert_eq!(text.encode("\u{20ac}"), b"&#x20AC;");
        let text = Text::of_xml(b"<?xml version=\"1.0\" encoding=\"US-ASCII\"?><a/>").unwrap();
        assert_eq!(text.encode("\u{e9}"), b"&#xE9;");
    }

    #[test]
    fn other_encodings_are_refused() {
        assert!(Text::of_xml(b"\xff\xfe<\0a\0").is_err());
        assert!(Text::of_xml(b"<?xml version=\"1.0\" encoding=\"Shift_JIS\"?><a/>").is_err());
        assert_eq!(Text::of_xml(b"<a>\xe9</a>"), Err(TextError::NotUtf8(3)));
    }
}
