//! The bytes of a log of records: appended without a sync, so that its end may
//! be torn, which is found and told.
//!
//! ```text
//! 0   8   magic
//! 8   4   version, little-endian
//! then, for each record:
//!     4   length of the payload, little-endian
//!     8   first bytes of the payload's BLAKE3
//!     n   payload: a kind, a head, and of a generation its changes, one by one
//! ```

use std::ops::Range;

use bincode::{Decode, Encode};
use thiserror::Error;

use super::{Counts, GenerationRecord, LaterSteps, Origin, PathChange, Record, Time};
use crate::{
    codec::{self, Malformed},
    generation::Position,
    manifest::Root,
};

const MAGIC: [u8; 8] = *b"asarchiv";
const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 12;
const FRAME_HEAD_BYTES: usize = 12;

/// What comes before the changes.
#[derive(Encode, Decode)]
enum Head {
    Generation {
        position: Position,
        base: Root,
        origin: Origin,
        times: Vec<Time>,
        counts: Counts,
        listed: u32,
    },
    Later(LaterSteps),
}

/// Why a file is no log that can be read or appended to.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoLog {
    /// It begins with something else.
    #[error("it is another kind of file")]
    Magic,
    /// A newer release wrote it.
    #[error("it has version {0}, this program knows version {VERSION}")]
    Version(u32),
}

/// What a log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// The records and the bytes they take, oldest first.
    pub records: Vec<(Range<usize>, Record)>,
    /// Where the next one belongs.
    pub end: usize,
    /// What is wrong with the bytes that follow, if there are any.
    pub damage: Option<String>,
}

/// What a new log begins with.
#[must_use]
pub fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The bytes of one record.
#[must_use]
pub fn frame(record: &Record) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEAD_BYTES];
    match record {
        Record::Generation(record) => {
            let head = Head::Generation {
                position: record.position,
                base: record.base,
                origin: record.origin.clone(),
                times: record.times.clone(),
                counts: record.counts,
                listed: u32::try_from(record.changes.len()).expect("listed changes are bounded"),
            };
            codec::encode_into(&head, &mut frame);
            for change in &record.changes {
                codec::encode_into(change, &mut frame);
            }
        }
        Record::Later(later) => codec::encode_into(&Head::Later(later.clone()), &mut frame),
    }
    let (head, payload) = frame.split_at_mut(FRAME_HEAD_BYTES);
    let length = u32::try_from(payload.len()).expect("listed changes are bounded");
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&check(payload));
    frame
}

/// A log before anything was written.
#[must_use]
pub fn empty() -> Log {
    Log {
        records: Vec::new(),
        end: 0,
        damage: None,
    }
}

/// Reads a log to its end, or to where it is torn. An empty file is an empty log.
///
/// # Errors
/// Where it is none, or none of this release.
pub fn read(bytes: &[u8]) -> Result<Log, NoLog> {
    let mut log = empty();
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        log.damage = (!bytes.is_empty()).then(|| "it ends too early".to_owned());
        return Ok(log);
    };
    if header[..8] != MAGIC {
        return Err(NoLog::Magic);
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if version != VERSION {
        return Err(NoLog::Version(version));
    }
    log.end = HEADER_BYTES;
    while log.end < bytes.len() {
        match record(&bytes[log.end..]) {
            Ok((record, used)) => {
                log.records.push((log.end..log.end + used, record));
                log.end += used;
            }
            Err(damage) => {
                log.damage = Some(damage);
                break;
            }
        }
    }
    Ok(log)
}

fn record(bytes: &[u8]) -> Result<(Record, usize), String> {
    let cut = || "its last record is cut off".to_owned();
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD_BYTES).ok_or_else(cut)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let length = usize::try_from(length).map_err(|_| cut())?;
    let payload = rest.get(..length).ok_or_else(cut)?;
    if head[4..] != check(payload) {
        return Err("the hash of a record does not match".to_owned());
    }
    let record = decode(payload).map_err(|error| error.to_string())?;
    Ok((record, FRAME_HEAD_BYTES + length))
}

fn decode(payload: &[u8]) -> Result<Record, Malformed> {
    let (head, mut at) = codec::decode_prefix::<Head>(payload)?;
    let (position, base, origin, times, counts, listed) = match head {
        Head::Generation {
            position,
            base,
            origin,
            times,
            counts,
            listed,
        } => (position, base, origin, times, counts, listed),
        Head::Later(later) => return Ok(Record::Later(later)),
    };
    let mut changes = Vec::new();
    for _ in 0..listed {
        let (change, used) = codec::decode_prefix::<PathChange>(&payload[at..])?;
        changes.push(change);
        at += used;
    }
    Ok(Record::Generation(GenerationRecord {
        position,
        base,
        origin,
        times,
        counts,
        changes,
    }))
}

fn check(payload: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    check
}
