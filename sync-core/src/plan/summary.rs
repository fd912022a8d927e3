//! A change list in words that people and scripts know.

use std::collections::BTreeMap;

use crate::{
    content::ContentId,
    entry::Entry,
    generation::{Action, Change},
    manifest::Manifest,
    path::RelPath,
};

/// What a change amounts to, by the name it has in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SummaryAction {
    /// A path that was not there.
    Create,
    /// Another content, or another kind of entry.
    Update,
    /// A path that goes.
    Delete,
    /// The mode only.
    Metadata,
    /// A new path with the content of a deleted one.
    Rename,
}

impl SummaryAction {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Metadata => "metadata",
            Self::Rename => "rename",
        }
    }
}

/// One line of a summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The path that changes.
    pub path: RelPath,
    /// How.
    pub action: SummaryAction,
    /// The old path of a rename.
    pub from: Option<RelPath>,
    /// Bytes of the content that is put; 0 when none is.
    pub bytes: u64,
}

/// `changes` to `agreed`, sorted by path. A rename is one line: the deletion of
/// the old path is not listed.
#[must_use]
pub fn summarise(agreed: &Manifest, changes: &[Change]) -> Vec<Summary> {
    let mut sorted: Vec<&Change> = changes.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut gone = deleted_contents(agreed, &sorted);
    let mut lines: Vec<Summary> = sorted
        .into_iter()
        .map(|change| line(change, agreed.get(&change.path).as_ref(), &mut gone))
        .collect();
    let renamed: std::collections::BTreeSet<RelPath> =
        lines.iter().filter_map(|line| line.from.clone()).collect();
    lines.retain(|line| line.action != SummaryAction::Delete || !renamed.contains(&line.path));
    lines
}

/// The deleted files by content, last path first.
type Gone<'a> = BTreeMap<ContentId, Vec<&'a RelPath>>;

fn deleted_contents<'a>(agreed: &Manifest, sorted: &[&'a Change]) -> Gone<'a> {
    let mut gone = Gone::new();
    for Change { path, action } in sorted.iter().rev().copied() {
        if let (Action::Delete, Some(Entry::File(old))) = (action, agreed.get(path)) {
            gone.entry(old.content).or_default().push(path);
        }
    }
    gone
}

fn line(change: &Change, old: Option<&Entry>, gone: &mut Gone<'_>) -> Summary {
    let Change { path, action } = change;
    let mut summary = Summary {
        path: path.clone(),
        action: SummaryAction::Delete,
        from: None,
        bytes: 0,
    };
    let Action::Put(new) = action else {
        return summary;
    };
    summary.action = match old {
        None => SummaryAction::Create,
        Some(old) if only_mode_differs(new, old) => SummaryAction::Metadata,
        Some(_) => SummaryAction::Update,
    };
    if let (Entry::File(file), true) = (new, summary.action != SummaryAction::Metadata) {
        summary.bytes = file.length;
        if old.is_none() {
            summary.from = gone.get_mut(&file.content).and_then(Vec::pop).cloned();
        }
    }
    if summary.from.is_some() {
        summary.action = SummaryAction::Rename;
    }
    summary
}

fn only_mode_differs(new: &Entry, old: &Entry) -> bool {
    match (new, old) {
        (Entry::Directory { mode: new }, Entry::Directory { mode: old }) => new != old,
        (Entry::File(new), Entry::File(old)) => new.content == old.content && new.mode != old.mode,
        _ => false,
    }
}

/// The eleven columns that rsync prints with `--itemize-changes` before a path
/// that is sent; `old` is what stands there before.
#[must_use]
pub fn itemize(change: &Change, old: Option<&Entry>) -> String {
    let Action::Put(new) = &change.action else {
        return "*deleting  ".into();
    };
    let kind = kind_letter(new);
    match old.filter(|old| kind_letter(old) == kind) {
        None => format!("{}{kind}+++++++++", sent_letter(new)),
        Some(old) => itemize_update(kind, new, old),
    }
}

fn kind_letter(entry: &Entry) -> char {
    match entry {
        Entry::Directory { .. } => 'd',
        Entry::File(_) => 'f',
        Entry::Symlink { .. } => 'L',
    }
}

/// Contents are sent; directories and links are made over there.
fn sent_letter(entry: &Entry) -> char {
    if entry.as_file().is_some() { '<' } else { 'c' }
}

fn itemize_update(kind: char, new: &Entry, old: &Entry) -> String {
    let (mut content, mut size, mut time, mut mode) = (false, false, false, false);
    match (new, old) {
        (Entry::File(new), Entry::File(old)) => {
            content = new.content != old.content;
            size = new.length != old.length;
            time = content && new.mtime != old.mtime;
            mode = new.mode != old.mode;
        }
        (Entry::Directory { mode: new }, Entry::Directory { mode: old }) => mode = new != old,
        _ => content = new != old,
    }
    if !(content || mode) {
        return format!(".{kind}         ");
    }
    let flag = |on: bool, letter: char| if on { letter } else { '.' };
    let sent = if content { sent_letter(new) } else { '.' };
    let columns = [
        flag(content, 'c'),
        flag(size, 's'),
        flag(time, 't'),
        flag(mode, 'p'),
    ];
    format!("{sent}{kind}{}.....", String::from_iter(columns))
}
