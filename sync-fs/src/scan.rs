//! Finds what differs between a tree on the disk and what was last seen of it.
//!
//! Everything is listed and looked at; a content is read again only where its
//! stat changed, proves nothing (racy), or on demand (deep). The result is a
//! difference, not a new listing: an unchanged tree costs no memory. What could
//! not be read is reported and never counts as gone. Nothing is decided here.

pub(crate) mod look;
mod paths;
mod walk;

use std::ops::ControlFlow;

use sync_core::{
    Manifest, Preset, RelPath,
    artifact::kept_directories,
    exclude::Rules,
    limits::TREE_ENTRIES_MAX,
    manifest::Record,
    path::{PathError, escape},
    recipe::Recipe,
    well_formed::IllFormed,
};
use thiserror::Error;

use crate::{
    observed::{Observed, Sighting, above},
    root::{DiskError, Root, RootError},
};
use look::{Verdict, Xml};
pub(crate) use paths::scan_paths;
use walk::Walk;

/// Threads of one scan: a third one gains nothing on the disks measured.
pub const SCAN_THREADS_MAX: usize = 2;

/// How to scan.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Which paths are invisible.
    pub exclude: &'a Rules,
    /// The tree's rules.
    pub preset: Preset,
    /// Read and hash every content again.
    pub deep: bool,
    /// 1 or 2.
    pub threads: usize,
    /// What to learn from XML that changed.
    pub inspect: Inspect,
    /// In a synapse tree: empty artifact directories that this manifest does
    /// not list are invisible, for a passive keeps them for the deployer's sake.
    pub agreed: Option<&'a Manifest>,
}

/// What is learnt from the contents of a synapse tree's `*.xml` while they are
/// read anyway, where they differ from what was known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Inspect {
    /// Nothing.
    #[default]
    Nothing,
    /// Whether they are well-formed.
    Soundness,
    /// That, and the names of their artifacts.
    SoundnessAndNames,
}

/// How far a scan has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Names looked at.
    pub entries: u64,
    /// Contents read and hashed.
    pub hashed: u64,
    /// Bytes in them.
    pub hashed_bytes: u64,
}

/// Told of progress many times a second; says whether to go on.
pub type Report<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// What a scan found, each list in the order of the paths.
#[derive(Debug, Default)]
pub struct Scan {
    /// Entries that are new, or differ in kind, mode or content.
    pub changed: Vec<Sighting>,
    /// Entries that differ in nothing but their stat or modification time.
    pub refreshed: Vec<Sighting>,
    /// Entries that are not there any more.
    pub gone: Vec<RelPath>,
    /// Entries that were seen before and are excluded now.
    pub excluded: Vec<RelPath>,
    /// Of the changed, the XML that is not well-formed.
    pub ill_formed: Vec<(RelPath, IllFormed)>,
    /// Of the changed, the names of artifacts.
    pub artifacts: Vec<(RelPath, String)>,
    /// What stands in the tree and could not be seen.
    pub problems: Vec<Problem>,
    /// Names that cannot be paths, escaped, and why.
    pub illegal_names: Vec<(String, PathError)>,
    /// Where only single paths were looked at: the directories that stand there
    /// and below.
    pub directories: Vec<RelPath>,
    /// Of large files that were read: how they are made, where it was known of
    /// what stood there before.
    pub recipes: Vec<Recipe>,
    /// The work done.
    pub work: Progress,
}

/// A path that could not be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub path: RelPath,
    /// Why.
    pub trouble: Trouble,
}

/// Why a path could not be seen.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Trouble {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Unreadable(Box<str>),
    /// Another file system or mount begins here.
    #[error("another file system is mounted here; make it a tree of its own, or exclude it")]
    OtherMount,
    /// A file beyond the limit of the system.
    #[error("has {0} bytes, more than a file may have here")]
    TooLarge(u64),
    /// It changed each time while it was read.
    #[error("is being written; it is read again when it is quiet")]
    Unstable,
    /// A symbolic link in a tree without links.
    #[error("is a symbolic link and is ignored: the deployer's trees hold none")]
    Symlink,
    /// A fifo, socket or device.
    #[error("is neither file nor directory and is ignored")]
    Special,
}

impl Trouble {
    /// Whether what was known at and below the path still stands. Otherwise
    /// something else has taken its place.
    #[must_use]
    pub fn keeps_the_known(&self) -> bool {
        !matches!(self, Self::Symlink | Self::Special)
    }
}

/// Why a scan gave no result.
#[derive(Debug, Error)]
pub enum ScanError {
    /// The tree's root is not there.
    #[error("the tree's directory has gone")]
    RootGone(#[source] RootError),
    /// Another directory or mount stands in the root's place.
    #[error("another directory stands in the place of `{path}`; is a file system not mounted?")]
    RootReplaced {
        /// The root, escaped.
        path: String,
    },
    /// The root directory cannot be listed.
    #[error("cannot scan the tree")]
    Root(#[source] DiskError),
    /// The whole tree had to be known, and part of it cannot be read.
    #[error("`{}` {}", .0.path, .0.trouble)]
    Unknown(Problem),
    /// More entries than the system can hold.
    #[error(
        "`{path}` holds more than {TREE_ENTRIES_MAX} entries; exclude some, or make it several trees"
    )]
    TooManyEntries {
        /// The root, escaped.
        path: String,
    },
    /// The report asked for it.
    #[error("the scan was stopped")]
    Stopped,
}

/// Scans the whole tree.
///
/// # Errors
/// Where the root is gone or replaced, before or after; where there are too many
/// entries; where `report` stops it.
pub fn scan(
    root: &Root,
    previous: &Observed,
    options: ScanOptions<'_>,
    report: &mut Report<'_>,
) -> Result<Scan, ScanError> {
    check_place(root)?;
    let found = Walk::new(root, previous, options)?.run(&[], report)?;
    check_place(root)?;
    let met = Met::new(found.met);
    let mut scan = found.scan;
    if met.0.len() < previous.len() {
        sort_out_missing(&mut scan, previous.iter(), &met, options.exclude);
    }
    Ok(finish(scan, found.unlisted, previous, options))
}

/// Scans what is below the directories `starts`, which are sorted and themselves
/// not looked at.
///
/// # Errors
/// As [`scan`]. A start that cannot be listed is a problem in the result.
pub fn scan_below(
    root: &Root,
    starts: &[RelPath],
    previous: &Observed,
    options: ScanOptions<'_>,
    report: &mut Report<'_>,
) -> Result<Scan, ScanError> {
    if starts.is_empty() {
        return Ok(Scan::default());
    }
    check_place(root)?;
    let found = Walk::new(root, previous, options)?.run(starts, report)?;
    check_place(root)?;
    let met = Met::new(found.met);
    let mut scan = found.scan;
    // Whoever met all that was known has nothing to search the whole tree for.
    if met.0.len() < previous.count_below(starts) {
        sort_out_missing(&mut scan, previous.below(starts), &met, options.exclude);
    }
    Ok(finish(scan, found.unlisted, previous, options))
}

fn finish(mut scan: Scan, unlisted: bool, previous: &Observed, options: ScanOptions<'_>) -> Scan {
    scan.sort();
    if let (Some(agreed), true) = (options.agreed, unlisted) {
        hide_kept_directories(&mut scan, previous, agreed, options.preset);
    }
    scan
}

impl Scan {
    /// Whether nothing differs and nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty()
            && self.refreshed.is_empty()
            && self.gone.is_empty()
            && self.excluded.is_empty()
            && self.problems.is_empty()
            && self.illegal_names.is_empty()
    }

    /// Brings what was observed to what was found. The problems stay.
    pub fn apply_to(&mut self, observed: &mut Observed) {
        let changed = std::mem::take(&mut self.changed);
        for path in self.gone.drain(..).chain(self.excluded.drain(..)) {
            observed.remove(&path);
        }
        if observed.is_empty() {
            *observed = Observed::from_sightings(changed);
        } else {
            changed
                .into_iter()
                .for_each(|sighting| observed.put(sighting));
        }
        for sighting in self.refreshed.drain(..) {
            observed.put(sighting);
        }
    }

    pub(crate) fn sort(&mut self) {
        self.changed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        // A name renamed while its directory was listed can be met twice.
        self.changed.dedup_by(|a, b| a.path == b.path);
        self.ill_formed.sort_by(|a, b| a.0.cmp(&b.0));
        self.artifacts.sort_by(|a, b| a.0.cmp(&b.0));
        self.refreshed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.gone.sort_unstable();
        self.excluded.sort_unstable();
        self.problems.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.illegal_names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.directories.sort_unstable();
    }

    /// Takes up what a look sighted.
    pub(crate) fn sight(&mut self, sighting: Sighting, verdict: Verdict, xml: Option<Xml>) {
        match xml {
            None => {}
            Some(Err(fault)) => self.ill_formed.push((sighting.path.clone(), fault)),
            Some(Ok(name)) => self
                .artifacts
                .extend(name.map(|name| (sighting.path.clone(), name))),
        }
        match verdict {
            Verdict::Same => {}
            Verdict::Refreshed => self.refreshed.push(sighting),
            Verdict::Changed => self.changed.push(sighting),
        }
    }

    /// Takes up all that another part of the same look at the tree found.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.changed.append(&mut other.changed);
        self.refreshed.append(&mut other.refreshed);
        self.ill_formed.append(&mut other.ill_formed);
        self.artifacts.append(&mut other.artifacts);
        self.problems.append(&mut other.problems);
        self.illegal_names.append(&mut other.illegal_names);
        self.directories.append(&mut other.directories);
        self.recipes.append(&mut other.recipes);
        self.gone.append(&mut other.gone);
        self.excluded.append(&mut other.excluded);
    }
}

/// The known paths that were met, told apart by the address of their bytes:
/// each stands once in what was observed, and nothing is copied.
struct Met(Vec<usize>);

impl Met {
    fn new(mut addresses: Vec<usize>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses)
    }

    fn has(&self, known: Record<'_>) -> bool {
        self.0.binary_search(&address(known)).is_ok()
    }
}

fn address(known: Record<'_>) -> usize {
    known.path_bytes().as_ptr().addr()
}

pub(crate) fn check_place(root: &Root) -> Result<(), ScanError> {
    if root.is_in_place().map_err(ScanError::RootGone)? {
        Ok(())
    } else {
        Err(ScanError::RootReplaced {
            path: escape(root.path().as_os_str().as_encoded_bytes()),
        })
    }
}

/// Known paths that were not met are gone, unless they are excluded or lie
/// where nobody could look.
fn sort_out_missing<'a>(
    scan: &mut Scan,
    known: impl Iterator<Item = Record<'a>>,
    met: &Met,
    exclude: &Rules,
) {
    let mut hidden: Vec<&[u8]> = scan
        .problems
        .iter()
        .filter(|problem| problem.trouble.keeps_the_known())
        .map(|problem| problem.path.as_bytes())
        .collect();
    hidden.sort_unstable();
    for known in known.filter(|known| !met.has(*known)) {
        let path = known.path_bytes();
        if above(path)
            .chain([path])
            .any(|above| hidden.binary_search(&above).is_ok())
        {
            continue;
        }
        if exclude.matches_bytes(path, known.is_directory()) {
            scan.excluded.push(known.path());
        } else {
            scan.gone.push(known.path());
        }
    }
}

/// Takes the directories that a passive only keeps out of the findings.
/// The lists are sorted.
fn hide_kept_directories(scan: &mut Scan, previous: &Observed, agreed: &Manifest, preset: Preset) {
    let still = |path: &RelPath| {
        scan.gone.binary_search(path).is_err() && scan.excluded.binary_search(path).is_err()
    };
    let known = previous.iter().map(Record::pair);
    let known: Vec<_> = known.filter(|(path, _)| still(path)).collect();
    let known = known.iter().map(|(path, entry)| (path, entry));
    let new = scan
        .changed
        .iter()
        .map(|sighting| (&sighting.path, &sighting.entry));
    let kept = kept_directories(known.chain(new), agreed, preset);
    scan.changed
        .retain(|sighting| !kept.contains(&sighting.path));
    scan.gone.extend(
        kept.into_iter()
            .filter(|path| previous.seen(path).is_some()),
    );
    scan.gone.sort_unstable();
}

#[cfg(test)]
mod tests;
