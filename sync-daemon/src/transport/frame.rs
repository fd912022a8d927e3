//! Messages on a stream: a little-endian `u32` length, then that many bytes of
//! [`codec`].
//!
//! Both halves bound what they hold and how long they wait. A peer that stops
//! or dribbles is cut; a frame that claims too much is refused before anything
//! is allocated for it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{ReadError, StoppedError, WriteError};
use sync_core::{
    codec::{self, Decode, Encode, Malformed},
    limits::FRAME_BYTES_MAX,
};
use thiserror::Error;

use super::{connection::Connection, loss::Loss, pace::Pace};

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// Small frames are held back until this many bytes are due: one write then
/// fills dozens of packets.
const COALESCE_BYTES: usize = 64 << 10;
/// Handed to quinn at once. It counts a slice against the send window until the
/// last of its bytes is acknowledged, so slices stay well below that window.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// Packets taken from quinn in one call.
const READ_CHUNKS: usize = 64;

/// Why a message did not go or come.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamError {
    /// The connection is gone.
    #[error("the connection was lost: {0}")]
    Lost(#[from] Loss),
    /// The peer ended the stream where a message was due.
    #[error("the peer ended the conversation where a message was due")]
    Ended,
    /// The peer broke the stream off, or it ended inside a message.
    #[error("the peer broke the conversation off")]
    Cut,
    /// Too slow.
    #[error("the peer made no progress for {} s", patience.as_secs_f32())]
    TimedOut {
        /// How long was waited.
        patience: Duration,
    },
    /// Not the message that was due.
    #[error("the peer sent what cannot be understood")]
    Malformed(#[from] Malformed),
    /// More than a frame may hold.
    #[error("a message of {bytes} bytes passes the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl StreamError {
    /// Whether the peer is to blame, so that the connection should end with
    /// [`Ending::Protocol`](super::Ending::Protocol).
    #[must_use]
    pub fn is_breach(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::TooLarge { .. })
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(cause) => Self::Lost(cause.into()),
            // 0-RTT is never tried.
            WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::Cut
            }
        }
    }
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(cause) => Self::Lost(cause.into()),
            // Streams are read in order only, and 0-RTT is never tried.
            ReadError::Reset(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Cut,
        }
    }
}

/// Whether the peer has said something on a stream since this was last asked.
/// Both halves have it: a peer that is heard is alive, even if it takes nothing
/// for a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The sending half of a stream.
///
/// Every call may be dropped while it waits: what was queued stays queued and
/// the next call goes on with it. Dropping the half ends the stream after what
/// was flushed; what was only queued is lost.
#[derive(Debug)]
pub struct Sender {
    stream: quinn::SendStream,
    patience: Duration,
    /// Frames not handed on yet.
    queued: Vec<u8>,
    /// Frames, whole or in parts, that quinn takes as the peer makes room.
    leaving: VecDeque<Bytes>,
    heard: Heard,
    /// Kept open by this.
    connection: Connection,
}

impl Sender {
    pub(super) fn new(stream: quinn::SendStream, connection: Connection, heard: Heard) -> Self {
        Self {
            stream,
            patience: connection.deadlines().patience,
            queued: Vec::new(),
            leaving: VecDeque::new(),
            heard,
            connection,
        }
    }

    /// Waits at most `patience` for each step from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Which streams of the connection go first: higher numbers before lower
    /// ones, 0 where nothing is said.
    pub fn set_priority(&mut self, priority: i32) {
        // Fails on a stream that has ended, where order means nothing.
        drop(self.stream.set_priority(priority));
    }

    /// Sends `message` and everything queued before it.
    ///
    /// # Errors
    /// When the message is too large, or the peer is gone or takes nothing.
    pub async fn send<T: Encode>(&mut self, message: &T) -> Result<(), StreamError> {
        append_frame(&mut self.queued, message)?;
        self.flush().await
    }

    /// Sends `message` and behind it, in the same frame, `payload`, which is not
    /// copied: [`Receiver::receive_with_payload`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send_with_payload<T: Encode>(
        &mut self,
        message: &T,
        payload: Bytes,
    ) -> Result<(), StreamError> {
        append_head(&mut self.queued, message, payload.len())?;
        self.seal();
        self.leaving.push_back(payload);
        self.flush().await
    }

    /// Queues `message`, to go out with the next [`Sender::flush`] or when
    /// enough has come together.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn feed<T: Encode>(&mut self, message: &T) -> Result<(), StreamError> {
        append_frame(&mut self.queued, message)?;
        if self.queued.len() < COALESCE_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    /// Hands everything queued to the connection.
    ///
    /// # Errors
    /// When the peer is gone or takes nothing.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        self.seal();
        self.write_leaving().await
    }

    fn seal(&mut self) {
        if !self.queued.is_empty() {
            let frames = std::mem::take(&mut self.queued);
            self.leaving.push_back(Bytes::from(frames));
        }
    }

    /// Flushes and tells the peer that nothing more follows.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.flush().await?;
        self.stream.finish().map_err(|_| StreamError::Cut)
    }

    /// Waits until the peer has everything of a finished stream, or wants no
    /// more of it: only then may the connection be closed without losing some.
    ///
    /// # Errors
    /// When the peer is gone or silent for a patience.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        let pace = Pace::new(self.patience);
        let stopped = self.stream.stopped();
        let step = async { stopped.await.map_err(stopped_early) };
        pace.wait(&self.connection, step).await.map(drop)
    }

    /// A peer that takes nothing is given up after one patience in which it was
    /// not heard either.
    async fn write_leaving(&mut self) -> Result<(), StreamError> {
        let mut pace = Pace::new(self.patience);
        while let Some(first) = self.leaving.front_mut() {
            let length = first.len().min(WRITE_BYTES_MAX);
            let mut slice = [first.slice(..length)];
            let writing = self.stream.write_chunks(&mut slice);
            let bytes = match pace.wait(&self.connection, writing).await {
                Ok(written) => written.bytes,
                Err(StreamError::TimedOut { .. }) if self.heard.take() && pace.put_off() => 0,
                Err(error) => return Err(error),
            };
            first.advance(bytes);
            if first.is_empty() {
                self.leaving.pop_front();
            }
            pace.moved(bytes);
        }
        Ok(())
    }
}

fn stopped_early(error: StoppedError) -> StreamError {
    match error {
        StoppedError::ConnectionLost(cause) => StreamError::Lost(cause.into()),
        StoppedError::ZeroRttRejected => StreamError::Cut,
    }
}

/// Appends the frame of `message`, or nothing where it is too large.
fn append_frame<T: Encode>(queued: &mut Vec<u8>, message: &T) -> Result<(), StreamError> {
    append_head(queued, message, 0)
}

/// The same without the `payload_bytes` that end the frame.
fn append_head<T: Encode>(
    queued: &mut Vec<u8>,
    message: &T,
    payload_bytes: usize,
) -> Result<(), StreamError> {
    let start = queued.len();
    queued.extend_from_slice(&[0; LENGTH_BYTES]);
    codec::encode_into(message, queued);
    let bytes = queued.len() - start - LENGTH_BYTES + payload_bytes;
    let Ok(length) = check_length(bytes, FRAME_BYTES_MAX) else {
        queued.truncate(start);
        return Err(StreamError::TooLarge {
            bytes,
            bytes_max: FRAME_BYTES_MAX,
        });
    };
    queued[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The receiving half of a stream.
///
/// Every call may be dropped while it waits: what has come is kept for the next
/// call. Dropping the half tells the peer to stop sending.
#[derive(Debug)]
pub struct Receiver {
    stream: quinn::RecvStream,
    patience: Duration,
    frame_bytes_max: usize,
    /// What has come and was not taken.
    buffer: BytesMut,
    chunks: Box<[Bytes; READ_CHUNKS]>,
    heard: Heard,
    /// Kept open by this.
    connection: Connection,
}

impl Receiver {
    pub(super) fn new(stream: quinn::RecvStream, connection: Connection, heard: Heard) -> Self {
        Self {
            stream,
            patience: connection.deadlines().patience,
            frame_bytes_max: FRAME_BYTES_MAX,
            buffer: BytesMut::new(),
            chunks: Box::new([const { Bytes::new() }; READ_CHUNKS]),
            heard,
            connection,
        }
    }

    /// Waits at most `patience` for each step from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes no frame of more than `bytes_max` bytes from now on.
    pub fn set_frame_bytes_max(&mut self, bytes_max: usize) {
        self.frame_bytes_max = bytes_max.min(FRAME_BYTES_MAX);
    }

    /// The next message.
    ///
    /// # Errors
    /// When there is none, or it is broken, too large or too slow.
    pub async fn receive<T: Decode<()>>(&mut self) -> Result<T, StreamError> {
        self.next().await?.ok_or(StreamError::Ended)
    }

    /// The next message, or `None` after the last.
    ///
    /// # Errors
    /// When the message is broken, too large or too slow, or the peer broke off.
    pub async fn next<T: Decode<()>>(&mut self) -> Result<Option<T>, StreamError> {
        match self.frame().await? {
            Some(frame) => Ok(Some(codec::decode(&frame)?)),
            None => Ok(None),
        }
    }

    /// The next message and what follows it in its frame, often nothing.
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub async fn receive_with_payload<T: Decode<()>>(&mut self) -> Result<(T, Bytes), StreamError> {
        let mut frame = self.frame().await?.ok_or(StreamError::Ended)?;
        let (message, used) = codec::decode_prefix(&frame)?;
        frame.advance(used);
        Ok((message, frame))
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, StreamError> {
        let mut pace = Pace::new(self.patience);
        loop {
            if let Some(length) = self.complete_frame()? {
                self.buffer.advance(LENGTH_BYTES);
                return Ok(Some(self.buffer.split_to(length).freeze()));
            }
            let begun = !self.buffer.is_empty();
            match self.read_more(&pace).await? {
                0 if begun => return Err(StreamError::Cut),
                0 => return Ok(None),
                // The wait for a message is over, the wait for its rest begins.
                _ if !begun => pace = Pace::new(self.patience),
                bytes => pace.moved(bytes),
            }
        }
    }

    /// The length of the frame at the start of the buffer, once all of it is
    /// there.
    fn complete_frame(&mut self) -> Result<Option<usize>, StreamError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let claimed = u32::from_le_bytes(*head) as usize;
        let length = check_length(claimed, self.frame_bytes_max)? as usize;
        let whole = LENGTH_BYTES + length;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        Ok(Some(length))
    }

    /// Reads what is there or waits for something; 0 at the end.
    async fn read_more(&mut self, pace: &Pace) -> Result<usize, StreamError> {
        let step = self.stream.read_chunks(&mut self.chunks[..]);
        let count = pace.wait(&self.connection, step).await?.unwrap_or(0);
        let mut bytes = 0;
        for chunk in &mut self.chunks[..count] {
            let chunk = std::mem::take(chunk);
            bytes += chunk.len();
            self.buffer.extend_from_slice(&chunk);
        }
        if bytes > 0 {
            self.heard.note();
        }
        Ok(bytes)
    }
}

fn check_length(bytes: usize, bytes_max: usize) -> Result<u32, StreamError> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= bytes_max => Ok(length),
        _ => Err(StreamError::TooLarge { bytes, bytes_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        let mut queued = Vec::new();
        append_frame(&mut queued, &(1_u8, true)).unwrap();
        append_frame(&mut queued, &7_u8).unwrap();
        assert_eq!(queued, [2, 0, 0, 0, 1, 1, 1, 0, 0, 0, 7]);
    }

    #[test]
    fn a_message_too_large_leaves_the_queue_as_it_was() {
        // The codec spends five bytes on the length of a long byte string.
        let largest = vec![0_u8; FRAME_BYTES_MAX - 5];
        let mut queued = Vec::new();
        append_frame(&mut queued, &largest).unwrap();
        let length = queued.len();
        assert_eq!(length, LENGTH_BYTES + FRAME_BYTES_MAX);
        let too_large = vec![0_u8; FRAME_BYTES_MAX - 4];
        let error = append_frame(&mut queued, &too_large).unwrap_err();
        assert!(matches!(error, StreamError::TooLarge { .. }), "{error}");
        assert_eq!(queued.len(), length);
    }
}
