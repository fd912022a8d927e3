//! An independent judge of whether two trees are equal: its own walk, the bytes
//! themselves, no hashes, no index.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is, with its bytes.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in whole seconds, as the hot deployer sees it.
    pub mtime_s: i64,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file and its bytes.
    File(Vec<u8>),
    /// A symbolic link and its text.
    Link(Vec<u8>),
    /// A fifo, socket or device.
    Special,
}

/// A tree by path bytes.
pub type Snapshot = BTreeMap<Vec<u8>, Item>;

/// How strictly to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Paths, kinds, modes and bytes.
    Identity,
    /// Also the modification times of files, in whole seconds.
    Times,
}

/// Reads the whole tree at `root`.
///
/// # Errors
/// When something cannot be read, or goes while it is read.
pub fn snapshot(root: &Path) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::new();
    read_into(&mut snapshot, root, &[])?;
    Ok(snapshot)
}

fn read_into(snapshot: &mut Snapshot, directory: &Path, prefix: &[u8]) -> io::Result<()> {
    for item in fs::read_dir(directory)? {
        let item = item?;
        let mut path = prefix.to_vec();
        path.extend_from_slice(item.file_name().as_bytes());
        let metadata = fs::symlink_metadata(item.path())?;
        let kind = kind_of(&item.path(), &metadata)?;
        if kind == Kind::Directory {
            let below = [&path[..], b"/"].concat();
            read_into(snapshot, &item.path(), &below)?;
        }
        let mode = metadata.mode() & 0o7777;
        let mtime_s = metadata.mtime();
        snapshot.insert(
            path,
            Item {
                kind,
                mode,
                mtime_s,
            },
        );
    }
    Ok(())
}

fn kind_of(path: &Path, metadata: &fs::Metadata) -> io::Result<Kind> {
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        Kind::File(fs::read(path)?)
    } else if kind.is_symlink() {
        Kind::Link(fs::read_link(path)?.as_os_str().as_bytes().to_vec())
    } else {
        Kind::Special
    })
}

/// Where two snapshots differ, one line a path; empty when equal.
#[must_use]
pub fn differences(left: &Snapshot, right: &Snapshot, strictness: Strictness) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, item) in left {
        let shown = path.escape_ascii();
        match right.get(path) {
            None => lines.push(format!("{shown}: only on the left")),
            Some(other) => {
                if let Some(why) = difference(item, other, strictness) {
                    lines.push(format!("{shown}: {why}"));
                }
            }
        }
    }
    let extra = right.keys().filter(|path| !left.contains_key(*path));
    lines.extend(extra.map(|path| format!("{}: only on the right", path.escape_ascii())));
    lines
}

fn difference(left: &Item, right: &Item, strictness: Strictness) -> Option<String> {
    if left.kind != right.kind {
        let sizes = (length(&left.kind), length(&right.kind));
        return Some(format!(
            "content or kind ({} and {} bytes)",
            sizes.0, sizes.1
        ));
    }
    if left.mode != right.mode {
        return Some(format!("mode {:o} and {:o}", left.mode, right.mode));
    }
    let times = strictness == Strictness::Times && left.kind != Kind::Directory;
    (times && left.mtime_s != right.mtime_s)
        .then(|| format!("mtime {} and {}", left.mtime_s, right.mtime_s))
}

fn length(kind: &Kind) -> usize {
    match kind {
        Kind::File(bytes) | Kind::Link(bytes) => bytes.len(),
        Kind::Directory | Kind::Special => 0,
    }
}

/// `Ok` when both trees are equal, otherwise the first differences: for waits.
///
/// # Errors
/// The differences, or why a tree cannot be read.
pub fn equal(left: &Path, right: &Path, strictness: Strictness) -> Result<(), String> {
    none(&differences(&read(left)?, &read(right)?, strictness))
}

/// The same without directories that hold nothing: a passive keeps emptied
/// artifact directories for the deployer's sake.
///
/// # Errors
/// As [`equal`].
pub fn equal_files(left: &Path, right: &Path) -> Result<(), String> {
    let files = |root| {
        let mut snapshot = read(root)?;
        snapshot.retain(|_, item| item.kind != Kind::Directory);
        Ok::<_, String>(snapshot)
    };
    none(&differences(
        &files(left)?,
        &files(right)?,
        Strictness::Identity,
    ))
}

fn read(root: &Path) -> Result<Snapshot, String> {
    snapshot(root).map_err(|error| format!("reading {}: {error}", root.display()))
}

fn none(differences: &[String]) -> Result<(), String> {
    if differences.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = differences.iter().take(10).map(String::as_str).collect();
    Err(format!(
        "{} differences: {}",
        differences.len(),
        shown.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (side, only, text) in [(&left, "l", "one"), (&right, "r", "two")] {
            fs::write(side.path().join(only), "").unwrap();
            fs::write(side.path().join("both"), text).unwrap();
            fs::create_dir(side.path().join("same")).unwrap();
        }
        let lines = differences(
            &snapshot(left.path()).unwrap(),
            &snapshot(right.path()).unwrap(),
            Strictness::Identity,
        );
        let expected = [
            "both: content or kind (3 and 3 bytes)",
            "l: only on the left",
            "r: only on the right",
        ];
        assert_eq!(lines, expected);
    }
}
