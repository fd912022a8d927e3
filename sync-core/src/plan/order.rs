//! The order of a generation's steps.
//!
//! Directories come first, parents before children; then files in the
//! deployer's order, each deletion of a renamed artifact right before its new
//! file; then the other deletions in reverse order; then directories, deepest
//! first. Modes that would lock the owner out of a directory come last of all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Step, Work,
    rename::{Candidate, Renames},
};
use crate::{
    artifact,
    entry::{Entry, Mode},
    generation::{Action, Change},
    manifest::Manifest,
    path::RelPath,
    preset::Preset,
};

/// What an owner needs on a directory to work in it.
const OWNER_WORKS: u32 = 0o300;

pub(super) fn order<'a>(
    agreed: &Manifest,
    changes: impl IntoIterator<Item = &'a Change>,
    preset: Preset,
    artifact_name: &dyn Fn(&RelPath) -> Option<String>,
) -> Vec<Step> {
    let mut phases = Phases::default();
    for (index, change) in changes.into_iter().enumerate() {
        phases.take(index, change, agreed.get(&change.path).as_ref());
    }
    phases.sort(preset);
    let mut below = phases.split_exchanged();
    if preset.is_deployed() {
        keep_directories(&mut phases.last, preset);
    }
    let mut deletes: Vec<Option<Step>> = phases.deletes.into_iter().map(Some).collect();
    let mut renames = Renames::new(preset, candidates(&deletes), artifact_name);

    let mut steps = phases.directories;
    for step in phases.files {
        if let Some(delete) = renames.delete_before(&step, artifact_name) {
            steps.extend(deletes[delete].take());
        }
        steps.extend(below.remove(&step.path).into_iter().flatten());
        steps.push(step);
    }
    steps.extend(deletes.into_iter().rev().flatten());
    steps.extend(phases.last);
    steps.extend(phases.modes);
    steps
}

/// Steps by the phase they belong to.
#[derive(Default)]
struct Phases {
    directories: Vec<Step>,
    files: Vec<Step>,
    deletes: Vec<Step>,
    /// Directories to remove, and paths to clear of what was never agreed.
    last: Vec<Step>,
    /// Modes of directories that their owner cannot work in.
    modes: Vec<Step>,
}

impl Phases {
    fn take(&mut self, change: usize, Change { path, action }: &Change, old: Option<&Entry>) {
        let step = |work| Step {
            change,
            path: path.clone(),
            work,
            expected: old.cloned(),
        };
        match (action, old) {
            (Action::Put(new @ Entry::Directory { .. }), Some(old)) if new == old => {
                self.directories.push(step(Work::Restore(new.clone())));
            }
            (Action::Put(Entry::Directory { mode }), _) => self.directory(*mode, old, step),
            (Action::Put(entry), _) => self.files.push(step(put_work(entry, old))),
            (Action::Delete, Some(Entry::Directory { .. })) => {
                self.last.push(step(Work::RemoveDirectory));
            }
            (Action::Delete, Some(_)) => self.deletes.push(step(Work::DeleteFile)),
            (Action::Delete, None) => self.last.push(step(Work::Clear)),
        }
    }

    /// A directory that is new or has a new mode. One that its owner could not
    /// work in gets its mode when everything else is done.
    fn directory(&mut self, mode: Mode, old: Option<&Entry>, step: impl Fn(Work) -> Step) {
        let open = Mode::new(mode.bits() | OWNER_WORKS);
        let opened = Entry::Directory { mode: open };
        let first = match old {
            None => Work::CreateDirectory(open),
            Some(Entry::Directory { .. }) => Work::SetMode(open),
            Some(_) => Work::ReplaceFileByDirectory(open),
        };
        if old != Some(&opened) {
            self.directories.push(step(first));
        }
        if open != mode {
            self.modes.push(Step {
                expected: Some(opened),
                ..step(Work::SetMode(mode))
            });
        }
    }

    fn sort(&mut self, preset: Preset) {
        let rank = |path: &RelPath| match preset {
            Preset::Synapse | Preset::Tenants => artifact::rank(path),
            Preset::Plain => None,
        };
        self.directories.sort_by(|a, b| a.path.cmp(&b.path));
        for steps in [&mut self.files, &mut self.deletes] {
            steps.sort_by(|a, b| a.path.cmp(&b.path)); // mostly so already
            steps.sort_by_cached_key(|step| rank(&step.path)); // stable
        }
        self.last.sort_by(|a, b| b.path.cmp(&a.path));
        self.modes.sort_by(|a, b| b.path.cmp(&a.path));
    }

    /// Takes out the deletions below directories that become files: they come
    /// right before the exchange, and nothing of them can be kept.
    fn split_exchanged(&mut self) -> BTreeMap<RelPath, Vec<Step>> {
        let mut below: BTreeMap<RelPath, Vec<Step>> = self
            .files
            .iter()
            .filter(|step| matches!(step.work, Work::ReplaceDirectoryByFile(_)))
            .map(|step| (step.path.clone(), Vec::new()))
            .collect();
        if below.is_empty() {
            return below;
        }
        let deletes = std::mem::take(&mut self.deletes);
        for step in deletes.into_iter().rev() {
            sort_below(step, &mut below, &mut self.deletes);
        }
        self.deletes.reverse();
        for step in std::mem::take(&mut self.last) {
            sort_below(step, &mut below, &mut self.last);
        }
        below
    }
}

/// A deletion belongs to the exchanged directory above it, or to `others`.
fn sort_below(step: Step, below: &mut BTreeMap<RelPath, Vec<Step>>, others: &mut Vec<Step>) {
    let above = std::iter::successors(step.path.parent(), RelPath::parent);
    match above.into_iter().find(|above| below.contains_key(above)) {
        Some(above) => below.entry(above).or_default().push(step),
        None => others.push(step),
    }
}

/// What puts `entry`, which is no directory, where `old` is agreed.
pub(super) fn put_work(entry: &Entry, old: Option<&Entry>) -> Work {
    match (entry, old) {
        (entry, Some(old)) if entry.same_identity(old) => Work::Restore(entry.clone()),
        (entry, Some(Entry::Directory { .. })) => Work::ReplaceDirectoryByFile(entry.clone()),
        (Entry::File(new), Some(Entry::File(old))) if new.content == old.content => {
            Work::SetMode(new.mode)
        }
        (Entry::File(new), _) => Work::PutFile(*new),
        (Entry::Symlink { target }, _) => Work::PutSymlink(target.clone()),
        (Entry::Directory { mode }, _) => Work::CreateDirectory(*mode),
    }
}

/// Of directories to go, deepest first: artifact directories stay, and so do
/// those above them.
fn keep_directories(last: &mut [Step], preset: Preset) {
    let mut above_kept = BTreeSet::new();
    for step in last {
        if artifact::is_kept_directory(&step.path, preset) || above_kept.contains(&step.path) {
            above_kept.extend(step.path.parent());
            step.work = match step.work {
                Work::RemoveDirectory => Work::KeepDirectory,
                _ => Work::ClearFile,
            };
        }
    }
}

fn candidates(deletes: &[Option<Step>]) -> impl Iterator<Item = Candidate<'_>> {
    deletes.iter().flatten().map(|step| Candidate {
        path: &step.path,
        entry: step.expected.as_ref(),
    })
}
