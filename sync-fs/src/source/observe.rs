//! Looks at an active node's tree and puts what was found into words.

use std::{collections::HashMap, ffi::CString, ops::ControlFlow};

use sync_core::{Entry, RelPath};

use super::{Observation, Observations, Source, State};
use crate::{
    observed::Sighting,
    root::AbsentIsNone as _,
    scan::{
        Inspect, Problem, Report, Scan, ScanError, ScanOptions, Trouble, check_place,
        look::{Look, Observer, Scratch, unreadable},
        scan, scan_below,
    },
};

/// What the looks at single paths found.
#[derive(Default)]
struct Looks {
    found: Scan,
    /// Directories to scan below, in order, none below another.
    directories: Vec<RelPath>,
    /// Where the manifest lists a directory and something else is now.
    uprooted: Vec<RelPath>,
}

impl Source {
    /// Everything that differs from the manifest. `deep` reads every content
    /// again.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn observe_all(
        &mut self,
        deep: bool,
        report: &mut Report<'_>,
    ) -> Result<Observations, ScanError> {
        self.check_identity()?;
        // Without a manifest nothing is missing, so no rename is recognised.
        let inspect = if self.accepted.is_empty() {
            Inspect::Soundness
        } else {
            Inspect::SoundnessAndNames
        };
        let options = ScanOptions {
            deep,
            threads: self.options.threads,
            inspect,
            ..self.scan_options()
        };
        let found = scan(&self.root, &self.accepted, options, report)?;
        Ok(self.take_in(found))
    }

    /// What differs from the manifest at `paths` and, where directories stand or
    /// stood there, below them. A directory on the way that the manifest does
    /// not list is looked at as well. A path of which nothing is said is as the
    /// manifest has it.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn observe(&mut self, paths: &[RelPath]) -> Result<Observations, ScanError> {
        self.check_identity()?;
        check_place(&self.root)?;
        let looks = self.look_at_all(&self.with_unlisted_parents(paths))?;
        let mut go_on = |_| ControlFlow::Continue(());
        let mut found = scan_below(
            &self.root,
            &looks.directories,
            &self.accepted,
            self.scan_options(),
            &mut go_on,
        )?;
        check_place(&self.root)?;
        found.append(looks.found);
        self.uproot(&mut found, looks.uprooted);
        found.sort();
        Ok(self.take_in(found))
    }

    /// A manifest is never compared with a directory that it was not made from.
    fn check_identity(&self) -> Result<(), ScanError> {
        if self.root.identity().map_err(ScanError::Root)? == self.identity {
            Ok(())
        } else {
            Err(ScanError::RootReplaced { path: self.shown() })
        }
    }

    fn scan_options(&self) -> ScanOptions<'_> {
        ScanOptions {
            exclude: &self.options.exclude,
            preset: self.options.preset,
            deep: false,
            threads: 1,
            inspect: Inspect::SoundnessAndNames,
            agreed: None,
        }
    }

    /// `paths` and the directories above them that the manifest does not list,
    /// each once and in order.
    fn with_unlisted_parents(&self, paths: &[RelPath]) -> Vec<RelPath> {
        let mut all = paths.to_vec();
        for path in paths {
            let mut above = path.parent();
            while let Some(parent) = above.filter(|parent| self.accepted.seen(parent).is_none()) {
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
        let mut scratch = Scratch::new(&read);
        let observer = Observer {
            previous: &self.accepted,
            options: self.scan_options(),
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
        observer.look(&directory, &name, path.as_bytes(), scratch)
    }

    fn note(&self, path: &RelPath, look: Look<'_>, looks: &mut Looks) {
        let before = self.manifest().get(path);
        let was_directory = before.is_some_and(Entry::is_directory);
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
        if uprooted.is_empty() {
            return;
        }
        uprooted.sort_unstable();
        for path in self.accepted.below(&uprooted) {
            let is_directory = self.manifest().get(path).is_some_and(Entry::is_directory);
            self.miss(found, path.clone(), is_directory);
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

    /// Takes up what is refreshed, and makes observations of the rest.
    fn take_in(&mut self, mut found: Scan) -> Observations {
        let refreshed = std::mem::take(&mut found.refreshed);
        let count = refreshed.len();
        refreshed
            .into_iter()
            .for_each(|sighting| self.accepted.put(sighting));
        let (ignored, troubled): (Vec<_>, Vec<_>) = std::mem::take(&mut found.problems)
            .into_iter()
            .partition(|problem| matches!(problem.trouble, Trouble::Symlink | Trouble::Special));
        let excluded = std::mem::take(&mut found.excluded).into_iter();
        // Of a path found twice the first counts: a directory that went while it
        // was listed is unstable, not present.
        let mut list: Vec<Observation> = troubled.into_iter().map(troubled_observation).collect();
        list.extend(found.gone.iter().filter_map(|path| self.missing(path)));
        list.extend(excluded.map(|path| Observation {
            path,
            state: State::Excluded,
        }));
        let (illegal_names, work) = (std::mem::take(&mut found.illegal_names), found.work);
        list.extend(present(found));
        list.sort_by(|a, b| a.path.cmp(&b.path));
        list.dedup_by(|a, b| a.path == b.path);
        Observations {
            list,
            ignored,
            illegal_names,
            refreshed: count,
            work,
        }
    }

    fn missing(&self, path: &RelPath) -> Option<Observation> {
        let entry = self.manifest().get(path)?.clone();
        let artifact = self.artifacts.get(path).map(|name| name.to_string());
        Some(Observation {
            path: path.clone(),
            state: State::Missing { entry, artifact },
        })
    }
}

fn troubled_observation(problem: Problem) -> Observation {
    let state = match problem.trouble {
        Trouble::Unstable => State::Unstable,
        trouble => State::Unreadable(trouble),
    };
    Observation {
        path: problem.path,
        state,
    }
}

/// The changed entries, with what was learnt of their contents.
fn present(found: Scan) -> impl Iterator<Item = Observation> {
    let mut faults: HashMap<_, _> = found.ill_formed.into_iter().collect();
    let mut artifacts: HashMap<_, _> = found.artifacts.into_iter().collect();
    found.changed.into_iter().map(move |sighting| {
        let Sighting { path, entry, seen } = sighting;
        let state = match faults.remove(&path) {
            Some(fault) => State::IllFormed(fault),
            None => State::Present {
                entry,
                seen,
                artifact: artifacts.remove(&path),
            },
        };
        Observation { path, state }
    })
}
