//! One entry of a manifest as bytes: how it is held in memory and in a snapshot.
//!
//! ```text
//! 2      length of the path         all numbers little-endian
//! n      path
//! 1      kind (bits 0-1), whether a stat follows, whether the stat is racy,
//!        whether the stat has a length and a modification time of its own
//! 2      mode; 0 for a link
//!        a file: 32 content, 8 length, 8 + 4 modification time
//!        a link: 4 length of its text, n text
//!        a stat: 8 change time, 8 inode, and 8 length, 8 modification time
//!        where they are not the entry's
//! ```
//!
//! A million of these are in memory at once: an entry costs its bytes here and a
//! dozen in its leaf, no pointer and no allocation of its own.

use crate::{
    codec::Malformed,
    content::ContentId,
    entry::{Entry, FileEntry, Mode, Mtime},
    limits::{FILE_BYTES_MAX, PATH_BYTES_MAX},
    path::{self, RelPath},
    seen::{Seen, StatKey},
};

const KIND: u8 = 0b11;
const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const SEEN: u8 = 1 << 2;
const RACY: u8 = 1 << 3;
const OWN_TIMES: u8 = 1 << 4;

/// Where the fields are, after the path.
const MODE: usize = 1;
const BODY: usize = 3;
const LENGTH: usize = BODY + 32;
const SECONDS: usize = LENGTH + 8;
const NANOSECONDS: usize = SECONDS + 8;
const FILE_END: usize = NANOSECONDS + 4;
const TARGET: usize = BODY + 4;

/// An entry with its path, in place. Cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The record that is all of `bytes`, which were written by [`append`].
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The record at the start of `bytes`, and what follows it.
    ///
    /// # Errors
    /// Where it is cut off or breaks a rule of the model.
    pub fn first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let length = checked_length(bytes).ok_or_else(|| malformed("not an entry"))?;
        let (record, rest) = bytes.split_at(length);
        let record = Self(record);
        path::check(record.path_bytes()).map_err(malformed)?;
        Ok((record, rest))
    }

    /// The bytes of the record.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The path.
    #[must_use]
    pub fn path(self) -> RelPath {
        RelPath::of_checked(self.path_bytes())
    }

    /// The bytes of the path. They stay where they are as long as the manifest is
    /// not changed.
    #[must_use]
    pub fn path_bytes(self) -> &'a [u8] {
        &self.0[2..self.head_at()]
    }

    /// The entry.
    #[must_use]
    pub fn entry(self) -> Entry {
        match self.kind() {
            DIRECTORY => Entry::Directory { mode: self.mode() },
            FILE => Entry::File(self.file_fields()),
            _ => Entry::Symlink {
                target: self.identity().into(),
            },
        }
    }

    /// The file, if this is one.
    #[must_use]
    pub fn file(self) -> Option<FileEntry> {
        (self.kind() == FILE).then(|| self.file_fields())
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(self) -> bool {
        self.kind() == DIRECTORY
    }

    /// The stat under which the entry was seen, if it was.
    #[must_use]
    pub fn seen(self) -> Option<Seen> {
        let head = self.head();
        if head & SEEN == 0 {
            return None;
        }
        let fields = &self.fields()[self.entry_length()..];
        let mut key = StatKey {
            ctime_ns: i64::from_le_bytes(array(fields, 0)),
            inode: u64::from_le_bytes(array(fields, 8)),
            ..StatKey::default()
        };
        if head & OWN_TIMES != 0 {
            key.length = u64::from_le_bytes(array(fields, 16));
            key.mtime_ns = i64::from_le_bytes(array(fields, 24));
        } else if self.kind() == FILE {
            let file = self.file_fields();
            (key.length, key.mtime_ns) = (file.length, file.mtime.as_nanoseconds());
        }
        let racy = head & RACY != 0;
        Some(Seen { key, racy })
    }

    /// Path and entry.
    #[must_use]
    pub fn pair(self) -> (RelPath, Entry) {
        (self.path(), self.entry())
    }

    /// As [`Entry::same_identity`], without making entries.
    pub(super) fn same_identity(self, other: Self) -> bool {
        (self.kind(), self.mode(), self.identity())
            == (other.kind(), other.mode(), other.identity())
    }

    /// Bytes in the file; 0 for anything else.
    pub(super) fn file_length(self) -> u64 {
        match self.kind() {
            FILE => u64::from_le_bytes(array(self.fields(), LENGTH)),
            _ => 0,
        }
    }

    /// Appends what the root covers.
    pub(super) fn hashed(self, out: &mut Vec<u8>) {
        let (path, identity) = (self.path_bytes(), self.identity());
        out.extend_from_slice(&(path.len() as u64).to_le_bytes());
        out.extend_from_slice(path);
        out.push(match self.kind() {
            DIRECTORY => b'd',
            FILE => b'f',
            _ => b'l',
        });
        out.extend_from_slice(&self.mode().bits().to_le_bytes());
        out.extend_from_slice(&(identity.len() as u64).to_le_bytes());
        out.extend_from_slice(identity);
    }

    fn head_at(self) -> usize {
        2 + usize::from(u16::from_le_bytes(array(self.0, 0)))
    }

    fn fields(self) -> &'a [u8] {
        &self.0[self.head_at()..]
    }

    fn head(self) -> u8 {
        self.0[self.head_at()]
    }

    fn kind(self) -> u8 {
        self.head() & KIND
    }

    fn mode(self) -> Mode {
        Mode::new(u16::from_le_bytes(array(self.fields(), MODE)).into())
    }

    /// The content or the link's text.
    fn identity(self) -> &'a [u8] {
        let fields = self.fields();
        match self.kind() {
            DIRECTORY => &[],
            FILE => &fields[BODY..LENGTH],
            _ => &fields[TARGET..self.entry_length()],
        }
    }

    fn file_fields(self) -> FileEntry {
        let fields = self.fields();
        FileEntry {
            mode: self.mode(),
            mtime: Mtime {
                seconds: i64::from_le_bytes(array(fields, SECONDS)),
                nanoseconds: u32::from_le_bytes(array(fields, NANOSECONDS)),
            },
            length: u64::from_le_bytes(array(fields, LENGTH)),
            content: ContentId(array(fields, BODY)),
        }
    }

    /// How many of the fields are the entry's; the stat follows.
    fn entry_length(self) -> usize {
        let fields = self.fields();
        match self.kind() {
            DIRECTORY => BODY,
            FILE => FILE_END,
            _ => TARGET + u32::from_le_bytes(array(fields, BODY)) as usize,
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.path(), self.entry(), self.seen())
    }
}

/// Appends the record of one entry.
pub(super) fn append(out: &mut Vec<u8>, path: &RelPath, entry: &Entry, seen: Option<&Seen>) {
    let path = path.as_bytes();
    let length = u16::try_from(path.len()).expect("a path has at most 4096 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(path);
    let head = out.len();
    out.push(0);
    let kind = append_entry(out, entry);
    out[head] = kind | seen.map_or(0, |seen| append_seen(out, entry, seen));
}

/// Gives back the kind.
fn append_entry(out: &mut Vec<u8>, entry: &Entry) -> u8 {
    match entry {
        Entry::Directory { mode } => {
            append_mode(out, *mode);
            DIRECTORY
        }
        Entry::File(file) => {
            append_mode(out, file.mode);
            out.extend_from_slice(&file.content.0);
            out.extend_from_slice(&file.length.to_le_bytes());
            out.extend_from_slice(&file.mtime.seconds.to_le_bytes());
            out.extend_from_slice(&file.mtime.nanoseconds.to_le_bytes());
            FILE
        }
        Entry::Symlink { target } => {
            append_mode(out, Mode::new(0));
            let length = u32::try_from(target.len()).expect("a link's text is short");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(target);
            SYMLINK
        }
    }
}

fn append_mode(out: &mut Vec<u8>, mode: Mode) {
    let bits = u16::try_from(mode.bits()).expect("nine bits");
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Gives back what is said of the stat in the head.
fn append_seen(out: &mut Vec<u8>, entry: &Entry, seen: &Seen) -> u8 {
    let key = &seen.key;
    out.extend_from_slice(&key.ctime_ns.to_le_bytes());
    out.extend_from_slice(&key.inode.to_le_bytes());
    let of_entry = entry
        .as_file()
        .map_or((0, 0), |file| (file.length, file.mtime.as_nanoseconds()));
    let racy = if seen.racy { RACY } else { 0 };
    if of_entry == (key.length, key.mtime_ns) {
        return SEEN | racy;
    }
    out.extend_from_slice(&key.length.to_le_bytes());
    out.extend_from_slice(&key.mtime_ns.to_le_bytes());
    SEEN | OWN_TIMES | racy
}

/// The bytes of the record at the start of `bytes`; `None` where there is none
/// that obeys the rules of an entry. The path's rules are not looked at.
fn checked_length(bytes: &[u8]) -> Option<usize> {
    let path = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
    let fields = bytes.get(2 + path..)?;
    let head = *fields.first()?;
    if head & !(KIND | SEEN | RACY | OWN_TIMES) != 0 {
        return None;
    }
    let entry = match head & KIND {
        DIRECTORY => BODY,
        FILE => FILE_END,
        SYMLINK => {
            TARGET.checked_add(u32::from_le_bytes(*fields.get(BODY..)?.first_chunk()?) as usize)?
        }
        _ => return None,
    };
    let seen = match head & (SEEN | RACY | OWN_TIMES) {
        0 => 0,
        seen if seen & SEEN == 0 => return None,
        seen if seen & OWN_TIMES == 0 => 16,
        _ => 32,
    };
    let fields = fields.get(..entry + seen)?;
    obeys(head & KIND, fields, entry).then_some(2 + path + fields.len())
}

/// Whether the fields are those of an entry that the codec would take too.
fn obeys(kind: u8, fields: &[u8], entry: usize) -> bool {
    let mode = u16::from_le_bytes(array(fields, MODE));
    let text = || &fields[TARGET..entry];
    mode <= 0o777
        && match kind {
            FILE => {
                u64::from_le_bytes(array(fields, LENGTH)) <= FILE_BYTES_MAX
                    && u32::from_le_bytes(array(fields, NANOSECONDS)) < 1_000_000_000
            }
            SYMLINK => {
                mode == 0 && (1..PATH_BYTES_MAX).contains(&text().len()) && !text().contains(&0)
            }
            _ => true,
        }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a record is whole")
}

fn malformed(reason: impl ToString) -> Malformed {
    Malformed {
        what: "manifest record",
        reason: reason.to_string(),
    }
}
