//! The one place where bincode is known.
//!
//! [`encode`] and [`decode`] serve the wire, the journal and the index. Every
//! decode is limited and must use up its input; every type of the model is
//! checked by its own constructor while it is decoded, so that what comes out
//! is valid. bincode 2.0.1 is the last working release of an unmaintained crate
//! (RUSTSEC-2025-0141): its bytes are pinned by golden vectors so that a
//! compatible codec can take its place here.

use bincode::{
    BorrowDecode, config,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};
use thiserror::Error;

pub use bincode::{Decode, Encode};

use crate::{
    content::ContentId,
    entry::{Entry, FileEntry, Mode, Mtime},
    generation::{Action, Change, Epoch, Generation, GenerationHeader, Position, TreeName},
    limits::{FILE_BYTES_MAX, FRAME_BYTES_MAX, PATH_BYTES_MAX, TRIE_FANOUT, TRIE_LEAF_ENTRIES_MAX},
    manifest::{NodeView, Root},
    path::RelPath,
};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("malformed {what}: {reason}")]
pub struct Malformed {
    /// The type that was expected.
    pub what: &'static str,
    /// What is wrong with the bytes.
    pub reason: String,
}

/// The bytes of `value`.
///
/// # Panics
/// Never for the types of this crate: encoding into memory cannot fail.
#[must_use]
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, config::standard()).expect("encoding into memory cannot fail")
}

/// Appends the bytes of `value` to `out`.
///
/// # Panics
/// Never for the types of this crate: encoding into memory cannot fail.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, config::standard())
        .expect("encoding into memory cannot fail");
}

/// The value in `bytes`, all of which it must use.
///
/// # Errors
/// When the bytes are cut off, claim more than a frame may hold, break a rule
/// of a type, or go on after the value.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, Malformed> {
    let (value, used) = decode_prefix(bytes)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(malformed::<T>("bytes left over"))
    }
}

/// The value at the start of `bytes` and how many bytes it used.
///
/// # Errors
/// As [`decode`], but more bytes may follow.
pub fn decode_prefix<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), Malformed> {
    bincode::decode_from_slice(bytes, limited()).map_err(malformed::<T>)
}

/// As [`decode_prefix`], but `None` when the bytes are only the beginning of a
/// value.
///
/// # Errors
/// When the bytes break a rule of a type or claim more than a frame may hold.
pub fn decode_if_complete<T: Decode<()>>(bytes: &[u8]) -> Result<Option<(T, usize)>, Malformed> {
    match bincode::decode_from_slice(bytes, limited()) {
        Ok(decoded) => Ok(Some(decoded)),
        Err(DecodeError::UnexpectedEnd { .. }) => Ok(None),
        Err(error) => Err(malformed::<T>(error)),
    }
}

fn limited() -> impl config::Config {
    config::standard().with_limit::<{ 4 * FRAME_BYTES_MAX }>()
}

fn malformed<T>(reason: impl ToString) -> Malformed {
    Malformed {
        what: std::any::type_name::<T>(),
        reason: reason.to_string(),
    }
}

fn invalid(reason: impl ToString) -> DecodeError {
    DecodeError::OtherString(reason.to_string())
}

/// Implements the codec for `$type` through the wire form `$form`.
macro_rules! through {
    ($type:ty, $form:ty, |$value:ident| $to:expr, |$decoded:ident| $from:expr) => {
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                let $value = self;
                Encode::encode(&$to, encoder)
            }
        }
        impl<C> Decode<C> for $type {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                let $decoded = <$form as Decode<C>>::decode(decoder)?;
                $from
            }
        }
        impl<'de, C> BorrowDecode<'de, C> for $type {
            fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                <Self as Decode<C>>::decode(decoder)
            }
        }
    };
}

through!(RelPath, Vec<u8>, |path| path.as_bytes(), |bytes| {
    RelPath::new(&bytes).map_err(invalid)
});
through!(TreeName, String, |name| name.as_str(), |text| {
    TreeName::new(&text).map_err(invalid)
});
through!(ContentId, [u8; 32], |id| id.0, |bytes| Ok(ContentId(bytes)));
through!(Root, [u8; 32], |root| root.0, |bytes| Ok(Root(bytes)));
through!(Epoch, u64, |epoch| epoch.0, |number| Ok(Epoch(number)));
through!(Generation, u64, |generation| generation.0, |number| Ok(
    Generation(number)
));
through!(Mode, u32, |mode| mode.bits(), |bits| {
    if bits <= 0o777 {
        Ok(Mode::new(bits))
    } else {
        Err(invalid("mode beyond 0777"))
    }
});
through!(
    Mtime,
    (i64, u32),
    |mtime| (mtime.seconds, mtime.nanoseconds),
    |parts| {
        let (seconds, nanoseconds) = parts;
        if nanoseconds < 1_000_000_000 {
            Ok(Mtime {
                seconds,
                nanoseconds,
            })
        } else {
            Err(invalid("nanoseconds beyond a second"))
        }
    }
);
through!(
    FileEntry,
    (Mode, Mtime, u64, ContentId),
    |file| (file.mode, file.mtime, file.length, file.content),
    |parts| {
        let (mode, mtime, length, content) = parts;
        if length > FILE_BYTES_MAX {
            return Err(invalid("file larger than the limit"));
        }
        Ok(FileEntry {
            mode,
            mtime,
            length,
            content,
        })
    }
);

/// The wire form of [`Entry`].
#[derive(Encode, Decode)]
enum EntryForm {
    Directory(Mode),
    File(FileEntry),
    Symlink(Vec<u8>),
}

through!(
    Entry,
    EntryForm,
    |entry| match entry {
        Entry::Directory { mode } => EntryForm::Directory(*mode),
        Entry::File(file) => EntryForm::File(*file),
        Entry::Symlink { target } => EntryForm::Symlink(target.to_vec()),
    },
    |form| match form {
        EntryForm::Directory(mode) => Ok(Entry::Directory { mode }),
        EntryForm::File(file) => Ok(Entry::File(file)),
        EntryForm::Symlink(target) => {
            if target.is_empty() || target.len() >= PATH_BYTES_MAX || target.contains(&0) {
                return Err(invalid("not a symbolic link's text"));
            }
            Ok(Entry::Symlink {
                target: target.into(),
            })
        }
    }
);
through!(
    Change,
    (RelPath, Option<Entry>),
    |change| (
        &change.path,
        match &change.action {
            Action::Put(entry) => Some(entry),
            Action::Delete => None,
        }
    ),
    |parts| {
        let (path, entry) = parts;
        Ok(Change {
            path,
            action: entry.map_or(Action::Delete, Action::Put),
        })
    }
);
through!(
    Position,
    (Epoch, Generation, Root),
    |position| (position.epoch, position.generation, position.root),
    |parts| {
        let (epoch, generation, root) = parts;
        Ok(Position {
            epoch,
            generation,
            root,
        })
    }
);
through!(
    GenerationHeader,
    (TreeName, Epoch, Generation, Root, Root),
    |header| (
        &header.tree,
        header.epoch,
        header.generation,
        header.base,
        header.root
    ),
    |parts| {
        let (tree, epoch, generation, base, root) = parts;
        Ok(GenerationHeader {
            tree,
            epoch,
            generation,
            base,
            root,
        })
    }
);

/// The wire form of [`NodeView`].
#[derive(Encode, Decode)]
enum NodeForm {
    Leaf(Vec<(RelPath, Entry)>),
    Inner(Box<[Option<Root>; TRIE_FANOUT]>),
}

through!(
    NodeView,
    NodeForm,
    |node| match node {
        NodeView::Leaf(entries) => NodeForm::Leaf(entries.clone()),
        NodeView::Inner(children) => NodeForm::Inner(children.clone()),
    },
    |form| match form {
        NodeForm::Leaf(entries) if entries.len() > TRIE_LEAF_ENTRIES_MAX => {
            Err(invalid("a leaf of more than 16 entries"))
        }
        NodeForm::Leaf(entries) => Ok(NodeView::Leaf(entries)),
        NodeForm::Inner(children) => Ok(NodeView::Inner(children)),
    }
);
