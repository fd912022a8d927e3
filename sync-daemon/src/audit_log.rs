//! The audit log of a node: what it did that somebody may have to answer for, in
//! records that cannot be changed afterwards without it being seen.
//!
//! Each record is a line of JSON with the hash of the line before, signed with the
//! node's key. What that proves, and what only the peers' memory proves, is in
//! docs/decisions/0020. Records are written by a thread of their own, so that
//! nothing waits for them but what asks for it.

mod check;
mod line;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::warn;

pub use check::{Checked, Finding, Trouble, Witnessed, check, remember, witnessed};
pub use line::Head;

use crate::identity::Identity;
use writer::{Entry, Writer};

/// Records that wait to be written; more are counted and told, not kept.
const WAITING_MAX: usize = 1_024;

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Said {
    /// The node began to work in a role.
    Standing {
        /// The role.
        role: String,
        /// The epoch.
        epoch: u64,
        /// The program's version.
        version: String,
        /// Ids of the peers it trusts.
        trusts: Vec<String>,
    },
    /// Another active was found: this one sends and takes nothing.
    Conflict {
        /// The peer that told of it.
        peer: String,
        /// The epoch of the other.
        peer_epoch: u64,
    },
    /// The peers that are trusted are others now.
    Trust {
        /// Ids that are new.
        added: Vec<String>,
        /// Ids that went.
        removed: Vec<String>,
    },
    /// The active gave a state its number.
    Published {
        /// The tree.
        tree: String,
        /// The generation.
        generation: u64,
        /// Its root.
        root: String,
    },
    /// `rollback`: a generation has the content of an earlier one.
    RolledBack {
        /// The tree.
        tree: String,
        /// The generation.
        generation: u64,
        /// The earlier one.
        to: u64,
    },
    /// A passive applied a generation.
    Applied {
        /// The tree.
        tree: String,
        /// The generation.
        generation: u64,
        /// Its root.
        root: String,
        /// Who sent it.
        from: String,
        /// Paths in it.
        changes: u64,
        /// Files that were not as agreed and are kept aside.
        kept_aside: u64,
    },
    /// A plan was halted before its first delete.
    Halted {
        /// The tree.
        tree: String,
        /// The plan.
        plan: String,
        /// Files it would delete.
        deletions: u64,
    },
    /// An operator released a halted plan.
    Released {
        /// The plan.
        plan: String,
    },
    /// A hook of a change of role or a halt was run.
    Hook {
        /// Which.
        hook: String,
        /// How it ended.
        outcome: String,
    },
    /// `verify --sign`.
    Verified {
        /// The tree.
        tree: String,
        /// The tenant, where it was only one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
        /// The peer.
        peer: String,
        /// Whether every byte was read, not only roots compared.
        deep: bool,
        /// Files compared.
        files: u64,
        /// Bytes in them.
        bytes: u64,
        /// Paths that differ.
        differences: u64,
        /// This node's root.
        root_local: String,
        /// The peer's root.
        root_peer: String,
    },
    /// How far the audit log of a peer has come.
    Witnessed {
        /// The peer's id.
        peer: String,
        /// The number of its newest record.
        upto: u64,
        /// The hash of that.
        hash: String,
    },
    /// Records that came faster than they could be written, or that the disk did
    /// not take.
    Missed {
        /// How many.
        records: u64,
    },
}

/// Where a record is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// Its number.
    pub record: u64,
    /// The hash of its line.
    pub hash: String,
    /// The file, below the state directory.
    pub file: String,
}

/// Why a record is not on the disk.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The disk did not take it.
    #[error("cannot write the audit log")]
    Disk(#[from] std::io::Error),
    /// What is there is no audit log that could be continued.
    #[error("the audit log cannot be continued: {0}")]
    Broken(String),
    /// Its thread has ended.
    #[error("the audit log is not written any more")]
    Stopped,
}

/// A handle to the log of a running node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    waiting: SyncSender<Entry>,
    head: Arc<Mutex<Option<Head>>>,
    missed: Arc<AtomicU64>,
}

impl AuditLog {
    /// Continues the log in `state_dir`, or begins one. The caller holds the lock.
    ///
    /// # Errors
    /// Where it cannot be read or continued.
    pub fn open(state_dir: &Path, identity: &Identity) -> Result<Self, AuditError> {
        let writer = Writer::open(state_dir, identity.clone())?;
        let head = Arc::new(Mutex::new(writer.head()));
        let (waiting, entries) = sync_channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let (told, lost) = (Arc::clone(&head), Arc::clone(&missed));
        thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || writer.run(&entries, &told, &lost))?;
        Ok(Self {
            waiting,
            head,
            missed,
        })
    }

    /// Has a record written; waits for nothing.
    pub fn say(&self, said: Said) {
        let entry = Entry {
            said,
            durable: None,
        };
        if self.waiting.try_send(entry).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a record written and synced, and says where it is.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn say_durably(&self, said: Said) -> Result<Evidence, AuditError> {
        let (answer, answered) = oneshot::channel();
        let entry = Entry {
            said,
            durable: Some(answer),
        };
        self.waiting
            .try_send(entry)
            .map_err(|_| AuditError::Stopped)?;
        answered.await.map_err(|_| AuditError::Stopped)?
    }

    /// One that keeps nothing, for a node whose disk has no log to offer: it works
    /// all the same.
    #[must_use]
    pub fn silent() -> Self {
        let (waiting, _) = sync_channel(0);
        Self {
            waiting,
            head: Arc::default(),
            missed: Arc::default(),
        }
    }

    /// Has a record written and synced where nobody can wait.
    pub fn say_and_sync(&self, said: Said) {
        let log = self.clone();
        tokio::spawn(async move {
            if let Err(error) = log.say_durably(said).await {
                warn!("a record of the audit log is missing: {error}");
            }
        });
    }

    /// The newest record.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.clone()
    }
}
