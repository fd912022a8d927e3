//! The hashes of the trie, which two nodes of different releases compare: by the
//! rule, a node of at most 16 entries is a leaf, and a larger one has a child for
//! each nibble. How nodes are held in memory does not matter here.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};

use super::{Root, pack::Item};
use crate::limits::{TRIE_FANOUT, TRIE_LEAF_ENTRIES_MAX};

static LEAF: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("apim-sync 1 manifest leaf"));
static INNER: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("apim-sync 1 manifest inner"));

/// What a leaf of small entries covers has about as many bytes.
const LEAF_BYTES: usize = 2048;

/// The hash of the node at `depth` that holds `items`, sorted by key.
pub(super) fn of_items(items: &[Item<'_>], depth: usize) -> Root {
    of_group(items, depth, &mut Vec::with_capacity(LEAF_BYTES))
}

/// The same, in a buffer that is used for every leaf.
fn of_group(items: &[Item<'_>], depth: usize, buffer: &mut Vec<u8>) -> Root {
    if items.len() <= TRIE_LEAF_ENTRIES_MAX {
        return of_leaf(items, buffer);
    }
    let groups = groups(items, depth);
    of_inner(|slot| (!groups[slot].is_empty()).then(|| of_group(groups[slot], depth + 1, buffer)))
}

/// The hash of a node with these children.
pub(super) fn of_inner(mut child: impl FnMut(usize) -> Option<Root>) -> Root {
    let mut covered = [0; TRIE_FANOUT * (1 + size_of::<Root>())];
    let mut used = 0;
    for slot in 0..TRIE_FANOUT {
        let hash = child(slot);
        covered[used] = hash.is_some().into();
        used += 1;
        if let Some(hash) = hash {
            covered[used..used + hash.0.len()].copy_from_slice(&hash.0);
            used += hash.0.len();
        }
    }
    hash(&INNER, &covered[..used])
}

/// `items` by their nibble at `depth`: sorted, so each group is a stretch.
pub(super) fn groups<'i, 'a>(items: &'i [Item<'a>], depth: usize) -> [&'i [Item<'a>]; TRIE_FANOUT] {
    let mut rest = items;
    std::array::from_fn(|slot| {
        let end = rest.partition_point(|item| item.nibble(depth) <= slot);
        let (group, others) = rest.split_at(end);
        rest = others;
        group
    })
}

fn of_leaf(items: &[Item<'_>], buffer: &mut Vec<u8>) -> Root {
    buffer.clear();
    items.iter().for_each(|item| item.record.hashed(buffer));
    hash(&LEAF, buffer)
}

fn hash(domain: &ContextKey, covered: &[u8]) -> Root {
    let mut hasher = blake3::Hasher::new_from_context_key(domain);
    hasher.update(covered);
    Root(*hasher.finalize().as_bytes())
}
