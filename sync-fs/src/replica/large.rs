//! Building one large content in the staging directory: from pieces of files
//! that are here, and from bytes that come.
//!
//! Which pieces is worked out by [`sync_core::recipe`]; this is the file. What
//! counts is the hash of the whole at the end.

use sync_core::{
    ContentId, Entry, FileEntry, RelPath,
    generation::Action,
    limits::SMALL_CONTENT_BYTES_MAX,
    recipe::{Chunker, Recipe},
};

use super::{
    Replica,
    contents::{has_content, partial_name, staging},
    intake::{Intake, IntakeError},
};
use crate::root::{AbsentIsNone, DiskError, HeldFile, READ_BYTES, Target};

/// Local files whose recipes are compared with a peer's: each costs a read.
const SOURCES_MAX: usize = 4;

/// A local file of which a large content may be built.
#[derive(Debug)]
pub struct LocalSource {
    file: HeldFile,
    recipe: Recipe,
}

impl LocalSource {
    /// What the file is made of.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

/// A large content that is arriving.
#[derive(Debug)]
pub struct LargeIntake {
    path: RelPath,
    entry: FileEntry,
    file: HeldFile,
    candidates: Vec<HeldFile>,
    sources: Vec<LocalSource>,
    in_order: InOrder,
}

/// The hash over the bytes written so far while they come first to last: then
/// the file need not be read again.
#[derive(Debug)]
struct InOrder {
    hasher: blake3::Hasher,
    length: u64,
    broken: bool,
}

impl InOrder {
    fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            length: 0,
            broken: false,
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if self.broken || offset != self.length {
            self.broken = true;
            return;
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    fn content(&self, length: u64) -> Option<ContentId> {
        let whole = !self.broken && self.length == length;
        whole.then(|| self.hasher.finalize().into())
    }
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
            Ok((file, candidates)) => Ok(LargeIntake {
                path,
                entry,
                file,
                candidates,
                sources: Vec::new(),
                in_order: InOrder::new(),
            }),
            Err(source) => Err(IntakeError::Disk { path, source }),
        }
    }

    fn start_large(
        &mut self,
        intake: &Intake,
        path: &RelPath,
        entry: FileEntry,
    ) -> Result<(HeldFile, Vec<HeldFile>), DiskError> {
        let mut candidates = Vec::new();
        candidates.extend(self.earlier_attempt(&entry)?);
        for path in self.alike(intake, path, entry.length) {
            candidates.extend(self.root.open_file(&path).absent_is_none()?);
        }
        candidates.truncate(SOURCES_MAX);
        Ok((self.contents.start(&self.work, &entry)?, candidates))
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
    fn alike(&self, intake: &Intake, path: &RelPath, length: u64) -> Vec<RelPath> {
        let agreed = self.agreed.manifest();
        let large = |path: &RelPath| {
            let file = agreed.get(path).and_then(Entry::as_file)?;
            (file.length > SMALL_CONTENT_BYTES_MAX).then_some(file.length)
        };
        let mut deleted: Vec<(u64, &RelPath)> = intake
            .changes
            .iter()
            .filter(|change| change.action == Action::Delete)
            .filter_map(|change| Some((large(&change.path)?.abs_diff(length), &change.path)))
            .collect();
        deleted.sort_unstable();
        let itself = large(path).map(|_| path);
        let others = deleted.into_iter().map(|(_, path)| path);
        itself
            .into_iter()
            .chain(others)
            .take(SOURCES_MAX)
            .cloned()
            .collect()
    }

    /// Checks and keeps a large content that has arrived.
    ///
    /// # Errors
    /// Where it is not the one announced, or the disk fails.
    pub fn finish(&mut self, large: LargeIntake) -> Result<(), IntakeError> {
        let path = large.path.clone();
        let disk = |source| IntakeError::Disk {
            path: large.path.clone(),
            source,
        };
        let id = large.entry.content;
        let is_right = match large.in_order.content(large.entry.length) {
            Some(content) => content == id,
            None => has_content(&large.file, id).map_err(disk)?,
        };
        if !is_right {
            return Err(IntakeError::WrongContent { path });
        }
        self.contents
            .finish(&self.work, &large.file, id)
            .map_err(disk)
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
        for file in std::mem::take(&mut self.candidates) {
            let recipe = self.says(recipe_of(&file))?;
            self.sources.push(LocalSource { file, recipe });
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
        let Some(source) = self.sources.get(source) else {
            return Err(self.out_of_place());
        };
        self.in_order.broken = true;
        let copied = self
            .file
            .copy_from(&source.file, local_offset, offset, length);
        self.says(copied)
    }

    /// Takes bytes that came.
    ///
    /// # Errors
    /// Where the bytes go beyond the content, or the disk fails.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IntakeError> {
        self.expect_within(offset, bytes.len() as u64)?;
        self.in_order.write(offset, bytes);
        let written = self.file.write_all_at(bytes, offset);
        self.says(written)
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

fn recipe_of(file: &HeldFile) -> Result<Recipe, DiskError> {
    let mut chunker = Chunker::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Ok(chunker.finish());
        }
        chunker.push(&buffer[..count]);
        offset += count as u64;
    }
}
