//! Looking into the other node's tree: both sides of `Opening::Audit`.
//!
//! The asker gets the peer's manifest by walking its trie against a local one;
//! the answerer serves the picture it was asked for. What is done about the
//! differences is for others.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{
    Manifest, RelPath, Root, TreeName,
    limits::TREE_ENTRIES_MAX,
    reconcile::{self, Walk},
    wire::{AuditAnswer, AuditRequest, Opening, Refusal, View},
};
use tokio::{task::JoinSet, time::Instant};

use super::{NodeMode, Shared, error::SessionError};
use crate::transport::{Connection, Stream};

/// How long after it was asked for an audit still tells what the peer has. Far
/// below the peer's patience with a conversation that does not go on.
const FRESH: Duration = Duration::from_secs(2);

/// A peer's picture of a tree.
pub(super) struct Picture {
    pub(super) manifest: Manifest,
    pub(super) root: Root,
    pub(super) unreadable: Vec<(RelPath, String)>,
    pub(super) touched: Vec<RelPath>,
}

/// An audit whose picture is ready on the peer.
pub(super) struct Audit {
    stream: Stream,
    root: Root,
    entries: u64,
    unreadable: Vec<(RelPath, String)>,
    touched: Vec<RelPath>,
}

/// An audit asked for ahead of its need, while this node looks at its own tree.
pub(super) struct Ahead {
    asked: Instant,
    /// One task; it ends with this.
    audit: JoinSet<Result<Audit, SessionError>>,
}

/// Audits asked for ahead, by their trees.
pub(super) type Looks = BTreeMap<TreeName, Ahead>;

impl Ahead {
    fn ask(connection: &Connection, tree: &TreeName, view: View) -> Self {
        let (connection, tree) = (connection.clone(), tree.clone());
        let mut audit = JoinSet::new();
        audit.spawn(async move { open(&connection, &tree, view, |_, _| {}).await });
        Self {
            asked: Instant::now(),
            audit,
        }
    }

    /// The audit, unless it failed or is out of date: then it is to be asked for
    /// anew.
    pub(super) async fn fresh(mut self) -> Option<Audit> {
        if self.asked.elapsed() > FRESH {
            return None;
        }
        self.audit.join_next().await?.ok()?.ok()
    }
}

impl Shared {
    /// Asks for a look at the peer's disk along with the greeting, where this node
    /// runs to heal it: that saves a round trip.
    pub(super) fn looks_ahead(&self, connection: &Connection) -> Looks {
        let wanted = self.mode == NodeMode::OneShot { heals: true };
        let trees = self.active.keys().filter(|_| wanted);
        trees
            .map(|tree| (tree.clone(), Ahead::ask(connection, tree, View::Disk)))
            .collect()
    }
}

/// Asks the peer for a picture; `progress` hears (files, bytes) read so far.
pub(super) async fn open(
    connection: &Connection,
    tree: &TreeName,
    view: View,
    mut progress: impl FnMut(u64, u64),
) -> Result<Audit, SessionError> {
    let mut stream = connection.open().await?;
    stream
        .send(&Opening::Audit {
            tree: tree.clone(),
            view,
        })
        .await?;
    loop {
        match stream.receive::<AuditAnswer>().await? {
            AuditAnswer::Progress { files, bytes } => progress(files, bytes),
            AuditAnswer::Ready {
                root,
                entries,
                unreadable,
                touched,
                ..
            } => {
                if entries > TREE_ENTRIES_MAX as u64 {
                    return Err(SessionError::protocol("a tree beyond the limit"));
                }
                return Ok(Audit {
                    stream,
                    root,
                    entries,
                    unreadable,
                    touched,
                });
            }
            AuditAnswer::Refused(refusal) => return Err(SessionError::Refused(refusal)),
            AuditAnswer::Nodes { .. } | AuditAnswer::List(_) => {
                return Err(SessionError::protocol("an answer that was not asked for"));
            }
        }
    }
}

impl Audit {
    /// Walks the peer's picture against `local` and gives it whole.
    pub(super) async fn walk(mut self, local: &Manifest) -> Result<Picture, SessionError> {
        let manifest = if self.root == local.root() {
            local.clone()
        } else {
            self.differing(local).await?
        };
        self.stream.finish().await?;
        Ok(Picture {
            manifest,
            root: self.root,
            unreadable: self.unreadable,
            touched: self.touched,
        })
    }

    async fn differing(&mut self, local: &Manifest) -> Result<Manifest, SessionError> {
        let mut walk = Walk::new(local, self.root, self.entries)?;
        while !walk.is_complete() {
            while let Some(request) = walk.next_request() {
                self.stream.send(&request).await?;
            }
            if !walk.is_complete() {
                walk.answer(self.stream.receive().await?)?;
            }
        }
        Ok(walk.finish()?)
    }
}

/// A picture that this node is ready to show.
pub(super) struct Shown {
    pub(super) manifest: Manifest,
    pub(super) unreadable: Vec<(RelPath, String)>,
    pub(super) touched: Vec<RelPath>,
}

/// Paths of one kind named in an answer: enough to see what is wrong, and the
/// frame stays within its limit.
const NAMED_MAX: usize = 100;

/// Serves requests about a picture until the asker is done.
pub(super) async fn serve(mut stream: Stream, shown: Shown) -> Result<(), SessionError> {
    let totals = shown.manifest.totals();
    let mut unreadable = shown.unreadable;
    let mut touched = shown.touched;
    unreadable.truncate(NAMED_MAX);
    touched.truncate(NAMED_MAX);
    let ready = AuditAnswer::Ready {
        root: shown.manifest.root(),
        entries: totals.entries,
        files: totals.files,
        bytes: totals.bytes,
        unreadable,
        touched,
    };
    stream.send(&ready).await?;
    while let Some(request) = stream.next::<AuditRequest>().await? {
        for answer in reconcile::answer(&shown.manifest, request)? {
            stream.send(&answer).await?;
        }
    }
    stream.finish().await?;
    Ok(())
}

/// Says why there is no picture.
pub(super) async fn refuse(mut stream: Stream, refusal: Refusal) -> Result<(), SessionError> {
    stream.send(&AuditAnswer::Refused(refusal)).await?;
    stream.finish().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(audit: impl Future<Output = Result<Audit, SessionError>> + Send + 'static) -> Ahead {
        let mut task = JoinSet::new();
        task.spawn(audit);
        Ahead {
            asked: Instant::now(),
            audit: task,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_that_failed_or_is_out_of_date_is_not_used() {
        let failed = ahead(async { Err(SessionError::protocol("cut off")) });
        assert!(failed.fresh().await.is_none());
        let late = ahead(std::future::pending());
        tokio::time::advance(FRESH + Duration::from_millis(1)).await;
        assert!(late.fresh().await.is_none());
    }
}
