//! Writes a large file from its first byte to its last, past the page cache, and
//! hashes the bytes on their way.
//!
//! The cache would gain nothing: nobody here reads the file again, and taking
//! the pages, filling them and syncing them costs more than the writes. One
//! thread fills and hashes a buffer while another writes the one before. Where
//! a file system knows no direct writes, the same goes through the cache.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use rustix::io::Errno;
use sync_core::ContentId;

use crate::root::{DiskError, HeldFile};

/// Files below this length are written through the cache.
pub(super) const STREAMED_BYTES_MIN: u64 = 8 << 20;
/// Bytes written at once.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces on their way: one is filled, one written.
const PIECES: usize = 2;
/// What direct writes must begin, end and lie in memory at: the largest logical
/// block of usual disks.
const BLOCK_BYTES: usize = 4096;

/// A file being written in order.
#[derive(Debug)]
pub(super) struct Stream {
    piece: Piece,
    hasher: blake3::Hasher,
    /// Bytes pushed so far.
    length: u64,
    full: SyncSender<Piece>,
    empty: Receiver<Piece>,
    writing: JoinHandle<Result<(), DiskError>>,
}

/// A buffer that lies in memory as direct writes want it.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
    /// Where in the file it begins.
    offset: u64,
}

impl Piece {
    fn new() -> Self {
        let bytes = vec![0; PIECE_BYTES + BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self {
            bytes,
            start,
            filled: 0,
            offset: 0,
        }
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start + self.filled..self.start + PIECE_BYTES]
    }

    fn is_full(&self) -> bool {
        self.filled == PIECE_BYTES
    }

    /// What was filled, and zeros to the end of its last block.
    fn blocks(&mut self) -> &[u8] {
        let end = self.filled.next_multiple_of(BLOCK_BYTES);
        let blocks = &mut self.bytes[self.start..self.start + end];
        blocks[self.filled..].fill(0);
        blocks
    }
}

impl Stream {
    /// At the beginning of a file that nobody else writes: opened for direct
    /// writes, and once more for a file system that turns out to want larger
    /// blocks than ours.
    pub(super) fn start(direct: HeldFile, cached: HeldFile) -> Self {
        let (full, to_write) = sync_channel::<Piece>(PIECES);
        let (written, empty) = sync_channel(PIECES);
        for _ in 1..PIECES {
            let sent = written.send(Piece::new());
            sent.expect("the other end is right here");
        }
        let writing = thread::spawn(move || {
            for mut piece in to_write {
                let offset = piece.offset;
                match direct.write_all_at(piece.blocks(), offset) {
                    Err(error) if is_invalid(&error) => cached.write_all_at(piece.blocks(), offset),
                    result => result,
                }?;
                // Nobody wants it back after the last piece.
                let _ = written.send(piece);
            }
            Ok(())
        });
        Self {
            piece: Piece::new(),
            hasher: blake3::Hasher::new(),
            length: 0,
            full,
            empty,
            writing,
        }
    }

    /// Bytes pushed so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.piece.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// The next `length` bytes, from `offset` of a file. Fewer where that is
    /// shorter.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn pull(
        &mut self,
        source: &HeldFile,
        mut offset: u64,
        length: u64,
    ) -> Result<(), DiskError> {
        let end = offset + length;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let room = self.piece.room();
            let wanted = room.len().min(left);
            let count = source.read_at(&mut room[..wanted], offset)?;
            self.filled(count);
            offset += count as u64;
            if count < wanted {
                return Ok(()); // somebody cut it short: the hash will tell
            }
        }
        Ok(())
    }

    fn filled(&mut self, count: usize) {
        let piece = &mut self.piece;
        let from = piece.start + piece.filled;
        self.hasher.update(&piece.bytes[from..from + count]);
        piece.filled += count;
        self.length += count as u64;
        if piece.is_full() {
            self.hand_on();
        }
    }

    /// A thread that ended early says why in [`Stream::finish`].
    fn hand_on(&mut self) {
        let mut next = self.empty.recv().unwrap_or_else(|_| Piece::new());
        next.filled = 0;
        next.offset = self.length;
        let piece = std::mem::replace(&mut self.piece, next);
        let _ = self.full.send(piece);
    }

    /// Writes what is left, to the end of its block: the caller sets the file's
    /// length. Gives the hash of all bytes.
    ///
    /// # Errors
    /// Where writing failed.
    pub(super) fn finish(self) -> Result<ContentId, DiskError> {
        let _ = self.full.send(self.piece);
        drop(self.full);
        self.writing.join().expect("writing does not panic")?;
        Ok(self.hasher.finalize().into())
    }
}

fn is_invalid(error: &DiskError) -> bool {
    Errno::from_io_error(&error.source) == Some(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;
    use sync_core::RelPath;

    #[test]
    fn bytes_pushed_and_pulled_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let path = |name: &str| RelPath::new(name.as_bytes()).unwrap();
        let mut content = vec![0; 11_000_003];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        std::fs::write(dir.path().join("source"), &content).unwrap();
        let source = root.open_file(&path("source")).unwrap();
        let copy = root.create_file(&path("copy")).unwrap();
        let direct = root.open_file_to_stream(&path("copy")).unwrap();
        let mut stream = Stream::start(direct, root.open_file_to_write(&path("copy")).unwrap());
        stream.push(&content[..5]);
        stream.pull(&source, 5, 9_000_000).unwrap();
        stream.push(&content[9_000_005..]);
        assert_eq!(stream.length(), content.len() as u64);
        assert_eq!(stream.finish().unwrap(), ContentId::of(&content));
        copy.set_length(content.len() as u64).unwrap();
        assert!(std::fs::read(dir.path().join("copy")).unwrap() == content);
    }
}
