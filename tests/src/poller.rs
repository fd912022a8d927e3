//! An impatient reader: looks at files every millisecond and expects each to be
//! there and whole at every instant.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Faults kept: the first ones tell the story.
const FAULTS_MAX: usize = 20;

/// A reader at work.
pub struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Findings>,
}

/// What it found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Reads made.
    pub looks: u64,
    /// Missing or partial files, the first ones.
    pub faults: Vec<String>,
}

impl Poller {
    /// Starts to read `files`; `whole` says whether bytes are a complete state.
    #[must_use]
    pub fn start(files: Vec<PathBuf>, whole: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut findings = Findings::default();
            while !stopped.load(Ordering::Relaxed) {
                for file in &files {
                    findings.look(file, &whole);
                }
                thread::sleep(PAUSE);
            }
            findings
        });
        Self { stop, thread }
    }

    /// Stops reading.
    ///
    /// # Panics
    /// When the reading thread did.
    #[must_use]
    pub fn finish(self) -> Findings {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the poller's thread ends well")
    }
}

impl Findings {
    fn look(&mut self, file: &PathBuf, whole: impl Fn(&[u8]) -> bool) {
        self.looks += 1;
        let fault = match fs::read(file) {
            Ok(content) if whole(&content) => return,
            Ok(content) => format!("partial: {} bytes", content.len()),
            Err(error) => error.to_string(),
        };
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{}: {fault}", file.display()));
        }
    }
}
