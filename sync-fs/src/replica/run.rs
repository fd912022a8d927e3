//! The steps of one attempt to apply a generation: what each kind of work means
//! on the disk. Every step looks first and leaves alone what is right.

use std::{cell::OnceCell, collections::BTreeMap};

use sync_core::{
    Action, Change, ContentId, Entry, FileEntry, Manifest, Mode, Preset, RelPath,
    artifact::artifact_name,
    exclude::Rules,
    journal::{Place, Placed},
    limits::SMALL_CONTENT_BYTES_MAX,
    plan::{Plan, Step, Work},
};

use super::{
    apply::Pending,
    aside::{Aside, AsideRun},
    contents::{Contents, finished_name, read_small},
    judge::{Content, History, Judge, has_content, seen_after_put, seen_never},
    prepared::Prepared,
};
use crate::{
    archive::Archive,
    observed::{Observed, Sighting},
    root::{AbsentIsNone, Cause, DiskError, Kind, Root, Stat},
};

/// How a path stands after its step.
#[derive(Debug)]
pub(super) enum Effect {
    /// As this sighting.
    Put(Sighting),
    /// Not agreed any more.
    Gone(RelPath),
}

/// What an attempt works on.
pub(super) struct Around<'a> {
    pub(super) root: &'a Root,
    pub(super) work: &'a Root,
    pub(super) agreed: &'a Observed,
    pub(super) owned: Option<&'a Manifest>,
    pub(super) preset: Preset,
    pub(super) exclude: &'a Rules,
    pub(super) contents: &'a mut Contents,
    pub(super) archive: &'a mut Archive,
    pub(super) prepared: &'a mut Prepared,
}

/// How many changes take each content.
fn uses(changes: &[Placed]) -> BTreeMap<ContentId, u32> {
    let mut uses = BTreeMap::new();
    for Placed { change, place } in changes {
        if let (Place::Staged, Action::Put(Entry::File(file))) = (place, &change.action) {
            *uses.entry(file.content).or_default() += 1;
        }
    }
    uses
}

/// One attempt to apply a generation.
pub(super) struct Run<'a> {
    pub(super) root: &'a Root,
    pub(super) work: &'a Root,
    pub(super) agreed: &'a Observed,
    owned: Option<&'a Manifest>,
    pub(super) contents: &'a mut Contents,
    pub(super) archive: &'a mut Archive,
    pub(super) changes: &'a [Placed],
    pub(super) aside: AsideRun,
    preset: Preset,
    exclude: &'a Rules,
    history: &'a History,
    pub(super) prepared: &'a mut Prepared,
    pub(super) uses: BTreeMap<ContentId, u32>,
    effects: Vec<Effect>,
}

impl<'a> Run<'a> {
    pub(super) fn new(around: Around<'a>, pending: &'a Pending) -> Self {
        Self {
            root: around.root,
            work: around.work,
            agreed: around.agreed,
            owned: around.owned,
            contents: around.contents,
            archive: around.archive,
            changes: &pending.changes,
            aside: AsideRun::new(pending.position.generation),
            preset: around.preset,
            exclude: around.exclude,
            history: &pending.history,
            prepared: around.prepared,
            uses: uses(&pending.changes),
            effects: Vec::with_capacity(pending.changes.len()),
        }
    }

    /// How the paths stand now, and what was kept aside.
    pub(super) fn finish(self) -> (Vec<Effect>, Vec<Aside>) {
        (self.effects, self.aside.into_kept())
    }

    /// Makes room for the generation; whether there was anything to give.
    pub(super) fn archive_gives_way(&mut self) -> bool {
        self.archive.give_way().unwrap_or(false)
    }

    pub(super) fn judge(&self) -> Judge<'a> {
        Judge {
            agreed: self.agreed,
            owned: self.owned,
            history: self.history,
        }
    }

    pub(super) fn put(&mut self, sighting: Sighting) {
        self.effects.push(Effect::Put(sighting));
    }

    fn gone(&mut self, path: &RelPath) {
        self.effects.push(Effect::Gone(path.clone()));
    }

    pub(super) fn plan(&self) -> Plan {
        let changes = || self.changes.iter().map(|placed| &placed.change);
        let new = || -> BTreeMap<&RelPath, &Entry> {
            let puts = changes().filter_map(|change| match &change.action {
                Action::Put(entry) => Some((&change.path, entry)),
                Action::Delete => None,
            });
            puts.collect()
        };
        let known = OnceCell::new(); // asked for only where something goes
        Plan::with_names(
            self.agreed.manifest(),
            changes(),
            self.preset,
            |path| match known.get_or_init(new).get(path) {
                Some(entry) => self.new_name(entry),
                None => self.old_name(path),
            },
        )
    }

    /// The artifact name in a content that is about to be put in place. Where it
    /// cannot be read the order is merely the usual one.
    fn new_name(&self, entry: &Entry) -> Option<String> {
        let file = entry.as_file()?;
        let journalled = self.contents.read_journalled(&file.content).ok()?;
        let bytes = match journalled {
            Some(bytes) => bytes,
            None => {
                let staged = self.work.open_file(&finished_name(&file.content)).ok()?;
                read_small(&staged, file).ok()??
            }
        };
        artifact_name(&bytes)
    }

    /// The artifact name in a file of the tree, as above.
    fn old_name(&self, path: &RelPath) -> Option<String> {
        let file = self.root.open_file(path).ok()?;
        let length = file.stat().ok()?.length.min(SMALL_CONTENT_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let count = file.read_at(&mut bytes, 0).ok()?;
        artifact_name(&bytes[..count])
    }

    /// Carries out one step, or finds that nothing is to be done.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), DiskError> {
        let path = &step.path;
        let placed = &self.changes[step.change];
        if self.is_hidden(&placed.change) {
            self.only_agreed(&placed.change);
            return Ok(());
        }
        let place = placed.place;
        match &step.work {
            // It comes with its first file.
            Work::CreateDirectory(_) if self.prepared.directory(path.as_bytes()).is_some() => {
                Ok(())
            }
            Work::CreateDirectory(mode) | Work::ReplaceFileByDirectory(mode) => {
                self.ensure_directory(path, *mode)
            }
            Work::Restore(Entry::Directory { mode }) => self.ensure_directory(path, *mode),
            Work::PutFile(file) | Work::ReplaceDirectoryByFile(Entry::File(file)) => {
                if self.put_prepared(step.change, path, file)? {
                    return Ok(());
                }
                self.put_file(path, file, (step.change, place))
            }
            Work::Restore(Entry::File(file)) => self.restore_file(path, file, (step.change, place)),
            Work::PutSymlink(target)
            | Work::ReplaceDirectoryByFile(Entry::Symlink { target })
            | Work::Restore(Entry::Symlink { target }) => self.put_symlink(path, target),
            Work::ReplaceDirectoryByFile(Entry::Directory { mode }) => {
                self.ensure_directory(path, *mode)
            }
            Work::SetMode(mode) => self.set_mode(path, *mode, step.expected.as_ref()),
            Work::DeleteFile => self.delete_file(path),
            Work::RemoveDirectory => self.remove_directory(path),
            Work::KeepDirectory => {
                self.gone(path);
                Ok(())
            }
            Work::Clear => self.clear(path),
            Work::ClearFile => self.clear_file(path),
        }
    }

    /// What is excluded here belongs to this node, even if it was agreed once.
    fn is_hidden(&self, change: &Change) -> bool {
        let is_directory = match &change.action {
            Action::Put(entry) => entry.is_directory(),
            Action::Delete => self.agreed.manifest().has_directory(&change.path),
        };
        self.exclude.matches(&change.path, is_directory)
    }

    fn only_agreed(&mut self, change: &Change) {
        match &change.action {
            Action::Put(entry) => self.unhealed(&change.path, entry),
            Action::Delete => self.gone(&change.path),
        }
    }

    fn put_file(
        &mut self,
        path: &RelPath,
        file: &FileEntry,
        from: (usize, Place),
    ) -> Result<(), DiskError> {
        let stat = self.root.stat(path)?;
        let mut ours = true;
        if let Some(stat) = stat {
            let content = match stat.kind {
                Kind::File => self.judge().content(self.root, path, &stat)?,
                _ => Content::Unknown,
            };
            if has_content(content, file) {
                return self.put_metadata(path, file, &stat);
            }
            ours = match stat.kind {
                Kind::File => self.judge().is_ours(path, content),
                _ => self.judge().is_known_in_tree(self.root, path, &stat)?,
            };
        }
        self.write_file(path, file, from, stat.map(|stat| (stat, ours)))
    }

    /// The content stands there already: only mode and time may be wrong.
    fn put_metadata(
        &mut self,
        path: &RelPath,
        file: &FileEntry,
        stat: &Stat,
    ) -> Result<(), DiskError> {
        let mut seen = seen_after_put(stat);
        if stat.mode != file.mode {
            self.root.set_mode(path, file.mode)?;
        }
        if stat.mtime != file.mtime {
            self.root.set_mtime(path, file.mtime)?;
        }
        if stat.mode != file.mode || stat.mtime != file.mtime {
            seen = self
                .root
                .stat(path)?
                .map_or(seen, |stat| seen_after_put(&stat));
        }
        self.put(Sighting {
            path: path.clone(),
            entry: Entry::File(*file),
            seen,
        });
        Ok(())
    }

    /// Makes the disk have what `agreed` has already, its time included.
    fn restore_file(
        &mut self,
        path: &RelPath,
        file: &FileEntry,
        from: (usize, Place),
    ) -> Result<(), DiskError> {
        let stat = self.root.stat(path)?.filter(|stat| stat.kind == Kind::File);
        if let Some(stat) = stat {
            let content = self.judge().content(self.root, path, &stat)?;
            if has_content(content, file) {
                return self.put_metadata(path, file, &stat);
            }
        }
        self.put_file(path, file, from)
    }

    fn put_symlink(&mut self, path: &RelPath, target: &[u8]) -> Result<(), DiskError> {
        let found = self.look(path)?;
        let stands = match found {
            Some((stat, _)) if stat.kind == Kind::Symlink => {
                let text = self.root.read_link(path).absent_is_none()?;
                text.is_some_and(|text| *text == *target)
            }
            _ => false,
        };
        if !stands {
            let ready = self.contents.scratch_name();
            self.work.create_symlink(&ready, target)?;
            self.swap_in(&ready, path, found)?;
        }
        let seen = self
            .root
            .stat(path)?
            .map_or_else(seen_never, |stat| seen_after_put(&stat));
        let target = target.into();
        self.put(Sighting {
            path: path.clone(),
            entry: Entry::Symlink { target },
            seen,
        });
        Ok(())
    }

    /// Only the mode changes: whatever somebody wrote into the file stays, and
    /// is drift.
    fn set_mode(
        &mut self,
        path: &RelPath,
        mode: Mode,
        expected: Option<&Entry>,
    ) -> Result<(), DiskError> {
        let Some(Entry::File(file)) = expected else {
            return self.ensure_directory(path, mode);
        };
        let entry = Entry::File(FileEntry { mode, ..*file });
        let Some(stat) = self.root.stat(path)?.filter(|stat| stat.kind == Kind::File) else {
            self.unhealed(path, &entry);
            return Ok(());
        };
        let known = self.judge().proven(path, &stat).is_some();
        if stat.mode != mode {
            self.root.set_mode(path, mode)?;
        }
        let seen = match self.root.stat(path)? {
            Some(after) if known => seen_after_put(&after),
            _ => seen_never(),
        };
        self.put(Sighting {
            path: path.clone(),
            entry,
            seen,
        });
        Ok(())
    }

    /// The generation says `entry`; the disk has something else that cannot be
    /// put right now.
    pub(super) fn unhealed(&mut self, path: &RelPath, entry: &Entry) {
        let seen = seen_never();
        self.put(Sighting {
            path: path.clone(),
            entry: entry.clone(),
            seen,
        });
    }

    fn delete_file(&mut self, path: &RelPath) -> Result<(), DiskError> {
        if let Some(found) = self.look(path)? {
            self.take_out(path, found)?;
        }
        self.gone(path);
        Ok(())
    }

    fn remove_directory(&mut self, path: &RelPath) -> Result<(), DiskError> {
        match self.root.stat(path)? {
            Some(stat) if stat.kind == Kind::Directory => self.empty_and_remove(path)?,
            Some(_) => self.move_aside(path)?,
            None => {}
        }
        self.gone(path);
        Ok(())
    }

    fn clear(&mut self, path: &RelPath) -> Result<(), DiskError> {
        match self.look(path)? {
            Some((stat, _)) if stat.kind == Kind::Directory => self.empty_and_remove(path)?,
            Some(found) => self.take_out(path, found)?,
            None => {}
        }
        self.gone(path);
        Ok(())
    }

    fn clear_file(&mut self, path: &RelPath) -> Result<(), DiskError> {
        match self.root.stat(path)? {
            Some(stat) if stat.kind == Kind::Directory => {
                self.gone(path);
                Ok(())
            }
            _ => self.clear(path),
        }
    }

    /// Removes a directory; what is still in it goes aside. Excluded files
    /// belong to this node: they stay, and so does the directory.
    fn empty_and_remove(&mut self, path: &RelPath) -> Result<(), DiskError> {
        match self.root.remove_directory(path) {
            Err(error) if error.cause() == Cause::NotEmpty => {}
            result => return result.absent_is_none().map(|_| ()),
        }
        let mut stays = false;
        for listed in self.root.list(Some(path))? {
            let is_directory = listed.stat.kind == Kind::Directory;
            match path.join(&listed.name) {
                Ok(child) if self.exclude.matches(&child, is_directory) => stays = true,
                Ok(child) if is_directory => {
                    self.empty_and_remove(&child)?;
                    stays |= self.root.stat(&child)?.is_some();
                }
                Ok(child) => self.move_aside(&child)?,
                Err(_) => stays = true, // beyond any legal path: not ours to move
            }
        }
        if stays {
            return Ok(());
        }
        self.root
            .remove_directory(path)
            .absent_is_none()
            .map(|_| ())
    }
}
