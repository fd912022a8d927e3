//! Work that follows the bytes of a large content while it is being built: its
//! hash on one thread, its way to the disk on another, so that when the last
//! byte is written little of either is left.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use sync_core::ContentId;

use crate::root::{DiskError, HeldFile};

/// Contents below this length are hashed and synced when they are complete.
pub(super) const FOLLOWED_BYTES_MIN: u64 = 8 << 20;
/// Written bytes after which a sync is begun.
const SYNC_BYTES: u64 = 64 << 20;
/// Pieces waiting to be hashed.
const PIECES: usize = 8;
/// Bytes read back at once.
const PIECE_BYTES: usize = 1 << 20;

/// The two threads behind one file. Its bytes are told in order, each once.
#[derive(Debug)]
pub(super) struct Follower {
    pieces: SyncSender<Piece>,
    hashing: JoinHandle<Result<ContentId, DiskError>>,
    written: Arc<Written>,
    syncing: JoinHandle<Result<(), DiskError>>,
}

/// What was written next.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// To be read back, from here to there.
    Range(u64, u64),
}

impl Follower {
    pub(super) fn start(file: &Arc<HeldFile>) -> Self {
        let (pieces, queue) = sync_channel(PIECES);
        let read_back = Arc::clone(file);
        let hashing = thread::spawn(move || {
            let mut hashing = Hashing {
                hasher: blake3::Hasher::new(),
                buffer: Vec::new(),
            };
            for piece in queue {
                hashing.take(&read_back, piece)?;
            }
            Ok(hashing.hasher.finalize().into())
        });
        let written = Arc::new(Written::default());
        let (told, synced) = (Arc::clone(&written), Arc::clone(file));
        let syncing = thread::spawn(move || {
            while told.wait() {
                synced.sync_data()?;
            }
            Ok(())
        });
        Self {
            pieces,
            hashing,
            written,
            syncing,
        }
    }

    /// Tells of bytes that were written.
    pub(super) fn wrote(&self, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        self.tell(Piece::Bytes(bytes), length);
    }

    /// Tells of bytes that were copied, without passing through memory.
    pub(super) fn copied(&self, from: u64, to: u64) {
        self.tell(Piece::Range(from, to), to - from);
    }

    /// A thread that ended early says why in [`Follower::finish`].
    fn tell(&self, piece: Piece, length: u64) {
        let _ = self.pieces.send(piece);
        self.written.add(length);
    }

    /// The hash of all that was told. What no sync has reached yet is left to
    /// the caller's.
    ///
    /// # Errors
    /// Where reading back failed, or a sync: then the file is lost.
    pub(super) fn finish(self) -> Result<ContentId, DiskError> {
        let Self {
            pieces,
            hashing,
            written,
            syncing,
        } = self;
        drop(pieces);
        let content = hashing.join().expect("hashing does not panic");
        written.end();
        syncing.join().expect("syncing does not panic")?;
        content
    }

    /// Ends both threads.
    ///
    /// # Errors
    /// Where a sync failed: then the file is lost, and no later sync says so.
    pub(super) fn abandon(self) -> Result<(), DiskError> {
        self.written.end();
        self.syncing.join().expect("syncing does not panic")
    }
}

struct Hashing {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Hashing {
    fn take(&mut self, file: &HeldFile, piece: Piece) -> Result<(), DiskError> {
        let (mut from, to) = match piece {
            Piece::Bytes(bytes) => {
                self.hasher.update(&bytes);
                return Ok(());
            }
            Piece::Range(from, to) => (from, to),
        };
        self.buffer.resize(PIECE_BYTES, 0);
        while from < to {
            let left = usize::try_from(to - from).unwrap_or(usize::MAX);
            let piece = &mut self.buffer[..left.min(PIECE_BYTES)];
            let count = file.read_at(piece, from)?;
            self.hasher.update(&piece[..count]);
            if count < piece.len() {
                return Ok(()); // cut short by somebody: the hash will tell
            }
            from += count as u64;
        }
        Ok(())
    }
}

/// How far the file is written.
#[derive(Debug, Default)]
struct Written {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    unsynced: u64,
    ended: bool,
}

impl Written {
    fn add(&self, length: u64) {
        let mut state = self.lock();
        state.unsynced += length;
        if state.unsynced >= SYNC_BYTES {
            self.news.notify_one();
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.news.notify_one();
    }

    /// Waits until a sync is worth while; `false` at the end.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while !state.ended && state.unsynced < SYNC_BYTES {
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.unsynced = 0;
        !state.ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
