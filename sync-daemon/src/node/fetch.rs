//! Large contents: the passive fetches by recipe, the active serves.
//!
//! Only contents of generations under way can be fetched. Chunks that the
//! passive finds in local files never travel.

use std::sync::Arc;

use sync_core::{
    ContentId, FileEntry, RelPath, TreeName,
    codec::Malformed,
    limits::{CHUNK_BYTES_MAX, FILE_BYTES_MAX},
    recipe::{Missing, Recipe, Run},
    wire::{FETCH_GROUPS_MAX, FetchAnswer, FetchRequest, Opening, Refusal},
};

use super::{
    Shared, active::ActiveTree, error::SessionError, passive::PassiveTree, working::DISK_PATIENCE,
};
use crate::transport::{Connection, Stream};

/// Plain bytes in one `Data`.
const DATA_BYTES: u32 = CHUNK_BYTES_MAX;
/// Groups named in one frame.
const GROUPS_PER_FRAME: usize = 16_384;
/// Compression of chunks: jars and images rarely shrink, so only cheaply.
const LEVEL: i32 = 1;
/// Groups in one content: the smallest group is one smallest chunk.
const GROUPS_MAX: usize = (FILE_BYTES_MAX / (16 << 10)) as usize;

/// The passive's side: brings one large content into the intake under way.
pub(super) async fn content(
    tree: &PassiveTree,
    connection: &Connection,
    position: u32,
    file: &FileEntry,
) -> Result<(), SessionError> {
    let sources = tree.large(position).await?.map_err(SessionError::Refused)?;
    let mut stream = connection.open().await?;
    stream.set_patience(DISK_PATIENCE);
    let opening = Opening::Fetch {
        tree: tree.name.clone(),
        content: file.content,
    };
    stream.send(&opening).await?;
    let (runs, recipe) = if sources.is_empty() {
        let whole = Run::Fetch {
            offset: 0,
            length: file.length,
        };
        (vec![whole], None)
    } else {
        let mut missing = Missing::new(file.length, groups(&mut stream).await?, &sources)?;
        chunks(&mut stream, &mut missing).await?;
        (missing.runs(), missing.recipe(file.content, &sources))
    };
    for run in runs {
        match run {
            Run::Fetch { offset, length } => bytes(tree, &mut stream, offset, length).await?,
            Run::Copy {
                source,
                local_offset,
                offset,
                length,
            } => tree
                .copy_local(source, local_offset, offset, length)
                .await?
                .map_err(SessionError::Refused)?,
        }
    }
    stream.finish().await?;
    tree.finish_large(recipe)
        .await?
        .map_err(SessionError::Refused)
}

async fn groups(stream: &mut Stream) -> Result<Vec<(ContentId, u64)>, SessionError> {
    stream.send(&FetchRequest::Groups).await?;
    let mut all = Vec::new();
    loop {
        match answer(stream).await? {
            FetchAnswer::Groups { groups, last } => {
                all.extend(groups);
                if last {
                    return Ok(all);
                }
                if all.len() > GROUPS_MAX {
                    return Err(SessionError::protocol("more groups than a file can have"));
                }
            }
            _ => return Err(unexpected()),
        }
    }
}

async fn chunks(stream: &mut Stream, missing: &mut Missing) -> Result<(), SessionError> {
    let unknown: Vec<u32> = missing.unknown_groups().collect();
    for batch in unknown.chunks(FETCH_GROUPS_MAX) {
        stream.send(&FetchRequest::Chunks(batch.to_vec())).await?;
        for &group in batch {
            match answer(stream).await? {
                FetchAnswer::Chunks(chunks) => missing.chunks(group, chunks)?,
                _ => return Err(unexpected()),
            }
        }
    }
    Ok(())
}

async fn bytes(
    tree: &PassiveTree,
    stream: &mut Stream,
    offset: u64,
    length: u64,
) -> Result<(), SessionError> {
    stream.send(&FetchRequest::Bytes { offset, length }).await?;
    let mut at = offset;
    let end = offset + length;
    while at < end {
        let FetchAnswer::Data {
            plain_length,
            compressed,
            bytes,
        } = answer(stream).await?
        else {
            return Err(unexpected());
        };
        if plain_length == 0 || plain_length > DATA_BYTES || u64::from(plain_length) > end - at {
            return Err(SessionError::protocol("a piece that was not asked for"));
        }
        let plain = expand(bytes, compressed, plain_length)?;
        tree.write_at(at, plain)
            .await?
            .map_err(SessionError::Refused)?;
        at += u64::from(plain_length);
    }
    Ok(())
}

pub(super) fn expand(
    bytes: Vec<u8>,
    compressed: bool,
    plain_length: u32,
) -> Result<Vec<u8>, SessionError> {
    let plain = if compressed {
        zstd::bulk::decompress(&bytes, plain_length as usize).map_err(|error| Malformed {
            what: "chunk",
            reason: error.to_string(),
        })?
    } else {
        bytes
    };
    if plain.len() == plain_length as usize {
        Ok(plain)
    } else {
        Err(SessionError::protocol(
            "a piece of another length than announced",
        ))
    }
}

async fn answer(stream: &mut Stream) -> Result<FetchAnswer, SessionError> {
    match stream.receive::<FetchAnswer>().await? {
        FetchAnswer::Superseded => Err(SessionError::Refused(Refusal::Superseded)),
        answer => Ok(answer),
    }
}

fn unexpected() -> SessionError {
    SessionError::protocol("an answer that was not asked for")
}

/// The active's side: serves one large content.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut stream: Stream,
    tree: &TreeName,
    content: ContentId,
) -> Result<(), SessionError> {
    stream.set_patience(DISK_PATIENCE);
    let served = shared.active_tree(tree).and_then(|tree| {
        let (path, file) = tree.served(&content)?;
        Some((tree, path, file))
    });
    let Some((tree, path, file)) = served else {
        stream.send(&FetchAnswer::Superseded).await?;
        return Ok(());
    };
    let at = path.clone();
    let opened = tree
        .thread
        .run(move |tree| tree.source.open_large(&at, &file))
        .await?;
    let Ok(source) = opened else {
        stream.send(&FetchAnswer::Superseded).await?;
        return Ok(());
    };
    let mut serving = Serving {
        tree,
        path,
        stream,
        source: Some(source),
        recipe: None,
    };
    while let Some(request) = serving.stream.next::<FetchRequest>().await? {
        if !serving.answer(request, file.length).await? {
            serving.stream.send(&FetchAnswer::Superseded).await?;
            break;
        }
    }
    serving.stream.finish().await?;
    Ok(())
}

struct Serving {
    tree: ActiveTree,
    path: RelPath,
    stream: Stream,
    source: Option<sync_fs::source::LargeSource>,
    recipe: Option<Arc<Recipe>>,
}

impl Serving {
    /// `false` when the file is no longer what it was.
    async fn answer(&mut self, request: FetchRequest, length: u64) -> Result<bool, SessionError> {
        match request {
            FetchRequest::Groups => self.groups().await,
            FetchRequest::Chunks(wanted) => self.chunks(&wanted).await,
            FetchRequest::Bytes {
                offset,
                length: count,
            } => {
                let in_file =
                    count > 0 && offset.checked_add(count).is_some_and(|end| end <= length);
                if !in_file {
                    return Err(SessionError::protocol("bytes beyond the file"));
                }
                self.bytes(offset, count).await
            }
        }
    }

    /// Does `work` with the open file on the tree's thread.
    async fn with_source<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut sync_fs::source::LargeSource) -> R + Send + 'static,
    ) -> Result<R, SessionError> {
        let mut source = self.source.take().ok_or_else(unexpected)?;
        let (result, source) = self
            .tree
            .thread
            .run(move |_| {
                let result = work(&mut source);
                (result, source)
            })
            .await?;
        self.source = Some(source);
        Ok(result)
    }

    async fn groups(&mut self) -> Result<bool, SessionError> {
        if self.recipe.is_none() {
            let Ok(recipe) = self.with_source(|source| source.recipe()).await? else {
                return Ok(false);
            };
            self.recipe = Some(Arc::clone(&recipe));
            let path = self.path.clone();
            self.tree
                .thread
                .run(move |tree| tree.source.note_recipe(&path, recipe))
                .await?;
        }
        let recipe = self.recipe.as_ref().ok_or_else(unexpected)?;
        let all: Vec<_> = recipe.group_list().collect();
        let mut frames = all.chunks(GROUPS_PER_FRAME).peekable();
        while let Some(groups) = frames.next() {
            let last = frames.peek().is_none();
            self.stream
                .send(&FetchAnswer::Groups {
                    groups: groups.to_vec(),
                    last,
                })
                .await?;
        }
        Ok(true)
    }

    async fn chunks(&mut self, wanted: &[u32]) -> Result<bool, SessionError> {
        let recipe = self.recipe.as_ref().ok_or_else(unexpected)?;
        if wanted.len() > FETCH_GROUPS_MAX {
            return Err(SessionError::protocol("too many groups at once"));
        }
        for &group in wanted {
            let group = recipe.groups.get(group as usize).ok_or_else(unexpected)?;
            self.stream
                .send(&FetchAnswer::Chunks(group.chunk_list()))
                .await?;
        }
        Ok(true)
    }

    async fn bytes(&mut self, offset: u64, length: u64) -> Result<bool, SessionError> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let count = u64::from(DATA_BYTES).min(end - at);
            let read = self
                .with_source(move |source| read_piece(source, at, count))
                .await?;
            let Ok(answer) = read else { return Ok(false) };
            self.stream.send(&answer).await?;
            at += count;
        }
        Ok(true)
    }
}

fn read_piece(
    source: &mut sync_fs::source::LargeSource,
    offset: u64,
    count: u64,
) -> Result<FetchAnswer, sync_fs::source::Gone> {
    let mut plain = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
    source.read_at(&mut plain, offset)?;
    let plain_length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    let (compressed, bytes) = squeeze(plain);
    Ok(FetchAnswer::Data {
        plain_length,
        compressed,
        bytes,
    })
}

/// `plain` as it travels, and whether it is compressed.
pub(super) fn squeeze(plain: Vec<u8>) -> (bool, Vec<u8>) {
    let squeezed = zstd::bulk::compress(&plain, LEVEL)
        .ok()
        .filter(|bytes| bytes.len() < plain.len());
    (squeezed.is_some(), squeezed.unwrap_or(plain))
}
