//! Building one large content in the staging directory: from pieces of files
//! that are here, and from bytes that come.
//!
//! Which pieces is worked out by [`sync_core::recipe`]; this is the file. What
//! counts is the hash of the whole at the end.

use std::sync::Arc;

use sync_core::{
    ContentId, Entry, FileEntry, RelPath, limits::SMALL_CONTENT_BYTES_MAX, recipe::Recipe,
};

use super::{
    Replica,
    contents::{hash, partial_name, staging},
    intake::{Intake, IntakeError},
    judge::{History, Judge},
    stream::{STREAMED_BYTES_MIN, Stream},
};
use crate::{
    recipes::{self, RecipeJob},
    root::{AbsentIsNone, DiskError, HeldFile, Target},
};

/// Local files whose recipes are compared with a peer's: each costs a read.
const SOURCES_MAX: usize = 4;

/// A local file of which a large content may be built.
#[derive(Debug)]
pub struct LocalSource {
    file: HeldFile,
    recipe: Arc<Recipe>,
    /// Whose recipe was remembered and not read now.
    remembered: Option<RelPath>,
}

/// A local file that may have parts of a content, and what is known of it.
#[derive(Debug)]
struct Candidate {
    file: HeldFile,
    remembered: Option<(RelPath, Arc<Recipe>)>,
}

impl LocalSource {
    /// What the file is made of.
    #[must_use]
    pub fn recipe(&self) -> &Arc<Recipe> {
        &self.recipe
    }
}

/// A large content that is arriving.
#[derive(Debug)]
pub struct LargeIntake {
    path: RelPath,
    entry: FileEntry,
    file: HeldFile,
    candidates: Vec<Candidate>,
    sources: Vec<LocalSource>,
    /// While the bytes of a large one come first to last.
    stream: Option<Stream>,
}

impl Replica {
    /// Starts to take the large content of the change at `index`. All its space
    /// is reserved now. What an earlier attempt left serves as a local source.
    ///
    /// # Errors
    /// Where the change needs no large content, or there is no space.
    pub fn large(&mut self, intake: &Intake, index: u32) -> Result<LargeIntake, IntakeError> {
        let (path, entry) = intake.needed(index)?;
        let path = path.clone();
        if entry.length <= SMALL_CONTENT_BYTES_MAX {
            let length = entry.length;
            return Err(IntakeError::WrongSize { path, length });
        }
        match self.start_large(intake, &path, entry) {
            Ok((file, stream, candidates)) => Ok(LargeIntake {
                path,
                entry,
                file,
                candidates,
                sources: Vec::new(),
                stream,
            }),
            Err(source) => Err(IntakeError::Disk { path, source }),
        }
    }

    fn start_large(
        &mut self,
        intake: &Intake,
        path: &RelPath,
        entry: FileEntry,
    ) -> Result<(HeldFile, Option<Stream>, Vec<Candidate>), DiskError> {
        let earlier = self.earlier_attempt(&entry)?.map(|file| Candidate {
            file,
            remembered: None,
        });
        let mut candidates: Vec<Candidate> = earlier.into_iter().collect();
        for path in self.alike(intake, path, entry.length) {
            candidates.extend(self.candidate(path)?);
        }
        candidates.truncate(SOURCES_MAX);
        let file = self.contents.start(&self.work, &entry)?;
        let name = partial_name(&entry.content);
        let stream = match entry.length >= STREAMED_BYTES_MIN {
            true => Some(Stream::start(
                self.work.open_file_to_stream(&name)?,
                self.work.open_file_to_write(&name)?,
            )),
            false => None,
        };
        Ok((file, stream, candidates))
    }

    /// The file at `path`, with its recipe if that is remembered and the file is
    /// still the one that was put there.
    fn candidate(&self, path: RelPath) -> Result<Option<Candidate>, DiskError> {
        let Some((file, stat)) = self.root.open_and_stat(&path).absent_is_none()? else {
            return Ok(None);
        };
        let history = History::new();
        let judge = Judge {
            agreed: &self.agreed,
            owned: self.owned(),
            history: &history,
        };
        let agreed = judge.proven(&path, &stat);
        let agreed = agreed.as_ref().and_then(Entry::as_file);
        let recipe = agreed.and_then(|agreed| self.recipes.of(&path, agreed).cloned());
        let remembered = recipe.map(|recipe| (path, recipe));
        Ok(Some(Candidate { file, remembered }))
    }

    /// The file an earlier attempt left, without a name, so that its space goes
    /// when the new attempt ends.
    fn earlier_attempt(&mut self, entry: &FileEntry) -> Result<Option<HeldFile>, DiskError> {
        let (name, away) = (partial_name(&entry.content), staging(b"t-earlier"));
        let Some(file) = self.work.open_file(&name).absent_is_none()? else {
            return Ok(None);
        };
        self.work
            .rename(&name, &self.work, &away, Target::Replaced)?;
        self.work.remove_file(&away)?;
        Ok(Some(file))
    }

    /// Where a similar content may stand: at the path itself, and at paths that
    /// the generation deletes, those of the nearest length first.
    pub(super) fn alike(&self, intake: &Intake, path: &RelPath, length: u64) -> Vec<RelPath> {
        let own = self.agreed.manifest().file(path);
        let itself = own.filter(|file| file.length > SMALL_CONTENT_BYTES_MAX);
        let mut deleted: Vec<(u64, &RelPath)> = intake
            .deleted_large
            .iter()
            .map(|(deleted, path)| (deleted.abs_diff(length), path))
            .collect();
        deleted.sort_unstable();
        let others = deleted.into_iter().map(|(_, path)| path);
        itself
            .map(|_| path)
            .into_iter()
            .chain(others)
            .take(SOURCES_MAX)
            .cloned()
            .collect()
    }

    /// Checks and keeps a large content that has arrived; `recipe` is what the
    /// peer says it is made of.
    ///
    /// # Errors
    /// Where it is not the one announced, or the disk fails.
    pub fn finish(
        &mut self,
        mut large: LargeIntake,
        recipe: Option<Recipe>,
    ) -> Result<(), IntakeError> {
        let path = large.path.clone();
        let content = large.content();
        if large.says(content)? != Some(large.entry.content) {
            // A recipe that was remembered may be to blame.
            for remembered in large.sources.iter().filter_map(|it| it.remembered.as_ref()) {
                self.recipes.forget(remembered);
            }
            return Err(IntakeError::WrongContent { path });
        }
        let kept = self
            .contents
            .finish(&self.work, large.file, large.entry.content);
        kept.map_err(|source| IntakeError::Disk { path, source })?;
        if let Some(recipe) = recipe {
            self.recipes.comes(recipe);
        }
        Ok(())
    }

    /// A large file whose recipe is not known yet, to be read elsewhere.
    pub fn next_recipe(&mut self) -> Option<RecipeJob> {
        self.recipes.next(&self.root, self.agreed.manifest())
    }

    /// Remembers the recipe of the file at `path`.
    pub fn note_recipe(&mut self, path: &RelPath, recipe: Recipe) {
        let manifest = self.agreed.manifest();
        self.recipes.put(path, Arc::new(recipe), manifest);
    }
}

impl LargeIntake {
    /// The file it will be, as announced.
    #[must_use]
    pub fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// Recipes of local files that may have parts of the content; their
    /// positions are what [`LargeIntake::copy_local`] takes. Reads the files the
    /// first time.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn local_sources(&mut self) -> Result<&[LocalSource], IntakeError> {
        for Candidate { file, remembered } in std::mem::take(&mut self.candidates) {
            let (remembered, recipe) = match remembered {
                Some((path, recipe)) => (Some(path), recipe),
                None => match self.says(recipes::make(&file, None))? {
                    Some(recipe) => (None, Arc::new(recipe)),
                    None => continue, // it does not hold still
                },
            };
            self.sources.push(LocalSource {
                file,
                recipe,
                remembered,
            });
        }
        Ok(&self.sources)
    }

    /// Copies bytes of a local source.
    ///
    /// # Errors
    /// Where the bytes go beyond the content, or the disk fails.
    pub fn copy_local(
        &mut self,
        source: usize,
        local_offset: u64,
        offset: u64,
        length: u64,
    ) -> Result<(), IntakeError> {
        self.expect_within(offset, length)?;
        if source >= self.sources.len() {
            return Err(self.out_of_place());
        }
        self.expect_order(offset)?;
        let source = &self.sources[source].file;
        let copied = match &mut self.stream {
            Some(stream) => stream.pull(source, local_offset, length),
            None => self.file.copy_from(source, local_offset, offset, length),
        };
        self.says(copied)
    }

    /// Takes bytes that came.
    ///
    /// # Errors
    /// Where the bytes go beyond the content, or the disk fails.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IntakeError> {
        self.expect_within(offset, bytes.len() as u64)?;
        self.expect_order(offset)?;
        let written = match &mut self.stream {
            Some(stream) => {
                stream.push(bytes);
                Ok(())
            }
            None => self.file.write_all_at(bytes, offset),
        };
        self.says(written)
    }

    /// Bytes that do not follow the last ones end the stream: what comes from
    /// now on is written where it belongs, and all is read again at the end.
    fn expect_order(&mut self, offset: u64) -> Result<(), IntakeError> {
        match self.stream.take_if(|stream| stream.length() != offset) {
            Some(broken) => {
                let ended = broken.finish().map(drop);
                self.says(ended)
            }
            None => Ok(()),
        }
    }

    /// The hash of what was built; `None` where the file does not hold still.
    fn content(&mut self) -> Result<Option<ContentId>, DiskError> {
        let whole = match self.stream.take() {
            Some(stream) if stream.length() == self.entry.length => Some(stream.finish()?),
            Some(stream) => stream.finish().map(|_| None)?,
            None => None,
        };
        self.file.set_length(self.entry.length)?;
        match whole {
            Some(content) => Ok(Some(content)),
            None => Ok(hash(&self.file)?.map(|hashed| hashed.content)),
        }
    }

    fn expect_within(&self, offset: u64, length: u64) -> Result<(), IntakeError> {
        let end = offset.checked_add(length);
        if end.is_some_and(|end| end <= self.entry.length) {
            Ok(())
        } else {
            Err(self.out_of_place())
        }
    }

    fn out_of_place(&self) -> IntakeError {
        IntakeError::WrongContent {
            path: self.path.clone(),
        }
    }

    fn says<T>(&self, result: Result<T, DiskError>) -> Result<T, IntakeError> {
        result.map_err(|source| IntakeError::Disk {
            path: self.path.clone(),
            source,
        })
    }
}
