//! What an interruption left in the staging directory.
//!
//! A name there may hold a content that was on its way into the tree, or, after
//! an exchange, what stood in the tree before. What is known goes; what nobody
//! knows is kept aside, for it may be somebody's only copy.

use std::collections::BTreeSet;

use sync_core::{Action, ContentId, Generation, Mode, RelPath, journal::Commit, manifest::Record};

use super::{
    aside::{Aside, AsideRun},
    contents::{Contents, STAGING, Staged, finished_name, hash, staging},
};
use crate::{
    observed::Observed,
    root::{AbsentIsNone, Cause, DiskError, Kind, Listed, Root, Target},
};

/// The mode of a file that is still being filled; see [`Root::create_file`].
const UNFINISHED: u32 = 0o600;

#[derive(Debug)]
pub(super) struct SortedOut {
    pub(super) removed: u32,
    pub(super) kept_aside: Vec<Aside>,
}

/// Finds the finished contents, removes what is known, keeps the rest aside.
/// `durable` is the last generation that was, where that is known for sure: what
/// was made for a later one has never been exchanged with the tree.
pub(super) fn sort_out(
    work: &Root,
    agreed: &Observed,
    contents: &mut Contents,
    commits: &[Commit],
    durable: Option<Generation>,
) -> Result<SortedOut, DiskError> {
    let generation = commits
        .last()
        .map_or(Generation(0), |commit| commit.header.generation);
    let mut sorting = Sorting {
        work,
        agreed,
        commits,
        durable,
        known: None,
        aside: AsideRun::new(generation),
        removed: 0,
    };
    let directory = RelPath::new(STAGING).expect("a legal name");
    for listed in work.list(Some(&directory))? {
        sorting.sort(&listed, contents)?;
    }
    Ok(SortedOut {
        removed: sorting.removed,
        kept_aside: sorting.aside.into_kept(),
    })
}

struct Sorting<'a> {
    work: &'a Root,
    agreed: &'a Observed,
    commits: &'a [Commit],
    durable: Option<Generation>,
    /// Every content that the tree has or will have; worked out when needed.
    known: Option<BTreeSet<ContentId>>,
    aside: AsideRun,
    removed: u32,
}

impl Sorting<'_> {
    fn sort(&mut self, listed: &Listed, contents: &mut Contents) -> Result<(), DiskError> {
        let name = staging(&listed.name);
        match (Staged::of(&listed.name), listed.stat.kind) {
            (Staged::Partial(id), Kind::File) => {
                contents.found_partial(id); // the next attempt builds on it
                Ok(())
            }
            (Staged::Finished(id), Kind::File) => {
                let content = self.content(&finished_name(&id))?;
                if content == Some(id) {
                    contents.found(id);
                    return Ok(());
                }
                self.remove_if_known(&name, content)
            }
            (Staged::Replacement(of), Kind::File) if self.durable.is_some_and(|it| of > it) => {
                self.remove(&name)
            }
            (_, Kind::Directory) => self.remove_directory(&name),
            (_, Kind::File) if listed.stat.mode != Mode::new(UNFINISHED) => {
                let content = self.content(&name)?;
                self.remove_if_known(&name, content)
            }
            _ => self.remove(&name),
        }
    }

    fn content(&self, name: &RelPath) -> Result<Option<ContentId>, DiskError> {
        let file = self.work.open_file(name).absent_is_none()?;
        let hashed = file.map(|file| hash(&file)).transpose()?.flatten();
        Ok(hashed.map(|hashed| hashed.content))
    }

    fn remove_if_known(
        &mut self,
        name: &RelPath,
        content: Option<ContentId>,
    ) -> Result<(), DiskError> {
        if content.is_some_and(|content| self.known().contains(&content)) {
            self.remove(name)
        } else {
            self.keep(name)
        }
    }

    fn known(&mut self) -> &BTreeSet<ContentId> {
        self.known.get_or_insert_with(|| {
            let in_tree = self.agreed.manifest().iter().filter_map(Record::file);
            let placed = self.commits.iter().flat_map(|commit| &commit.changes);
            let committed = placed.filter_map(|placed| match &placed.change.action {
                Action::Put(entry) => entry.as_file().copied(),
                Action::Delete => None,
            });
            let files = in_tree.chain(committed);
            let empty = ContentId::of(b"");
            files.map(|file| file.content).chain([empty]).collect()
        })
    }

    fn remove(&mut self, name: &RelPath) -> Result<(), DiskError> {
        self.removed += 1;
        self.work.remove_file(name).absent_is_none().map(|_| ())
    }

    fn remove_directory(&mut self, name: &RelPath) -> Result<(), DiskError> {
        match self.work.remove_directory(name) {
            Err(error) if error.cause() == Cause::NotEmpty => self.keep(name),
            result => {
                self.removed += 1;
                result
            }
        }
    }

    fn keep(&mut self, name: &RelPath) -> Result<(), DiskError> {
        let aside = self.aside.name_for(self.work, name)?;
        self.work.rename(name, self.work, &aside, Target::Free)?;
        self.aside.note(name, aside);
        Ok(())
    }
}
