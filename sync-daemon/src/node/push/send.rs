//! One generation on its way: offer, change list, contents, and what the passive
//! answers.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use sync_core::{
    ContentId, GenerationHeader, Position,
    history::{Step, Time},
    section::{self, SectionWriter, SmallContent},
    wire::{Block, Offer, Opening, PlanId, Range, Refusal, Reply, Span},
};
use sync_fs::archive::now;
use tracing::warn;

use super::{
    super::error::SessionError,
    Pusher,
    round::{Round, unasked},
};
use crate::{
    transport::{Receiver, Sender, StreamError},
    tree_thread::Stopped,
};

/// How one generation ended.
pub(super) enum Outcome {
    Applied {
        position: Position,
        sent: BTreeSet<ContentId>,
        /// When it was sent, and was durable and applied there.
        times: Vec<Time>,
    },
    Refused(Refusal),
}

impl Pusher {
    fn offer(
        &self,
        round: &Round,
        following: usize,
        released: Option<PlanId>,
    ) -> Result<Offer, SessionError> {
        let count = |count: usize| {
            u32::try_from(count)
                .map_err(|_| SessionError::protocol("more changes than a generation can have"))
        };
        let position = round.target.position;
        Ok(Offer {
            header: GenerationHeader {
                tree: self.tree.name.clone(),
                epoch: position.epoch,
                generation: position.generation,
                base: round.base.root(),
                root: position.root,
            },
            changes: count(round.changes.len())?,
            contents_following: count(following)?,
            released,
        })
    }

    /// One generation: offer, change list, contents, answers.
    pub(super) async fn send(
        &self,
        round: &Round,
        released: Option<PlanId>,
        ask_first: bool,
        span: Option<Span>,
    ) -> Result<Outcome, SessionError> {
        let contents = section::small_contents(&round.changes);
        let following = if ask_first {
            0
        } else {
            unasked(round, &contents)
        };
        let offer = self.offer(round, following, released)?;
        let _serving = self.tree.serve(&round.changes);
        let mut times = vec![now(Step::Sent)];
        let (mut sender, replies) = self.connection.open().await?.split();
        let mut replies = Replies {
            receiver: replies,
            early: None,
        };
        let sending = async {
            let opening = match span {
                Some(span) => Opening::Spanned { offer, span },
                None => Opening::Generation(offer),
            };
            sender.feed(&opening).await?;
            let mut section = SectionWriter::new();
            for change in round.changes.iter() {
                feed_blocks(&mut sender, section.change(change)).await?;
            }
            let going = self.going(round, &contents[..following], &BTreeSet::new());
            self.send_contents(&mut sender, section, round, &going)
                .await
        };
        replies.during(sending).await?;
        let mut sent = contents[..following]
            .iter()
            .map(|content| content.id)
            .collect();
        match self
            .answer_replies(sender, replies, round, &contents, &mut sent, &mut times)
            .await?
        {
            Ok(position) => Ok(Outcome::Applied {
                position,
                sent,
                times,
            }),
            Err(refusal) => Ok(Outcome::Refused(refusal)),
        }
    }

    /// How these contents go. What was sent before and is asked for again did not
    /// come out there: it goes whole.
    fn going(
        &self,
        round: &Round,
        contents: &[SmallContent],
        sent: &BTreeSet<ContentId>,
    ) -> Vec<Going> {
        let over = |content: &SmallContent| {
            let may_go_as_steps = self.takes_steps && !sent.contains(&content.id);
            let path = &round.changes[content.position as usize].path;
            may_go_as_steps.then(|| Some(round.base.file(path)?.content))?
        };
        contents
            .iter()
            .map(|content| Going {
                position: content.position,
                over: over(content),
            })
            .collect()
    }

    /// Reads contents on the tree's thread in batches and sends each while the
    /// next one is read.
    async fn send_contents(
        &self,
        sender: &mut Sender,
        mut section: SectionWriter,
        round: &Round,
        going: &[Going],
    ) -> Result<(), SessionError> {
        const BATCH: usize = 256;
        let mut blocks = Vec::new();
        for batch in going.chunks(BATCH) {
            let reading = self.read_contents(section, round, batch);
            let feeding = feed_blocks(sender, std::mem::take(&mut blocks));
            let (read, fed) = tokio::join!(reading, feeding);
            fed?;
            (blocks, section) = read?;
        }
        feed_blocks(sender, blocks).await?;
        sender.send(&section.finish()).await?;
        Ok(())
    }

    async fn read_contents(
        &self,
        mut section: SectionWriter,
        round: &Round,
        batch: &[Going],
    ) -> Result<(Vec<Block>, SectionWriter), Stopped> {
        let batch = batch.to_vec();
        let changes = Arc::clone(&round.changes);
        self.tree
            .thread
            .run(move |tree| {
                let mut blocks = Vec::new();
                for Going { position, over } in batch {
                    let content = tree.read_content(&changes[position as usize], over);
                    blocks.extend(section.content(&content));
                }
                (blocks, section)
            })
            .await
    }

    async fn answer_replies(
        &self,
        mut sender: Sender,
        mut replies: Replies,
        round: &Round,
        contents: &[SmallContent],
        sent: &mut BTreeSet<ContentId>,
        times: &mut Vec<Time>,
    ) -> Result<Result<Position, Refusal>, SessionError> {
        loop {
            match replies.next().await? {
                Reply::Working => {}
                Reply::Need(ranges) => {
                    let wanted = select(contents, &ranges)?;
                    let going = self.going(round, &wanted, sent);
                    sent.extend(wanted.iter().map(|content| content.id));
                    let sending =
                        self.send_contents(&mut sender, SectionWriter::new(), round, &going);
                    replies.during(sending).await?;
                }
                Reply::Durable(position) => {
                    times.push(now(Step::Durable));
                    self.note(|tree| tree.durable = Some(position));
                }
                Reply::Applied {
                    position,
                    kept_aside,
                } => {
                    times.push(now(Step::Applied));
                    if kept_aside > 0 {
                        warn!(
                            peer = %self.peer_name, tree = %self.tree.name, files = kept_aside,
                            "files on the passive were not as expected; they are kept aside there"
                        );
                    }
                    sender.finish().await?;
                    return Ok(Ok(position));
                }
                Reply::Refused(refusal) => return Ok(Err(refusal)),
            }
        }
    }
}

/// A small content on its way.
#[derive(Clone, Copy)]
struct Going {
    /// Position in the change list.
    position: u32,
    /// The content that the passive has in its place, if it may go as steps over it.
    over: Option<ContentId>,
}

/// What the passive answers.
struct Replies {
    receiver: Receiver,
    /// What came before everything was sent.
    early: Option<Reply>,
}

impl Replies {
    async fn next(&mut self) -> Result<Reply, StreamError> {
        match self.early.take() {
            Some(early) => Ok(early),
            None => self.receiver.receive().await,
        }
    }

    /// Hears the passive out while something is sent to it: one whose disk is
    /// slow takes nothing for a while, and says that it works.
    async fn during(
        &mut self,
        sending: impl Future<Output = Result<(), SessionError>>,
    ) -> Result<(), SessionError> {
        tokio::pin!(sending);
        while self.early.is_none() {
            tokio::select! {
                sent = &mut sending => return sent,
                reply = self.receiver.receive::<Reply>() => match reply {
                    Ok(Reply::Working) => {}
                    // A passive that is only sent to may have nothing to say.
                    Err(StreamError::TimedOut { .. }) => {}
                    reply => self.early = Some(reply?),
                }
            }
        }
        sending.await
    }
}

async fn feed_blocks(sender: &mut Sender, blocks: Vec<Block>) -> Result<(), SessionError> {
    for block in blocks {
        sender.feed(&block).await?;
    }
    Ok(())
}

/// The small contents at the positions that the peer named.
pub(in crate::node) fn select(
    contents: &[SmallContent],
    ranges: &[Range],
) -> Result<Vec<SmallContent>, SessionError> {
    let mut wanted = Vec::new();
    for range in ranges {
        let end = u64::from(range.start) + u64::from(range.count);
        let first = contents.partition_point(|content| content.position < range.start);
        let selected = contents[first..]
            .iter()
            .take_while(|content| u64::from(content.position) < end);
        wanted.extend(selected.copied());
        if wanted.len() > contents.len() {
            return Err(SessionError::protocol(
                "more contents wanted than there are",
            ));
        }
    }
    Ok(wanted)
}
