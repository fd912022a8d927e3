//! The recipes of a tree's large files, remembered so that an edit of one costs
//! a hash of it and not a search for its cuts.
//!
//! They are kept in memory, by path. What has none yet is told as a
//! [`RecipeJob`], to be read when nothing else is to be done; after a restart
//! all have to be read once. A recipe proves nothing: the hash of the
//! whole content does, wherever one was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use sync_core::{
    ContentId, Entry, FileEntry, Manifest, RelPath,
    manifest::Record,
    recipe::{Cutter, Recipe},
};

use crate::root::{DiskError, HeldFile, Root};

/// Files below this length are cut when it is needed: it takes 10 ms.
pub const REMEMBERED_BYTES_MIN: u64 = 8 << 20;
/// Chunks in all recipes that are remembered: those of 64 GiB, in 60 MB.
const CHUNKS_MAX: usize = 1 << 20;
/// Recipes of contents that are on their way.
const COMING_MAX: usize = 64;
/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces on their way between reading and hashing.
const PIECES: usize = 4;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    known: BTreeMap<RelPath, Arc<Recipe>>,
    chunks: usize,
    wanted: BTreeSet<RelPath>,
    /// Of contents that are on their way to a path.
    coming: BTreeMap<ContentId, Arc<Recipe>>,
    /// Whether what was there before anything was noted is in `wanted`.
    seeded: bool,
}

/// A file whose recipe is to be made, away from the tree's thread.
#[derive(Debug)]
pub struct RecipeJob {
    path: RelPath,
    file: HeldFile,
    old: Option<Arc<Recipe>>,
}

impl RecipeJob {
    /// Reads the file; `None` where it cannot be read or does not hold still.
    #[must_use]
    pub fn run(self) -> Option<(RelPath, Recipe)> {
        let made = make(&self.file, self.old.as_deref());
        made.ok().flatten().map(|recipe| (self.path, recipe))
    }
}

impl Recipes {
    /// Notes that `path` is now `entry`. The recipe of what it was is kept: the
    /// new one is made from it.
    pub(crate) fn note(&mut self, path: &RelPath, entry: &Entry) {
        match entry.as_file() {
            Some(file) if file.length >= REMEMBERED_BYTES_MIN => self.note_large(path, file),
            _ => self.forget(path),
        }
    }

    fn note_large(&mut self, path: &RelPath, file: &FileEntry) {
        if let Some(recipe) = self.coming.remove(&file.content) {
            self.remember(path, recipe);
        } else if self.of(path, file).is_none() {
            self.wanted.insert(path.clone());
        }
    }

    /// Notes the recipe of a content that will soon stand at some path.
    pub(crate) fn comes(&mut self, recipe: Recipe) {
        if recipe.length >= REMEMBERED_BYTES_MIN && self.coming.len() < COMING_MAX {
            self.coming.insert(recipe.content, Arc::new(recipe));
        }
    }

    /// Notes that what was to come has come, or will not.
    pub(crate) fn none_comes(&mut self) {
        self.coming.clear();
    }

    /// Notes that `path` is gone, or that its recipe was wrong.
    pub(crate) fn forget(&mut self, path: &RelPath) {
        self.wanted.remove(path);
        if let Some(recipe) = self.known.remove(path) {
            self.chunks -= recipe.chunks().count();
        }
    }

    /// The recipe of `file`, which stands at `path`.
    pub(crate) fn of(&self, path: &RelPath, file: &FileEntry) -> Option<&Arc<Recipe>> {
        self.last(path)
            .filter(|recipe| recipe.content == file.content)
    }

    /// The newest recipe of what stands or stood at `path`.
    pub(crate) fn last(&self, path: &RelPath) -> Option<&Arc<Recipe>> {
        self.known.get(path)
    }

    /// The same by the bytes of the path.
    pub(crate) fn last_at(&self, path: &[u8]) -> Option<&Recipe> {
        self.known.get(path).map(Arc::as_ref)
    }

    /// Remembers a recipe, if it is that of what `manifest` has at `path`.
    pub(crate) fn put(&mut self, path: &RelPath, recipe: Arc<Recipe>, manifest: &Manifest) {
        let file = manifest.file(path);
        if file.is_some_and(|file| file.content == recipe.content) {
            self.remember(path, recipe);
        }
    }

    fn remember(&mut self, path: &RelPath, recipe: Arc<Recipe>) {
        self.forget(path);
        let chunks = recipe.chunks().count();
        if recipe.length >= REMEMBERED_BYTES_MIN && self.chunks + chunks <= CHUNKS_MAX {
            self.chunks += chunks;
            self.known.insert(path.clone(), recipe);
        }
    }

    /// A file whose recipe is wanted. It is not wanted again unless it changes.
    pub(crate) fn next(&mut self, root: &Root, manifest: &Manifest) -> Option<RecipeJob> {
        if !std::mem::replace(&mut self.seeded, true) {
            let large = |it: &Record<'_>| it.file().is_some_and(|file| is_large(&file));
            for (path, entry) in manifest.iter().filter(large).map(Record::pair) {
                self.note(&path, &entry);
            }
        }
        while let Some(path) = self.wanted.pop_first() {
            if let Ok(file) = root.open_file(&path) {
                let old = self.last(&path).cloned();
                return Some(RecipeJob { path, file, old });
            }
        }
        None
    }
}

fn is_large(file: &FileEntry) -> bool {
    file.length >= REMEMBERED_BYTES_MIN
}

/// The recipe of an open file, quickly where it is much like `old`; `None`
/// where the file does not hold still. One thread reads and cuts, one hashes
/// the whole.
pub(crate) fn make(file: &HeldFile, old: Option<&Recipe>) -> Result<Option<Recipe>, DiskError> {
    let before = file.stat()?;
    let recipe = cut(|buffer, offset| file.read_at(buffer, offset), old)?;
    let stable = file.stat()?.key == before.key;
    Ok(stable.then_some(recipe))
}

/// The recipe of what `read` fills buffers with, from each offset on until it
/// gives none.
pub(crate) fn cut<E>(
    read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    old: Option<&Recipe>,
) -> Result<Recipe, E> {
    let mut cutter = old.map_or_else(Cutter::new, Cutter::expecting);
    let content = thread::scope(|scope| {
        let (to_hash, hashed) = pieces(PIECES);
        let hashing = scope.spawn(move || hash(&hashed));
        read_and_cut(read, &mut cutter, &to_hash)?;
        drop(to_hash);
        Ok(hashing.join().expect("hashing does not panic"))
    })?;
    Ok(cutter.finish(content))
}

/// Both ends of the way that buffers go in circles.
struct ToHash {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
}

struct Hashed {
    full: Receiver<(Vec<u8>, usize)>,
    empty: SyncSender<Vec<u8>>,
}

fn pieces(count: usize) -> (ToHash, Hashed) {
    let (full_in, full_out) = sync_channel(count);
    let (empty_in, empty_out) = sync_channel(count);
    for _ in 0..count {
        let sent = empty_in.send(vec![0; PIECE_BYTES]);
        sent.expect("the other end is right here");
    }
    let to_hash = ToHash {
        full: full_in,
        empty: empty_out,
    };
    let hashed = Hashed {
        full: full_out,
        empty: empty_in,
    };
    (to_hash, hashed)
}

fn hash(pieces: &Hashed) -> ContentId {
    let mut hasher = blake3::Hasher::new();
    while let Ok((buffer, length)) = pieces.full.recv() {
        hasher.update(&buffer[..length]);
        // Nobody wants it back after the last piece.
        let _ = pieces.empty.send(buffer);
    }
    hasher.finalize().into()
}

fn read_and_cut<E>(
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    cutter: &mut Cutter,
    to_hash: &ToHash,
) -> Result<(), E> {
    let mut offset = 0;
    while let Ok(mut buffer) = to_hash.empty.recv() {
        let count = read(&mut buffer, offset)?;
        if count == 0 {
            break;
        }
        cutter.push(&buffer[..count]);
        offset += count as u64;
        if to_hash.full.send((buffer, count)).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    fn large(content: &[u8]) -> Entry {
        Entry::File(FileEntry {
            mode: sync_core::Mode::new(0o644),
            mtime: sync_core::Mtime::default(),
            length: content.len() as u64,
            content: ContentId::of(content),
        })
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_is_wanted_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut content = noise(1, 9 << 20);
        let mut manifest = Manifest::new();
        let mut recipes = Recipes::default();
        for seed in 0..2 {
            content.splice(5_000_000..5_000_000, noise(seed, 20));
            std::fs::write(dir.path().join("a.jar"), &content).unwrap();
            manifest.insert(path("a.jar"), large(&content));
            recipes.note(&path("a.jar"), &large(&content));
            let job = recipes.next(&root, &manifest).unwrap();
            assert_eq!(job.old.is_some(), seed > 0);
            let (at, recipe) = job.run().unwrap();
            assert!(recipe == Recipe::of(&content));
            recipes.put(&at, Arc::new(recipe), &manifest);
            assert!(recipes.next(&root, &manifest).is_none());
        }
        recipes.forget(&path("a.jar"));
        assert_eq!((recipes.chunks, recipes.known.len()), (0, 0));
    }

    #[test]
    fn what_was_there_at_the_start_is_wanted_and_small_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut manifest = Manifest::new();
        for (name, length) in [("large", 9 << 20), ("small", 1 << 20)] {
            let content = noise(3, length);
            std::fs::write(dir.path().join(name), &content).unwrap();
            manifest.insert(path(name), large(&content));
        }
        let mut recipes = Recipes::default();
        assert_eq!(recipes.next(&root, &manifest).unwrap().path, path("large"));
        assert!(recipes.next(&root, &manifest).is_none());
    }

    #[test]
    fn a_recipe_of_another_content_is_not_remembered() {
        let content = noise(4, 9 << 20);
        let manifest = Manifest::from_entries([(path("a"), large(&content))]);
        let mut recipes = Recipes::default();
        let other = Recipe::of(&content[1..]);
        recipes.put(&path("a"), Arc::new(other), &manifest);
        assert!(recipes.last(&path("a")).is_none());
    }
}
