//! A file on its way into the tree: made ready under a name of the staging
//! directory, then swapped in.

use sync_core::{Entry, FileEntry, RelPath, journal::Place};

use super::{
    contents::{dress, finished_name, write_out},
    judge::seen_after_put,
    prepared::{PreparedFile, index_of},
    run::Run,
};
use crate::{
    observed::{Seen, Sighting},
    root::{AbsentIsNone, DiskError, HeldFile, Root, Stat},
};

/// A file with content, mode and time.
enum Ready {
    /// Made now.
    Made { name: RelPath, held: HeldFile },
    /// Made while the generation came in.
    Prepared(PreparedFile),
}

impl Ready {
    fn name(&self) -> &RelPath {
        match self {
            Self::Made { name, .. } => name,
            Self::Prepared(file) => &file.name,
        }
    }

    /// How it is remembered, now that it stands at `path`.
    fn seen(&self, root: &Root, path: &RelPath) -> Result<Seen, DiskError> {
        match self {
            Self::Made { held, .. } => Ok(seen_after_put(&held.stat()?)),
            Self::Prepared(file) => Ok(file.seen(root.stat(path)?)),
        }
    }

    /// Removes it where it did not get into the tree. What an exchange left under
    /// its name is not ours to remove: it is looked at like all that an
    /// interruption leaves.
    fn remove(&self, work: &Root) -> Result<(), DiskError> {
        let inode = match self {
            Self::Made { held, .. } => held.stat()?.key.inode,
            Self::Prepared(file) => file.stat.key.inode,
        };
        match work.stat(self.name())? {
            Some(stat) if stat.key.inode == inode => {
                work.remove_file(self.name()).absent_is_none()?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Puts the file at `path`, where `found` stands, its content from where the
    /// change has it.
    pub(super) fn write_file(
        &mut self,
        path: &RelPath,
        file: &FileEntry,
        from: (usize, Place),
        found: Option<(Stat, bool)>,
    ) -> Result<(), DiskError> {
        let may_move = found.is_none_or(|(_, ours)| ours);
        let Some(ready) = self.make_ready(file, from, may_move)? else {
            // Applied before, its staged file used up, and changed by somebody
            // since: that is drift, to be seen and healed like any other.
            self.unhealed(path, &Entry::File(*file));
            return Ok(());
        };
        let is_staged = *ready.name() == finished_name(&file.content);
        if let Err(error) = self.swap_in(ready.name(), path, found) {
            if !is_staged {
                ready.remove(self.work)?;
            }
            return Err(error);
        }
        if is_staged {
            self.contents.moved_away(&file.content);
        }
        self.put(Sighting {
            path: path.clone(),
            entry: Entry::File(*file),
            seen: ready.seen(self.root, path)?,
        });
        Ok(())
    }

    /// A file with content, mode and time, under a name of the staging
    /// directory. A staged content that nobody else needs is that file itself.
    fn make_ready(
        &mut self,
        file: &FileEntry,
        (change, place): (usize, Place),
        may_move: bool,
    ) -> Result<Option<Ready>, DiskError> {
        let prepared = self.prepared.take_replacement(index_of(change));
        let prepared = prepared.map(|ready| ready.at(self.work, file.mtime));
        if let Some(ready) = prepared.transpose()?.flatten() {
            return Ok(Some(Ready::Prepared(ready)));
        }
        let last_use = self.uses.get(&file.content).is_none_or(|uses| *uses <= 1);
        match self.contents.place(&file.content) {
            None => Ok(None),
            Some(Place::Staged) if may_move && last_use && place == Place::Staged => {
                let name = finished_name(&file.content);
                let held = self.work.open_file_to_write(&name)?;
                dress(&held, file)?;
                Ok(Some(Ready::Made { name, held }))
            }
            Some(_) => {
                let name = self.contents.scratch_name();
                let held = write_out(self.contents, self.work, &name, file)?;
                Ok(Some(Ready::Made { name, held }))
            }
        }
    }
}
