//! A file that is whole or known not to be: magic, version, body, and a BLAKE3
//! hash over all of it.
//!
//! ```text
//! 0      8      magic
//! 8      4      version, little-endian
//! 12     n      body: values of the codec, one after the other
//! 12+n   32     BLAKE3 of everything before
//! ```
//!
//! Written beside its place, synced, renamed over it, and the directory synced:
//! at every instant the name leads to a whole old or a whole new file. Nothing
//! of the body is decoded before the hash has been checked.

use sync_core::{
    RelPath,
    codec::{self, Decode, Encode},
};

use crate::root::{AbsentIsNone, Cause, DiskError, HeldFile, READ_BYTES, Root, Target};

const HEADER_BYTES: u64 = 12;
const SEAL_BYTES: u64 = 32;

/// Which file it is.
pub(super) struct Format {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
}

impl Format {
    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(&self.magic);
        header[8..].copy_from_slice(&self.version.to_le_bytes());
        header
    }
}

/// Writes the file `name` of `directory`, with the body that `fill` writes.
pub(super) fn write(
    directory: &Root,
    name: &RelPath,
    format: &Format,
    fill: impl FnOnce(&mut Writer) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let aside = aside(name);
    directory.remove_file(&aside).absent_is_none()?;
    let mut writer = Writer::new(directory.create_file(&aside)?);
    writer.buffer.extend_from_slice(&format.header());
    fill(&mut writer)?;
    writer.seal()?;
    directory.rename(&aside, directory, name, Target::Replaced)?;
    directory.sync_directory(None)
}

fn aside(name: &RelPath) -> RelPath {
    RelPath::new(&[name.as_bytes(), b".new"].concat()).expect("file names here are short")
}

/// Writes values in large pieces and hashes them on the way.
pub(super) struct Writer {
    file: HeldFile,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    offset: u64,
}

impl Writer {
    fn new(file: HeldFile) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(READ_BYTES),
            offset: 0,
        }
    }

    /// Appends one value.
    pub(super) fn put<T: Encode>(&mut self, value: &T) -> Result<(), DiskError> {
        codec::encode_into(value, &mut self.buffer);
        if self.buffer.len() >= READ_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Appends bytes as they are.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        if self.buffer.len() + bytes.len() > READ_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.hasher.update(&self.buffer);
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn seal(mut self) -> Result<(), DiskError> {
        self.flush()?;
        let seal = self.hasher.finalize();
        self.file.write_all_at(seal.as_bytes(), self.offset)?;
        self.file.sync_all()
    }
}

/// A file that was looked for.
pub(super) enum Opened {
    /// Whole; its body can be read.
    Whole(Reader),
    /// Not there.
    Missing,
    /// There, and not what was written.
    Damaged(String),
}

/// Opens the file `name` of `directory` and checks its seal.
pub(super) fn open(directory: &Root, name: &RelPath, format: &Format) -> Opened {
    match directory.open_file(name) {
        Ok(file) => check(file, format).map_or_else(Opened::Damaged, Opened::Whole),
        Err(error) if error.cause() == Cause::Absent => Opened::Missing,
        Err(error) => Opened::Damaged(reason(&error)),
    }
}

/// The whole error with its cause: what is damaged is reported as text.
fn reason(error: &DiskError) -> String {
    format!("{error}: {}", error.source)
}

fn check(file: HeldFile, format: &Format) -> Result<Reader, String> {
    let length = file.stat().map_err(|error| reason(&error))?.length;
    let sealed = length
        .checked_sub(SEAL_BYTES)
        .filter(|&sealed| sealed >= HEADER_BYTES)
        .ok_or_else(|| format!("it has only {length} bytes"))?;
    let mut header = [0; HEADER_BYTES as usize];
    read_exact(&file, &mut header, 0)?;
    check_header(&header, format)?;
    let mut seal = [0; SEAL_BYTES as usize];
    read_exact(&file, &mut seal, sealed)?;
    if hash(&file, sealed)? != blake3::Hash::from_bytes(seal) {
        return Err("its hash does not match".into());
    }
    Ok(Reader {
        file,
        buffer: Vec::new(),
        used: 0,
        offset: HEADER_BYTES,
        end: sealed,
    })
}

fn check_header(header: &[u8; HEADER_BYTES as usize], format: &Format) -> Result<(), String> {
    let expected = format.header();
    if header[..8] != expected[..8] {
        return Err("it is another kind of file".into());
    }
    if header[8..] != expected[8..] {
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        return Err(format!(
            "it has version {version}, this program knows version {}",
            format.version
        ));
    }
    Ok(())
}

fn read_exact(file: &HeldFile, buffer: &mut [u8], offset: u64) -> Result<(), String> {
    match file.read_at(buffer, offset) {
        Ok(count) if count == buffer.len() => Ok(()),
        Ok(_) => Err("it ends too early".into()),
        Err(error) => Err(reason(&error)),
    }
}

/// The hash of the first `length` bytes.
fn hash(file: &HeldFile, length: u64) -> Result<blake3::Hash, String> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let piece = &mut buffer[..left.min(READ_BYTES)];
        read_exact(file, piece, offset)?;
        hasher.update(piece);
        offset += piece.len() as u64;
    }
    Ok(hasher.finalize())
}

/// Reads the values of a checked body one by one.
pub(super) struct Reader {
    file: HeldFile,
    buffer: Vec<u8>,
    used: usize,
    /// Where the next bytes are read.
    offset: u64,
    end: u64,
}

impl Reader {
    /// The next value.
    pub(super) fn next<T: Decode<()>>(&mut self) -> Result<T, String> {
        loop {
            let decoded = codec::decode_if_complete(&self.buffer[self.used..]);
            match decoded.map_err(|error| error.to_string())? {
                Some((value, used)) => {
                    self.used += used;
                    return Ok(value);
                }
                None => self.refill()?,
            }
        }
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, String> {
        let held = (self.buffer.len() - self.used) as u64;
        if count > held + (self.end - self.offset) {
            return Err("it promises more than it holds".into());
        }
        let count = usize::try_from(count).map_err(|_| "it holds too much".to_owned())?;
        let mut bytes = vec![0; count];
        let first = count.min(self.buffer.len() - self.used);
        bytes[..first].copy_from_slice(&self.buffer[self.used..self.used + first]);
        self.used += first;
        read_exact(&self.file, &mut bytes[first..], self.offset)?;
        self.offset += (count - first) as u64;
        Ok(bytes)
    }

    fn refill(&mut self) -> Result<(), String> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let held = self.buffer.len();
        if left == 0 || held >= READ_BYTES {
            return Err("a value in it has no end".into());
        }
        self.buffer.resize(held + left.min(READ_BYTES), 0);
        read_exact(&self.file, &mut self.buffer[held..], self.offset)?;
        self.offset += (self.buffer.len() - held) as u64;
        Ok(())
    }

    /// Checks that all of the body was read.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.used == self.buffer.len() && self.offset == self.end {
            Ok(())
        } else {
            Err("it goes on after its last value".into())
        }
    }
}
