//! Contents like ones that are here: the passive sends sketches of what it has,
//! the active what is between the pieces. Of some that are new the sketch is empty.
//! One conversation for a generation, so that it costs one round trip and what one
//! content repeats of another is compressed away.

use std::{collections::VecDeque, sync::Arc, vec};

use sync_core::{
    FileEntry, TreeName,
    blocks::Compressor,
    codec,
    limits::{PATCH_PIECES_MAX, PATCHED_BYTES_MAX},
    patch::{self, Patched, Patching, Step},
    wire::{Block, Opening, PatchRequest, Refusal},
};
use tracing::debug;

use super::{
    Shared, active::ActiveTree, error::SessionError, passive::PassiveTree, receive::Section,
    working::DISK_PATIENCE,
};
use crate::{
    transport::{Connection, Receiver, Sender, Stream},
    tree_thread::Stopped,
};

/// Bytes of older contents held while their patches are under way.
const HELD_BYTES_MAX: usize = PATCHED_BYTES_MAX as usize;

/// The passive's side: brings contents of more than `over` bytes that it has something
/// like into the intake under way. What does not come out right stays wanted.
pub(super) async fn contents(
    tree: &PassiveTree,
    connection: &Connection,
    over: u64,
) -> Result<(), SessionError> {
    let wanted = tree.wanted_patches(over).await?;
    let wanted = wanted.map_err(SessionError::Refused)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let (mut sender, mut incoming) = connection.open().await?.split();
    incoming.set_patience(DISK_PATIENCE);
    let name = tree.name.clone();
    sender.feed(&Opening::Patch { tree: name }).await?;
    let mut asking = Asking {
        tree,
        sender,
        wanted: wanted.into_iter(),
        asked: VecDeque::new(),
        held: 0,
    };
    let (mut section, mut plain) = (Section::new(), Vec::new());
    while let Some(asked) = asking.next().await? {
        let content = answered(asked.patching, &mut incoming, &mut section, &mut plain).await?;
        let put = tree.put_patched(asked.position, content).await?;
        if !put.map_err(SessionError::Refused)? {
            debug!(tree = %tree.name, position = asked.position, "a patch made another content");
        }
    }
    asking.sender.finish().await?;
    while let Some(more) = section.next(&mut incoming).await? {
        plain.extend(more);
    }
    match plain.is_empty() {
        true => Ok(()),
        false => Err(SessionError::protocol("steps that were not asked for")),
    }
}

/// A content that was asked for.
struct Asked {
    position: u32,
    /// Bytes of the older content.
    held: usize,
    patching: Patching,
}

struct Asking<'a> {
    tree: &'a PassiveTree,
    sender: Sender,
    wanted: vec::IntoIter<(u32, FileEntry)>,
    asked: VecDeque<Asked>,
    held: usize,
}

impl Asking<'_> {
    /// The content whose answer comes next. Asks for others ahead of it.
    async fn next(&mut self) -> Result<Option<Asked>, SessionError> {
        while self.held < HELD_BYTES_MAX
            && let Some((position, file)) = self.wanted.next()
        {
            self.ask(position, file).await?;
        }
        let next = self.asked.pop_front();
        self.held -= next.as_ref().map_or(0, |asked| asked.held);
        Ok(next)
    }

    async fn ask(&mut self, position: u32, file: FileEntry) -> Result<(), SessionError> {
        let sketched = self.tree.sketch(position, file.length).await?;
        let sketch = sketched.map_err(SessionError::Refused)?;
        let request = PatchRequest {
            content: file.content,
            pieces: sketch.ids().to_vec(),
        };
        self.sender.send(&request).await?;
        let held = sketch.old_length();
        self.held += held;
        let length = usize::try_from(file.length).unwrap_or(usize::MAX);
        self.asked.push_back(Asked {
            position,
            held,
            patching: Patching::new(sketch, length),
        });
        Ok(())
    }
}

/// Takes the steps of one content as they come; `plain` is what has come of the
/// next ones.
async fn answered(
    mut patching: Patching,
    incoming: &mut Receiver,
    section: &mut Section,
    plain: &mut Vec<u8>,
) -> Result<Vec<u8>, SessionError> {
    loop {
        match patching.take(plain)? {
            Some(Patched::Whole(content)) => return Ok(content),
            Some(Patched::Gone) => return Err(SessionError::Refused(Refusal::Superseded)),
            None => {}
        }
        let more = section.next(incoming).await?;
        plain.extend(more.ok_or_else(|| SessionError::protocol("the steps are cut off"))?);
    }
}

/// The active's side.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    stream: Stream,
    tree: &TreeName,
) -> Result<(), SessionError> {
    let tree = shared.active_tree(tree);
    let tree = tree.ok_or_else(|| SessionError::protocol("patches of a tree that is not here"))?;
    let (mut sender, mut requests) = stream.split();
    requests.set_patience(DISK_PATIENCE);
    let mut compressor = Compressor::of_patches();
    while let Some(request) = requests.next::<PatchRequest>().await? {
        if request.pieces.len() > PATCH_PIECES_MAX {
            return Err(SessionError::protocol("more pieces than a sketch can have"));
        }
        let (blocks, next) = answer(&tree, request, compressor).await?;
        compressor = next;
        for block in blocks {
            sender.send(&block).await?;
        }
    }
    sender.send(&compressor.finish()).await?;
    sender.finish().await?;
    Ok(())
}

/// Reads, compares and compresses on the tree's thread.
async fn answer(
    tree: &ActiveTree,
    request: PatchRequest,
    mut compressor: Compressor,
) -> Result<(Vec<Block>, Compressor), Stopped> {
    let served = tree.served(&request.content);
    tree.thread
        .run(move |tree| {
            let content = served.and_then(|(path, file)| {
                let fits = file.length <= PATCHED_BYTES_MAX;
                fits.then(|| tree.read_whole(&path, &file))?
            });
            let steps = match content {
                Some(content) => patch::steps(&content, &request.pieces),
                None => vec![Step::Gone],
            };
            let encoded = steps.iter().map(codec::encode);
            let mut blocks: Vec<Block> = encoded.flat_map(|step| compressor.push(&step)).collect();
            blocks.extend(compressor.flush());
            (blocks, compressor)
        })
        .await
}
