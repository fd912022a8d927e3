//! What is too much goes: generations by number, contents by bytes, the log by its
//! length. A little at a time, when the tree has nothing else to do.

use sync_core::ContentId;

use super::{Archive, Chapter, LOG_BYTES_MAX, in_archive, log_name};
use crate::root::{AbsentIsNone, DiskError, HeldFile, READ_BYTES, Target};

/// Contents removed at once.
const REMOVED_AT_ONCE: usize = 500;
/// A log is copied without its beginning when that is longer than the rest, and
/// than this.
const WASTE_BYTES_MIN: u64 = 256 << 10;

impl Archive {
    /// Brings the archive closer to its bounds. Returns whether more is to be done.
    pub fn tidy(&mut self) -> bool {
        if self.log.is_none() {
            return false;
        }
        self.expire_generations();
        self.expire_contents();
        let tidied = self.remove_doomed().and_then(|()| self.compact());
        self.carry_on_without(tidied) && !self.doomed.is_empty()
    }

    fn expire_generations(&mut self) {
        while self.chapters.len() > self.limits.generations || self.log_is_too_long() {
            let Some(chapter) = self.chapters.pop_front() else {
                return;
            };
            self.with_contents = self.with_contents.saturating_sub(1);
            self.release(chapter.replaced);
        }
    }

    fn log_is_too_long(&self) -> bool {
        let begin = self.chapters.front().map_or(self.end, |it| it.bytes.start);
        self.end - begin > LOG_BYTES_MAX
    }

    fn expire_contents(&mut self) {
        let doomed = self.doomed.iter().filter_map(|id| self.held.get(id));
        let mut going: u64 = doomed.map(|held| held.length).sum();
        while self.held_bytes.saturating_sub(going) > self.limits.bytes {
            let Some(chapter) = self.chapters.get_mut(self.with_contents) else {
                return;
            };
            let replaced = std::mem::take(&mut chapter.replaced);
            self.with_contents += 1;
            going += self.release(replaced);
        }
    }

    /// Gives the bytes that nothing refers to any more.
    fn release(&mut self, contents: Vec<ContentId>) -> u64 {
        let mut bytes = 0;
        for id in contents {
            if let Some(held) = self.held.get_mut(&id) {
                held.uses = held.uses.saturating_sub(1);
                if held.uses == 0 {
                    bytes += held.length;
                    self.doomed.push(id);
                }
            }
        }
        bytes
    }

    fn remove_doomed(&mut self) -> Result<(), DiskError> {
        let from = self.doomed.len().saturating_sub(REMOVED_AT_ONCE);
        for id in self.doomed.split_off(from) {
            // One that came to be referred to again since then stays.
            if self.held.get(&id).is_some_and(|held| held.uses == 0) {
                self.remove(&id)?;
            }
        }
        Ok(())
    }

    /// Copies the log without the generations that expired.
    fn compact(&mut self) -> Result<(), DiskError> {
        let header = sync_core::history::log::header();
        let begin = self.chapters.front().map_or(self.end, |it| it.bytes.start);
        let waste = begin - header.len() as u64;
        if waste < WASTE_BYTES_MIN || waste < self.end - begin {
            return Ok(());
        }
        let aside = in_archive(b"log.new");
        self.work.remove_file(&aside).absent_is_none()?;
        let file = self.work.create_file(&aside)?;
        file.write_all_at(&header, 0)?;
        if let Some(old) = &self.log {
            copy(old, begin..self.end, &file, header.len() as u64)?;
        }
        file.sync_data()?;
        self.work
            .rename(&aside, &self.work, &log_name(), Target::Replaced)?;
        self.log = Some(file);
        self.end -= waste;
        for Chapter { bytes, .. } in &mut self.chapters {
            *bytes = bytes.start - waste..bytes.end - waste;
        }
        Ok(())
    }
}

fn copy(
    from: &HeldFile,
    range: std::ops::Range<u64>,
    to: &HeldFile,
    mut offset: u64,
) -> Result<(), DiskError> {
    let mut buffer = vec![0; READ_BYTES];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let piece = &mut buffer[..left.min(READ_BYTES)];
        let count = from.read_at(piece, at)?;
        if count == 0 {
            break;
        }
        to.write_all_at(&piece[..count], offset)?;
        (at, offset) = (at + count as u64, offset + count as u64);
    }
    Ok(())
}
