//! The contents of an archive: taken in by a rename, found again by their id.

use sync_core::{ContentId, Mode, RelPath};

use super::{Archive, DIRECTORY, Held, in_archive};
use crate::root::{AbsentIsNone, Cause, DiskError, HeldFile, Kind, Root, Target};

/// Contents beyond the bound until they can be removed in idle time: a quarter of
/// it.
const EXCESS: u64 = 4;

/// A content that was kept. Its bytes are not proved.
#[derive(Debug)]
pub struct ArchivedContent {
    /// The file, open for reading.
    pub file: HeldFile,
    /// Its length.
    pub length: u64,
}

/// The content `id` of the archive in a work directory, if it is there.
///
/// # Errors
/// Where the disk does not say.
pub fn content(work: &Root, id: &ContentId) -> Result<Option<ArchivedContent>, DiskError> {
    let Some((file, stat)) = work.open_and_stat(&content_name(id)).absent_is_none()? else {
        return Ok(None);
    };
    let length = stat.length;
    Ok(Some(ArchivedContent { file, length }))
}

impl Archive {
    /// Whether a content of this length may be kept.
    #[must_use]
    pub fn wants(&self, length: u64) -> bool {
        let bound = self.limits.bytes;
        let excess = bound / EXCESS;
        self.log.is_some()
            && length <= bound
            && self.held_bytes.saturating_add(length) <= bound.saturating_add(excess)
            && self.room.bytes >= length
            && self.room.inodes > 0
    }

    /// Takes the file at `at` of the work directory in, or removes it where it is
    /// not wanted: the content is here already, or there is no room.
    ///
    /// # Errors
    /// Where the file can be neither kept nor removed.
    pub fn keep(&mut self, at: &RelPath, id: ContentId, length: u64) -> Result<(), DiskError> {
        if self.held.contains_key(&id) || !self.wants(length) {
            return self.work.remove_file(at);
        }
        let name = content_name(&id);
        self.work.rename(at, &self.work, &name, Target::Replaced)?;
        self.held.insert(id, Held { length, uses: 0 });
        self.held_bytes += length;
        self.room.bytes -= length;
        self.room.inodes -= 1;
        Ok(())
    }

    /// Sets how much more the disk can spare: what a generation needs is not for
    /// the past.
    pub fn set_room(&mut self, room: crate::root::Space) {
        self.room = room;
    }

    /// Removes every content, so that a generation finds room. Returns whether
    /// there were any.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn give_way(&mut self) -> Result<bool, DiskError> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let ids: Vec<ContentId> = self.held.keys().copied().collect();
        for id in &ids {
            self.remove(id)?;
        }
        tracing::warn!(
            contents = ids.len(),
            "the disk is full: the contents of earlier generations were removed"
        );
        self.doomed.clear();
        self.chapters
            .iter_mut()
            .for_each(|chapter| chapter.replaced.clear());
        Ok(true)
    }

    /// Removes one content.
    pub(super) fn remove(&mut self, id: &ContentId) -> Result<(), DiskError> {
        self.work.remove_file(&content_name(id)).absent_is_none()?;
        if let Some(held) = self.held.remove(id) {
            self.held_bytes -= held.length;
        }
        Ok(())
    }

    /// Finds out which contents are there.
    pub(super) fn find_contents(&mut self) -> Result<(), DiskError> {
        let directory = RelPath::new(DIRECTORY).expect("a legal name");
        for listed in self.work.list(Some(&directory))? {
            let id = listed.name.strip_prefix(b"c-");
            let id = id.and_then(|hex| blake3::Hash::from_hex(hex).ok());
            if let (Some(id), Kind::File) = (id, listed.stat.kind) {
                let length = listed.stat.length;
                self.held.insert(id.into(), Held { length, uses: 0 });
                self.held_bytes += length;
            }
        }
        Ok(())
    }

    /// What no record refers to was kept right before a kill, or its record is
    /// gone.
    pub(super) fn doom_unused(&mut self) {
        let unused = self.held.iter().filter(|(_, held)| held.uses == 0);
        self.doomed.extend(unused.map(|(id, _)| *id));
    }
}

pub(super) fn content_name(id: &ContentId) -> RelPath {
    in_archive(format!("c-{id}").as_bytes())
}

pub(super) fn make_directory(work: &Root) -> Result<(), DiskError> {
    let directory = RelPath::new(DIRECTORY).expect("a legal name");
    match work.create_directory(&directory, Mode::new(0o700)) {
        Err(error) if error.cause() == Cause::Exists => Ok(()),
        result => result,
    }
}
