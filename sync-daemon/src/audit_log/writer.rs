//! The thread that writes: one record after the other, each with the hash of the
//! line before.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;
use tracing::warn;

use super::{
    AuditError, Evidence, Said,
    line::{self, Body, Head, NOTHING_BEFORE},
    segments::{self, SEGMENT_BYTES},
};
use crate::identity::Identity;

/// A record to be written.
pub(super) struct Entry {
    pub(super) said: Said,
    /// Who waits until it is synced.
    pub(super) durable: Option<oneshot::Sender<Result<Evidence, AuditError>>>,
}

pub(super) struct Writer {
    state_dir: PathBuf,
    identity: Identity,
    segment: u64,
    file: File,
    bytes: u64,
    head: Option<Head>,
}

impl Writer {
    /// Finds where the log ends. A line that a kill cut off is closed, and stays
    /// to be found by a check.
    pub(super) fn open(state_dir: &Path, identity: Identity) -> Result<Self, AuditError> {
        let numbers = segments::list(state_dir)?;
        let segment = numbers.last().copied().unwrap_or(1);
        let mut head = None;
        for number in numbers.iter().rev() {
            head = newest(&segments::read(state_dir, *number)?, &identity);
            if head.is_some() {
                break;
            }
        }
        let mut file = segments::open(state_dir, segment)?;
        let last = segments::read(state_dir, segment)?;
        if last.last().is_some_and(|byte| *byte != b'\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            state_dir: state_dir.to_owned(),
            identity,
            segment,
            file,
            bytes: last.len() as u64,
            head,
        })
    }

    pub(super) fn head(&self) -> Option<Head> {
        self.head.clone()
    }

    /// Writes until every handle is gone.
    pub(super) fn run(
        mut self,
        entries: &Receiver<Entry>,
        told: &Mutex<Option<Head>>,
        lost: &AtomicU64,
    ) {
        while let Ok(Entry { said, durable }) = entries.recv() {
            let records = lost.swap(0, Ordering::Relaxed);
            if records > 0 {
                self.write_or_count(&Said::Missed { records }, records, lost);
            }
            match durable {
                Some(waiting) => {
                    let written = self.write(&said).and_then(|evidence| {
                        self.file.sync_data()?;
                        Ok(evidence)
                    });
                    // Whoever asked may have gone.
                    let _ = waiting.send(written);
                }
                None => self.write_or_count(&said, 1, lost),
            }
            *told.lock().unwrap_or_else(PoisonError::into_inner) = self.head();
        }
        if let Err(error) = self.file.sync_data() {
            warn!("the end of the audit log may be lost: {error}");
        }
    }

    fn write_or_count(&mut self, said: &Said, records: u64, lost: &AtomicU64) {
        if let Err(error) = self.write(said) {
            lost.fetch_add(records, Ordering::Relaxed);
            warn!("a record of the audit log has to wait: {error}");
        }
    }

    fn write(&mut self, said: &Said) -> Result<Evidence, AuditError> {
        if self.bytes >= SEGMENT_BYTES {
            self.begin_segment()?;
        }
        let body = Body {
            record: self.head.as_ref().map_or(0, |head| head.record) + 1,
            unix_ms: now_ms(),
            said: said.clone(),
            previous: self
                .head
                .as_ref()
                .map_or_else(|| NOTHING_BEFORE.to_owned(), |head| head.hash.clone()),
        };
        let line = body.sign(&self.identity).map_err(io::Error::other)?;
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += line.len() as u64 + 1;
        let head = Head {
            record: body.record,
            hash: line::hash(&line),
        };
        self.head = Some(head.clone());
        Ok(Evidence {
            record: head.record,
            hash: head.hash,
            file: segments::name(self.segment),
        })
    }

    fn begin_segment(&mut self) -> Result<(), AuditError> {
        self.file.sync_data()?;
        self.file = segments::open(&self.state_dir, self.segment + 1)?;
        self.segment += 1;
        self.bytes = 0;
        segments::remove_oldest(&self.state_dir)?;
        Ok(())
    }
}

/// The last record of this node in a file.
fn newest(bytes: &[u8], identity: &Identity) -> Option<Head> {
    let text = String::from_utf8_lossy(bytes);
    let mut newest_first = text.lines().rev();
    newest_first.find_map(|line| match line::read(line, &identity.id()) {
        line::Read::Signed(body) => Some(Head {
            record: body.record,
            hash: line::hash(line),
        }),
        line::Read::Foreign(_) | line::Read::Malformed => None,
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    u64::try_from(ms).unwrap_or(u64::MAX)
}
