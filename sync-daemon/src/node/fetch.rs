//! Large contents: the passive fetches by recipe, the active serves.
//!
//! Only contents of generations under way can be fetched. Chunks that the
//! passive finds in local files never travel.

use std::sync::Arc;

use sync_core::{
    ContentId, FileEntry, RelPath, TreeName,
    limits::{CHUNK_BYTES_MAX, FILE_BYTES_MAX},
    recipe::{Missing, Recipe, Run},
    wire::{FETCH_GROUPS_MAX, FetchAnswer, FetchRequest, Opening, Refusal},
};
use sync_fs::source::{Gone, LargeSource};

use super::{
    Shared,
    active::ActiveTree,
    error::SessionError,
    passive::PassiveTree,
    piece::{Expander, Squeezer},
    working::DISK_PATIENCE,
};
use crate::transport::{Connection, Stream};

/// Groups named in one frame.
const GROUPS_PER_FRAME: usize = 16_384;
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
    let mut expander = Expander::default();
    let mut at = offset;
    let end = offset + length;
    while at < end {
        let (answer, bytes) = stream.receive_with_payload::<FetchAnswer>().await?;
        let FetchAnswer::Data(piece) = unless_superseded(answer)? else {
            return Err(unexpected());
        };
        let plain = expander.expand(piece, bytes, end - at)?;
        tree.write_at(at, plain)
            .await?
            .map_err(SessionError::Refused)?;
        at += u64::from(piece.plain_length);
    }
    Ok(())
}

async fn answer(stream: &mut Stream) -> Result<FetchAnswer, SessionError> {
    unless_superseded(stream.receive().await?)
}

fn unless_superseded(answer: FetchAnswer) -> Result<FetchAnswer, SessionError> {
    match answer {
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
        source: Some((source, Squeezer::new())),
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
    source: Option<(LargeSource, Squeezer)>,
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
        work: impl FnOnce(&LargeSource, &mut Squeezer) -> R + Send + 'static,
    ) -> Result<R, SessionError> {
        let (source, mut squeezer) = self.source.take().ok_or_else(unexpected)?;
        let (result, kept) = self
            .tree
            .thread
            .run(move |_| {
                let result = work(&source, &mut squeezer);
                (result, (source, squeezer))
            })
            .await?;
        self.source = Some(kept);
        Ok(result)
    }

    async fn groups(&mut self) -> Result<bool, SessionError> {
        if self.recipe.is_none() {
            let Ok(recipe) = self.with_source(|source, _| source.recipe()).await? else {
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
            let count = u64::from(CHUNK_BYTES_MAX).min(end - at);
            let read = self
                .with_source(move |source, squeezer| {
                    let plain = source.read(at, count)?;
                    Ok::<_, Gone>(squeezer.squeeze(plain))
                })
                .await?;
            let Ok((piece, bytes)) = read else {
                return Ok(false);
            };
            let answer = FetchAnswer::Data(piece);
            self.stream.send_with_payload(&answer, bytes).await?;
            at += count;
        }
        Ok(true)
    }
}
