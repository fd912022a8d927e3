//! The few ways in which a name of a held directory is opened: never through a
//! symbolic link, never blocking on a fifo.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    path::Arg,
};

use super::{Kind, Stat};

/// Directories kept open between calls: enough for a change set that goes back
/// and forth between the artifact directories of one tenant.
const HELD_MAX: usize = 32;
/// How long a directory is trusted to be still where it was opened: longer than
/// a burst of calls, shorter than anyone needs to move a directory on purpose.
const HELD_FOR: Duration = Duration::from_millis(50);
/// How long a name that is missing in it is believed to be missing at its path.
const FRESH_FOR: Duration = Duration::from_millis(5);

/// Opens the regular file `name`; anything else is `ENOENT` (a link is `ELOOP`).
pub(super) fn open_file(
    at: impl AsFd,
    name: impl Arg,
    access: OFlags,
) -> Result<(OwnedFd, Stat), Errno> {
    let file = open_any(at, name, access)?;
    let stat = Stat::of_open(&file)?;
    if stat.kind == Kind::File {
        Ok((file, stat))
    } else {
        Err(Errno::NOENT)
    }
}

/// Opens what is at `name`, unless it is a link; who asks for more than a file
/// must look at what was opened.
pub(super) fn open_any(at: impl AsFd, name: impl Arg, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NXIO | Errno::ISDIR => Errno::NOENT, // a fifo or socket, a directory
        error => error,
    })
}

/// The text of the symbolic link `name`.
pub(super) fn read_link(at: impl AsFd, name: impl Arg) -> Result<Box<[u8]>, Errno> {
    let text = rustix::fs::readlinkat(at, name, Vec::new()).map_err(|error| match error {
        Errno::INVAL => Errno::NOENT, // not a link any more
        error => error,
    })?;
    Ok(text.into_bytes().into())
}

/// The directories last used, held open so that a burst of calls into one
/// directory does not walk to it every time.
#[derive(Debug, Default)]
pub(super) struct HeldDirectories(Mutex<Vec<Held>>);

#[derive(Debug)]
struct Held {
    path: Box<[u8]>,
    fd: Arc<OwnedFd>,
    since: Instant,
}

/// A directory on the way to a name.
pub(super) struct Found {
    pub(super) fd: Arc<OwnedFd>,
    /// How long ago it was walked to; `None` where that was now.
    age: Option<Duration>,
}

impl Found {
    /// Whether no step was walked, so that the directory may have gone.
    pub(super) fn is_remembered(&self) -> bool {
        self.age.is_some()
    }

    /// Whether it was walked to a moment ago, so that what a look into it finds
    /// missing may be taken for missing.
    pub(super) fn is_fresh(&self) -> bool {
        self.age.is_none_or(|age| age < FRESH_FOR)
    }
}

impl HeldDirectories {
    /// The directory at `path` (components separated by `/`), walked from
    /// `root` or from the deepest one held on the way.
    pub(super) fn find(&self, root: &OwnedFd, path: &[u8]) -> Result<Found, Errno> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        held.retain(|directory| now.duration_since(directory.since) < HELD_FOR);
        let deepest = deepest(&held, path);
        if let Some(directory) = deepest.filter(|directory| directory.path.len() == path.len()) {
            return Ok(Found {
                fd: Arc::clone(&directory.fd),
                age: Some(now.duration_since(directory.since)),
            });
        }
        let mut done = deepest.map_or(0, |directory| directory.path.len());
        let mut fd = deepest.map(|directory| Arc::clone(&directory.fd));
        while done < path.len() {
            let start = if done == 0 { 0 } else { done + 1 };
            let end = path[start..]
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(path.len(), |at| start + at);
            let at = fd.as_deref().unwrap_or(root);
            let next = Arc::new(step(at, &path[start..end])?);
            remember(&mut held, &path[..end], &next, now);
            fd = Some(next);
            done = end;
        }
        let fd = fd.ok_or(Errno::NOENT)?; // only for an empty path
        Ok(Found { fd, age: None })
    }

    /// Lets go of the directory at `path` and of everything below it.
    pub(super) fn forget(&self, path: &[u8]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|directory| !is_below(&directory.path, path));
    }
}

fn is_below(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.first().is_none_or(|&byte| byte == b'/'))
}

/// The longest held directory on the way to `path`.
fn deepest<'a>(held: &'a [Held], path: &[u8]) -> Option<&'a Held> {
    held.iter()
        .filter(|directory| is_below(path, &directory.path))
        .max_by_key(|directory| directory.path.len())
}

fn step(at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn remember(held: &mut Vec<Held>, path: &[u8], fd: &Arc<OwnedFd>, now: Instant) {
    if held.len() == HELD_MAX {
        held.remove(0);
    }
    held.push(Held {
        path: path.into(),
        fd: Arc::clone(fd),
        since: now,
    });
}
