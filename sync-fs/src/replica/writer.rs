//! Writes the files of a generation that is still coming in.

use std::{
    collections::VecDeque,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use sync_core::{FileEntry, RelPath};

use super::prepared::PreparedFile;
use crate::root::{AbsentIsNone, Cause, DiskError, Root};

/// Threads that write. Making a file costs more than all else that is done for it
/// on both nodes, and two threads make them faster than one even in one directory.
const THREADS: usize = 2;
/// Files handed to one at once: waking it costs as much as writing one.
const BATCH_FILES: usize = 32;
/// Batches waiting for each.
const BATCHES_MAX: usize = 8;

/// Threads that write files, in turns.
#[derive(Debug)]
pub(super) struct Writer {
    batch: Vec<NewFile>,
    /// The one whose turn it is comes first.
    lanes: VecDeque<Lane>,
}

/// One of them.
#[derive(Debug)]
struct Lane {
    batches: SyncSender<Vec<NewFile>>,
    thread: JoinHandle<Vec<Written>>,
}

/// A file to be written.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) index: u32,
    pub(super) name: RelPath,
    pub(super) replaces: bool,
    pub(super) entry: FileEntry,
    pub(super) bytes: Vec<u8>,
}

/// A file that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) index: u32,
    pub(super) replaces: bool,
    pub(super) ready: PreparedFile,
}

impl Writer {
    pub(super) fn start(work: &Root) -> Result<Self, DiskError> {
        let lanes = (0..THREADS).map(|_| Ok(Lane::start(work.try_clone()?)));
        Ok(Self {
            batch: Vec::new(),
            lanes: lanes.collect::<Result<_, DiskError>>()?,
        })
    }

    pub(super) fn write(&mut self, file: NewFile) {
        self.batch.push(file);
        if self.batch.len() >= BATCH_FILES {
            self.hand_on();
        }
    }

    /// Only a thread that panicked takes none: that shows when it is joined.
    fn hand_on(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let _ = self.lanes[0].batches.send(batch);
        self.lanes.rotate_left(1);
    }

    pub(super) fn finish(mut self) -> Vec<Written> {
        self.hand_on();
        let (senders, threads): (Vec<_>, Vec<_>) = self
            .lanes
            .into_iter()
            .map(|lane| (lane.batches, lane.thread))
            .unzip();
        drop(senders); // all end now
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("writing does not panic"))
            .collect()
    }
}

impl Lane {
    fn start(work: Root) -> Self {
        let (batches, to_write) = sync_channel::<Vec<NewFile>>(BATCHES_MAX);
        let thread = thread::spawn(move || {
            let mut written = Vec::new();
            for file in to_write.into_iter().flatten() {
                match file.write(&work) {
                    Ok(file) => written.push(file),
                    // It is made later, from the journal.
                    Err(error) => tracing::debug!("a file is not prepared: {error}"),
                }
            }
            written
        });
        Self { batches, thread }
    }
}

impl NewFile {
    pub(super) fn write(&self, work: &Root) -> Result<Written, DiskError> {
        let Self { name, entry, .. } = self;
        let file = match work.create_file_with(name, entry.mode) {
            // Left by a generation that was dropped.
            Err(error) if error.cause() == Cause::Exists => {
                work.remove_file(name)?;
                work.create_file_with(name, entry.mode)?
            }
            result => result?,
        };
        let filled = file
            .write_all_at(&self.bytes, 0)
            .and_then(|()| file.set_mtime(entry.mtime))
            .and_then(|()| file.stat());
        match filled {
            Ok(stat) => Ok(Written {
                index: self.index,
                replaces: self.replaces,
                ready: PreparedFile {
                    name: name.clone(),
                    mtime: entry.mtime,
                    stat,
                },
            }),
            Err(error) => {
                work.remove_file(name).absent_is_none()?;
                Err(error)
            }
        }
    }
}
