//! Makes large contents durable beside the work that goes on.
//!
//! Waiting for the disk after each would leave everything else idle, and the disk
//! with one file at a time: several syncs at once share one commit of the file
//! system's journal.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use sync_core::ContentId;

use super::contents::{finished_name, partial_name};
use crate::root::{DiskError, HeldFile, Root, Target};

/// Syncs at once.
const THREADS_MAX: usize = 4;
/// Files that wait for one, each held open.
const WAITING_MAX: usize = 16;

/// A content whose bytes were checked, under its partial name.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) id: ContentId,
    pub(super) file: HeldFile,
}

impl Checked {
    /// Makes it durable, and a finished one.
    fn finish(&self, work: &Root) -> Result<(), DiskError> {
        self.file.sync_data()?;
        let (from, to) = (partial_name(&self.id), finished_name(&self.id));
        work.rename(&from, work, &to, Target::Replaced)
    }
}

/// Contents that are being made durable. Dropping it waits for them.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: Option<SyncSender<Checked>>,
    waiting: Arc<Mutex<Receiver<Checked>>>,
    threads: Vec<JoinHandle<Vec<Failed>>>,
}

/// A content that did not become durable, and why.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) id: ContentId,
    pub(super) source: DiskError,
}

impl Syncer {
    pub(super) fn new() -> Self {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        Self {
            jobs: Some(jobs),
            waiting: Arc::new(Mutex::new(waiting)),
            threads: Vec::new(),
        }
    }

    /// Takes one more; waits where many wait already.
    pub(super) fn take(&mut self, work: &Root, checked: Checked) -> Result<(), DiskError> {
        if self.threads.len() < THREADS_MAX {
            let (work, waiting) = (work.try_clone()?, Arc::clone(&self.waiting));
            self.threads
                .push(thread::spawn(move || finish_all(&work, &waiting)));
        }
        if let Some(jobs) = &self.jobs {
            // Cannot fail: the other end is held here.
            let _ = jobs.send(checked);
        }
        Ok(())
    }

    /// Waits until all are durable; gives those that are not.
    pub(super) fn settle(mut self) -> Vec<Failed> {
        self.end()
    }

    fn end(&mut self) -> Vec<Failed> {
        self.jobs = None;
        let threads = self.threads.drain(..);
        threads
            .flat_map(|thread| thread.join().expect("syncing does not panic"))
            .collect()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        for Failed { id, source } in self.end() {
            tracing::warn!("the content {id} did not become durable: {source}");
        }
    }
}

/// Until there is no more.
fn finish_all(work: &Root, waiting: &Mutex<Receiver<Checked>>) -> Vec<Failed> {
    let mut failed = Vec::new();
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(checked) = next else { return failed };
        if let Err(source) = checked.finish(work) {
            let id = checked.id;
            failed.push(Failed { id, source });
        }
    }
}
