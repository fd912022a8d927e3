//! One name of the tree becomes something else in one step, and nothing that is
//! not ours is lost on the way.
//!
//! What was made ready in the work directory changes places with what stands in
//! the tree, so that the old thing can still be looked at; only then does it go,
//! or is kept aside. Something that is known beforehand not to be ours lands
//! directly where it is kept: no crash in between can lose it.

use sync_core::{Entry, Mode, RelPath, journal::Placed};

use super::{contents::hash, judge::seen_after_put, run::Run};
use crate::{
    observed::Sighting,
    root::{Cause, DiskError, Kind, Stat, Target},
};

/// How often a name is tried that somebody else keeps changing.
const TRIES: usize = 8;

impl Run<'_> {
    /// What stands at `path`, and whether it is ours to lose.
    pub(super) fn look(&self, path: &RelPath) -> Result<Option<(Stat, bool)>, DiskError> {
        let Some(stat) = self.root.stat(path)? else {
            return Ok(None);
        };
        let ours = self.judge().is_known_in_tree(self.root, path, &stat)?;
        Ok(Some((stat, ours)))
    }

    /// Puts what is ready at `from` of the work directory at `path`, where
    /// `found` stands.
    pub(super) fn swap_in(
        &mut self,
        from: &RelPath,
        path: &RelPath,
        found: Option<(Stat, bool)>,
    ) -> Result<(), DiskError> {
        let mut found = found;
        let mut tries = 0;
        loop {
            let result = match found {
                None => self.place(from, path),
                Some((stat, true)) => self.exchange(from, path, &stat),
                Some((_, false)) => self.exchange_aside(from, path),
            };
            match result {
                // Somebody was faster: look again.
                Err(error) if tries < TRIES && moved(&error) => tries += 1,
                result => return result,
            }
            found = self.look(path)?;
        }
    }

    pub(super) fn place(&mut self, from: &RelPath, path: &RelPath) -> Result<(), DiskError> {
        match self.work.rename(from, self.root, path, Target::Free) {
            Err(error) if error.cause() == Cause::Absent => {
                self.ensure_parent(path)?;
                self.work.rename(from, self.root, path, Target::Free)
            }
            result => result,
        }
    }

    /// What comes out is ours if it is still what was looked at.
    fn exchange(&mut self, from: &RelPath, path: &RelPath, looked: &Stat) -> Result<(), DiskError> {
        if !self.exchanges_in(from, path, looked)? {
            return Ok(());
        }
        let Some(out) = self.work.stat(from)? else {
            return Ok(());
        };
        let same = out.key.inode == looked.key.inode
            && out.key.length == looked.key.length
            && out.key.mtime_ns == looked.key.mtime_ns;
        if same || self.judge().is_known(self.work, from, path, &out)? {
            self.discard(from, path, looked, out.kind)
        } else {
            self.keep_from_work(from, path)
        }
    }

    /// `false` where the file system cannot exchange and the old file has been
    /// replaced.
    fn exchanges_in(
        &mut self,
        from: &RelPath,
        path: &RelPath,
        looked: &Stat,
    ) -> Result<bool, DiskError> {
        match self.work.rename(from, self.root, path, Target::Exchanged) {
            Err(error) if cannot_exchange(&error) && looked.kind != Kind::Directory => {
                self.work.rename(from, self.root, path, Target::Replaced)?;
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    fn exchange_aside(&mut self, from: &RelPath, path: &RelPath) -> Result<(), DiskError> {
        let aside = self.aside.name_for(self.work, path)?;
        self.work.rename(from, self.work, &aside, Target::Free)?;
        match self.work.rename(&aside, self.root, path, Target::Exchanged) {
            Ok(()) => {
                self.aside.note(path, aside);
                Ok(())
            }
            Err(error) => {
                // Back where it was ready, for another try.
                self.work.rename(&aside, self.work, from, Target::Free)?;
                if cannot_exchange(&error) {
                    return self.copy_aside_and_replace(from, path, &aside);
                }
                Err(error)
            }
        }
    }

    /// For file systems that cannot exchange: files only.
    fn copy_aside_and_replace(
        &mut self,
        from: &RelPath,
        path: &RelPath,
        aside: &RelPath,
    ) -> Result<(), DiskError> {
        let old = self.root.open_file(path)?;
        let copy = self.work.create_file(aside)?;
        let stat = old.stat()?;
        copy.copy_from(&old, 0, 0, stat.length)?;
        copy.set_mtime(stat.mtime)?;
        self.aside.note(path, aside.clone());
        self.work.rename(from, self.root, path, Target::Replaced)
    }

    /// What stood at `path`, where it was `looked` at, is ours and out of the tree:
    /// a file's content is kept as the past of the tree, as far as there is room.
    fn discard(
        &mut self,
        at: &RelPath,
        path: &RelPath,
        looked: &Stat,
        kind: Kind,
    ) -> Result<(), DiskError> {
        match kind {
            Kind::Directory => {}
            Kind::File => return self.archive_file(at, path, looked),
            _ => return self.work.remove_file(at),
        }
        match self.work.remove_directory(at) {
            Err(error) if error.cause() == Cause::NotEmpty => self.keep_from_work(at, path),
            result => result,
        }
    }

    fn archive_file(
        &mut self,
        at: &RelPath,
        path: &RelPath,
        looked: &Stat,
    ) -> Result<(), DiskError> {
        let length = looked.key.length;
        if !self.archive.wants(length) {
            return self.work.remove_file(at);
        }
        let content = match self.judge().proven(path, looked) {
            Some(Entry::File(file)) => Some(file.content),
            _ => hash(&self.work.open_file(at)?)?.map(|hashed| hashed.content),
        };
        match content {
            Some(content) => self.archive.keep(at, content, length),
            None => self.work.remove_file(at),
        }
    }

    fn keep_from_work(&mut self, at: &RelPath, path: &RelPath) -> Result<(), DiskError> {
        let aside = self.aside.name_for(self.work, path)?;
        self.work.rename(at, self.work, &aside, Target::Free)?;
        self.aside.note(path, aside);
        Ok(())
    }

    /// Takes what stands at `path` out of the tree: away if it is ours, else
    /// aside. Not for directories that are ours.
    pub(super) fn take_out(
        &mut self,
        path: &RelPath,
        (looked, ours): (Stat, bool),
    ) -> Result<(), DiskError> {
        if !ours {
            return self.move_aside(path);
        }
        let out = self.contents.scratch_name();
        match self.root.rename(path, self.work, &out, Target::Free) {
            Err(error) if error.cause() == Cause::Absent => return Ok(()),
            result => result?,
        }
        let Some(stat) = self.work.stat(&out)? else {
            return Ok(());
        };
        let same = stat.key.inode == looked.key.inode && stat.key.mtime_ns == looked.key.mtime_ns;
        if same || self.judge().is_known(self.work, &out, path, &stat)? {
            self.discard(&out, path, &looked, stat.kind)
        } else {
            self.keep_from_work(&out, path)
        }
    }

    /// Moves whatever stands at `path` aside as it is.
    pub(super) fn move_aside(&mut self, path: &RelPath) -> Result<(), DiskError> {
        let aside = self.aside.name_for(self.work, path)?;
        self.root.rename(path, self.work, &aside, Target::Free)?;
        self.aside.note(path, aside);
        Ok(())
    }

    /// Makes sure that a directory with this mode stands at `path`.
    pub(super) fn ensure_directory(&mut self, path: &RelPath, mode: Mode) -> Result<(), DiskError> {
        match self.look(path)? {
            Some((stat, _)) if stat.kind == Kind::Directory => {
                if stat.mode != mode {
                    self.root.set_mode(path, mode)?;
                }
            }
            None => self.make_directory(path, mode)?,
            found => {
                let ready = self.contents.scratch_name();
                self.work.create_directory(&ready, mode)?;
                self.swap_in(&ready, path, found)?;
            }
        }
        self.sighted_directory(path, mode)
    }

    fn make_directory(&mut self, path: &RelPath, mode: Mode) -> Result<(), DiskError> {
        match self.root.create_directory(path, mode) {
            Err(error) if error.cause() == Cause::Absent => {
                self.ensure_parent(path)?;
                self.root.create_directory(path, mode)
            }
            result => result,
        }
    }

    pub(super) fn sighted_directory(
        &mut self,
        path: &RelPath,
        mode: Mode,
    ) -> Result<(), DiskError> {
        if let Some(stat) = self.root.stat(path)? {
            self.put(Sighting {
                path: path.clone(),
                entry: Entry::Directory { mode },
                seen: seen_after_put(&stat),
            });
        }
        Ok(())
    }

    /// Somebody removed a directory of the tree: it is made again.
    fn ensure_parent(&mut self, path: &RelPath) -> Result<(), DiskError> {
        match path.parent() {
            Some(parent) => {
                let mode = self.directory_mode(&parent);
                self.ensure_directory(&parent, mode)
            }
            None => Ok(()),
        }
    }

    /// The mode a directory should have, now that it is missing.
    fn directory_mode(&self, path: &RelPath) -> Mode {
        let of = |entry: &Entry| match entry {
            Entry::Directory { mode } => Some(*mode),
            _ => None,
        };
        let put = |placed: &Placed| match &placed.change.action {
            sync_core::Action::Put(entry) if placed.change.path == *path => of(entry),
            _ => None,
        };
        self.changes
            .iter()
            .find_map(put)
            .or_else(|| of(&self.agreed.manifest().get(path)?))
            .unwrap_or(Mode::new(0o755))
    }
}

/// Whether the name changed between look and rename.
pub(super) fn moved(error: &DiskError) -> bool {
    matches!(error.cause(), Cause::Exists | Cause::Absent)
}

fn cannot_exchange(error: &DiskError) -> bool {
    matches!(
        error
            .source
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error),
        Some(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP)
    )
}
