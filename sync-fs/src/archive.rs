//! What is kept of a tree's past: a log of its generations, and the contents that
//! later ones replaced.
//!
//! Both lie in the directory `archive` of the work directory: `log`, and a file
//! `c-<id>` for each content. A content comes there by the rename that takes it out
//! of the tree, so keeping it costs no write and it never shares a file with the
//! tree. Whoever had it open may still have written into it: it is proved by its
//! hash when it is read.
//!
//! Nothing here is synced on the way and nothing that fails here stops a
//! generation. What is too much goes in idle time, the oldest first.

mod bounds;
mod contents;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{
    ContentId, Entry, Generation, Position, RelPath, Root as TreeRoot,
    history::{
        GenerationRecord, LaterSteps, Record, Step, Time,
        log::{self, Log, NoLog},
    },
};
use thiserror::Error;

pub use contents::{ArchivedContent, content};

use crate::{
    root::{AbsentIsNone, Cause, DiskError, HeldFile, Root, Space},
    with_causes,
};

const DIRECTORY: &[u8] = b"archive";
/// Bytes of a log; beyond, the oldest generations go. Some hundred of the largest.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// A step that is done now, by this machine's clock.
#[must_use]
pub fn now(step: Step) -> Time {
    at(step, SystemTime::now())
}

/// A step that was done then.
#[must_use]
pub fn at(step: Step, time: SystemTime) -> Time {
    let since = time.duration_since(UNIX_EPOCH);
    let at_ms = since.map_or(0, |since| since.as_millis());
    let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
    Time { step, at_ms }
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveLimits {
    /// Generations in the log; none with 0.
    pub generations: usize,
    /// Bytes of contents; none with 0.
    pub bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            generations: 100,
            bytes: 1 << 30,
        }
    }
}

/// Why the log of a tree cannot be read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The disk does not give it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is of another release, or no log.
    #[error("`{place}` cannot be used")]
    NoLog {
        /// The file.
        place: String,
        /// Why not.
        source: NoLog,
    },
    /// It is too long to be one.
    #[error("`{place}` has {bytes} bytes, more than a log can have")]
    TooLong {
        /// The file.
        place: String,
        /// Its length.
        bytes: u64,
    },
}

/// The records of a tree, oldest first. Needs no lock: a log is only appended to,
/// and replaced whole. A tree that was never synchronised has none.
///
/// # Errors
/// Where there is a log that cannot be read.
pub fn records(work_dir: &Path) -> Result<Vec<Record>, ArchiveError> {
    match Root::open(work_dir) {
        Ok(work) => records_in(&work),
        Err(_) => Ok(Vec::new()), // made by the first start
    }
}

fn records_in(work: &Root) -> Result<Vec<Record>, ArchiveError> {
    let Some((_, log)) = read_log(work)? else {
        return Ok(Vec::new());
    };
    Ok(log.records.into_iter().map(|(_, record)| record).collect())
}

/// The past of one tree. Belongs to the thread that owns the tree.
#[derive(Debug)]
pub struct Archive {
    work: Root,
    limits: ArchiveLimits,
    /// None while nothing is recorded: switched off, or the disk failed.
    log: Option<HeldFile>,
    /// Where the next record belongs.
    end: u64,
    /// The generations that count, oldest first.
    chapters: VecDeque<Chapter>,
    /// The first of them that has contents.
    with_contents: usize,
    held: HashMap<ContentId, Held>,
    held_bytes: u64,
    /// What the disk has to spare.
    room: Space,
    /// Contents that nothing refers to any more.
    doomed: Vec<ContentId>,
}

/// One generation in the log.
#[derive(Debug)]
struct Chapter {
    bytes: Range<u64>,
    position: Position,
    /// What stood in its place before.
    replaced: Vec<ContentId>,
}

/// A content that is kept.
#[derive(Clone, Copy, Debug)]
struct Held {
    length: u64,
    /// Chapters that refer to it.
    uses: u32,
}

impl Archive {
    /// Opens the archive in a work directory. What cannot be used is told in the
    /// log of the node, and left as it is.
    ///
    /// # Errors
    /// Where the work directory cannot be used at all.
    pub fn open(work: &Root, limits: ArchiveLimits) -> Result<Self, DiskError> {
        let mut archive = Self {
            work: work.try_clone()?,
            limits,
            log: None,
            end: 0,
            chapters: VecDeque::new(),
            with_contents: 0,
            held: HashMap::new(),
            held_bytes: 0,
            room: Space {
                bytes: u64::MAX,
                inodes: u64::MAX,
            },
            doomed: Vec::new(),
        };
        if limits.generations == 0 {
            return Ok(archive);
        }
        if let Err(error) = archive.load() {
            tracing::warn!(
                error = with_causes(&error),
                "the history of {} is not kept",
                archive.work.place(None)
            );
            archive.log = None;
        }
        Ok(archive)
    }

    fn load(&mut self) -> Result<(), ArchiveError> {
        contents::make_directory(&self.work)?;
        let read = read_log(&self.work)?;
        let (file, log) = match read {
            Some(read) => read,
            None => (self.work.create_file(&log_name())?, log::empty()),
        };
        if let Some(damage) = &log.damage {
            tracing::warn!("the end of the history is lost: {damage}");
        }
        self.end = log.end as u64;
        file.set_length(self.end)?;
        if self.end == 0 {
            file.write_all_at(&log::header(), 0)?;
            self.end = log::HEADER_BYTES as u64;
        }
        self.find_contents()?;
        for (range, record) in log.records {
            if let Record::Generation(record) = record {
                self.note(range.start as u64..range.end as u64, &record);
            }
        }
        self.doom_unused();
        self.log = Some(file);
        Ok(())
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.log.is_some()
    }

    /// Whether the log knows this generation.
    #[must_use]
    pub fn has(&self, generation: Generation, root: TreeRoot) -> bool {
        let mut newest_first = self.chapters.iter().rev();
        newest_first.any(|Chapter { position, .. }| {
            position.generation == generation && position.root == root
        })
    }

    /// Where the last generation that was recorded led.
    #[must_use]
    pub fn newest(&self) -> Option<Position> {
        self.chapters.back().map(|chapter| chapter.position)
    }

    /// The generations that are recorded, oldest first.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn generations(&self) -> Result<Vec<GenerationRecord>, ArchiveError> {
        let records = records_in(&self.work)?.into_iter();
        let generations = records.filter_map(|record| match record {
            Record::Generation(record) => Some(record),
            Record::Later(_) => None,
        });
        Ok(generations.collect())
    }

    /// Records a generation.
    pub fn record(&mut self, record: &GenerationRecord) {
        let begin = self.end;
        if self.append(&Record::Generation(record.clone())) {
            self.note(begin..self.end, record);
        }
    }

    /// Records what became of one later on. One that is not kept needs none.
    pub fn record_later(&mut self, later: LaterSteps) {
        if self.has(later.generation, later.root) {
            self.append(&Record::Later(later));
        }
    }

    /// Makes what was recorded survive power loss. Called where the tree's own
    /// state is saved.
    pub fn sync(&mut self) {
        let synced = self.log.as_ref().map_or(Ok(()), HeldFile::sync_data);
        self.carry_on_without(synced);
    }

    fn append(&mut self, record: &Record) -> bool {
        let Some(file) = &self.log else {
            return false;
        };
        let frame = log::frame(record);
        let written = file.write_all_at(&frame, self.end);
        if written.is_ok() {
            self.end += frame.len() as u64;
        }
        self.carry_on_without(written)
    }

    /// A full disk costs this record; after another failure nothing more is
    /// recorded until the next start. Returns whether all went well.
    fn carry_on_without(&mut self, result: Result<(), DiskError>) -> bool {
        let Err(error) = result else {
            return true;
        };
        tracing::warn!(
            error = with_causes(&error),
            "the history has a gap from here on"
        );
        let cut = self
            .log
            .as_ref()
            .map_or(Ok(()), |log| log.set_length(self.end));
        if error.cause() != Cause::Full || cut.is_err() {
            self.log = None;
        }
        false
    }

    fn note(&mut self, bytes: Range<u64>, record: &GenerationRecord) {
        let replaced = record.changes.iter().filter_map(|change| {
            let before = change.before.as_ref().and_then(Entry::as_file)?;
            let after = change.after.as_ref().and_then(Entry::as_file);
            let goes = after.is_none_or(|after| after.content != before.content);
            (goes && self.held.contains_key(&before.content)).then_some(before.content)
        });
        let replaced: Vec<ContentId> = replaced.collect();
        for id in &replaced {
            if let Some(held) = self.held.get_mut(id) {
                held.uses += 1;
            }
        }
        self.chapters.push_back(Chapter {
            bytes,
            position: record.position,
            replaced,
        });
    }
}

fn read_log(work: &Root) -> Result<Option<(HeldFile, Log)>, ArchiveError> {
    let name = log_name();
    let Some(file) = work.open_file_to_write(&name).absent_is_none()? else {
        return Ok(None);
    };
    let place = || work.place(Some(&name)).to_string();
    let bytes = file.stat()?.length;
    // Compaction keeps it below; what was appended since it last ran comes on top.
    if bytes > 4 * LOG_BYTES_MAX {
        let place = place();
        return Err(ArchiveError::TooLong { place, bytes });
    }
    let mut read = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut read, 0)?;
    read.truncate(count);
    let log = log::read(&read).map_err(|source| ArchiveError::NoLog {
        place: place(),
        source,
    })?;
    Ok(Some((file, log)))
}

fn in_archive(name: &[u8]) -> RelPath {
    let path = RelPath::new(DIRECTORY).and_then(|directory| directory.join(name));
    path.expect("names of the archive are short and legal")
}

fn log_name() -> RelPath {
    in_archive(b"log")
}
