//! Looks at an active node's tree and puts what was found into words.

use std::collections::HashMap;

use sync_core::RelPath;

use super::{Observation, Observations, Source, State};
use crate::{
    observed::Sighting,
    scan::{Inspect, Problem, Report, Scan, ScanError, ScanOptions, Trouble, scan, scan_paths},
};

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
    /// stood there, below them, and which directories these are. A path of which nothing is said is as the
    /// manifest has it.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn observe(&mut self, paths: &[RelPath]) -> Result<Observations, ScanError> {
        self.check_identity()?;
        let recipes = Some(&self.recipes);
        let options = self.scan_options();
        let mut found = scan_paths(&self.root, paths, &self.accepted, options, recipes)?;
        // What comes of one look is accepted before the next, or not at all.
        self.recipes.none_comes();
        for recipe in std::mem::take(&mut found.recipes) {
            self.recipes.comes(recipe);
        }
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

    /// Takes up what is refreshed, and makes observations of the rest.
    fn take_in(&mut self, mut found: Scan) -> Observations {
        let refreshed = std::mem::take(&mut found.refreshed);
        let count = refreshed.len();
        self.is_unsaved |= count > 0;
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
        let directories = std::mem::take(&mut found.directories);
        list.extend(present(found));
        list.sort_by(|a, b| a.path.cmp(&b.path));
        list.dedup_by(|a, b| a.path == b.path);
        Observations {
            list,
            ignored,
            illegal_names,
            refreshed: count,
            directories,
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
