//! The passive's side of one generation: take it in, make it durable, apply it.
//!
//! Everything that is decided is decided by the replica on the tree's thread;
//! this moves bytes between the stream and that thread and keeps the active
//! informed.

use std::sync::Arc;

use sync_core::{
    Action, Change, Entry,
    blocks::Decompressor,
    limits::SMALL_CONTENT_BYTES_MAX,
    section::{ChangeListReader, Content, ContentSplitter, SmallContent, small_contents},
    wire::{Block, Offer, Refusal, Reply, Span, VERSION_OF_CLAIMS, View},
};
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use super::{
    Shared, audit,
    error::{SessionError, describe},
    fencing::Greeting,
    fetch,
    passive::{AppliedGeneration, PassiveTree, Released},
    patch,
    spans::Seat,
    working::{DISK_PATIENCE, Replies},
};
use crate::{
    audit_log::Said,
    identity::NodeId,
    transport::{Connection, Receiver, Stream},
};

/// Who sends.
pub(super) struct From<'a> {
    pub(super) peer: NodeId,
    pub(super) connection: &'a Connection,
    pub(super) theirs: &'a Greeting,
}

/// Takes in one generation.
pub(super) async fn generation(
    shared: &Arc<Shared>,
    from: From<'_>,
    stream: Stream,
    offer: Offer,
    span: Option<Span>,
) -> Result<(), SessionError> {
    let (sender, mut incoming) = stream.split();
    incoming.set_patience(DISK_PATIENCE);
    let mut replies = Replies::new(sender);
    let seat = span.map(|span| shared.spans.seat(from.peer, span, &offer.header));
    let seat = seat.transpose().map_err(SessionError::protocol)?;
    let tree = match admit(shared, &from, &offer) {
        Ok(tree) => tree,
        Err(refusal) => {
            warn!("refused a generation: {}", describe(&refusal));
            return refuse(replies, incoming, refusal).await;
        }
    };
    let turn = Arc::clone(&tree.turn).lock_owned();
    let turn = replies.during(turn).await?;
    let mut receiving = Receiving {
        shared,
        peer: from.peer,
        connection: from.connection,
        replies,
        incoming,
        tree,
        turn: Some(turn),
        seat,
        offer,
        is_current: from.theirs.hello.version >= VERSION_OF_CLAIMS,
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
            // A span that has taken the generation over has given it up itself.
            if receiving.turn.is_some() {
                let abandoning = receiving.tree.abandon();
                receiving.replies.during(abandoning).await??;
            }
            let refusal = receiving.spoken(refusal);
            let Receiving {
                replies, incoming, ..
            } = receiving;
            refuse(replies, incoming, refusal).await
        }
        Err(error) => {
            if receiving.turn.is_some() {
                receiving.tree.abandon().await?;
            }
            Err(error)
        }
    }
}

/// Whether this node takes generations of that tree and epoch at all.
fn admit(shared: &Shared, from: &From<'_>, offer: &Offer) -> Result<PassiveTree, Refusal> {
    let header = &offer.header;
    shared.admit(from.peer, from.theirs, header.epoch)?;
    let tree = shared.passive_tree(&header.tree);
    tree.ok_or_else(|| Refusal::UnknownTree(header.tree.clone()))
}

async fn refuse(
    mut replies: Replies,
    mut incoming: Receiver,
    refusal: Refusal,
) -> Result<(), SessionError> {
    replies.send(&Reply::Refused(refusal)).await?;
    replies.finish().await?;
    // What the active still sends is read and dropped, so that it comes to
    // read the refusal.
    while incoming.next::<Block>().await?.is_some() {}
    Ok(())
}

struct Receiving<'a> {
    shared: &'a Arc<Shared>,
    peer: NodeId,
    connection: &'a Connection,
    replies: Replies,
    incoming: Receiver,
    tree: PassiveTree,
    /// Generations of a tree are taken in one after the other. Given up where a span
    /// takes it over.
    turn: Option<OwnedMutexGuard<()>>,
    /// Where this generation is one of a span.
    seat: Option<Seat>,
    offer: Offer,
    /// Whether the active speaks the version that can be asked what was agreed, and
    /// for patches.
    is_current: bool,
}

/// Nothing here takes long unheard: whatever is waited for, the network, the
/// tree's thread or the disk, is waited for in [`Replies::during`].
impl Receiving<'_> {
    async fn take_in(&mut self) -> Result<(), SessionError> {
        let mut section = Section::new();
        let listing = change_list(&mut self.incoming, &mut section, self.offer.changes);
        let changes = self.replies.during(listing).await??;
        let contents = small_contents(&changes);
        let following = usize::try_from(self.offer.contents_following).unwrap_or(usize::MAX);
        let following = contents
            .get(..following)
            .ok_or_else(|| SessionError::protocol("more contents announced than there are"))?
            .to_vec();
        let count = changes.len();
        let has_large = changes.iter().any(puts_large);
        if self.tree.is_returning() && self.is_current {
            self.learn_agreed().await?;
        }
        self.begin(changes).await?;
        if has_large && !following.is_empty() && self.is_current {
            self.take_contents_beside_patches(section, following)
                .await?;
        } else {
            self.take_contents(section, following).await?;
        }
        if !self.has_all().await? {
            self.ask_for_the_rest(&contents).await?;
        }
        self.finish(count).await
    }

    /// Whether nothing is to be asked for: a small edit comes with its contents.
    async fn has_all(&mut self) -> Result<bool, SessionError> {
        let looking = self.replies.during(self.tree.has_all_contents());
        looking.await??.map_err(SessionError::Refused)
    }

    async fn ask_for_the_rest(&mut self, contents: &[SmallContent]) -> Result<(), SessionError> {
        if self.is_current {
            let patching = patch::contents(&self.tree, self.connection, 0);
            self.replies.during(patching).await??;
        }
        self.ask_for_small(contents).await?;
        self.fetch_large().await
    }

    async fn begin(&mut self, changes: Vec<Change>) -> Result<(), SessionError> {
        let guard = self.shared.guard();
        let header = self.offer.header.clone();
        let released = Released {
            by_active: self.offer.released,
            here: Arc::clone(&self.shared.releases),
        };
        let sender = self.shared.peer_name(&self.peer);
        let beginning = self.tree.begin(header, changes, guard, released, sender);
        let begun = self.replies.during(beginning).await?;
        begun?.map_err(SessionError::Refused)
    }

    /// What an active of the version before understands.
    fn spoken(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Held { .. } if !self.is_current => Refusal::Unable(describe(&refusal)),
            refusal => refusal,
        }
    }

    /// What stands here was an active's: asks the one that is now what of it was
    /// agreed. What nobody knows to be agreed is kept aside.
    async fn learn_agreed(&mut self) -> Result<(), SessionError> {
        let asking = ask_agreed(self.connection, &self.tree);
        self.replies.during(asking).await?
    }

    async fn take_contents(
        &mut self,
        section: Section,
        expected: Vec<SmallContent>,
    ) -> Result<(), SessionError> {
        let taking = take_contents(&mut self.incoming, section, &self.tree, expected);
        self.replies.during(taking).await?
    }

    /// Asks for the patches of large contents while the small ones come in: these
    /// cost another round trip, and the disk time for each.
    async fn take_contents_beside_patches(
        &mut self,
        section: Section,
        expected: Vec<SmallContent>,
    ) -> Result<(), SessionError> {
        let taking = take_contents(&mut self.incoming, section, &self.tree, expected);
        let patching = patch::contents(&self.tree, self.connection, SMALL_CONTENT_BYTES_MAX);
        // Both to their ends: a stream that is left within a frame cannot be read on.
        let both = async { tokio::join!(taking, patching) };
        let (taken, patched) = self.replies.during(both).await?;
        taken.and(patched)
    }

    async fn ask_for_small(&mut self, contents: &[SmallContent]) -> Result<(), SessionError> {
        let mut asked = Vec::new();
        let mut in_vain = 0;
        loop {
            let looking = self.tree.wanted_small();
            let wanted = self.replies.during(looking).await??;
            let wanted = wanted.map_err(SessionError::Refused)?;
            if wanted.is_empty() {
                return Ok(());
            }
            // Steps may make nothing of what is here: then the whole comes, asked again.
            in_vain = if wanted == asked { in_vain + 1 } else { 0 };
            if in_vain == 2 {
                return Err(SessionError::protocol("contents were sent in vain, twice"));
            }
            asked.clone_from(&wanted);
            let expected = super::push::select(contents, &wanted)?;
            self.replies.send(&Reply::Need(wanted)).await?;
            self.take_contents(Section::new(), expected).await?;
        }
    }

    async fn fetch_large(&mut self) -> Result<(), SessionError> {
        let looking = self.tree.wanted_large();
        let wanted = self.replies.during(looking).await??;
        for (position, file) in wanted.map_err(SessionError::Refused)? {
            let fetching = fetch::content(&self.tree, self.connection, position, &file);
            self.replies.during(fetching).await??;
        }
        Ok(())
    }

    async fn finish(&mut self, changes: usize) -> Result<(), SessionError> {
        let applied = match (self.seat.take(), self.turn.take()) {
            (Some(seat), Some(turn)) => self.finish_together(seat, turn).await?,
            (_, turn) => {
                self.turn = turn;
                self.finish_alone().await?
            }
        };
        let (position, kept_aside) = (applied.position, applied.kept_aside);
        self.shared.audit.say(Said::Applied {
            tree: self.tree.name.to_string(),
            generation: position.generation.0,
            root: position.root.to_string(),
            from: self.peer.to_string(),
            changes: changes as u64,
            kept_aside: kept_aside.into(),
        });
        self.replies
            .send(&Reply::Applied {
                position: applied.position,
                kept_aside,
            })
            .await?;
        self.replies.finish().await?;
        info!(
            peer = %self.shared.peer_name(&self.peer), tree = %self.tree.name,
            generation = %applied.position.generation, changes, "applied"
        );
        Ok(())
    }
}

impl Receiving<'_> {
    async fn finish_alone(&mut self) -> Result<AppliedGeneration, SessionError> {
        let committed = self.replies.during(self.tree.commit()).await??;
        let position = committed.map_err(SessionError::Refused)?;
        self.replies.send(&Reply::Durable(position)).await?;
        let applied = self.replies.during(self.tree.apply()).await??;
        applied.map_err(SessionError::Refused)
    }

    /// All generations of the span are made durable and applied by one task, which
    /// goes on whatever becomes of this conversation.
    async fn finish_together(
        &mut self,
        seat: Seat,
        turn: OwnedMutexGuard<()>,
    ) -> Result<AppliedGeneration, SessionError> {
        let waiting = seat.durable(self.tree.clone(), turn);
        let durable = self.replies.during(waiting).await?;
        let position = durable.map_err(SessionError::Refused)?;
        self.replies.send(&Reply::Durable(position)).await?;
        let applied = self.replies.during(seat.applied()).await?;
        applied.map_err(SessionError::Refused)
    }
}

fn puts_large(change: &Change) -> bool {
    match &change.action {
        Action::Put(Entry::File(file)) => file.length > SMALL_CONTENT_BYTES_MAX,
        _ => false,
    }
}

async fn change_list(
    incoming: &mut Receiver,
    section: &mut Section,
    announced: u32,
) -> Result<Vec<Change>, SessionError> {
    let mut reader = ChangeListReader::new(u64::from(announced));
    let mut changes = Vec::new();
    while !reader.is_complete() {
        let plain = section.next(incoming).await?;
        let plain = plain.ok_or_else(|| SessionError::protocol("the change list is cut off"))?;
        changes.extend(reader.push(&plain)?);
    }
    section.carried = reader.finish()?;
    Ok(changes)
}

/// Reads a section's contents to its end and stores them: each batch while the
/// next one comes in.
async fn take_contents(
    incoming: &mut Receiver,
    mut section: Section,
    tree: &PassiveTree,
    expected: Vec<SmallContent>,
) -> Result<(), SessionError> {
    let mut splitter = ContentSplitter::new(expected.iter().map(|content| content.length))?;
    let mut expected = expected.into_iter();
    let mut batch = Vec::new();
    loop {
        let storing = store(tree, std::mem::take(&mut batch));
        let (plain, stored) = tokio::join!(section.next(incoming), storing);
        stored?;
        let Some(plain) = plain? else { break };
        for content in splitter.push(&plain)? {
            let known = expected
                .next()
                .ok_or_else(|| SessionError::protocol("an unannounced content"))?;
            if content == Content::Gone {
                return superseded(incoming, section).await;
            }
            batch.push((known.position, content));
        }
    }
    splitter.finish()?;
    Ok(())
}

/// A content went while it was sent: the rest of the section is of no use.
async fn superseded(incoming: &mut Receiver, mut section: Section) -> Result<(), SessionError> {
    while section.next(incoming).await?.is_some() {}
    Err(SessionError::Refused(Refusal::Superseded))
}

async fn store(tree: &PassiveTree, batch: Vec<(u32, Content)>) -> Result<(), SessionError> {
    match batch.is_empty() {
        true => Ok(()),
        false => tree.put_small(batch).await?.map_err(SessionError::Refused),
    }
}

/// Has the tree know what was agreed, as the active remembers it.
async fn ask_agreed(connection: &Connection, tree: &PassiveTree) -> Result<(), SessionError> {
    let local = tree.state.borrow().agreed.clone();
    let asked = audit::open(connection, &tree.name, View::LastAgreed, |_, _| {});
    let known = match asked.await {
        Ok(audit) => audit.walk(&local).await?.manifest,
        Err(SessionError::Refused(refusal)) => {
            info!(tree = %tree.name, "what was agreed is not known: {}", describe(&refusal));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    tree.know_agreed(known).await?;
    Ok(())
}

/// One section as it comes.
pub(super) struct Section {
    decompressor: Decompressor,
    /// Plain bytes already taken out of the stream.
    carried: Vec<u8>,
    ended: bool,
}

impl Section {
    pub(super) fn new() -> Self {
        Self {
            decompressor: Decompressor::new(),
            carried: Vec::new(),
            ended: false,
        }
    }

    /// The next plain bytes; `None` after the last.
    pub(super) async fn next(
        &mut self,
        incoming: &mut Receiver,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        if !self.carried.is_empty() {
            return Ok(Some(std::mem::take(&mut self.carried)));
        }
        if self.ended {
            return Ok(None);
        }
        let block = incoming.receive::<Block>().await?;
        self.ended = block.last;
        Ok(Some(self.decompressor.push(&block)?))
    }
}
