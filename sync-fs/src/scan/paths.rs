//! Looks at single paths, and below those that are directories: what a watcher's
//! hints ask for.

use std::{ffi::CString, ops::ControlFlow};

use sync_core::{Entry, RelPath};

use super::{
    Problem, Scan, ScanError, ScanOptions, Trouble, check_place,
    look::{Look, Name, Observer, Scratch, unreadable},
    scan_below,
};
use crate::{
    observed::Observed,
    recipes::Recipes,
    root::{AbsentIsNone as _, Root},
};

/// Scans `paths` and, where directories stand or stood there, what is below
/// them. A directory on the way that was not known is looked at as well. A large
/// file at one of `paths` is cut like what `recipes` has of it while it is hashed.
///
/// # Errors
/// As [`scan`](super::scan).
pub(crate) fn scan_paths(
    root: &Root,
    paths: &[RelPath],
    previous: &Observed,
    options: ScanOptions<'_>,
    recipes: Option<&Recipes>,
) -> Result<Scan, ScanError> {
    check_place(root)?;
    let looking = Looking {
        root,
        previous,
        options,
        recipes,
    };
    let looks = looking.look_at_all(&looking.with_unlisted_parents(paths))?;
    let mut go_on = |_| ControlFlow::Continue(());
    let mut found = scan_below(root, &looks.directories, previous, options, &mut go_on)?;
    check_place(root)?;
    found.append(looks.found);
    found.directories.extend(looks.directories);
    looking.uproot(&mut found, looks.uprooted);
    found.sort();
    Ok(found)
}

/// What the looks at single paths found.
#[derive(Default)]
struct Looks {
    found: Scan,
    /// Directories to scan below, in order, none below another.
    directories: Vec<RelPath>,
    /// Where the manifest lists a directory and something else is now.
    uprooted: Vec<RelPath>,
}

/// The tree that is looked at, and what was known of it.
#[derive(Clone, Copy)]
struct Looking<'a> {
    root: &'a Root,
    previous: &'a Observed,
    options: ScanOptions<'a>,
    recipes: Option<&'a Recipes>,
}

impl Looking<'_> {
    /// `paths` and the directories above them that the manifest does not list,
    /// each once and in order.
    fn with_unlisted_parents(&self, paths: &[RelPath]) -> Vec<RelPath> {
        let mut all = paths.to_vec();
        for path in paths {
            let mut above = path.parent();
            while let Some(parent) = above.filter(|parent| self.previous.seen(parent).is_none()) {
                above = parent.parent();
                all.push(parent);
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Looks at `paths`, which are in order.
    fn look_at_all(&self, paths: &[RelPath]) -> Result<Looks, ScanError> {
        let read = |_| ControlFlow::Continue(());
        let mut scratch = Scratch::new(&read).cutting_like(self.recipes);
        let observer = Observer {
            previous: self.previous,
            options: self.options,
            mount: self.root.mount().map_err(ScanError::Root)?,
        };
        let mut looks = Looks::default();
        for path in paths {
            // A directory sorts before what is below it, which its scan finds.
            if !looks
                .directories
                .iter()
                .any(|above| path.starts_with(above))
            {
                let look = self.look(path, observer, &mut scratch);
                self.note(path, look, &mut looks);
            }
        }
        looks.found.recipes = scratch.take_recipes();
        let work = scratch.take_work();
        looks.found.work.entries = work.entries;
        looks.found.work.hashed = work.hashed;
        Ok(looks)
    }

    fn look<'a>(
        &self,
        path: &RelPath,
        observer: Observer<'a>,
        scratch: &mut Scratch<'_>,
    ) -> Look<'a> {
        let trouble = |trouble| Look::Trouble {
            path: path.clone(),
            trouble,
        };
        let parent = path.parent();
        let directory = match self.root.directory(parent.as_ref()).absent_is_none() {
            Ok(Some(directory)) => directory,
            Ok(None) => return Look::Nothing,
            Err(error) => return trouble(unreadable(&error.source)),
        };
        match directory.mount() {
            Ok(mount) if mount == observer.mount => {}
            Ok(_) => return trouble(Trouble::OtherMount),
            Err(error) => return trouble(unreadable(&error.into())),
        }
        let name = CString::new(path.file_name()).expect("a path holds no NUL");
        let known = observer.previous.known(path.as_bytes());
        let found = Name {
            directory: &directory,
            name: &name,
            path: path.as_bytes(),
        };
        observer.look(found, known, scratch)
    }

    fn note(&self, path: &RelPath, look: Look<'_>, looks: &mut Looks) {
        let before = self.previous.manifest().get(path);
        let was_directory = before.as_ref().is_some_and(Entry::is_directory);
        let uprooted = match look {
            Look::Same(_) => false,
            Look::Illegal(name, error) => {
                looks.found.illegal_names.push((name, error));
                false
            }
            Look::Entry {
                sighting,
                verdict,
                xml,
                ..
            } => {
                let is_directory = sighting.entry.is_directory();
                if is_directory {
                    looks.directories.push(path.clone());
                }
                looks.found.sight(sighting, verdict, xml);
                !is_directory
            }
            Look::Trouble { path, trouble } => {
                let taken = !trouble.keeps_the_known();
                if taken && before.is_some() {
                    looks.found.gone.push(path.clone());
                }
                looks.found.problems.push(Problem { path, trouble });
                taken
            }
            Look::Nothing => {
                if before.is_some() {
                    self.miss(&mut looks.found, path.clone(), was_directory);
                }
                true
            }
        };
        if uprooted && was_directory {
            looks.uprooted.push(path.clone());
        }
    }

    /// Everything known below the `uprooted` directories is missing.
    fn uproot(&self, found: &mut Scan, mut uprooted: Vec<RelPath>) {
        if self.previous.count_below(&uprooted) == 0 {
            return;
        }
        uprooted.sort_unstable();
        for known in self.previous.below(&uprooted) {
            self.miss(found, known.path(), known.is_directory());
        }
        found.gone.sort_unstable();
        found.gone.dedup(); // it may have been asked for itself
    }

    fn miss(&self, found: &mut Scan, path: RelPath, is_directory: bool) {
        if self.options.exclude.matches(&path, is_directory) {
            found.excluded.push(path);
        } else {
            found.gone.push(path);
        }
    }
}
