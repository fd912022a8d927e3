//! Patches: a content as pieces of an older one, which the receiver has, and
//! the bytes between them.
//!
//! The receiver cuts its older content into pieces and sends a [`Sketch`] of
//! them: five bytes each. The sender cuts the new content by the same rule and
//! answers with [`Step`]s: bytes that no piece has, then a run of pieces. Cuts
//! are found by content (FastCDC v2020), so an insertion moves only those beside
//! it. Five bytes may stand for two different pieces: whether the result is right
//! is proved by the content's hash, and a wrong one is fetched another way.
//!
//! For contents up to [`PATCHED_BYTES_MAX`], held in memory on both sides: much
//! larger ones have recipes of larger chunks ([`recipe`](crate::recipe)).
//!
//! [`PATCHED_BYTES_MAX`]: crate::limits::PATCHED_BYTES_MAX

use std::{collections::HashMap, ops::Range};

use bincode::{Decode, Encode};
use fastcdc::v2020::{FastCDC, Normalization};

use crate::{
    codec::{self, Malformed},
    content::ContentId,
    limits::{PATCH_LITERAL_BYTES_MAX, PATCH_PIECES_MAX},
};

/// The first five bytes of a piece's BLAKE3: of 4,096 pieces on one side and as
/// many others on the other, two are taken for the same once in 65,536 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PieceId(pub [u8; 5]);

impl PieceId {
    fn of(piece: &[u8]) -> Self {
        let mut id = [0; 5];
        id.copy_from_slice(&ContentId::of(piece).0[..5]);
        Self(id)
    }
}

/// One step of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Step {
    /// The content is gone: there will be no more steps.
    Gone,
    /// Goes on with these bytes, then with `count` pieces from `first` on.
    Go {
        /// At most [`PATCH_LITERAL_BYTES_MAX`].
        literal: Vec<u8>,
        /// Position of a piece in the sketch; 0 where `count` is.
        first: u32,
        /// How many pieces; none only after a literal.
        count: u32,
    },
}

/// About how long pieces are: the larger the content, the longer, so that their
/// ids and the bytes around one edit cost about the same.
fn average(length: u64) -> usize {
    let root = usize::try_from((length / 2).isqrt()).unwrap_or(PIECE_AVERAGE_MAX);
    root.next_power_of_two()
        .clamp(PIECE_AVERAGE_MIN, PIECE_AVERAGE_MAX)
}

const PIECE_AVERAGE_MIN: usize = 1024;
const PIECE_AVERAGE_MAX: usize = 4096;

/// The same where no sketch travels: ids cost nothing.
const FINE_PIECE_AVERAGE: usize = 256;

/// The pieces of `bytes`.
fn pieces(bytes: &[u8], average: usize) -> impl Iterator<Item = Range<usize>> {
    FastCDC::with_level(
        bytes,
        average / 4,
        average,
        average * 4,
        Normalization::Level1,
    )
    .map(|piece| piece.offset..piece.offset + piece.length)
}

/// An older content cut into pieces, on the receiver.
pub struct Sketch {
    old: Vec<u8>,
    ids: Vec<PieceId>,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl Sketch {
    /// Cuts `old` for a new content of `length` bytes. Of a much longer one only
    /// the beginning is cut.
    #[must_use]
    pub fn of(old: Vec<u8>, length: u64) -> Self {
        Self::cut(old, average(length))
    }

    /// Cuts `old` finely, as [`fine_ids`] does on the sender.
    #[must_use]
    pub fn fine(old: Vec<u8>) -> Self {
        Self::cut(old, FINE_PIECE_AVERAGE)
    }

    fn cut(old: Vec<u8>, average: usize) -> Self {
        let cut = pieces(&old, average)
            .take(PATCH_PIECES_MAX)
            .map(|piece| (PieceId::of(&old[piece.clone()]), piece.end));
        let (ids, ends) = cut.unzip();
        Self { old, ids, ends }
    }

    /// The pieces in order, as they travel.
    #[must_use]
    pub fn ids(&self) -> &[PieceId] {
        &self.ids
    }

    /// Bytes of the older content.
    #[must_use]
    pub fn old_length(&self) -> usize {
        self.old.len()
    }

    /// The bytes of `count` pieces from `first` on, if there are so many.
    fn run(&self, first: u32, count: u32) -> Option<&[u8]> {
        let first = usize::try_from(first).ok()?;
        let last = first.checked_add(usize::try_from(count).ok()?.checked_sub(1)?)?;
        let end = *self.ends.get(last)?;
        let start = match first {
            0 => 0,
            _ => *self.ends.get(first - 1)?,
        };
        self.old.get(start..end)
    }
}

/// The steps that make `new` of the pieces that the receiver has.
#[must_use]
pub fn steps(new: &[u8], known: &[PieceId]) -> Vec<Step> {
    steps_of(new, known, average(new.len() as u64))
}

/// The same of pieces that the sender remembers by their [`fine_ids`].
#[must_use]
pub fn fine_steps(new: &[u8], known: &[PieceId]) -> Vec<Step> {
    steps_of(new, known, FINE_PIECE_AVERAGE)
}

/// The pieces of a content that a sender remembers, to send the next one as steps
/// over it without being sent a sketch.
#[must_use]
pub fn fine_ids(content: &[u8]) -> Box<[PieceId]> {
    pieces(content, FINE_PIECE_AVERAGE)
        .take(PATCH_PIECES_MAX)
        .map(|piece| PieceId::of(&content[piece]))
        .collect()
}

fn steps_of(new: &[u8], known: &[PieceId], average: usize) -> Vec<Step> {
    let known: HashMap<PieceId, u32> = known.iter().copied().zip(0..).collect();
    let mut steps = Steps::default();
    for piece in pieces(new, average) {
        let bytes = &new[piece];
        match known.get(&PieceId::of(bytes)) {
            Some(position) => steps.copy(*position),
            None => steps.add(bytes),
        }
    }
    steps.finish()
}

#[derive(Default)]
struct Steps {
    done: Vec<Step>,
    literal: Vec<u8>,
    /// First piece and count of the run that follows the literal.
    run: Option<(u32, u32)>,
}

impl Steps {
    fn add(&mut self, mut bytes: &[u8]) {
        if self.run.is_some() {
            self.close();
        }
        while self.literal.len() + bytes.len() > PATCH_LITERAL_BYTES_MAX {
            let (now, later) = bytes.split_at(PATCH_LITERAL_BYTES_MAX - self.literal.len());
            self.literal.extend_from_slice(now);
            self.close();
            bytes = later;
        }
        self.literal.extend_from_slice(bytes);
    }

    fn copy(&mut self, piece: u32) {
        match &mut self.run {
            Some((first, count)) if *first + *count == piece => *count += 1,
            Some(_) => {
                self.close();
                self.run = Some((piece, 1));
            }
            None => self.run = Some((piece, 1)),
        }
    }

    fn close(&mut self) {
        let (first, count) = self.run.take().unwrap_or_default();
        let literal = std::mem::take(&mut self.literal);
        self.done.push(Step::Go {
            literal,
            first,
            count,
        });
    }

    fn finish(mut self) -> Vec<Step> {
        if self.run.is_some() || !self.literal.is_empty() {
            self.close();
        }
        self.done
    }
}

/// Builds one content from the steps that come.
pub struct Patching {
    sketch: Sketch,
    length: usize,
    new: Vec<u8>,
}

/// How a content came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Patched {
    /// All its bytes, not yet proved.
    Whole(Vec<u8>),
    /// The sender does not have it any more.
    Gone,
}

impl Patching {
    /// A content of `length` bytes, of the pieces of `sketch`.
    #[must_use]
    pub fn new(sketch: Sketch, length: usize) -> Self {
        Self {
            sketch,
            length,
            new: Vec::new(),
        }
    }

    /// Takes the steps at the beginning of `plain`, and away from it, until the
    /// content is there. `None` where more bytes are needed.
    ///
    /// # Errors
    /// When a step makes no sense: it leads beyond the content, names a piece
    /// that there is not, or does nothing.
    pub fn take(&mut self, plain: &mut Vec<u8>) -> Result<Option<Patched>, Malformed> {
        let mut used = 0;
        let mut patched = None;
        while patched.is_none() {
            let Some((step, length)) = codec::decode_if_complete::<Step>(&plain[used..])? else {
                break;
            };
            used += length;
            patched = self.step(step)?;
        }
        plain.drain(..used);
        match patched {
            None if plain.len() > 2 * PATCH_LITERAL_BYTES_MAX => Err(malformed("too long a step")),
            patched => Ok(patched),
        }
    }

    fn step(&mut self, step: Step) -> Result<Option<Patched>, Malformed> {
        let Step::Go {
            literal,
            first,
            count,
        } = step
        else {
            return Ok(Some(Patched::Gone));
        };
        if literal.len() > PATCH_LITERAL_BYTES_MAX || literal.is_empty() && count == 0 {
            return Err(malformed("too many bytes in one step, or none"));
        }
        let copied = match count {
            0 => &[][..],
            _ => self
                .sketch
                .run(first, count)
                .ok_or_else(|| malformed("a piece that there is not"))?,
        };
        if literal.len() + copied.len() > self.length - self.new.len() {
            return Err(malformed("more bytes than the content has"));
        }
        self.new.extend_from_slice(&literal);
        self.new.extend_from_slice(copied);
        let whole = self.new.len() == self.length;
        Ok(whole.then(|| Patched::Whole(std::mem::take(&mut self.new))))
    }
}

/// What the encoded `steps` make of `old`, cut finely: a content of `length` bytes,
/// not yet proved. `None` where they do not make exactly one.
///
/// # Errors
/// Where a step makes no sense over `old`, which may not be what the sender
/// remembers.
pub fn over(old: Vec<u8>, steps: &[u8], length: usize) -> Result<Option<Vec<u8>>, Malformed> {
    let mut left = steps.to_vec();
    let patched = Patching::new(Sketch::fine(old), length).take(&mut left)?;
    Ok(match patched {
        Some(Patched::Whole(new)) if left.is_empty() => Some(new),
        _ => None,
    })
}

fn malformed(reason: &str) -> Malformed {
    Malformed {
        what: "patch",
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
