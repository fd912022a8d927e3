//! Contents that come as patches of what stands here.
//!
//! Nothing depends on the older content being what was agreed: the hash of the
//! result decides.

use sync_core::{
    ContentId, FileEntry, RelPath,
    limits::{
        PATCHED_BYTES_MAX, PATCHED_BYTES_MIN, PATCHED_BYTES_TOTAL_MAX, PATCHED_NEW_BYTES_MAX,
        SMALL_CONTENT_BYTES_MAX,
    },
    patch,
};

use super::{
    Replica,
    intake::{Intake, IntakeError},
};
use crate::root::{Cause, DiskError};

impl Replica {
    /// The contents of more than `over` bytes to ask for as patches, each with a
    /// position in the change list: those of which something like them stands here,
    /// and those that would cost a conversation each and are not long enough to be
    /// worth it.
    ///
    /// # Errors
    /// As [`Replica::wanted_small`].
    pub fn wanted_patches(
        &mut self,
        intake: &mut Intake,
        over: u64,
    ) -> Result<Vec<(u32, FileEntry)>, IntakeError> {
        self.search_tree(intake)?;
        let sizes = PATCHED_BYTES_MIN.max(over + 1)..=PATCHED_BYTES_MAX;
        let mut left = PATCHED_BYTES_TOTAL_MAX;
        Ok(self
            .missing(intake, sizes)
            .filter(|(index, file)| is_alone(file) || self.like(intake, *index, file).is_some())
            .take_while(|(_, file)| {
                let enough = left >= file.length;
                left = left.saturating_sub(file.length);
                enough
            })
            .collect())
    }

    /// A content like the one of the change at `index`; an empty one where there is
    /// none, or none any more.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn content_like(&self, intake: &Intake, index: u32) -> Result<Vec<u8>, IntakeError> {
        let (_, entry) = intake.needed(index)?;
        let Some(path) = self.like(intake, index, &entry) else {
            return Ok(Vec::new());
        };
        self.read_like(&path)
            .map_err(|source| IntakeError::Disk { path, source })
    }

    fn read_like(&self, path: &RelPath) -> Result<Vec<u8>, DiskError> {
        let opened = match self.root.open_and_stat(path) {
            // Somebody changed that: there is nothing to build of.
            Err(error) if is_out_of_reach(&error) => None,
            opened => Some(opened?),
        };
        let fitting = opened.filter(|(_, stat)| stat.length <= PATCHED_BYTES_MAX);
        let Some((file, stat)) = fitting else {
            return Ok(Vec::new());
        };
        let mut content = vec![0; usize::try_from(stat.length).unwrap_or_default()];
        let read = file.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content)
    }

    /// Where something like the content of a change stands: at its own path, or,
    /// for a large one, where the generation deletes a large file.
    fn like(&self, intake: &Intake, index: u32, file: &FileEntry) -> Option<RelPath> {
        let agreed = self.agreed.manifest();
        let fits = |path: &RelPath| {
            let length = agreed.file(path).map_or(0, |file| file.length);
            (PATCHED_BYTES_MIN / 2..=PATCHED_BYTES_MAX).contains(&length)
        };
        let path = &intake.changes()[index as usize].path;
        if fits(path) {
            return Some(path.clone());
        }
        let large = file.length > SMALL_CONTENT_BYTES_MAX;
        let others = large.then(|| self.alike(intake, path, file.length));
        others?.into_iter().find(fits)
    }

    /// Takes the content of the change at `index` as steps over what stands at its
    /// path. One that comes out as something else stays wanted.
    ///
    /// # Errors
    /// As [`Replica::put_small`].
    pub fn put_steps(
        &mut self,
        intake: &mut Intake,
        index: u32,
        steps: &[u8],
    ) -> Result<(), IntakeError> {
        let (path, entry) = intake.needed(index)?;
        let old = self.read_like(path).map_err(|source| IntakeError::Disk {
            path: path.clone(),
            source,
        })?;
        let length = entry.length.min(SMALL_CONTENT_BYTES_MAX);
        match patch::over(old, steps, usize::try_from(length).unwrap_or_default()) {
            Ok(Some(bytes)) => self.put_patched(intake, index, bytes).map(|_| ()),
            // Another content stands there than the sender thinks: that is drift.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Takes a content that was built, of the change at `index`; whether it is
    /// the one announced. One that is not is to be asked for another way.
    ///
    /// # Errors
    /// Where it is not needed or cannot be kept.
    pub fn put_patched(
        &mut self,
        intake: &mut Intake,
        index: u32,
        bytes: Vec<u8>,
    ) -> Result<bool, IntakeError> {
        let (_, entry) = intake.needed(index)?;
        if ContentId::of(&bytes) != entry.content {
            return Ok(false);
        }
        if entry.length <= SMALL_CONTENT_BYTES_MAX {
            self.put_small(intake, index, bytes)?;
        } else {
            let mut large = self.large(intake, index)?;
            large.write_at(0, &bytes)?;
            self.finish(large, None)?;
        }
        Ok(true)
    }
}

fn is_out_of_reach(error: &DiskError) -> bool {
    matches!(
        error.cause(),
        Cause::Absent | Cause::WrongKind | Cause::Denied
    )
}

/// Whether a content travels as a patch even of nothing.
fn is_alone(file: &FileEntry) -> bool {
    (SMALL_CONTENT_BYTES_MAX + 1..=PATCHED_NEW_BYTES_MAX).contains(&file.length)
}
