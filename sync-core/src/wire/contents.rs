//! How large contents, patches and contents of the past travel.

use std::fmt;

use bincode::{Decode, Encode};

use crate::{content::ContentId, patch::PieceId};

/// One step of fetching a large content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FetchRequest {
    /// The recipe's groups.
    Groups,
    /// The chunks of these groups, by index, at most [`FETCH_GROUPS_MAX`].
    Chunks(Vec<u32>),
    /// Bytes of the content; answered by [`FetchAnswer::Data`] until `length`
    /// bytes have come.
    Bytes {
        /// First byte.
        offset: u64,
        /// How many, at least one.
        length: u64,
    },
}

/// One content wanted as a patch.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct PatchRequest {
    /// The content wanted.
    pub content: ContentId,
    /// The pieces of a content that the asker has, at most
    /// [`PATCH_PIECES_MAX`](crate::limits::PATCH_PIECES_MAX).
    pub pieces: Vec<PieceId>,
}

impl fmt::Debug for PatchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PatchRequest({}, {} pieces)",
            self.content,
            self.pieces.len()
        )
    }
}

/// Groups in one [`FetchAnswer::Groups`]: they fill two thirds of a frame.
pub const FETCH_GROUP_LIST_MAX: usize = 16 << 10;

/// Groups in one [`FetchRequest::Chunks`].
pub const FETCH_GROUPS_MAX: usize = 256;

/// What the active answers to a [`FetchRequest`].
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum FetchAnswer {
    /// Part of the list of (id, length) of groups, at most
    /// [`FETCH_GROUP_LIST_MAX`] in one frame.
    Groups {
        /// The next groups.
        groups: Vec<(ContentId, u64)>,
        /// Whether these are the last.
        last: bool,
    },
    /// The (id, length) of the chunks of one group asked for.
    Chunks(Vec<(ContentId, u32)>),
    /// Bytes, which fill the rest of the frame.
    Data(Piece),
    /// The file changed or went: a newer generation follows.
    Superseded,
}

impl fmt::Debug for FetchAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups { groups, last } => write!(f, "Groups({}, last: {last})", groups.len()),
            Self::Chunks(chunks) => write!(f, "Chunks({})", chunks.len()),
            Self::Data(piece) => write!(f, "{piece:?}"),
            Self::Superseded => f.write_str("Superseded"),
        }
    }
}

/// What the bytes behind it in the same frame are: part of a content, compressed
/// where that helps. Both ends hand such bytes on as they lie in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Piece {
    /// Length of the part, 1 byte to 256 KiB.
    pub plain_length: u32,
    /// Whether the bytes are a zstd frame.
    pub compressed: bool,
    /// How many bytes there are, to the end of the frame.
    pub length: u64,
}

/// Contents in one [`Opening::Recall`](super::Opening::Recall).
pub const RECALL_CONTENTS_MAX: usize = 4_096;

/// What the other side answers to [`Opening::Recall`](super::Opening::Recall): for each content one `Absent`,
/// or one `Content`, followed by `Data` until its length has come unless it was
/// only asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecallAnswer {
    /// It is not kept here.
    Absent,
    /// It is kept. Its bytes are not proved: the asker knows the hash.
    Content {
        /// Its length.
        length: u64,
    },
    /// Bytes of it, which fill the rest of the frame.
    Data(Piece),
}
