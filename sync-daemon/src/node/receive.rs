//! The passive's side of one generation: take it in, make it durable, apply it.
//!
//! Everything that is decided is decided by the replica on the tree's thread;
//! this moves bytes between the stream and that thread and keeps the active
//! informed.

use std::{future::Future, sync::Arc, time::Duration};

use sync_core::{
    blocks::Decompressor,
    section::{ChangeListReader, ContentSplitter, SmallContent, small_contents},
    wire::{Block, Offer, Refusal, Reply},
};
use tracing::{info, warn};

use super::{
    Shared,
    error::{SessionError, describe},
    fetch,
    passive::{PassiveTree, Released},
};
use crate::{
    identity::NodeId,
    transport::{Connection, Stream},
};

/// How often the active hears that the work goes on: well within the deadline of
/// one message.
const WORKING_EVERY: Duration = Duration::from_secs(5);

/// Takes in one generation.
pub(super) async fn generation(
    shared: &Arc<Shared>,
    peer: NodeId,
    connection: &Connection,
    stream: Stream,
    offer: Offer,
) -> Result<(), SessionError> {
    let tree = match admit(shared, &offer) {
        Ok(tree) => tree,
        Err(refusal) => {
            warn!("refused a generation: {}", describe(&refusal));
            return refuse(stream, refusal).await;
        }
    };
    let turn = tree.turn.clone();
    let _turn = turn.lock().await;
    let mut receiving = Receiving {
        shared,
        peer,
        connection,
        stream,
        tree,
        offer,
    };
    match receiving.take_in().await {
        Ok(()) => {
            receiving.tree.note_refused(None);
            Ok(())
        }
        Err(SessionError::Refused(refusal)) => {
            if receiving.tree.note_refused(Some(&refusal)) {
                warn!(tree = %receiving.tree.name, "refused a generation: {}", describe(&refusal));
            }
            receiving.tree.abandon().await?;
            let Receiving { stream, .. } = receiving;
            refuse(stream, refusal).await
        }
        Err(error) => {
            receiving.tree.abandon().await?;
            Err(error)
        }
    }
}

/// Whether this node takes generations of that tree and epoch at all.
fn admit(shared: &Shared, offer: &Offer) -> Result<PassiveTree, Refusal> {
    if shared.is_active() {
        return Err(Refusal::Role { active: true });
    }
    let header = &offer.header;
    shared.admit_epoch(header.epoch)?;
    let tree = shared.passive_tree(&header.tree);
    tree.ok_or_else(|| Refusal::UnknownTree(header.tree.clone()))
}

async fn refuse(mut stream: Stream, refusal: Refusal) -> Result<(), SessionError> {
    stream.send(&Reply::Refused(refusal)).await?;
    stream.finish().await?;
    // What the active still sends is read and dropped, so that it comes to
    // read the refusal.
    while stream.next::<Block>().await?.is_some() {}
    Ok(())
}

struct Receiving<'a> {
    shared: &'a Arc<Shared>,
    peer: NodeId,
    connection: &'a Connection,
    stream: Stream,
    tree: PassiveTree,
    offer: Offer,
}

impl Receiving<'_> {
    async fn take_in(&mut self) -> Result<(), SessionError> {
        let mut section = Section::new();
        let changes = self.change_list(&mut section).await?;
        let contents = small_contents(&changes);
        let following = usize::try_from(self.offer.contents_following).unwrap_or(usize::MAX);
        let following = contents
            .get(..following)
            .ok_or_else(|| SessionError::protocol("more contents announced than there are"))?
            .to_vec();
        let guard = self.shared.guard();
        let header = self.offer.header.clone();
        let released = Released {
            by_active: self.offer.released,
            here: Arc::clone(&self.shared.releases),
        };
        let count = changes.len();
        self.tree
            .begin(header, changes, guard, released)
            .await?
            .map_err(SessionError::Refused)?;
        self.take_contents(&mut section, following).await?;
        self.ask_for_small(&contents).await?;
        self.fetch_large().await?;
        self.finish(count).await
    }

    async fn change_list(
        &mut self,
        section: &mut Section,
    ) -> Result<Vec<sync_core::Change>, SessionError> {
        let mut reader = ChangeListReader::new(u64::from(self.offer.changes));
        let mut changes = Vec::new();
        while !reader.is_complete() {
            let plain = section.next(&mut self.stream).await?;
            let plain =
                plain.ok_or_else(|| SessionError::protocol("the change list is cut off"))?;
            changes.extend(reader.push(&plain)?);
        }
        section.carried = reader.finish()?;
        Ok(changes)
    }

    /// Reads a section's contents to its end and stores them: each batch while
    /// the next one comes in.
    async fn take_contents(
        &mut self,
        section: &mut Section,
        expected: Vec<SmallContent>,
    ) -> Result<(), SessionError> {
        let mut splitter = ContentSplitter::new(expected.iter().map(|content| content.length))?;
        let mut expected = expected.into_iter();
        let mut batch = Vec::new();
        loop {
            let storing = store(&self.tree, std::mem::take(&mut batch));
            let (plain, stored) = tokio::join!(section.next(&mut self.stream), storing);
            stored?;
            let Some(plain) = plain? else { break };
            for content in splitter.push(&plain)? {
                let known = expected
                    .next()
                    .ok_or_else(|| SessionError::protocol("an unannounced content"))?;
                match content {
                    Some(bytes) => batch.push((known.position, bytes)),
                    None => return self.superseded(section).await,
                }
            }
        }
        splitter.finish()?;
        Ok(())
    }

    /// A content went while it was sent: the rest of the section is of no use.
    async fn superseded(&mut self, section: &mut Section) -> Result<(), SessionError> {
        while section.next(&mut self.stream).await?.is_some() {}
        Err(SessionError::Refused(Refusal::Superseded))
    }

    async fn ask_for_small(&mut self, contents: &[SmallContent]) -> Result<(), SessionError> {
        loop {
            let wanted = self
                .tree
                .wanted_small()
                .await?
                .map_err(SessionError::Refused)?;
            if wanted.is_empty() {
                return Ok(());
            }
            let expected = super::push::select(contents, &wanted)?;
            self.stream.send(&Reply::Need(wanted)).await?;
            self.take_contents(&mut Section::new(), expected).await?;
        }
    }

    async fn fetch_large(&mut self) -> Result<(), SessionError> {
        let wanted = self
            .tree
            .wanted_large()
            .await?
            .map_err(SessionError::Refused)?;
        for (position, file) in wanted {
            let (tree, connection) = (self.tree.clone(), self.connection.clone());
            let fetched = async move { fetch::content(&tree, &connection, position, &file).await };
            working(&mut self.stream, fetched).await??;
        }
        Ok(())
    }

    async fn finish(&mut self, changes: usize) -> Result<(), SessionError> {
        let tree = self.tree.clone();
        let position = working(&mut self.stream, async move { tree.commit().await })
            .await??
            .map_err(SessionError::Refused)?;
        self.stream.send(&Reply::Durable(position)).await?;
        let tree = self.tree.clone();
        let applied = working(&mut self.stream, async move { tree.apply().await })
            .await??
            .map_err(SessionError::Refused)?;
        let kept_aside = applied.kept_aside;
        self.stream
            .send(&Reply::Applied {
                position: applied.position,
                kept_aside,
            })
            .await?;
        self.stream.finish().await?;
        info!(
            peer = %self.shared.peer_name(&self.peer), tree = %self.tree.name,
            generation = %applied.position.generation, changes, "applied"
        );
        Ok(())
    }
}

async fn store(tree: &PassiveTree, batch: Vec<(u32, Vec<u8>)>) -> Result<(), SessionError> {
    match batch.is_empty() {
        true => Ok(()),
        false => tree.put_small(batch).await?.map_err(SessionError::Refused),
    }
}

/// Runs `work` and tells the active every few seconds that it goes on.
async fn working<R>(stream: &mut Stream, work: impl Future<Output = R>) -> Result<R, SessionError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return Ok(result),
            () = tokio::time::sleep(WORKING_EVERY) => stream.send(&Reply::Working).await?,
        }
    }
}

/// One section as it comes.
struct Section {
    decompressor: Decompressor,
    /// Plain bytes already taken out of the stream.
    carried: Vec<u8>,
    ended: bool,
}

impl Section {
    fn new() -> Self {
        Self {
            decompressor: Decompressor::new(),
            carried: Vec::new(),
            ended: false,
        }
    }

    /// The next plain bytes; `None` after the last.
    async fn next(&mut self, stream: &mut Stream) -> Result<Option<Vec<u8>>, SessionError> {
        if !self.carried.is_empty() {
            return Ok(Some(std::mem::take(&mut self.carried)));
        }
        if self.ended {
            return Ok(None);
        }
        let block = stream.receive::<Block>().await?;
        self.ended = block.last;
        Ok(Some(self.decompressor.push(&block)?))
    }
}
