//! Contents gathered before a tree goes back: checked, in the work directory, so
//! that nothing is missing once the first file changes.

use std::path::Path;

use sync_core::{ContentId, RelPath};

use super::SourceError;
use crate::{
    archive,
    replica::{finished_content, has_content, partial_content},
    root::{AbsentIsNone, DiskError, HeldFile, Root, Target},
};

/// Where contents are gathered. Touches nothing but files of its own.
#[derive(Debug)]
pub struct Staging {
    root: Root,
    work: Root,
}

/// A content that comes in pieces.
#[derive(Debug)]
pub struct Arriving {
    id: ContentId,
    file: HeldFile,
    length: u64,
}

impl Staging {
    /// Opens the tree and its work directory.
    ///
    /// # Errors
    /// Where one cannot be opened.
    pub fn open(root: &Path, work_dir: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            root: Root::open(root)?,
            work: Root::open(work_dir)?,
        })
    }

    /// Takes the content from the archive of this node. Returns whether it was
    /// there, and whole.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn take_archived(&self, id: ContentId) -> Result<bool, DiskError> {
        match archive::content(&self.work, &id)? {
            Some(found) => self.copy(id, &found.file, found.length),
            None => Ok(false),
        }
    }

    /// Takes the content from the file at `path` of the tree.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn take_from_tree(&self, id: ContentId, path: &RelPath) -> Result<bool, DiskError> {
        match self.root.open_and_stat(path).absent_is_none()? {
            Some((file, stat)) => self.copy(id, &file, stat.length),
            None => Ok(false),
        }
    }

    /// Whether the archive of this node has the content. It is not read.
    ///
    /// # Errors
    /// Where the disk does not say.
    pub fn is_archived(&self, id: &ContentId) -> Result<bool, DiskError> {
        Ok(archive::content(&self.work, id)?.is_some())
    }

    /// Begins to take a content that comes in pieces.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub fn begin(&self, id: ContentId, length: u64) -> Result<Arriving, DiskError> {
        let name = partial_content(&id);
        self.work.remove_file(&name).absent_is_none()?;
        let file = self.work.create_file(&name)?;
        match file.allocate(length) {
            Ok(()) => Ok(Arriving {
                id,
                file,
                length: 0,
            }),
            Err(error) => {
                self.work.remove_file(&name)?;
                Err(error)
            }
        }
    }

    /// Ends it. Returns whether it is the content that was meant; another is
    /// dropped.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn finish(&self, arriving: &Arriving) -> Result<bool, DiskError> {
        let name = partial_content(&arriving.id);
        arriving.file.set_length(arriving.length)?;
        if !has_content(&arriving.file, arriving.id)? {
            self.work.remove_file(&name)?;
            return Ok(false);
        }
        let finished = finished_content(&arriving.id);
        self.work
            .rename(&name, &self.work, &finished, Target::Replaced)?;
        Ok(true)
    }

    fn copy(&self, id: ContentId, from: &HeldFile, length: u64) -> Result<bool, DiskError> {
        let mut arriving = self.begin(id, length)?;
        arriving.file.copy_from(from, 0, 0, length)?;
        arriving.length = length;
        self.finish(&arriving)
    }
}

impl Arriving {
    /// Takes the next piece.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}
