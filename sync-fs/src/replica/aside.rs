//! Where things go that stood in the tree and are not ours to lose.
//!
//! Every run that finds some makes a directory `aside/<generation>-<seconds>` in
//! the work directory and keeps them there under the paths they had.

use std::{
    fmt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{Generation, Mode, RelPath};

use crate::root::{AbsentIsNone, Cause, DiskError, Kind, Root};

pub(super) const ASIDE: &[u8] = b"aside";

/// Runs of one second: more than one is unusual, a thousand impossible.
const RUNS_MAX: u32 = 1_000;
const PRIVATE: u32 = 0o700;

/// Something that was not as agreed and was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aside {
    /// Where it stood in the tree.
    pub path: RelPath,
    /// Where it is now, in the work directory.
    pub kept_at: RelPath,
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is kept as `{}`", self.path, self.kept_at)
    }
}

/// One thing that was kept aside at some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptAside {
    /// Where it stood in the tree, or a hash of that where it is too long.
    pub path: RelPath,
    /// Where it is, in the work directory.
    pub kept_at: RelPath,
    /// Its length.
    pub bytes: u64,
}

/// The files and links that were kept aside, at most `most` of them.
///
/// # Errors
/// Where the work directory cannot be read.
pub fn kept_aside(work_dir: &Path, most: usize) -> Result<Vec<KeptAside>, DiskError> {
    let Ok(work) = Root::open(work_dir) else {
        return Ok(Vec::new()); // made by the first start
    };
    let mut kept = Vec::new();
    let mut directories = vec![legal(RelPath::new(ASIDE))];
    while let Some(directory) = directories.pop() {
        for listed in work
            .list(Some(&directory))
            .absent_is_none()?
            .into_iter()
            .flatten()
        {
            let Ok(kept_at) = directory.join(&listed.name) else {
                continue; // no name that this program made
            };
            if listed.stat.kind == Kind::Directory {
                directories.push(kept_at);
            } else if kept.len() < most
                && let Some(path) = below_run(&kept_at)
            {
                kept.push(KeptAside {
                    path,
                    kept_at,
                    bytes: listed.stat.key.length,
                });
            }
        }
    }
    kept.sort_by(|one, other| one.kept_at.cmp(&other.kept_at));
    Ok(kept)
}

/// What follows `aside/<run>/`.
fn below_run(kept_at: &RelPath) -> Option<RelPath> {
    let bytes = kept_at.as_bytes();
    let mut slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (at, _) = slashes.nth(1)?;
    RelPath::new(&bytes[at + 1..]).ok()
}

/// The aside directory of one run; made when it is first needed.
#[derive(Debug)]
pub(super) struct AsideRun {
    generation: Generation,
    directory: Option<RelPath>,
    kept: Vec<Aside>,
}

impl AsideRun {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            generation,
            directory: None,
            kept: Vec::new(),
        }
    }

    pub(super) fn into_kept(self) -> Vec<Aside> {
        self.kept
    }

    /// A free name in the work directory for what stands at `path`, with every
    /// directory on the way to it.
    pub(super) fn name_for(&mut self, work: &Root, path: &RelPath) -> Result<RelPath, DiskError> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => self.make_directory(work)?,
        };
        let name = below(&directory, path);
        work.create_parents(&name, Mode::new(PRIVATE))?;
        if work.stat(&name)?.is_none() {
            return Ok(name);
        }
        // The same path twice in one run: another directory.
        let directory = self.make_directory(work)?;
        let name = below(&directory, path);
        work.create_parents(&name, Mode::new(PRIVATE))?;
        Ok(name)
    }

    /// Notes that what stood at `path` is now at `kept_at`.
    pub(super) fn note(&mut self, path: &RelPath, kept_at: RelPath) {
        self.kept.push(Aside {
            path: path.clone(),
            kept_at,
        });
    }

    fn make_directory(&mut self, work: &Root) -> Result<RelPath, DiskError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let generation = self.generation;
        let mut run = 0;
        loop {
            let name = match run {
                0 => format!("{generation}-{seconds}"),
                run => format!("{generation}-{seconds}-{run}"),
            };
            let directory =
                legal(RelPath::new(ASIDE).and_then(|aside| aside.join(name.as_bytes())));
            match work.create_directory(&directory, Mode::new(PRIVATE)) {
                Err(error) if error.cause() == Cause::Exists && run < RUNS_MAX => run += 1,
                result => {
                    result?;
                    self.directory = Some(directory.clone());
                    return Ok(directory);
                }
            }
        }
    }
}

/// `path` below `directory`; under a hash of the path where it gets too long.
fn below(directory: &RelPath, path: &RelPath) -> RelPath {
    let joined = [directory.as_bytes(), path.as_bytes()].join(&b'/');
    RelPath::new(&joined).unwrap_or_else(|_| {
        let hash = blake3::hash(path.as_bytes()).to_hex();
        legal(directory.join(hash.as_bytes()))
    })
}

fn legal<E: fmt::Debug>(path: Result<RelPath, E>) -> RelPath {
    path.expect("short legal names")
}
