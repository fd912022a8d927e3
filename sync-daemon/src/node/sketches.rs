//! What an active remembers of the small contents it sent: enough to send the
//! next one as steps over it, without being sent a sketch first.

use std::collections::{HashMap, VecDeque};

use sync_core::{
    ContentId, codec,
    limits::{SKETCHED_BYTES_MIN, SMALL_CONTENT_BYTES_MAX},
    patch::{self, PieceId},
    section::Content,
};

/// Pieces remembered for one tree, of five bytes each: those of some 250 MB.
const PIECES_MAX: usize = 1 << 20;
/// Steps this much shorter than the content are shorter compressed, too.
const GAIN_MIN: usize = 3;

/// The pieces of contents, the oldest forgotten first.
#[derive(Default)]
pub(super) struct Sketches {
    pieces: HashMap<ContentId, Box<[PieceId]>>,
    order: VecDeque<ContentId>,
    count: usize,
}

impl Sketches {
    /// Remembers a content that was read to be sent.
    pub(super) fn note(&mut self, id: ContentId, bytes: &[u8]) {
        let sizes = SKETCHED_BYTES_MIN..=SMALL_CONTENT_BYTES_MAX;
        if !sizes.contains(&(bytes.len() as u64)) || self.pieces.contains_key(&id) {
            return;
        }
        let pieces = patch::fine_ids(bytes);
        self.count += pieces.len();
        self.pieces.insert(id, pieces);
        self.order.push_back(id);
        while self.count > PIECES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            let forgotten = self.pieces.remove(&oldest);
            self.count -= forgotten.map_or(0, |pieces| pieces.len());
        }
    }

    /// `bytes` as they are best sent to a passive that has `base` in their place.
    pub(super) fn over(&self, base: Option<ContentId>, bytes: Vec<u8>) -> Content {
        let Some(known) = base.and_then(|base| self.pieces.get(&base)) else {
            return Content::Whole(bytes);
        };
        let steps = patch::fine_steps(&bytes, known);
        let steps: Vec<u8> = steps.iter().flat_map(codec::encode).collect();
        match steps.len() * GAIN_MIN < bytes.len() {
            true => Content::Steps(steps),
            false => Content::Whole(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn only_a_content_that_is_remembered_and_alike_is_sent_as_steps() {
        let mut sketches = Sketches::default();
        let old = random(1, 5_000);
        let id = ContentId::of(&old);
        let mut new = old.clone();
        new[2_000] ^= 1;
        let whole = Content::Whole(new.clone());
        assert_eq!(sketches.over(Some(id), new.clone()), whole);
        sketches.note(id, &old);
        assert_eq!(sketches.over(None, new.clone()), whole);
        let Content::Steps(steps) = sketches.over(Some(id), new.clone()) else {
            panic!("sent whole");
        };
        assert_eq!(patch::over(old, &steps, 5_000).unwrap(), Some(new));
        let other = random(2, 5_000);
        let whole = Content::Whole(other.clone());
        assert_eq!(sketches.over(Some(id), other), whole);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut sketches = Sketches::default();
        for seed in 0..12_000 {
            let bytes = random(seed, 30_000);
            sketches.note(ContentId(blake3::hash(&bytes).into()), &bytes);
        }
        assert!(sketches.count <= PIECES_MAX);
        assert!(sketches.count > PIECES_MAX - 1_000);
        assert_eq!(sketches.order.len(), sketches.pieces.len());
        let held: usize = sketches.pieces.values().map(|pieces| pieces.len()).sum();
        assert_eq!(held, sketches.count);
        // Short ones are not worth their place.
        let short = random(0, 1_000);
        sketches.note(ContentId::of(&short), &short);
        assert!(!sketches.pieces.contains_key(&ContentId::of(&short)));
    }
}
