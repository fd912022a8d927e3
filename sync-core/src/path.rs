//! A path inside a tree, checked once at the door.
//!
//! A [`RelPath`] cannot leave its root: no later code checks again. Its bytes
//! are its identity; it need not be UTF-8. It knows nothing of any file system.

use std::{borrow::Borrow, fmt, sync::Arc};

use thiserror::Error;

use crate::limits::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// A validated relative path: one or more components separated by `/`.
///
/// Each component has 1 to 255 bytes, is neither `.` nor `..`, and holds no
/// `/` and no NUL. At most 64 components and 4096 bytes in all. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why bytes are not a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// No bytes at all.
    #[error("the path is empty")]
    Empty,
    /// Longer than 4096 bytes.
    #[error("the path has {0} bytes, more than {PATH_BYTES_MAX}")]
    TooLong(usize),
    /// More than 64 components.
    #[error("the path has more than {PATH_DEPTH_MAX} components")]
    TooDeep,
    /// An empty component: a leading, trailing or doubled `/`.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// `.` or `..`.
    #[error("the path has a `.` or `..` component")]
    DotComponent,
    /// A component longer than 255 bytes.
    #[error("a path component has {0} bytes, more than {COMPONENT_BYTES_MAX}")]
    ComponentTooLong(usize),
    /// A NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
}

impl RelPath {
    /// Checks `bytes` and makes them a path.
    ///
    /// # Errors
    /// Says which rule of the type the bytes break.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        check(bytes)?;
        Ok(Self::of_checked(bytes))
    }

    /// A path of bytes that were checked before.
    pub(crate) fn of_checked(bytes: &[u8]) -> Self {
        debug_assert_eq!(check(bytes), Ok(()));
        Self(bytes.into())
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// As [`RelPath::new`], also when `name` holds a `/`.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(&bytes)
    }

    /// The path's bytes, `/` between components.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// How many components there are (1 to 64).
    #[must_use]
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        self.split().1
    }

    /// Everything before the last component; `None` at the top of the tree.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.split().0.map(|bytes| Self(bytes.into()))
    }

    /// Parent bytes (`None` at the top) and file name.
    #[must_use]
    pub fn split(&self) -> (Option<&[u8]>, &[u8]) {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Some(&self.0[..slash]), &self.0[slash + 1..]),
            None => (None, &self.0),
        }
    }

    /// Whether this path is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0
            .strip_prefix(ancestor.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path for people: printable UTF-8 as it is, every other byte (control
    /// characters, bidirectional overrides, invalid UTF-8) and `%` as `%XX`.
    #[must_use]
    pub fn escaped(&self) -> String {
        escape(&self.0)
    }

    /// Whether [`RelPath::escaped`] differs from the bytes.
    #[must_use]
    pub fn needs_escape(&self) -> bool {
        self.escaped().as_bytes() != self.as_bytes()
    }
}

/// Whether `bytes` may be a path.
///
/// # Errors
/// Says which rule of [`RelPath`] they break.
pub fn check(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong(bytes.len()));
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    let mut depth = 0;
    for component in bytes.split(|&byte| byte == b'/') {
        check_component(component)?;
        depth += 1;
    }
    if depth > PATH_DEPTH_MAX {
        return Err(PathError::TooDeep);
    }
    Ok(())
}

fn check_component(component: &[u8]) -> Result<(), PathError> {
    match component {
        b"" => Err(PathError::EmptyComponent),
        b"." | b".." => Err(PathError::DotComponent),
        long if long.len() > COMPONENT_BYTES_MAX => Err(PathError::ComponentTooLong(long.len())),
        _ => Ok(()),
    }
}

/// Makes bytes of unknown origin safe for a terminal or a log line.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_unsafe(character) {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(out, "%{byte:02X}");
                }
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Text of unknown origin, a message from a peer say, made safe for a terminal
/// or a log line. Unlike [`escape`] it leaves `%` alone: it is for reading, and
/// paths in it are escaped already.
#[must_use]
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if obeyed(character) {
            out.push_str(&escape(character.encode_utf8(&mut [0; 4]).as_bytes()));
        } else {
            out.push(character);
        }
    }
    out.into()
}

/// What a terminal obeys, and `%` itself.
fn is_unsafe(character: char) -> bool {
    character == '%' || obeyed(character)
}

/// Control characters, bidirectional controls, line separators.
fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Maps of paths can be asked with bytes.
impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.escaped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_could_escape_are_refused() {
        let long = vec![b'x'; 256];
        let deep = vec!["d"; 65].join("/");
        let cases: &[(&[u8], PathError)] = &[
            (b"", PathError::Empty),
            (b"/etc/passwd", PathError::EmptyComponent),
            (b"a//b", PathError::EmptyComponent),
            (b"a/", PathError::EmptyComponent),
            (b".", PathError::DotComponent),
            (b"a/../b", PathError::DotComponent),
            (b"a\0b", PathError::Nul),
            (&long, PathError::ComponentTooLong(256)),
            (deep.as_bytes(), PathError::TooDeep),
        ];
        for (bytes, error) in cases {
            assert_eq!(RelPath::new(bytes).as_ref(), Err(error));
        }
    }

    #[test]
    fn hostile_but_legal_names_are_kept_byte_for_byte() {
        for bytes in [
            &b"-rf"[..],
            b"a\nb",
            b"\xff\xfe",
            b"...",
            "e\u{301}".as_bytes(),
        ] {
            assert_eq!(RelPath::new(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let path = RelPath::new(b"a\x1b[2J\n\xff%\xe2\x80\xae").unwrap();
        assert_eq!(path.escaped(), "a%1B[2J%0A%FF%25%E2%80%AE");
        assert!(path.needs_escape());
    }

    #[test]
    fn messages_stay_readable_and_lose_what_a_terminal_would_obey() {
        assert_eq!(printable("100 % of a%FF"), "100 % of a%FF");
        assert_eq!(printable("a\x1b[2J\nb\u{202e}"), "a%1B[2J%0Ab%E2%80%AE");
    }

    #[test]
    fn parent_and_name() {
        let path = RelPath::new(b"default/api/a.xml").unwrap();
        assert_eq!(path.file_name(), b"a.xml");
        assert_eq!(path.parent().unwrap().as_bytes(), b"default/api");
        assert!(path.starts_with(&RelPath::new(b"default").unwrap()));
        assert!(!path.starts_with(&RelPath::new(b"def").unwrap()));
    }
}
