//! The contents behind a manifest, read as they are sent: what is on the disk is
//! given away only if it is still what the manifest says.

use std::sync::Arc;

use sync_core::{ContentId, FileEntry, RelPath, recipe::Recipe};
use thiserror::Error;

use crate::{
    recipes,
    root::{DiskError, HeldFile, Place, Root},
};

/// A content that the disk does not have any more. The change is seen by the
/// next look; what waits for this content is planned anew.
#[derive(Debug, Error)]
pub enum Gone {
    /// Another content is there by now.
    #[error("`{place}` has changed since it was last looked at")]
    Changed {
        /// Where.
        place: Place,
    },
    /// It cannot be read; most often it was removed.
    #[error(transparent)]
    Unreadable(#[from] DiskError),
}

/// The whole content of the file at `path`, which is `entry`'s.
pub(super) fn read(root: &Root, path: &RelPath, entry: &FileEntry) -> Result<Vec<u8>, Gone> {
    let changed = || Gone::Changed {
        place: root.place(Some(path)),
    };
    let (file, stat) = root.open_and_stat(path)?;
    if stat.length != entry.length {
        return Err(changed());
    }
    let length = usize::try_from(entry.length).map_err(|_| changed())?;
    let mut content = vec![0; length];
    let count = file.read_at(&mut content, 0)?;
    if count == length && ContentId::of(&content) == entry.content {
        Ok(content)
    } else {
        Err(changed())
    }
}

/// A large file held open while it is sent in pieces.
#[derive(Debug)]
pub struct LargeSource {
    file: HeldFile,
    entry: FileEntry,
    /// Of this content, or of the one that stood there before.
    known: Option<Arc<Recipe>>,
}

impl LargeSource {
    pub(super) fn open(
        root: &Root,
        path: &RelPath,
        entry: &FileEntry,
        known: Option<Arc<Recipe>>,
    ) -> Result<Self, Gone> {
        let (file, stat) = root.open_and_stat(path)?;
        let source = Self {
            file,
            entry: *entry,
            known,
        };
        if stat.length == entry.length {
            Ok(source)
        } else {
            Err(source.changed())
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.entry.length
    }

    /// How the content is made of chunks. Unless that is known, all of it is
    /// read, and checked to be the one meant.
    ///
    /// # Errors
    /// Where it is not, or reading fails.
    pub fn recipe(&self) -> Result<Arc<Recipe>, Gone> {
        let content = self.entry.content;
        if let Some(known) = self.known.as_ref().filter(|it| it.content == content) {
            return Ok(Arc::clone(known));
        }
        match recipes::make(&self.file, self.known.as_deref())? {
            Some(recipe) if recipe.content == content => Ok(Arc::new(recipe)),
            _ => Err(self.changed()),
        }
    }

    /// `length` bytes from `offset`. They are not checked: whoever gets them has
    /// the hash of their chunk.
    ///
    /// # Errors
    /// Where there are fewer bytes, or reading fails.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Gone> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = self.file.read(offset, length)?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> Gone {
        Gone::Changed {
            place: self.file.place().clone(),
        }
    }
}
