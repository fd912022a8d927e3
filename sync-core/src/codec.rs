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
    fence::{Lineage, Promotion},
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

/// What one value may hold: with the room that lists are given before their
/// items come, at most twice this is held while a frame is decoded.
const HELD_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

fn limited() -> impl config::Config {
    config::standard().with_limit::<HELD_BYTES_MAX>()
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

/// What an [`Arc`](std::sync::Arc) adds to the bytes it holds.
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// Implements the codec for `$type` through the wire form `$form`.
///
/// `$held`: bytes the value holds on the heap beyond those that bincode counts
/// against the limit, so that many small values cannot hold much either.
macro_rules! through {
    ($type:ty, $form:ty, |$value:ident| $to:expr, |$decoded:ident| $from:expr) => {
        through!($type, $form, |$value| $to, |$decoded| $from, |own| 0);
    };
    ($type:ty, $form:ty, |$value:ident| $to:expr, |$decoded:ident| $from:expr, |$own:ident| $held:expr) => {
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                let $value = self;
                Encode::encode(&$to, encoder)
            }
        }
        impl<C> Decode<C> for $type {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                let $decoded = <$form as Decode<C>>::decode(decoder)?;
                let decoded: Result<Self, DecodeError> = $from;
                let $own = decoded?;
                decoder.claim_bytes_read($held)?;
                Ok($own)
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

through!(
    RelPath,
    Vec<u8>,
    |path| path.as_bytes(),
    |bytes| { RelPath::new(&bytes).map_err(invalid) },
    |path| ARC_BYTES + path.as_bytes().len()
);
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
    Lineage,
    Vec<Promotion>,
    |lineage| lineage.promotions().to_vec(),
    |promotions| Lineage::new(promotions).map_err(invalid)
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
    },
    |node| match &node {
        NodeView::Leaf(entries) => size_of_val(entries.as_slice()),
        NodeView::Inner(children) => size_of_val(&**children),
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: Decode<()> + std::fmt::Debug>(what: &str, bytes: Vec<u8>) {
        let error = decode::<T>(&bytes).expect_err(what);
        assert!(error.what.contains("sync_core"), "{what}: {error}");
        assert!(decode_if_complete::<T>(&bytes).is_err(), "{what}");
    }

    #[test]
    fn what_breaks_a_rule_of_its_type_is_not_decoded() {
        let link = |text: &[u8]| encode(&(2_u32, text.to_vec()));
        let id = [0_u8; 32];
        refused::<RelPath>("an escape", encode(&b"a/../b".to_vec()));
        refused::<RelPath>("an absolute path", encode(&b"/a".to_vec()));
        refused::<TreeName>("a hidden name", encode(&".a"));
        refused::<Mode>("set-user-id", encode(&0o4755_u32));
        refused::<Mtime>("a second too long", encode(&(0_i64, 1_000_000_000_u32)));
        let huge = (0o644_u32, 0_i64, 0_u32, FILE_BYTES_MAX + 1, id);
        refused::<FileEntry>("a huge file", encode(&huge));
        refused::<Entry>("an empty link", link(b""));
        refused::<Entry>("a link with NUL", link(b"a\0b"));
        refused::<Entry>("a long link", link(&[b'x'; PATH_BYTES_MAX]));
        refused::<Entry>("a device", encode(&3_u32));
        let crowd = vec![(b"p".to_vec(), (0_u32, 0_u32)); TRIE_LEAF_ENTRIES_MAX + 1];
        refused::<NodeView>("a crowded leaf", encode(&(0_u32, crowd)));
    }

    #[test]
    fn a_beginning_is_told_from_nonsense() {
        let path = RelPath::new(b"default/api/a.xml").unwrap();
        let bytes = encode(&path);
        for end in 0..bytes.len() {
            assert_eq!(decode_if_complete::<RelPath>(&bytes[..end]), Ok(None));
        }
        let longer = [&bytes[..], b"next"].concat();
        let decoded = decode_if_complete::<RelPath>(&longer);
        assert_eq!(decoded, Ok(Some((path.clone(), bytes.len()))));
        assert_eq!(decode_prefix::<RelPath>(&longer), Ok((path, bytes.len())));
        assert!(decode::<RelPath>(&longer).is_err());
    }
}
