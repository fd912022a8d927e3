//! The watcher: turns the kernel's events into ordered hints.
//!
//! Every directory is watched by itself and on our word only: «watch, then
//! list» in that order is what makes files in new directories impossible to
//! miss, and notify's own recursion does not promise it. An event is a hint that
//! a path is worth a look, nothing more. When events are lost or cannot be had,
//! a [`Hint::Rescan`] says why.
//!
//! A barrier is a marker file in a directory outside the tree, watched by the
//! same kernel queue: when its event arrives, every event before it has too.

use std::{
    collections::{HashSet, VecDeque},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
};

use notify::{
    Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, Flag, ModifyKind, RenameMode},
};
use sync_core::RelPath;
use thiserror::Error;
use tokio::sync::Notify;

mod rest;

pub(crate) use rest::Delivery;
use rest::Rest;

/// Hints waiting to be taken. Beyond that they collapse into one rescan: looking
/// at everything once is cheaper than at so many paths one by one.
const HINTS_MAX: usize = 65_536;

/// What the kernel says may be worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Something happened at this path.
    Touched(RelPath),
    /// Somebody writes into the file at this path; when it is closed,
    /// [`Hint::Touched`] follows.
    Writing(RelPath),
    /// This path went or moved away: a watch on it is void.
    Gone(RelPath),
    /// Something happened to the tree's root itself.
    Root,
    /// The marker with this number has passed: so has everything before it.
    Marker(u64),
    /// Events were lost; look at everything.
    Rescan(&'static str),
}

/// Why a directory cannot be watched.
#[derive(Debug, Error)]
pub(crate) enum WatchError {
    /// The kernel's limit of watches is reached.
    #[error(
        "the kernel's limit of watched directories is reached; raise it with \
         `sysctl fs.inotify.max_user_watches=1048576` (now {current})"
    )]
    WatchLimit {
        /// The limit in force.
        current: String,
    },
    /// The kernel's limit of inotify instances is reached.
    #[error(
        "the kernel's limit of watchers is reached; raise it with \
         `sysctl fs.inotify.max_user_instances=1024` (now {current})"
    )]
    InstanceLimit {
        /// The limit in force.
        current: String,
    },
    /// Anything else.
    #[error("cannot watch {}", .path.display())]
    Other {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

/// Watches one tree.
pub(crate) struct Watch {
    root: PathBuf,
    markers: PathBuf,
    watcher: RecommendedWatcher,
    /// Ends a rest of the watcher's thread, which is waited for.
    hurry: SyncSender<()>,
    shared: Arc<Shared>,
    /// Watched directories below the root.
    watched: HashSet<RelPath>,
    next_marker: u64,
}

struct Shared {
    hints: Mutex<VecDeque<Hint>>,
    arrived: Notify,
}

/// Takes the hints; separate from [`Watch`] so that both can be used at once.
#[derive(Clone)]
pub(crate) struct Hints(Arc<Shared>);

impl Watch {
    /// Starts watching the root itself and the marker directory, which is made.
    /// Directories below the root are added with [`Watch::add`].
    pub(crate) fn start(
        root: &Path,
        markers: &Path,
        delivery: Delivery,
    ) -> Result<(Self, Hints), WatchError> {
        let shared = Arc::new(Shared {
            hints: Mutex::default(),
            arrived: Notify::new(),
        });
        let sink = Arc::clone(&shared);
        let (base, marker_base) = (root.to_owned(), markers.to_owned());
        let (mut rest, hurry) = Rest::new(delivery);
        let on_event = move |event: notify::Result<Event>| {
            sink.push(translate(event, &base, &marker_base));
            rest.take();
        };
        let config = notify::Config::default()
            .with_follow_symlinks(false)
            .with_event_kinds(event_kinds());
        let watcher =
            RecommendedWatcher::new(on_event, config).map_err(|source| classify(root, source))?;
        let hints = Hints(Arc::clone(&shared));
        let mut watch = Self {
            root: root.to_owned(),
            markers: markers.to_owned(),
            watcher,
            hurry,
            shared,
            watched: HashSet::new(),
            next_marker: 0,
        };
        watch.watch_absolute(&watch.root.clone())?;
        match std::fs::create_dir(markers) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(classify(markers, notify::Error::io(error)));
            }
            _ => watch.watch_absolute(&watch.markers.clone())?,
        }
        Ok((watch, hints))
    }

    /// Watches one directory below the root. Returns whether it is new: then it
    /// must be listed after this call.
    pub(crate) fn add(&mut self, directory: &RelPath) -> Result<bool, WatchError> {
        if self.watched.contains(directory) {
            return Ok(false);
        }
        match self.watch_absolute(&self.absolute(directory)) {
            Ok(()) => {
                self.watched.insert(directory.clone());
                Ok(true)
            }
            // It went again in the meantime; its parent's event tells.
            Err(WatchError::Other { source, .. }) if is_not_found(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Drops the watches on `path` and everything below it. Must be called for
    /// [`Hint::Gone`] before a later hint is acted on: a moved directory keeps
    /// its kernel watch, and adding it under its new name must come second.
    pub(crate) fn forget(&mut self, path: &RelPath) {
        let gone: Vec<RelPath> = self
            .watched
            .iter()
            .filter(|held| held.starts_with(path))
            .cloned()
            .collect();
        for directory in gone {
            self.watched.remove(&directory);
            self.hurry();
            // The kernel drops the watch of a deleted directory by itself, so an
            // error here says that there is nothing left to drop.
            let _ = self.watcher.unwatch(&self.absolute(&directory));
        }
    }

    /// Makes a marker; [`Hint::Marker`] with this number follows every earlier
    /// event.
    pub(crate) fn mark(&mut self) -> std::io::Result<u64> {
        self.next_marker += 1;
        let path = self.markers.join(self.next_marker.to_string());
        std::fs::File::create(&path)?;
        std::fs::remove_file(&path)?;
        self.hurry();
        Ok(self.next_marker)
    }

    /// A word that is there already does for this one too.
    fn hurry(&self) {
        let _ = self.hurry.try_send(());
    }

    fn watch_absolute(&mut self, path: &Path) -> Result<(), WatchError> {
        self.hurry();
        self.watcher
            .watch(path, RecursiveMode::NonRecursive)
            .map_err(|source| classify(path, source))
    }

    fn absolute(&self, path: &RelPath) -> PathBuf {
        self.root.join(OsStr::from_bytes(path.as_bytes()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.push([Hint::Rescan("the watcher stopped")]);
    }
}

/// Takes the next hints of a watch; waits for ever where there is none. Safe to
/// cancel.
pub(crate) async fn next_hints(hints: Option<Hints>) -> VecDeque<Hint> {
    match hints {
        Some(hints) => hints.take().await,
        None => std::future::pending().await,
    }
}

impl Hints {
    /// Waits until there is at least one hint and takes all of them, oldest
    /// first. Safe to cancel.
    pub(crate) async fn take(&self) -> VecDeque<Hint> {
        loop {
            let arrived = self.0.arrived.notified();
            let hints = std::mem::take(&mut *self.0.lock());
            if !hints.is_empty() {
                return hints;
            }
            arrived.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Hint>> {
        // The queue is valid after a panic elsewhere: every change is one call.
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, new: impl IntoIterator<Item = Hint>) {
        let mut hints = self.lock();
        for hint in new {
            if hints.back() == Some(&hint) {
                continue;
            }
            if hints.len() >= HINTS_MAX {
                hints.retain(|kept| matches!(kept, Hint::Marker(_) | Hint::Root | Hint::Gone(_)));
                hints.push_front(Hint::Rescan("more events than can be held"));
            }
            hints.push_back(hint);
        }
        drop(hints);
        self.arrived.notify_one();
    }
}

/// Everything but openings: a node that reads a whole tree would fill the
/// kernel's queue with news of itself, and have to scan the tree for it.
fn event_kinds() -> EventKindMask {
    EventKindMask::CORE | EventKindMask::ACCESS_CLOSE
}

fn translate(event: notify::Result<Event>, root: &Path, markers: &Path) -> Vec<Hint> {
    let event = match event {
        Ok(event) => event,
        Err(_) => return vec![Hint::Rescan("the watcher reported an error")],
    };
    if event.attrs.flag() == Some(Flag::Rescan) {
        return vec![Hint::Rescan("the kernel's event queue overflowed")];
    }
    let gone_first = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(_)
        | EventKind::Modify(
            ModifyKind::Any
            | ModifyKind::Data(_)
            | ModifyKind::Metadata(_)
            | ModifyKind::Other
            | ModifyKind::Name(RenameMode::To),
        )
        | EventKind::Any
        | EventKind::Other => false,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => true,
        EventKind::Access(_) => return Vec::new(),
    };
    // `Both` repeats a `From` and a `To` that were reported by themselves.
    if matches!(
        event.kind,
        EventKind::Modify(ModifyKind::Name(RenameMode::Both))
    ) {
        return Vec::new();
    }
    let writing = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
    let mut hints = Vec::new();
    for path in &event.paths {
        if let Ok(name) = path.strip_prefix(markers) {
            let number = name.to_str().and_then(|name| name.parse().ok());
            if matches!(event.kind, EventKind::Create(_)) {
                hints.extend(number.map(Hint::Marker));
            }
        } else {
            hints.extend(hints_for(path, root, gone_first, writing));
        }
    }
    hints
}

fn hints_for(path: &Path, root: &Path, gone: bool, writing: bool) -> Vec<Hint> {
    let Ok(relative) = path.strip_prefix(root) else {
        return Vec::new();
    };
    if relative.as_os_str().is_empty() {
        return vec![Hint::Root];
    }
    match RelPath::new(relative.as_os_str().as_bytes()) {
        Ok(path) if gone => vec![Hint::Gone(path.clone()), Hint::Touched(path)],
        Ok(path) if writing => vec![Hint::Writing(path)],
        Ok(path) => vec![Hint::Touched(path)],
        Err(_) => vec![Hint::Rescan(
            "an event named a path that cannot be synchronised",
        )],
    }
}

fn classify(path: &Path, source: notify::Error) -> WatchError {
    let errno = match &source.kind {
        notify::ErrorKind::Io(error) => error.raw_os_error(),
        _ => None,
    };
    let limit = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"))
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    if matches!(source.kind, notify::ErrorKind::MaxFilesWatch)
        || errno == Some(rustix::io::Errno::NOSPC.raw_os_error())
    {
        WatchError::WatchLimit {
            current: limit("max_user_watches"),
        }
    } else if errno == Some(rustix::io::Errno::MFILE.raw_os_error()) {
        WatchError::InstanceLimit {
            current: limit("max_user_instances"),
        }
    } else {
        WatchError::Other {
            path: path.to_owned(),
            source,
        }
    }
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    /// All hints up to the next marker.
    async fn until_marker(watch: &mut Watch, hints: &Hints) -> Vec<Hint> {
        let number = watch.mark().unwrap();
        let mut seen = Vec::new();
        let collect = async {
            loop {
                for hint in hints.take().await {
                    if hint == Hint::Marker(number) {
                        return;
                    }
                    seen.push(hint);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), collect)
            .await
            .unwrap();
        seen
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_marker_follows_the_events_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (root, markers) = (dir.path().join("tree"), dir.path().join("markers"));
        fs::create_dir(&root).unwrap();
        let (mut watch, hints) = Watch::start(&root, &markers, Delivery::Prompt).unwrap();
        for n in 0..100 {
            fs::write(root.join(format!("{n}.xml")), "x").unwrap();
        }
        let seen = until_marker(&mut watch, &hints).await;
        for n in 0..100 {
            assert!(seen.contains(&Hint::Touched(path(&format!("{n}.xml")))));
        }
        assert!(until_marker(&mut watch, &hints).await.is_empty());
    }

    #[tokio::test]
    async fn none_of_the_events_that_gathered_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (root, markers) = (dir.path().join("tree"), dir.path().join("markers"));
        fs::create_dir(&root).unwrap();
        let (mut watch, hints) = Watch::start(&root, &markers, Delivery::Gathered).unwrap();
        until_marker(&mut watch, &hints).await; // the thread rests now
        for n in 0..1_000 {
            fs::write(root.join(format!("{n}.xml")), "x").unwrap();
        }
        let seen = until_marker(&mut watch, &hints).await;
        for n in 0..1_000 {
            assert!(seen.contains(&Hint::Touched(path(&format!("{n}.xml")))));
        }
    }

    #[tokio::test]
    async fn a_directory_renamed_away_and_watched_again_still_reports() {
        let dir = tempfile::tempdir().unwrap();
        let (root, markers) = (dir.path().join("tree"), dir.path().join("markers"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        let (mut watch, hints) = Watch::start(&root, &markers, Delivery::Prompt).unwrap();
        assert!(watch.add(&path("a")).unwrap());
        assert!(watch.add(&path("a/b")).unwrap());
        fs::rename(root.join("a"), root.join("c")).unwrap();
        let seen = until_marker(&mut watch, &hints).await;
        assert!(seen.contains(&Hint::Gone(path("a"))), "{seen:?}");
        watch.forget(&path("a"));
        assert!(watch.add(&path("c")).unwrap());
        assert!(watch.add(&path("c/b")).unwrap());
        until_marker(&mut watch, &hints).await;
        fs::write(root.join("c/b/x.xml"), "x").unwrap();
        let seen = until_marker(&mut watch, &hints).await;
        assert!(seen.contains(&Hint::Touched(path("c/b/x.xml"))), "{seen:?}");
    }

    #[tokio::test]
    async fn reading_the_tree_makes_no_hints() {
        let dir = tempfile::tempdir().unwrap();
        let (root, markers) = (dir.path().join("tree"), dir.path().join("markers"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "x").unwrap();
        let (mut watch, hints) = Watch::start(&root, &markers, Delivery::Prompt).unwrap();
        fs::read(root.join("a")).unwrap();
        fs::read_dir(&root).unwrap().count();
        assert!(until_marker(&mut watch, &hints).await.is_empty());
    }
}
