//! Bulk on the wire: one zstd stream, cut into [`Block`]s.
//!
//! A [`Compressor`] gathers plain bytes and cuts a block about every 256 KiB,
//! flushed, so that the receiver can use each block as it comes while later
//! ones still profit from everything sent before. A [`Decompressor`] gives the
//! plain bytes back and trusts nothing: it stops at the declared length, its
//! window is bounded, and whatever does not fit together is [`Malformed`].
//! A short stream begins with the words of synapse configuration as its past
//! ([`VOCABULARY`]), so that one small artifact compresses like one of many.
//! What the plain bytes mean is for [`section`](crate::section).

use zstd::stream::raw::{
    CParameter, DParameter, Decoder, Encoder, InBuffer, Operation as _, OutBuffer,
};

use crate::{
    codec::Malformed,
    limits::{BLOCK_PLAIN_BYTES, FRAME_BYTES_MAX, ZSTD_WINDOW_LOG_MAX},
    wire::Block,
};

/// What a stream may have seen before it begins: names that artifacts are made
/// of, the most frequent ones last. Part of the protocol's version; never taken
/// from a peer.
pub const VOCABULARY: &[u8] = include_bytes!("blocks/vocabulary.txt");

/// One stream of many small files: twelve times smaller at 1 GB/s.
const LEVEL_STREAM: i32 = 1;
/// A section that fits one block is one edit or a few: the bytes of one packet
/// count for more than 50 us. (Level 9 would save no more and take a millisecond.)
const LEVEL_SINGLE: i32 = 6;
/// A patch has only the bytes that nobody else could supply; who asks for one
/// waits for the disk of two nodes anyway.
const LEVEL_PATCH: i32 = 6;
/// Up to this length a section's only block is compressed harder.
const SINGLE_BYTES_MAX: usize = 16 << 10;

/// Makes [`Block`]s of plain bytes.
pub struct Compressor {
    level: i32,
    gathered: Vec<u8>,
    /// From the first block on.
    encoder: Option<Encoder<'static>>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// A new stream.
    #[must_use]
    pub fn new() -> Self {
        Self::at_level(LEVEL_STREAM)
    }

    /// A new stream for patches, compressed harder.
    #[must_use]
    pub fn of_patches() -> Self {
        Self::at_level(LEVEL_PATCH)
    }

    fn at_level(level: i32) -> Self {
        Self {
            level,
            gathered: Vec::new(),
            encoder: None,
        }
    }

    /// Adds plain bytes; gives the blocks that became full.
    pub fn push(&mut self, mut plain: &[u8]) -> Vec<Block> {
        let mut blocks = Vec::new();
        while self.gathered.len() + plain.len() >= BLOCK_PLAIN_BYTES {
            let (now, later) = plain.split_at(BLOCK_PLAIN_BYTES - self.gathered.len());
            self.gathered.extend_from_slice(now);
            blocks.push(self.cut(false));
            plain = later;
        }
        self.gathered.extend_from_slice(plain);
        blocks
    }

    /// What is gathered so far as a block, for a sender that has to wait.
    pub fn flush(&mut self) -> Option<Block> {
        (!self.gathered.is_empty()).then(|| self.cut(false))
    }

    /// The block that ends the stream.
    #[must_use]
    pub fn finish(mut self) -> Block {
        self.cut(true)
    }

    /// An encoder for a stream that begins with what is gathered. Only a short
    /// one begins with the vocabulary: its few words soon count for nothing, and
    /// with any past zstd looks less far and costs up to a quarter more bytes.
    fn encoder(&self, last: bool) -> Encoder<'static> {
        let length = self.gathered.len();
        let short = length <= SINGLE_BYTES_MAX && self.level != LEVEL_PATCH;
        let level = match short && last {
            true => LEVEL_SINGLE,
            false => self.level,
        };
        let mut encoder = match short {
            true => Encoder::with_dictionary(level, VOCABULARY),
            false => Encoder::new(level),
        }
        .expect(NO_FAILURE);
        set(&mut encoder, CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX));
        if last {
            // The whole section is known, which makes smaller headers and tables.
            let pledged = encoder.set_pledged_src_size(Some(length as u64));
            pledged.expect(NO_FAILURE);
        }
        encoder
    }

    fn cut(&mut self, last: bool) -> Block {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => self.encoder(last),
        };
        let bound = zstd::zstd_safe::compress_bound(self.gathered.len());
        let mut compressed = Vec::with_capacity(bound + BLOCK_OVERHEAD_BYTES);
        let mut input = InBuffer::around(&self.gathered);
        while input.pos() < self.gathered.len() {
            grow(&mut compressed, |out| encoder.run(&mut input, out));
        }
        loop {
            let left = grow(&mut compressed, |out| match last {
                true => encoder.finish(out, true),
                false => encoder.flush(out),
            });
            if left == 0 {
                break;
            }
        }
        let plain_length = u32::try_from(self.gathered.len()).expect("a block's plain is small");
        self.gathered.clear();
        self.encoder = Some(encoder);
        Block {
            plain_length,
            compressed,
            last,
        }
    }
}

/// Frame header, a flush and the end: never more than this beyond the bound.
const BLOCK_OVERHEAD_BYTES: usize = 64;
const NO_FAILURE: &str = "zstd fails in memory only when there is none left";

fn set(encoder: &mut Encoder<'static>, parameter: CParameter) {
    encoder.set_parameter(parameter).expect(NO_FAILURE);
}

/// Appends one step of the encoder to `out`.
fn grow(
    out: &mut Vec<u8>,
    step: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> std::io::Result<usize>,
) -> usize {
    if out.len() == out.capacity() {
        out.reserve(BLOCK_PLAIN_BYTES);
    }
    let written = out.len();
    step(&mut OutBuffer::around_pos(out, written)).expect(NO_FAILURE)
}

/// Gives the plain bytes of [`Block`]s back.
pub struct Decompressor {
    decoder: Decoder<'static>,
    ended: bool,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// A new stream.
    ///
    /// # Panics
    /// When there is no memory for a decompression context.
    #[must_use]
    pub fn new() -> Self {
        let mut decoder = Decoder::with_dictionary(VOCABULARY).expect(NO_FAILURE);
        decoder
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .expect(NO_FAILURE);
        Self {
            decoder,
            ended: false,
        }
    }

    /// Whether the section's last block has come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The plain bytes of the next block.
    ///
    /// # Errors
    /// When the block declares more than a frame may hold, adds more or less
    /// than it declares, is not zstd, wants too large a window, or follows the
    /// last one.
    pub fn push(&mut self, block: &Block) -> Result<Vec<u8>, Malformed> {
        let declared = self.declared(block)?;
        // One byte more than declared, so that too much is seen.
        let mut plain = Vec::with_capacity(declared + 1);
        let mut input = InBuffer::around(&block.compressed);
        let mut output = OutBuffer::around(&mut plain);
        let mut frame_ended = false;
        while !frame_ended {
            let before = (input.pos(), output.pos());
            frame_ended = self.step(&mut input, &mut output)?;
            if output.pos() > declared {
                return Err(malformed("more bytes than declared"));
            }
            if before == (input.pos(), output.pos()) {
                break;
            }
        }
        if input.pos() < block.compressed.len() || frame_ended != block.last {
            return Err(malformed("the zstd stream does not end with the section"));
        }
        if plain.len() < declared {
            return Err(malformed("fewer bytes than declared"));
        }
        self.ended = block.last;
        Ok(plain)
    }

    fn declared(&self, block: &Block) -> Result<usize, Malformed> {
        match usize::try_from(block.plain_length) {
            _ if self.ended => Err(malformed("a block after the last one")),
            Ok(0) if !block.last => Err(malformed("an empty block")),
            Ok(length) if length <= FRAME_BYTES_MAX => Ok(length),
            _ => Err(malformed("declares more than a frame may hold")),
        }
    }

    /// Whether the zstd frame ended.
    fn step(
        &mut self,
        input: &mut InBuffer<'_>,
        output: &mut OutBuffer<'_, Vec<u8>>,
    ) -> Result<bool, Malformed> {
        match self.decoder.run(input, output) {
            Ok(hint) => Ok(hint == 0),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }
}

fn malformed(reason: &str) -> Malformed {
    Malformed {
        what: "block",
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that nothing compresses, the same in every run.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn compress(pieces: &[&[u8]]) -> Vec<Block> {
        let mut compressor = Compressor::new();
        let mut blocks: Vec<Block> = pieces
            .iter()
            .flat_map(|piece| compressor.push(piece))
            .collect();
        blocks.push(compressor.finish());
        blocks
    }

    fn decompress(blocks: &[Block]) -> Result<Vec<u8>, Malformed> {
        let mut decompressor = Decompressor::new();
        let mut plain = Vec::new();
        for block in blocks {
            plain.extend(decompressor.push(block)?);
        }
        assert!(decompressor.is_ended());
        Ok(plain)
    }

    /// A block that declares `plain_length` for what `plain` compresses to.
    fn lying(plain: &[u8], plain_length: u32) -> Block {
        Block {
            plain_length,
            ..compress(&[plain]).remove(0)
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            pieces in prop::collection::vec((any::<u8>(), 0..100_000_usize), 0..12),
        ) {
            let pieces: Vec<Vec<u8>> = pieces
                .into_iter()
                .map(|(byte, length)| match byte % 2 {
                    0 => vec![byte; length],
                    _ => noise(length),
                })
                .collect();
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let blocks = compress(&slices);
            prop_assert_eq!(decompress(&blocks).unwrap(), pieces.concat());
        }

        #[test]
        fn damage_is_refused_or_harmless(at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut block = compress(&[&noise(100), &[7; 5_000]]).remove(0);
            let at = at.index(block.compressed.len());
            block.compressed[at] ^= 1_u8 << bit;
            if let Ok(plain) = Decompressor::new().push(&block) {
                prop_assert_eq!(plain.len(), block.plain_length as usize);
            }
        }
    }

    #[test]
    fn every_block_can_be_used_at_once_and_fits_a_frame() {
        let plain = noise(3 * BLOCK_PLAIN_BYTES + 5);
        let blocks = compress(&[&plain]);
        let lengths: Vec<u32> = blocks.iter().map(|block| block.plain_length).collect();
        assert_eq!(lengths, [262_144, 262_144, 262_144, 5]);
        let mut decompressor = Decompressor::new();
        let mut start = 0;
        for block in &blocks {
            assert!(crate::codec::encode(block).len() < FRAME_BYTES_MAX);
            let got = decompressor.push(block).unwrap();
            assert_eq!(got, plain[start..start + got.len()]);
            start += got.len();
        }
    }

    #[test]
    fn a_sender_that_waits_can_flush() {
        let mut compressor = Compressor::new();
        assert!(compressor.flush().is_none());
        assert!(compressor.push(b"early").is_empty());
        let early = compressor.flush().unwrap();
        let last = compressor.finish();
        assert_eq!(decompress(&[early, last]).unwrap(), b"early");
    }

    #[test]
    fn blocks_that_lie_are_refused() {
        let bomb = compress(&[&vec![0; 200_000]]).remove(0);
        let good = compress(&[b"x"]).remove(0);
        let cases = [
            (
                "a bomb",
                Block {
                    plain_length: 1_000,
                    ..bomb.clone()
                },
            ),
            ("one byte too few", lying(b"abcd", 3)),
            ("one byte too many", lying(b"abcd", 5)),
            ("more than a frame", lying(b"abcd", (1 << 20) + 1)),
            ("the greatest number", lying(b"abcd", u32::MAX)),
            (
                "not the last",
                Block {
                    last: false,
                    ..good.clone()
                },
            ),
            (
                "empty",
                Block {
                    plain_length: 0,
                    compressed: Vec::new(),
                    last: false,
                },
            ),
            (
                "nothing but an end",
                Block {
                    plain_length: 0,
                    compressed: Vec::new(),
                    last: true,
                },
            ),
            (
                "not zstd",
                Block {
                    compressed: vec![9; 20],
                    ..good.clone()
                },
            ),
            (
                "two frames",
                Block {
                    plain_length: 2,
                    compressed: [&good.compressed[..], &good.compressed].concat(),
                    last: true,
                },
            ),
            (
                "cut off",
                Block {
                    compressed: bomb.compressed[..bomb.compressed.len() - 1].into(),
                    ..bomb
                },
            ),
        ];
        for (what, block) in cases {
            assert!(Decompressor::new().push(&block).is_err(), "{what}");
        }
        let mut ended = Decompressor::new();
        ended.push(&good).unwrap();
        assert!(ended.push(&good).is_err());
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut encoder = Encoder::new(1).unwrap();
        set(&mut encoder, CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX + 1));
        let mut compressed = Vec::with_capacity(1_000);
        grow(&mut compressed, |out| {
            encoder.run(&mut InBuffer::around(b"x"), out)
        });
        grow(&mut compressed, |out| encoder.finish(out, true));
        let block = Block {
            plain_length: 1,
            compressed,
            last: true,
        };
        let error = Decompressor::new().push(&block).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
