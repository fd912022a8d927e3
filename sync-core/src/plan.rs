//! What a passive does for a generation, in which order: a value to print, test
//! and dry-run before anything is touched.
//!
//! [`check`] refuses a change list that does not lead to a tree; [`Plan`] orders
//! a checked one so that a reader, above all the hot deployer, never meets a
//! file that refers to one that is not there yet, and never misses a path that
//! exists before and after. How a step is made atomic and durable, and what
//! happens when the disk is not as expected, is the executor's.

mod changes;
mod mtime;
mod order;
mod rename;
mod summary;
#[cfg(test)]
mod tests;

use std::fmt;

pub use changes::{PlanError, apply_changes, changes_between, check};
pub use mtime::applied_mtime;
pub use summary::{Summary, SummaryAction, itemize, summarise};

use crate::{
    entry::{Entry, FileEntry, Mode},
    generation::{Action, Change},
    manifest::Manifest,
    path::RelPath,
    preset::Preset,
};

/// The steps of a generation in the order in which a passive performs them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    steps: Vec<Step>,
}

/// One step: one path becomes something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Position in the change list of the change that this step carries out.
    pub change: usize,
    /// Where.
    pub path: RelPath,
    /// What to do.
    pub work: Work,
    /// What stands there before, if anything. When the disk differs, what is
    /// found is drift and kept aside.
    pub expected: Option<Entry>,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// Makes a directory. One that is already there is taken over.
    CreateDirectory(Mode),
    /// Puts a content in place by one rename; another file or link that stood
    /// there is replaced.
    PutFile(FileEntry),
    /// Puts a symbolic link in place by one rename, as a file.
    PutSymlink(Box<[u8]>),
    /// Changes the mode only; the content is not rewritten.
    SetMode(Mode),
    /// `agreed` already has this entry: makes the disk have it too, if it does
    /// not.
    Restore(Entry),
    /// A directory takes a file's (or link's) place in one exchange.
    ReplaceFileByDirectory(Mode),
    /// A file or link takes a directory's place in one exchange. Everything
    /// below was deleted by earlier steps.
    ReplaceDirectoryByFile(Entry),
    /// Deletes a file or link.
    DeleteFile,
    /// Removes a directory; everything below was deleted by earlier steps. What
    /// an earlier generation kept in it keeps it too.
    RemoveDirectory,
    /// Leaves an emptied directory where it is, for the deployer's sake.
    KeepDirectory,
    /// `agreed` has nothing here: moves aside whatever the disk has.
    Clear,
    /// As [`Work::Clear`], but a directory stays, for the deployer's sake.
    ClearFile,
}

impl Plan {
    /// Orders `changes`, which [`check`] accepted for `agreed`.
    #[must_use]
    pub fn new<'a>(
        agreed: &Manifest,
        changes: impl IntoIterator<Item = &'a Change>,
        preset: Preset,
    ) -> Self {
        Self::with_names(agreed, changes, preset, |_| None)
    }

    /// As [`Plan::new`]; `artifact_name` knows the name of the artifact in a
    /// file: of a deleted file the old one, of any other the new one. Files of
    /// the same name count as one artifact that moves.
    #[must_use]
    pub fn with_names<'a>(
        agreed: &Manifest,
        changes: impl IntoIterator<Item = &'a Change>,
        preset: Preset,
        artifact_name: impl Fn(&RelPath) -> Option<String>,
    ) -> Self {
        Self {
            steps: order::order(agreed, changes, preset, &artifact_name),
        }
    }

    /// The steps, first to last.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// What the plan does for a change that puts a file, without the order; `None` for
/// any other change.
#[must_use]
pub fn file_work(agreed: &Manifest, change: &Change) -> Option<Work> {
    match &change.action {
        Action::Put(entry @ Entry::File(_)) => {
            let old = agreed.get(&change.path);
            Some(order::put_work(entry, old.as_ref()))
        }
        _ => None,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.work {
            Work::CreateDirectory(mode) => write!(f, "create {path}/ {:03o}", mode.bits()),
            Work::PutFile(file) => write!(
                f,
                "put {path} {:03o} {} bytes",
                file.mode.bits(),
                file.length
            ),
            Work::PutSymlink(target) => {
                write!(f, "link {path} -> {}", crate::path::escape(target))
            }
            Work::SetMode(mode) => write!(f, "mode {path} {:03o}", mode.bits()),
            Work::Restore(_) => write!(f, "restore {path}"),
            Work::ReplaceFileByDirectory(mode) => {
                write!(f, "exchange {path} for {path}/ {:03o}", mode.bits())
            }
            Work::ReplaceDirectoryByFile(_) => write!(f, "exchange {path}/ for {path}"),
            Work::DeleteFile => write!(f, "delete {path}"),
            Work::RemoveDirectory => write!(f, "remove {path}/"),
            Work::KeepDirectory => write!(f, "keep {path}/"),
            Work::Clear => write!(f, "clear {path}"),
            Work::ClearFile => write!(f, "clear {path} unless a directory"),
        }
    }
}
