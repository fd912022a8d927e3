//! One large file that no chunker finds repetitions in, and edits of it.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write as _},
    path::Path,
};

/// Its name in the tree.
pub(crate) const NAME: &str = "large.bin";

/// Writes random bytes to `path`.
pub(crate) fn write(path: &Path, bytes: u64) -> Result<(), String> {
    let copied = File::open("/dev/urandom")
        .and_then(|source| io::copy(&mut source.take(bytes), &mut File::create(path)?));
    copied
        .map(drop)
        .map_err(|error| format!("writing {}: {error}", path.display()))
}

/// Inserts 20 bytes in the middle, `number` bytes further each time, by a copy
/// beside the tree and one rename, as a careful writer does.
pub(crate) fn insert(path: &Path, number: usize, aside: &Path) -> Result<(), String> {
    let inserted = || {
        let content = fs::read(path)?;
        let (before, after) = content.split_at(content.len() / 2 + number);
        let mut file = BufWriter::new(File::create(aside)?);
        file.write_all(before)?;
        file.write_all(format!("{number:020}").as_bytes())?;
        file.write_all(after)?;
        file.into_inner()?.sync_all()?;
        fs::rename(aside, path)
    };
    inserted().map_err(|error: io::Error| format!("editing {}: {error}", path.display()))
}
