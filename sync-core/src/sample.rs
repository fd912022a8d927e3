//! Trees and change lists as text, for the tests of the rules.
//!
//! One line a path: `dir/`, `dir/ 700`, `file content`, `file content 600` or
//! `link -> target`. In a change list a put begins with `+`, a deletion with `-`.

use crate::{
    content::ContentId,
    entry::{Entry, FileEntry, Mode, Mtime},
    generation::{Action, Change, TreeName},
    manifest::Manifest,
    path::RelPath,
};

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub(crate) fn tree_name() -> TreeName {
    TreeName::new("synapse-configs").unwrap()
}

pub(crate) fn file(content: &str) -> Entry {
    file_with(content, 0o644)
}

fn file_with(content: &str, mode: u32) -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(mode),
        mtime: Mtime::default(),
        length: content.len() as u64,
        content: ContentId::of(content.as_bytes()),
    })
}

pub(crate) fn directory() -> Entry {
    directory_with(0o755)
}

fn directory_with(mode: u32) -> Entry {
    Entry::Directory {
        mode: Mode::new(mode),
    }
}

/// A manifest; missing parent directories are added.
pub(crate) fn tree(text: &str) -> Manifest {
    let listed: Vec<_> = lines(text).map(entry).collect();
    let mut manifest = Manifest::new();
    for (path, _) in &listed {
        for above in std::iter::successors(path.parent(), RelPath::parent) {
            manifest.insert(above, directory());
        }
    }
    for (path, entry) in listed {
        manifest.insert(path, entry);
    }
    manifest
}

pub(crate) fn changes(text: &str) -> Vec<Change> {
    lines(text).map(change).collect()
}

fn change(line: &str) -> Change {
    match line.split_at(2) {
        ("- ", rest) => Change {
            path: path(rest.trim_end_matches('/')),
            action: Action::Delete,
        },
        ("+ ", rest) => {
            let (path, entry) = entry(rest);
            let action = Action::Put(entry);
            Change { path, action }
        }
        _ => panic!("not a change: {line}"),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn entry(line: &str) -> (RelPath, Entry) {
    let mode = |text: Option<&&str>, default| {
        text.map_or(default, |text| u32::from_str_radix(text, 8).unwrap())
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [name, "->", target] => {
            let target = target.as_bytes().into();
            (path(name), Entry::Symlink { target })
        }
        [name, ref rest @ ..] if name.ends_with('/') => (
            path(name.trim_end_matches('/')),
            directory_with(mode(rest.first(), 0o755)),
        ),
        [name, content, ref rest @ ..] => {
            (path(name), file_with(content, mode(rest.first(), 0o644)))
        }
        _ => panic!("not an entry: {line}"),
    }
}
