//! Pieces of large contents as they travel: compressed, where that helps.

use bytes::Bytes;
use sync_core::{codec::Malformed, limits::CHUNK_BYTES_MAX, wire::Piece};
use zstd::bulk::{Compressor, Decompressor};

use super::error::SessionError;

/// Jars and images rarely shrink, so only cheaply.
const LEVEL: i32 = 1;
/// Pieces that are not tried after some that did not shrink. In a jar most do
/// not, and trying costs as much as encrypting.
const UNTRIED_MAX: u32 = 15;

/// Compresses the pieces of one content.
pub(super) struct Squeezer {
    /// None where zstd cannot start: then everything travels as it is.
    zstd: Option<Compressor<'static>>,
    /// Pieces left out after the last one that did not shrink.
    run: u32,
    untried: u32,
}

impl Squeezer {
    pub(super) fn new() -> Self {
        Self {
            zstd: Compressor::new(LEVEL).ok(),
            run: 0,
            untried: 0,
        }
    }

    /// `plain` as it travels.
    ///
    /// # Panics
    /// Where it is longer than a piece may be.
    pub(super) fn squeeze(&mut self, plain: Vec<u8>) -> (Piece, Bytes) {
        let plain_length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        assert!(plain_length <= CHUNK_BYTES_MAX, "a piece is short");
        let squeezed = self.shrunk(&plain);
        let compressed = squeezed.is_some();
        let bytes = Bytes::from(squeezed.unwrap_or(plain));
        let piece = Piece {
            plain_length,
            compressed,
            length: bytes.len() as u64,
        };
        (piece, bytes)
    }

    fn shrunk(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        if self.untried > 0 {
            self.untried -= 1;
            return None;
        }
        let squeezed = self.zstd.as_mut()?.compress(plain).ok();
        let shrunk = squeezed.filter(|bytes| bytes.len() < plain.len());
        self.run = match shrunk {
            Some(_) => 0,
            None => (2 * self.run + 1).min(UNTRIED_MAX),
        };
        self.untried = self.run;
        shrunk
    }
}

/// Takes the pieces of one content as they come.
#[derive(Default)]
pub(super) struct Expander {
    zstd: Option<Decompressor<'static>>,
}

impl Expander {
    /// The bytes of `piece`, at most `most` of them.
    pub(super) fn expand(
        &mut self,
        piece: Piece,
        bytes: Bytes,
        most: u64,
    ) -> Result<Bytes, SessionError> {
        let length = piece.plain_length;
        if length == 0 || length > CHUNK_BYTES_MAX || u64::from(length) > most {
            return Err(SessionError::protocol("a piece that was not asked for"));
        }
        if bytes.len() as u64 != piece.length {
            return Err(SessionError::protocol("a piece that is cut off"));
        }
        let plain = if piece.compressed {
            Bytes::from(self.decompress(&bytes, length)?)
        } else {
            bytes
        };
        if plain.len() == length as usize {
            Ok(plain)
        } else {
            Err(SessionError::protocol(
                "a piece of another length than announced",
            ))
        }
    }

    fn decompress(&mut self, bytes: &[u8], length: u32) -> Result<Vec<u8>, Malformed> {
        let malformed = |error: std::io::Error| Malformed {
            what: "chunk",
            reason: error.to_string(),
        };
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(Decompressor::new().map_err(malformed)?),
        };
        zstd.decompress(bytes, length as usize).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use sync_core::{codec, wire::FetchAnswer};

    use super::*;

    fn random(seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; 4_096];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn pieces_come_out_as_they_went_in() {
        let (mut squeezer, mut expander) = (Squeezer::new(), Expander::default());
        let text = b"<api name=\"a\"/>".repeat(300);
        for plain in [
            text.clone(),
            random(1),
            text.clone(),
            text.clone(),
            random(2),
        ] {
            let (piece, bytes) = squeezer.squeeze(plain.clone());
            let most = plain.len() as u64;
            assert_eq!(expander.expand(piece, bytes, most).unwrap(), plain);
        }
    }

    /// As version 1 sent it, in one value.
    #[test]
    fn message_and_bytes_are_one_answer_with_a_byte_string() {
        let (piece, bytes) = Squeezer::new().squeeze(b"data".to_vec());
        let frame = [&codec::encode(&FetchAnswer::Data(piece))[..], &bytes].concat();
        assert_eq!(frame, b"\x02\x04\x00\x04data");
    }

    #[test]
    fn what_does_not_shrink_is_tried_less_and_less() {
        let mut squeezer = Squeezer::new();
        let text = b"<api name=\"a\"/>".repeat(300);
        for seed in 0..4 {
            assert!(!squeezer.squeeze(random(seed)).0.compressed);
        }
        // Tried: the first and the third. Now it would shrink, and is not tried.
        let left_out = (0..).find(|_| squeezer.squeeze(text.clone()).0.compressed);
        assert_eq!(left_out, Some(2));
        assert!(squeezer.squeeze(text).0.compressed);
    }

    #[test]
    fn a_piece_that_was_not_asked_for_is_refused() {
        let mut expander = Expander::default();
        let mut takes = |plain_length, compressed, bytes: &'static [u8], most| {
            let piece = Piece {
                plain_length,
                compressed,
                length: 3,
            };
            expander.expand(piece, Bytes::from_static(bytes), most)
        };
        assert!(takes(3, false, b"abc", 3).is_ok());
        assert!(takes(0, false, b"", 3).is_err());
        assert!(takes(4, false, b"abc", 3).is_err());
        assert!(takes(3, false, b"ab", 3).is_err());
        assert!(takes(3, false, b"abcd", 3).is_err());
        assert!(takes(2, false, b"abc", 3).is_err());
        assert!(takes(3, true, b"abc", 3).is_err());
    }
}
