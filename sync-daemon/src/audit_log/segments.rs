//! The files of a log: `audit/<number>.jsonl` in the state directory, each closed
//! when it is long enough. The oldest go; the chain goes on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A file is closed when it has so many bytes.
pub(super) const SEGMENT_BYTES: u64 = 4 << 20;
/// Files that are kept: some 150,000 records.
pub(super) const SEGMENTS_MAX: usize = 16;
/// A longer file is none of this program's.
const READ_BYTES_MAX: u64 = 2 * SEGMENT_BYTES;

pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("audit")
}

/// The numbers of the files that are there, in order.
pub(super) fn list(state_dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let listed = match fs::read_dir(directory(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        listed => listed?,
    };
    for item in listed {
        let name = item?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The file's name below the state directory.
pub(super) fn name(number: u64) -> String {
    format!("audit/{number:08}.jsonl")
}

pub(super) fn read(state_dir: &Path, number: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(state_dir.join(name(number)))?;
    file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file to append to it; makes it, and the directory, where they are not.
pub(super) fn open(state_dir: &Path, number: u64) -> io::Result<File> {
    let directory = directory(state_dir);
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.open(state_dir.join(name(number)))?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

/// Removes what is too much.
pub(super) fn remove_oldest(state_dir: &Path) -> io::Result<()> {
    let numbers = list(state_dir)?;
    let too_many = numbers.len().saturating_sub(SEGMENTS_MAX);
    for number in &numbers[..too_many] {
        fs::remove_file(state_dir.join(name(*number)))?;
    }
    Ok(())
}
