//! A tree as a plain map: what an active would have.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

use sync_core::{ContentId, Entry, FileEntry, Manifest, Mode, Mtime, RelPath};

/// One path of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    File {
        content: Vec<u8>,
        mode: u32,
        seconds: i64,
    },
    Directory(u32),
    Link(Vec<u8>),
}

/// A whole tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Model(pub(crate) BTreeMap<RelPath, Item>);

/// When files of the model were changed unless a test says otherwise.
pub(crate) const SECONDS: i64 = 1_700_000_000;

pub(crate) fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text.as_ref()).unwrap()
}

impl Model {
    /// Writes a file, with every directory above it.
    pub(crate) fn file(&mut self, at: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.file_at(at, content, SECONDS)
    }

    pub(crate) fn file_at(
        &mut self,
        at: &str,
        content: impl AsRef<[u8]>,
        seconds: i64,
    ) -> &mut Self {
        let item = Item::File {
            content: content.as_ref().to_vec(),
            mode: 0o644,
            seconds,
        };
        self.item(path(at), item)
    }

    pub(crate) fn directory(&mut self, at: &str) -> &mut Self {
        self.item(path(at), Item::Directory(0o755))
    }

    pub(crate) fn item(&mut self, at: RelPath, item: Item) -> &mut Self {
        let mut above = at.parent();
        while let Some(directory) = above {
            above = directory.parent();
            self.0.entry(directory).or_insert(Item::Directory(0o755));
        }
        self.0.insert(at, item);
        self
    }

    /// Removes a path and everything below it.
    pub(crate) fn remove(&mut self, at: &str) -> &mut Self {
        let at = path(at);
        self.0.retain(|path, _| !path.starts_with(&at));
        self
    }

    pub(crate) fn chmod(&mut self, at: &str, bits: u32) -> &mut Self {
        match self.0.get_mut(&path(at)).unwrap() {
            Item::File { mode, .. } | Item::Directory(mode) => *mode = bits,
            Item::Link(_) => panic!("links have no mode"),
        }
        self
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> &mut Self {
        let (from, to) = (path(from), path(to));
        let moved: Vec<_> = self
            .0
            .keys()
            .filter(|at| at.starts_with(&from))
            .cloned()
            .collect();
        for old in moved {
            let item = self.0.remove(&old).unwrap();
            let rest = &old.as_bytes()[from.as_bytes().len()..];
            self.item(path([to.as_bytes(), rest].concat()), item);
        }
        self
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest::from_entries(
            self.0
                .iter()
                .map(|(path, item)| (path.clone(), item.entry())),
        )
    }

    pub(crate) fn content(&self, at: &RelPath) -> &[u8] {
        match &self.0[at] {
            Item::File { content, .. } => content,
            other => panic!("{at} is no file but {other:?}"),
        }
    }

    /// What stands under `root`, times left out.
    pub(crate) fn of_disk(root: &Path) -> Self {
        let mut model = Self::default();
        model.walk(root, None);
        model
    }

    fn walk(&mut self, directory: &Path, at: Option<&RelPath>) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        for found in fs::read_dir(directory).unwrap() {
            let found = found.unwrap();
            let name = found.file_name();
            let own = match at {
                Some(at) => at.join(name.as_bytes()).unwrap(),
                None => path(name.as_bytes()),
            };
            let meta = found.path().symlink_metadata().unwrap();
            let mode = meta.mode() & 0o777;
            let item = if meta.is_dir() {
                self.walk(&found.path(), Some(&own));
                Item::Directory(mode)
            } else if meta.is_symlink() {
                let target = fs::read_link(found.path()).unwrap();
                Item::Link(target.into_os_string().into_vec())
            } else {
                Item::File {
                    content: fs::read(found.path()).unwrap(),
                    mode,
                    seconds: SECONDS,
                }
            };
            self.0.insert(own, item);
        }
    }

    /// The model with all times the same, to compare with a disk.
    pub(crate) fn timeless(&self) -> Self {
        let mut model = self.clone();
        for item in model.0.values_mut() {
            if let Item::File { seconds, .. } = item {
                *seconds = SECONDS;
            }
        }
        model
    }
}

impl Item {
    fn entry(&self) -> Entry {
        match self {
            Self::File {
                content,
                mode,
                seconds,
            } => Entry::File(FileEntry {
                mode: Mode::new(*mode),
                mtime: Mtime {
                    seconds: *seconds,
                    nanoseconds: 5,
                },
                length: content.len() as u64,
                content: ContentId::of(content),
            }),
            Self::Directory(mode) => Entry::Directory {
                mode: Mode::new(*mode),
            },
            Self::Link(target) => Entry::Symlink {
                target: target.as_slice().into(),
            },
        }
    }
}
