//! The snapshot of one tree: where it stands, and what was agreed, with the stat
//! under which the disk had it.
//!
//! ```text
//! head      position, identity of the root directory, time: values of the codec
//! 16 times  for each nibble that a key can begin with:
//!   codec   bytes that follow
//!   each    the record of an entry (`sync_core::manifest::Record`), in the order
//!           of the keys
//! ```
//!
//! Records stand here as they do in memory. Each of the sixteen parts is checked,
//! keyed and hashed by itself, on the thread that has time for it.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{
    Manifest, Position,
    limits::{TREE_ENTRIES_MAX, TRIE_FANOUT},
    manifest::{Branch, Record},
};

use super::sealed::{self, Format, Opened, Reader, Writer};
use crate::{
    observed::Observed,
    root::{DiskError, Identity, Root},
    stint::{STATE, name},
};

const FORMAT: Format = Format {
    magic: *b"apimtree",
    version: 2,
};

/// Threads that take parts apart while they are read: a third one gains nothing
/// on two processors.
const READING_THREADS: usize = 2;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Where the tree stands.
    pub position: Position,
    /// Which root directory was seen.
    pub identity: Identity,
    /// What was agreed, as it was seen on the disk.
    pub agreed: &'a Observed,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct TreeState {
    /// Where the tree stood.
    pub position: Position,
    /// Which root directory was seen.
    pub identity: Identity,
    /// When it was written, in seconds since 1970.
    pub written_s: u64,
    /// What was agreed, as it was seen on the disk; its root is the position's.
    pub agreed: Observed,
}

/// What a work directory holds.
#[derive(Debug)]
pub enum Loaded {
    /// A whole snapshot.
    State(Box<TreeState>),
    /// None: the tree is new here.
    Missing,
    /// One that cannot be used, and why: the tree has to be scanned in full.
    Damaged(String),
}

type Head = (Position, (u64, u64), u64);

impl Snapshot<'_> {
    /// Puts the snapshot into the work directory in place of the last one.
    ///
    /// # Errors
    /// Where writing or syncing fails; the last snapshot then still stands.
    pub fn save(&self, work: &Root) -> Result<(), DiskError> {
        self.save_as(work, STATE)
    }

    /// Puts it there under another name.
    pub(crate) fn save_as(&self, work: &Root, file: &[u8]) -> Result<(), DiskError> {
        sealed::write(work, &name(file), &FORMAT, |writer| self.fill(writer))
    }

    /// The size of the last snapshot; 0 where there is none.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn bytes(work: &Root) -> Result<u64, DiskError> {
        Ok(work.stat(&name(STATE))?.map_or(0, |stat| stat.length))
    }

    fn fill(&self, writer: &mut Writer) -> Result<(), DiskError> {
        let identity = (self.identity.file_system, self.identity.inode);
        let head: Head = (self.position, identity, now_s());
        writer.put(&head)?;
        let manifest = self.agreed.manifest();
        for slot in 0..TRIE_FANOUT {
            let lengths = manifest.branch(slot).map(|it| it.as_bytes().len() as u64);
            writer.put(&lengths.sum::<u64>())?;
            for record in manifest.branch(slot) {
                writer.put_bytes(record.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl TreeState {
    /// Reads the snapshot of a work directory.
    #[must_use]
    pub fn load(work: &Root) -> Loaded {
        Self::load_from(work, STATE)
    }

    /// Reads one that has another name.
    pub(crate) fn load_from(work: &Root, file: &[u8]) -> Loaded {
        match sealed::open(work, &name(file), &FORMAT) {
            Opened::Missing => Loaded::Missing,
            Opened::Damaged(reason) => Loaded::Damaged(reason),
            Opened::Whole(reader) => match read(reader) {
                Ok(state) => Loaded::State(Box::new(state)),
                Err(reason) => Loaded::Damaged(reason),
            },
        }
    }
}

fn read(mut reader: Reader) -> Result<TreeState, String> {
    let (position, (file_system, inode), written_s): Head = reader.next()?;
    let agreed = Manifest::from_branches(read_branches(&mut reader)?);
    reader.finish()?;
    if agreed.totals().entries > TREE_ENTRIES_MAX as u64 {
        return Err(format!("it has {} entries", agreed.totals().entries));
    }
    if agreed.root() != position.root {
        return Err("its entries do not give the root that it names".into());
    }
    Ok(TreeState {
        position,
        identity: Identity { file_system, inode },
        written_s,
        agreed: Observed::of_seen(agreed),
    })
}

/// This thread reads; others take apart what was read.
fn read_branches(reader: &mut Reader) -> Result<Vec<Branch>, String> {
    let (sender, receiver) = mpsc::sync_channel::<(usize, Vec<u8>)>(1);
    let receiver = Mutex::new(receiver);
    let take_apart = || {
        let next = || {
            receiver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv()
        };
        let parts = std::iter::from_fn(|| next().ok());
        parts.map(|(slot, bytes)| branch(slot, &bytes)).collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..READING_THREADS)
            .map(|_| scope.spawn(take_apart))
            .collect();
        let read = (0..TRIE_FANOUT).try_for_each(|slot| {
            let length = reader.next()?;
            // A thread ends before only where a part was of no use.
            let _ = sender.send((slot, reader.bytes(length)?));
            Ok(())
        });
        drop(sender);
        let branches: Result<Vec<Vec<Branch>>, String> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        read.and(branches)
            .map(|branches| branches.into_iter().flatten().collect())
    })
}

fn branch(slot: usize, mut bytes: &[u8]) -> Result<Branch, String> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (record, rest) = Record::first(bytes).map_err(|error| error.to_string())?;
        if record.seen().is_none() {
            return Err("it has an entry that was not seen".into());
        }
        records.push(record);
        bytes = rest;
    }
    Branch::new(slot, records).map_err(|error| error.to_string())
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
