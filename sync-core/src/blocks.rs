//! Bulk on the wire: one zstd stream, cut into [`Block`]s.
//!
//! A [`Compressor`] gathers plain bytes and cuts a block about every 256 KiB,
//! flushed, so that the receiver can use each block as it comes while later
//! ones still profit from everything sent before. A [`Decompressor`] gives the
//! plain bytes back and trusts nothing: it stops at the declared length, its
//! window is bounded, and whatever does not fit together is [`Malformed`].
//! What the plain bytes mean is for [`section`](crate::section).

use zstd::stream::raw::{
    CParameter, DParameter, Decoder, Encoder, InBuffer, Operation as _, OutBuffer,
};

use crate::{
    codec::Malformed,
    limits::{BLOCK_PLAIN_BYTES, FRAME_BYTES_MAX, ZSTD_WINDOW_LOG_MAX},
    wire::Block,
};

/// One stream of many small files: twelve times smaller at 1 GB/s.
const LEVEL_STREAM: i32 = 1;
/// A section that fits one block is one edit or a few: the bytes of one packet
/// count for more than the microseconds.
const LEVEL_SINGLE: i32 = 9;
/// Up to this length a section's only block is compressed harder.
const SINGLE_BYTES_MAX: usize = 16 << 10;

/// Makes [`Block`]s of plain bytes.
pub struct Compressor {
    encoder: Encoder<'static>,
    gathered: Vec<u8>,
    begun: bool,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// A new stream.
    ///
    /// # Panics
    /// When there is no memory for a compression context.
    #[must_use]
    pub fn new() -> Self {
        let mut encoder = Encoder::new(LEVEL_STREAM).expect(NO_FAILURE);
        set(&mut encoder, CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX));
        Self {
            encoder,
            gathered: Vec::new(),
            begun: false,
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
        if !self.begun {
            self.prepare_single_block();
        }
        self.cut(true)
    }

    /// The whole section is known: say so, which makes smaller headers and
    /// tables.
    fn prepare_single_block(&mut self) {
        let length = self.gathered.len();
        if length <= SINGLE_BYTES_MAX {
            set(
                &mut self.encoder,
                CParameter::CompressionLevel(LEVEL_SINGLE),
            );
        }
        self.encoder
            .set_pledged_src_size(Some(length as u64))
            .expect(NO_FAILURE);
    }

    fn cut(&mut self, last: bool) -> Block {
        self.begun = true;
        let bound = zstd::zstd_safe::compress_bound(self.gathered.len());
        let mut compressed = Vec::with_capacity(bound + BLOCK_OVERHEAD_BYTES);
        let mut input = InBuffer::around(&self.gathered);
        while input.pos() < self.gathered.len() {
            grow(&mut compressed, |out| self.encoder.run(&mut input, out));
        }
        loop {
            let left = grow(&mut compressed, |out| match last {
                true => self.encoder.finish(out, true),
                false => self.encoder.flush(out),
            });
            if left == 0 {
                break;
            }
        }
        let plain_length = u32::try_from(self.gathered.len()).expect("a block's plain is small");
        self.gathered.clear();
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
        let mut decoder = Decoder::new().expect(NO_FAILURE);
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
