//! A regular file held open: content, mode and times go through its descriptor,
//! so that nobody can put another file under the name in between.

use std::{fs::File, ops::ControlFlow, os::unix::fs::FileExt};

use rustix::{
    buffer::spare_capacity,
    fs::{FallocateFlags, Timespec, Timestamps},
    io::Errno,
};
use sync_core::{Mode, Mtime};

use super::{DiskError, Place, Stat};

/// Bytes a single `read` asks for while a file is read through: beyond this
/// BLAKE3 gains nothing.
pub const READ_BYTES: usize = 256 << 10;

/// An open regular file.
#[derive(Debug)]
pub struct HeldFile {
    file: File,
    place: Place,
}

impl HeldFile {
    pub(crate) fn new(file: impl Into<File>, place: Place) -> Self {
        Self {
            file: file.into(),
            place,
        }
    }

    /// Where it was opened.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What the operating system says about it now.
    ///
    /// # Errors
    /// Where `statx` fails.
    pub fn stat(&self) -> Result<Stat, DiskError> {
        self.says("look at", Stat::of_open(&self.file))
    }

    /// Fills `buffer` from `offset`; gives fewer bytes only at the end.
    ///
    /// # Errors
    /// Where reading fails.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::new("read", self.place.clone(), error)),
            }
        }
        Ok(filled)
    }

    /// `length` bytes from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// Where reading fails.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return self.says("read", Err(error)),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Looks, gives every byte to `feed` in pieces, looks again. `None` where
    /// the file moved meanwhile: what `feed` was given then means nothing.
    ///
    /// `buffer` is scratch space that the caller can keep (see [`READ_BYTES`]).
    ///
    /// # Errors
    /// Where looking or reading fails.
    pub fn read_through(
        &self,
        buffer: &mut [u8],
        mut feed: impl FnMut(&[u8]),
    ) -> Result<Option<Stat>, DiskError> {
        let before = self.stat()?;
        let feed = |bytes: &[u8]| {
            feed(bytes);
            ControlFlow::Continue(())
        };
        self.says("read", read_through(&self.file, &before, buffer, feed))
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.says("write", self.file.write_all_at(bytes, offset))
    }

    /// Copies `length` bytes between files inside the kernel, as shared blocks
    /// where the file system can.
    ///
    /// # Errors
    /// Where copying fails, also when `source` ends early.
    pub fn copy_from(
        &self,
        source: &Self,
        mut from: u64,
        mut to: u64,
        length: u64,
    ) -> Result<(), DiskError> {
        let end = to + length;
        while to < end {
            let wanted = usize::try_from(end - to).unwrap_or(usize::MAX);
            let copied = rustix::fs::copy_file_range(
                &source.file,
                Some(&mut from),
                &self.file,
                Some(&mut to),
                wanted,
            );
            match copied {
                Ok(0) => return self.says("copy into", Err(Errno::IO)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    return self.copy_by_hand(source, from, to, end);
                }
                Err(error) => return self.says("copy into", Err(error)),
            }
        }
        Ok(())
    }

    fn copy_by_hand(
        &self,
        source: &Self,
        mut from: u64,
        mut to: u64,
        end: u64,
    ) -> Result<(), DiskError> {
        let mut buffer = vec![0; READ_BYTES];
        while to < end {
            let wanted = usize::try_from(end - to).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let count = source.read_at(&mut buffer[..wanted], from)?;
            if count == 0 {
                return self.says("copy into", Err(Errno::IO));
            }
            self.write_all_at(&buffer[..count], to)?;
            from += count as u64;
            to += count as u64;
        }
        Ok(())
    }

    /// Reserves blocks for `length` bytes, so that a full disk is met now and
    /// not half way. A file system without reservation is not an error.
    ///
    /// # Errors
    /// Where there is no space, or the call fails.
    pub fn allocate(&self, length: u64) -> Result<(), DiskError> {
        if length == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => self.says("reserve space for", result),
        }
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Where the call fails.
    pub fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.says("set the length of", self.file.set_len(length))
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// Where the call fails.
    pub fn set_mode(&self, mode: Mode) -> Result<(), DiskError> {
        let mode = rustix::fs::Mode::from_raw_mode(mode.bits());
        self.says("set the mode of", rustix::fs::fchmod(&self.file, mode))
    }

    /// Sets the modification time; the access time is left alone.
    ///
    /// # Errors
    /// Where the call fails.
    pub fn set_mtime(&self, mtime: Mtime) -> Result<(), DiskError> {
        self.says(
            "set the time of",
            rustix::fs::futimens(&self.file, &only_mtime(mtime)),
        )
    }

    /// Makes the content and the length durable (`fdatasync`). A failure is
    /// final: asking again can lie.
    ///
    /// # Errors
    /// Where the disk failed.
    pub fn sync_data(&self) -> Result<(), DiskError> {
        self.says("sync", self.file.sync_data())
    }

    /// Makes content and metadata durable (`fsync`). A failure is final.
    ///
    /// # Errors
    /// Where the disk failed.
    pub fn sync_all(&self) -> Result<(), DiskError> {
        self.says("sync", self.file.sync_all())
    }

    fn says<T, E: Into<std::io::Error>>(
        &self,
        doing: &'static str,
        result: Result<T, E>,
    ) -> Result<T, DiskError> {
        result.map_err(|error| DiskError::new(doing, self.place.clone(), error))
    }
}

/// Gives every byte of `file` to `feed`; `None` where it is not, before and
/// after, what `before` says, or `feed` breaks off.
///
/// A short file costs one `read`: one that grew is known by its length.
pub(crate) fn read_through(
    file: &File,
    before: &Stat,
    buffer: &mut [u8],
    mut feed: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> std::io::Result<Option<Stat>> {
    let mut offset = 0;
    while offset < before.length {
        let left = usize::try_from(before.length - offset).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Ok(None),
            Ok(count) => {
                if feed(&buffer[..count]).is_break() {
                    return Ok(None);
                }
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let after = Stat::of_open(file)?;
    Ok((before.key == after.key).then_some(after))
}

/// The times for a call that leaves the access time alone.
pub(super) fn only_mtime(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}
