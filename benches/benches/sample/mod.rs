//! The manifest of a synapse tree as API Manager makes it, without a disk.

use sync_core::{ContentId, Entry, FileEntry, Manifest, Mode, Mtime, RelPath};

/// A manifest of `files` files in the directory that they are in.
pub(crate) fn manifest(files: u32) -> Manifest {
    let files = (0..files).map(|number| file(number, 0));
    let directories = ["default", "default/api"].map(directory);
    Manifest::from_entries(directories.into_iter().chain(files))
}

fn directory(at: &str) -> (RelPath, Entry) {
    let mode = Mode::new(0o755);
    (path(at), Entry::Directory { mode })
}

/// One revision of one file.
pub(crate) fn file(number: u32, revision: u32) -> (RelPath, Entry) {
    let at = format!("default/api/admin--PizzaShack{number:06}_v1.0.0.xml");
    let entry = FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime {
            seconds: 1_790_000_000 + i64::from(revision),
            nanoseconds: 123_456_789,
        },
        length: 1_042,
        content: ContentId::of(format!("{number} {revision}").as_bytes()),
    };
    (path(&at), Entry::File(entry))
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a legal path")
}
