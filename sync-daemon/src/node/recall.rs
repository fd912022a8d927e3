//! Contents of the past, from one node to the other: by their id, checked by the
//! asker.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sync_core::{
    ContentId, TreeName,
    limits::{CHUNK_BYTES_MAX, FILE_BYTES_MAX},
    wire::{Opening, Piece, RECALL_CONTENTS_MAX, RecallAnswer},
};
use sync_fs::{
    Root,
    archive::{self, ArchivedContent},
    source::Staging,
};
use tokio::task::spawn_blocking;

use super::{
    Shared,
    error::SessionError,
    piece::{Expander, Squeezer},
    working::DISK_PATIENCE,
};
use crate::{
    failure::{Failure, FailureKind},
    transport::{Connection, Stream},
};

/// Serves what the archive of one tree has.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut stream: Stream,
    tree: &TreeName,
    contents: Vec<ContentId>,
    only_ask: bool,
) -> Result<(), SessionError> {
    if contents.len() > RECALL_CONTENTS_MAX {
        return Err(SessionError::protocol("too many contents at once"));
    }
    stream.set_patience(DISK_PATIENCE);
    let work_dir = shared.config.tree(tree.as_str());
    let work_dir = work_dir.map(|tree| shared.config.work_dir(tree));
    for id in contents {
        let work_dir = work_dir.clone();
        let found = blocking(move || {
            let work = work_dir.and_then(|it| Root::open(&it).ok())?;
            archive::content(&work, &id).ok()?
        })
        .await?;
        match found {
            Some(found) if found.length <= FILE_BYTES_MAX => {
                let length = found.length;
                stream.feed(&RecallAnswer::Content { length }).await?;
                if !only_ask {
                    send(&mut stream, found).await?;
                }
            }
            _ => stream.feed(&RecallAnswer::Absent).await?,
        }
    }
    stream.flush().await?;
    stream.finish().await?;
    Ok(())
}

async fn send(stream: &mut Stream, found: ArchivedContent) -> Result<(), SessionError> {
    let length = found.length;
    let mut reading = (found, Squeezer::new());
    let mut at = 0;
    while at < length {
        let read = blocking(move || {
            let (found, squeezer) = &mut reading;
            (read_piece(found, squeezer, at), reading)
        });
        let (read, kept) = read.await?;
        reading = kept;
        let (piece, bytes) = read.ok_or_else(|| {
            // Somebody shortens it: what was announced cannot be sent.
            SessionError::protocol("a content of the archive is shorter than it was")
        })?;
        let answer = RecallAnswer::Data(piece);
        stream.send_with_payload(&answer, bytes).await?;
        at += u64::from(piece.plain_length);
    }
    Ok(())
}

fn read_piece(found: &ArchivedContent, squeezer: &mut Squeezer, at: u64) -> Option<(Piece, Bytes)> {
    let count = u64::from(CHUNK_BYTES_MAX).min(found.length - at);
    let count = usize::try_from(count).ok()?;
    let plain = found.file.read(at, count).ok()?;
    (plain.len() == count).then(|| squeezer.squeeze(plain))
}

/// Asks a peer which of `contents` it has.
pub(super) async fn which(
    connection: &Connection,
    tree: &TreeName,
    contents: &[ContentId],
) -> Result<BTreeSet<ContentId>, SessionError> {
    let mut there = BTreeSet::new();
    for batch in contents.chunks(RECALL_CONTENTS_MAX) {
        let mut stream = ask(connection, tree, batch, true).await?;
        for id in batch {
            match stream.receive::<RecallAnswer>().await? {
                RecallAnswer::Content { .. } => {
                    there.insert(*id);
                }
                RecallAnswer::Absent => {}
                RecallAnswer::Data(_) => return Err(unexpected()),
            }
        }
    }
    Ok(there)
}

/// Brings those of `contents` here that a peer has; gives the ones that came and
/// are what they should be.
pub(super) async fn bring(
    connection: &Connection,
    tree: &TreeName,
    contents: &[ContentId],
    staging: &Arc<Staging>,
) -> Result<BTreeSet<ContentId>, SessionError> {
    let mut came = BTreeSet::new();
    for batch in contents.chunks(RECALL_CONTENTS_MAX) {
        let mut stream = ask(connection, tree, batch, false).await?;
        for id in batch {
            if receive(&mut stream, *id, staging).await? {
                came.insert(*id);
            }
        }
    }
    Ok(came)
}

async fn ask(
    connection: &Connection,
    tree: &TreeName,
    batch: &[ContentId],
    only_ask: bool,
) -> Result<Stream, SessionError> {
    let mut stream = connection.open().await?;
    stream.set_patience(DISK_PATIENCE);
    let opening = Opening::Recall {
        tree: tree.clone(),
        contents: batch.to_vec(),
        only_ask,
    };
    stream.send(&opening).await?;
    Ok(stream)
}

/// Takes one content as it comes.
async fn receive(
    stream: &mut Stream,
    id: ContentId,
    staging: &Arc<Staging>,
) -> Result<bool, SessionError> {
    let length = match stream.receive::<RecallAnswer>().await? {
        RecallAnswer::Absent => return Ok(false),
        RecallAnswer::Content { length } if length <= FILE_BYTES_MAX => length,
        _ => return Err(unexpected()),
    };
    let place = Arc::clone(staging);
    let mut arriving = on_disk(move || place.begin(id, length)).await?;
    let mut expander = Expander::default();
    let mut at = 0;
    while at < length {
        let (answer, bytes) = stream.receive_with_payload().await?;
        let RecallAnswer::Data(piece) = answer else {
            return Err(unexpected());
        };
        let plain = expander.expand(piece, bytes, length - at)?;
        arriving = on_disk(move || arriving.write(&plain).map(|()| arriving)).await?;
        at += u64::from(piece.plain_length);
    }
    let place = Arc::clone(staging);
    on_disk(move || place.finish(&arriving)).await
}

async fn on_disk<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, sync_fs::DiskError> + Send + 'static,
) -> Result<R, SessionError> {
    blocking(work).await?.map_err(|error| {
        let doing = "gathering contents of the past";
        let hint = "free space where the tree's work directory is, then try again";
        SessionError::Local(Failure::caused_by(FailureKind::Failed, doing, &error).hint(hint))
    })
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, SessionError> {
    spawn_blocking(work).await.map_err(|panic| {
        let failure = Failure::caused_by(FailureKind::Failed, "looking into the archive", &panic);
        SessionError::Local(
            failure.hint("this is a defect of apim-sync: please report it with the daemon's log"),
        )
    })
}

fn unexpected() -> SessionError {
    SessionError::protocol("an answer that was not asked for")
}
