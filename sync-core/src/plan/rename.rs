//! Artifacts that move to another file name within one generation.
//!
//! The deployer must meet the deletion before the new file, or it takes the new
//! file for a duplicate and moves it away. An artifact is known by its content
//! or by its name, and never leaves its directory.

use std::collections::BTreeMap;

use super::{Step, Work};
use crate::{artifact, content::ContentId, entry::Entry, path::RelPath, preset::Preset};

/// A file to be deleted.
pub(super) struct Candidate<'a> {
    pub(super) path: &'a RelPath,
    pub(super) entry: Option<&'a Entry>,
}

/// Which deletions wait for a new file of the same artifact, by directory and
/// content or name. Values are positions among the deletions.
#[derive(Default)]
pub(super) struct Renames {
    by_content: BTreeMap<(Option<RelPath>, ContentId), Vec<usize>>,
    by_name: BTreeMap<(Option<RelPath>, String), Vec<usize>>,
    taken: Vec<bool>,
}

impl Renames {
    /// Finds nothing in a plain tree, whose readers need no such order.
    pub(super) fn new<'a>(
        preset: Preset,
        deletes: impl Iterator<Item = Candidate<'a>>,
        artifact_name: &dyn Fn(&RelPath) -> Option<String>,
    ) -> Self {
        let mut renames = Self::default();
        if !preset.is_deployed() {
            return renames;
        }
        for (at, Candidate { path, entry }) in deletes.enumerate() {
            renames.taken.push(false);
            if artifact::rank(path).is_some() {
                let parent = path.parent();
                if let Some(file) = entry.and_then(Entry::as_file) {
                    let key = (parent.clone(), file.content);
                    renames.by_content.entry(key).or_default().push(at);
                }
                if let Some(name) = artifact_name(path) {
                    renames.by_name.entry((parent, name)).or_default().push(at);
                }
            }
        }
        renames
    }

    /// The deletion that belongs right before `step`, if any; each is given
    /// once.
    pub(super) fn delete_before(
        &mut self,
        step: &Step,
        artifact_name: &dyn Fn(&RelPath) -> Option<String>,
    ) -> Option<usize> {
        let Work::PutFile(file) = &step.work else {
            return None;
        };
        if self.by_content.is_empty() && self.by_name.is_empty() {
            return None;
        }
        let parent = step.path.parent();
        let same_content = match step.expected {
            None => self.by_content.get(&(parent.clone(), file.content)),
            Some(_) => None, // an update keeps the name it has
        };
        let free = |waiting: Option<&Vec<usize>>, taken: &[bool]| {
            waiting.and_then(|waiting| waiting.iter().copied().find(|&at| !taken[at]))
        };
        let at = free(same_content, &self.taken).or_else(|| {
            let name = artifact_name(&step.path)?;
            free(self.by_name.get(&(parent, name)), &self.taken)
        })?;
        self.taken[at] = true;
        Some(at)
    }
}
