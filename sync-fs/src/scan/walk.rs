//! The walk over a tree: one or two threads take directories and batches of
//! names from a common stack. The first thread is the caller's own and reports.

use std::{
    cell::RefCell,
    ffi::CStr,
    ops::ControlFlow,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustix::io::Errno;
use sync_core::{RelPath, limits::TREE_ENTRIES_MAX, path::escape};

use super::{
    Problem, Progress, Report, SCAN_THREADS_MAX, Scan, ScanError, ScanOptions, Trouble, address,
    look::{Look, Name, Observer, Scratch, Work, unreadable},
};
use crate::{
    observed::Observed,
    root::{Cause, Directory, DiskError, READ_BYTES, Root},
};

/// Names in one batch: enough work to make the lock unimportant.
const BATCH_NAMES: usize = 256;
/// Batches waiting before whoever lists works on them himself: a directory of a
/// million names is not held in memory.
const BATCHES_MAX: usize = 512;
/// How often a caller hears of progress while the other thread works alone.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What all threads of one scan share.
pub(super) struct Walk<'a> {
    root: &'a Root,
    observer: Observer<'a>,
    jobs: Mutex<Jobs>,
    /// Signalled when a job comes or the last one ends.
    news: Condvar,
    stop: AtomicBool,
    /// Whether to tell the directories that were met: not those of a whole tree.
    tells_directories: bool,
    entries: AtomicU64,
    hashed: AtomicU64,
    hashed_bytes: AtomicU64,
}

#[derive(Default)]
struct Jobs {
    stack: Vec<Job>,
    batches: usize,
    running: usize,
}

enum Job {
    /// Open the directory at this path, found in the one held open, and list it.
    Enter(Arc<Opened>, RelPath),
    /// List the directory at this path, found from the root; the root itself.
    Start(Option<RelPath>),
    /// Look at these names.
    Look(Arc<Opened>, Names),
}

/// A directory of the tree, held open as long as work in it is left.
struct Opened {
    directory: Directory,
    /// The path's bytes and a `/`; empty at the top.
    prefix: Box<[u8]>,
}

/// Names packed one after the other, each with its NUL.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    count: usize,
}

/// What one thread, or all of them, found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) scan: Scan,
    /// Addresses of the known paths that are still there.
    pub(super) met: Vec<usize>,
    /// Whether there are directories that the agreed manifest does not list.
    pub(super) unlisted: bool,
    /// Why the root could not be listed.
    failure: Option<DiskError>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: &'a Root,
        previous: &'a Observed,
        options: ScanOptions<'a>,
    ) -> Result<Self, ScanError> {
        let mount = root.mount().map_err(ScanError::Root)?;
        Ok(Self {
            root,
            observer: Observer {
                previous,
                options,
                mount,
            },
            jobs: Mutex::default(),
            news: Condvar::new(),
            stop: AtomicBool::new(false),
            tells_directories: false,
            entries: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            hashed_bytes: AtomicU64::new(0),
        })
    }

    /// Walks below `starts`, which are themselves not looked at; below the root
    /// where there are none.
    pub(super) fn run(
        mut self,
        starts: &[RelPath],
        report: &mut Report<'_>,
    ) -> Result<Found, ScanError> {
        self.tells_directories = !starts.is_empty();
        if starts.is_empty() {
            self.push(Job::Start(None));
        }
        for start in starts {
            self.push(Job::Start(Some(start.clone())));
        }
        let walk = &self;
        let threads = self.observer.options.threads.clamp(1, SCAN_THREADS_MAX);
        let found = thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|_| scope.spawn(|| walk.work(None)))
                .collect();
            let mut found = self.work(Some(report));
            for other in others {
                match other.join() {
                    Ok(theirs) => found.append(theirs),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            found
        });
        self.finish(found)
    }

    fn finish(&self, mut found: Found) -> Result<Found, ScanError> {
        if let Some(error) = found.failure.take() {
            return Err(ScanError::Root(error));
        }
        if self.has_too_many() {
            let path = escape(self.root.path().as_os_str().as_encoded_bytes());
            return Err(ScanError::TooManyEntries { path });
        }
        if self.stop.load(Relaxed) {
            return Err(ScanError::Stopped);
        }
        found.scan.work = self.progress();
        Ok(found)
    }

    /// Takes jobs until there are none.
    fn work(&self, report: Option<&mut Report<'_>>) -> Found {
        let report = RefCell::new(report);
        let beat = || {
            if let Some(report) = report.borrow_mut().as_mut()
                && report(self.progress()).is_break()
            {
                self.stop();
            }
            self.go_on()
        };
        let read = |bytes: usize| {
            self.hashed_bytes.fetch_add(bytes as u64, Relaxed);
            if bytes < READ_BYTES {
                self.go_on() // the end of a content: the batch reports
            } else {
                beat()
            }
        };
        let mut worker = Worker {
            walk: self,
            scratch: Scratch::new(&read),
            found: Found::default(),
        };
        while let Some((job, _running)) = self.next(&beat) {
            worker.take(job);
            self.count(worker.scratch.take_work());
            let _ = beat(); // a stop is seen at the next job
        }
        worker.found
    }

    fn has_too_many(&self) -> bool {
        self.entries.load(Relaxed) > TREE_ENTRIES_MAX as u64
    }

    fn progress(&self) -> Progress {
        Progress {
            entries: self.entries.load(Relaxed),
            hashed: self.hashed.load(Relaxed),
            hashed_bytes: self.hashed_bytes.load(Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a job for any thread; gives back a batch for which there is no
    /// room.
    fn push(&self, job: Job) -> Option<Job> {
        let mut jobs = self.lock();
        if let Job::Look(..) = job {
            if jobs.batches == BATCHES_MAX {
                return Some(job);
            }
            jobs.batches += 1;
        }
        jobs.stack.push(job);
        drop(jobs);
        self.news.notify_one();
        None
    }

    /// The next job; `None` when all are done or the walk is stopped. `idle` is
    /// called now and then while there is none.
    fn next(&self, idle: &dyn Fn() -> ControlFlow<()>) -> Option<(Job, Running<'_>)> {
        let mut jobs = self.lock();
        while !self.stop.load(Relaxed) {
            if let Some(job) = jobs.stack.pop() {
                jobs.batches -= usize::from(matches!(job, Job::Look(..)));
                jobs.running += 1;
                return Some((job, Running(&self.jobs, &self.news)));
            }
            if jobs.running == 0 {
                return None;
            }
            let (woken, waited) = self
                .news
                .wait_timeout(jobs, REPORT_EVERY)
                .unwrap_or_else(PoisonError::into_inner);
            jobs = woken;
            if waited.timed_out() {
                drop(jobs);
                let _ = idle(); // a stop is seen at the top of the loop
                jobs = self.lock();
            }
        }
        None
    }

    fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.news.notify_all();
    }

    fn go_on(&self) -> ControlFlow<()> {
        if self.stop.load(Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn count(&self, work: Work) {
        self.entries.fetch_add(work.entries, Relaxed);
        self.hashed.fetch_add(work.hashed, Relaxed);
        if self.has_too_many() {
            self.stop();
        }
    }
}

/// A job being done. Its end, even by a panic, is news for the other thread.
struct Running<'w>(&'w Mutex<Jobs>, &'w Condvar);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .running -= 1;
        self.1.notify_all();
    }
}

/// One thread of the walk.
struct Worker<'w, 'a> {
    walk: &'w Walk<'a>,
    scratch: Scratch<'w>,
    found: Found,
}

impl Worker<'_, '_> {
    fn take(&mut self, job: Job) {
        match job {
            Job::Start(None) => self.found.failure = self.list_root().err(),
            Job::Start(Some(path)) => self.start(path),
            Job::Enter(parent, path) => {
                let directory = Directory::open(&parent.directory, path.file_name());
                self.enter(directory, path);
            }
            Job::Look(opened, names) => self.look_at_all(&opened, &names),
        }
    }

    fn list_root(&mut self) -> Result<(), DiskError> {
        let root = self.walk.root;
        let opened = Opened {
            directory: root.directory(None)?,
            prefix: Box::default(),
        };
        self.list(&Arc::new(opened))
            .map_err(|error| DiskError::new("list", root.place(None), error))
    }

    fn start(&mut self, path: RelPath) {
        match self.walk.root.directory(Some(&path)) {
            Ok(directory) => self.enter(Ok(directory), path),
            Err(error) if error.cause() == Cause::Absent => self.enter(Err(Errno::NOENT), path),
            Err(error) => {
                let trouble = unreadable(&error.source);
                self.found.scan.problems.push(Problem { path, trouble });
            }
        }
    }

    fn enter(&mut self, directory: Result<Directory, Errno>, path: RelPath) {
        let listed = directory.and_then(|directory| {
            let prefix = [path.as_bytes(), b"/"].concat().into();
            self.list(&Arc::new(Opened { directory, prefix }))
        });
        if let Err(error) = listed {
            let trouble = match error {
                // It went after it was looked at; nothing is said of it now.
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Trouble::Unstable,
                error => unreadable(&error.into()),
            };
            self.found.scan.problems.push(Problem { path, trouble });
        }
    }

    fn list(&mut self, opened: &Arc<Opened>) -> Result<(), Errno> {
        let mut names = Names::default();
        opened.directory.each_name(|name| {
            names.push(name);
            if names.count == BATCH_NAMES {
                self.hand_over(opened, std::mem::take(&mut names));
            }
        })?;
        self.look_at_all(opened, &names);
        Ok(())
    }

    fn hand_over(&mut self, opened: &Arc<Opened>, names: Names) {
        let back = self.walk.push(Job::Look(Arc::clone(opened), names));
        if let Some(Job::Look(opened, names)) = back {
            self.look_at_all(&opened, &names);
        }
    }

    fn look_at_all(&mut self, opened: &Arc<Opened>, names: &Names) {
        self.scratch.read_clock();
        let observer = &self.walk.observer;
        let paths = Paths::of(opened, names);
        let paths: Vec<&[u8]> = paths.iter().collect();
        // Asked together: between system calls each would wait for memory alone.
        let known = observer.previous.known_all(&paths);
        for ((name, path), known) in names.iter().zip(paths).zip(known) {
            let found = Name {
                directory: &opened.directory,
                name,
                path,
            };
            let look = observer.look(found, known, &mut self.scratch);
            self.note(opened, look);
        }
    }

    fn note(&mut self, opened: &Arc<Opened>, look: Look<'_>) {
        let scan = &mut self.found.scan;
        match look {
            Look::Nothing => {}
            Look::Same(known) => self.found.met.push(address(known)),
            Look::Illegal(name, error) => scan.illegal_names.push((name, error)),
            Look::Trouble { path, trouble } => scan.problems.push(Problem { path, trouble }),
            Look::Entry {
                known,
                sighting,
                verdict,
                xml,
            } => {
                self.found.met.extend(known.map(address));
                if sighting.entry.is_directory() {
                    self.descend(opened, &sighting.path);
                }
                self.found.scan.sight(sighting, verdict, xml);
            }
        }
    }

    fn descend(&mut self, opened: &Arc<Opened>, path: &RelPath) {
        let agreed = self.walk.observer.options.agreed;
        self.found.unlisted |= agreed.is_some_and(|agreed| agreed.get(path).is_none());
        if self.walk.tells_directories {
            self.found.scan.directories.push(path.clone());
        }
        self.walk.push(Job::Enter(Arc::clone(opened), path.clone()));
    }
}

/// The bytes of whole paths, one after the other.
struct Paths {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Paths {
    fn of(opened: &Opened, names: &Names) -> Self {
        let room = names.bytes.len() + names.count * opened.prefix.len();
        let mut bytes = Vec::with_capacity(room);
        let mut ends = Vec::with_capacity(names.count);
        for name in names.iter() {
            bytes.extend_from_slice(&opened.prefix);
            bytes.extend_from_slice(name.to_bytes());
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

impl Names {
    fn push(&mut self, name: &CStr) {
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.count += 1;
    }

    fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.bytes
            .split_inclusive(|&byte| byte == 0)
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    }
}

impl Found {
    fn append(&mut self, mut other: Self) {
        self.scan.append(other.scan);
        self.met.append(&mut other.met);
        self.unlisted |= other.unlisted;
        self.failure = self.failure.take().or(other.failure);
    }
}
