//! The first generation of a passive: a thousand artifacts and their contents.

use std::{collections::BTreeMap, os::unix::ffi::OsStrExt as _};

use sync_core::{
    Action, Change, ContentId, Entry, Epoch, FileEntry, Generation, GenerationHeader, Manifest,
    Mode, Mtime, RelPath, Root, TreeName, plan::apply_changes,
};
use sync_tests::artifacts::{Api, FILES_PER_API};

/// Artifacts in the generation.
pub(crate) const FILES: usize = 1_000;
/// Bytes that each has at least: the median of real ones.
const BYTES: u64 = 1_042;

/// A generation that fills an empty tree.
pub(crate) struct Fill {
    pub(crate) header: GenerationHeader,
    pub(crate) changes: Vec<Change>,
    /// By position in the change list.
    pub(crate) contents: BTreeMap<u32, Vec<u8>>,
}

impl Fill {
    pub(crate) fn new() -> Self {
        let directories = ["", "/api", "/endpoints", "/sequences"].map(directory);
        let mut changes = Vec::from(directories);
        let mut contents = BTreeMap::new();
        for (position, (path, content)) in (4..).zip(artifacts()) {
            changes.push(put(path, file(&content)));
            contents.insert(position, content);
        }
        Self {
            header: header(&changes),
            changes,
            contents,
        }
    }
}

fn artifacts() -> impl Iterator<Item = (RelPath, Vec<u8>)> {
    let apis = (0..FILES / FILES_PER_API).map(|number| Api::new(&number.to_string(), BYTES));
    let files = apis.flat_map(|api| api.files());
    files.map(|(path, content)| (legal(path.as_os_str().as_bytes()), content.into_bytes()))
}

fn header(changes: &[Change]) -> GenerationHeader {
    GenerationHeader {
        tree: TreeName::new("synapse-configs").expect("a legal name"),
        epoch: Epoch(1),
        generation: Generation(1),
        base: Root::empty(),
        root: apply_changes(&Manifest::new(), changes).root(),
    }
}

fn directory(below: &str) -> Change {
    let mode = Mode::new(0o755);
    put(
        legal(format!("default{below}").as_bytes()),
        Entry::Directory { mode },
    )
}

fn file(content: &[u8]) -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime {
            seconds: 1_790_000_000,
            nanoseconds: 123_456_789,
        },
        length: content.len() as u64,
        content: ContentId::of(content),
    })
}

fn put(path: RelPath, entry: Entry) -> Change {
    let action = Action::Put(entry);
    Change { path, action }
}

fn legal(path: &[u8]) -> RelPath {
    RelPath::new(path).expect("a legal path")
}
