use proptest::prelude::*;

use super::*;
use crate::limits::PATCHED_BYTES_MAX;

/// Pseudo-random text of few words: pieces differ, yet it compresses.
fn text(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte = b'a' + *byte % 16);
    bytes
}

fn encoded(steps: &[Step]) -> Vec<u8> {
    steps.iter().flat_map(codec::encode).collect()
}

/// Builds `new` from what `steps` say, `piece` bytes at a time.
fn build(old: &[u8], steps: &[Step], length: usize, piece: usize) -> Vec<u8> {
    let mut patching = Patching::new(Sketch::of(old.to_vec(), length as u64), length);
    let mut held = Vec::new();
    for bytes in encoded(steps).chunks(piece) {
        held.extend_from_slice(bytes);
        match patching.take(&mut held).unwrap() {
            None => {}
            Some(Patched::Whole(new)) => {
                assert!(held.is_empty(), "{} bytes left over", held.len());
                return new;
            }
            Some(Patched::Gone) => panic!("gone"),
        }
    }
    panic!("not whole");
}

fn literals(steps: &[Step]) -> usize {
    steps
        .iter()
        .map(|step| match step {
            Step::Go { literal, .. } => literal.len(),
            Step::Gone => 0,
        })
        .sum()
}

#[test]
fn scattered_edits_cost_their_pieces() {
    let old = text(1, 500_000);
    let mut new = old.clone();
    for at in (0..20).map(|edit| 25_000 * edit) {
        new.splice(at..at + 3, *b"edited");
    }
    let sketch = Sketch::of(old.clone(), new.len() as u64);
    let steps = steps(&new, sketch.ids());
    assert_eq!(build(&old, &steps, new.len(), 1000), new);
    assert!(sketch.ids().len() < 1000, "{} pieces", sketch.ids().len());
    assert!(literals(&steps) < 60_000, "{} bytes", literals(&steps));
    assert!(steps.len() <= 21, "{} steps", steps.len());
}

#[test]
fn an_equal_content_is_one_step() {
    let content = text(2, 100_000);
    let sketch = Sketch::of(content.clone(), 100_000);
    let steps = steps(&content, sketch.ids());
    assert_eq!((steps.len(), literals(&steps)), (1, 0));
    assert_eq!(build(&content, &steps, content.len(), 7), content);
}

#[test]
fn a_sketch_is_bounded_whatever_the_old_content() {
    let old = text(3, usize::try_from(PATCHED_BYTES_MAX).unwrap());
    let sketch = Sketch::of(old, 8 << 10);
    assert_eq!(sketch.ids().len(), PATCH_PIECES_MAX);
}

#[test]
fn the_largest_content_fits_its_sketch() {
    let old = text(4, usize::try_from(PATCHED_BYTES_MAX).unwrap());
    let sketch = Sketch::of(old, PATCHED_BYTES_MAX);
    assert!(sketch.ids().len() < PATCH_PIECES_MAX);
    assert_eq!(sketch.ends.last(), Some(&sketch.old.len()));
}

#[test]
fn a_content_that_is_gone_ends_it() {
    let mut patching = Patching::new(Sketch::of(text(5, 10_000), 10_000), 10_000);
    let mut plain = codec::encode(&Step::Gone);
    assert_eq!(patching.take(&mut plain).unwrap(), Some(Patched::Gone));
}

#[test]
fn steps_that_make_no_sense_are_refused() {
    let go = |literal: &[u8], first, count| Step::Go {
        literal: literal.to_vec(),
        first,
        count,
    };
    let old = text(6, 10_000);
    let pieces = u32::try_from(Sketch::of(old.clone(), 10_000).ids().len()).unwrap();
    for (what, step) in [
        ("nothing", go(b"", 0, 0)),
        ("beyond the content", go(&[0; 10_001], 0, 0)),
        ("literal and pieces beyond it", go(b"x", 0, pieces)),
        ("no such piece", go(b"", pieces, 1)),
        ("pieces beyond the last", go(b"", 1, pieces)),
        ("a run that overflows", go(b"", u32::MAX, u32::MAX)),
        ("too long", go(&vec![0; PATCH_LITERAL_BYTES_MAX + 1], 0, 0)),
    ] {
        let mut patching = Patching::new(Sketch::of(old.clone(), 10_000), 10_000);
        let mut plain = codec::encode(&step);
        assert!(patching.take(&mut plain).is_err(), "{what}");
    }
}

#[test]
fn a_step_that_never_ends_is_not_waited_for() {
    let mut patching = Patching::new(Sketch::of(text(7, 10_000), 10_000), 10_000);
    let endless = Step::Go {
        literal: vec![0; 900_000],
        first: 0,
        count: 0,
    };
    let mut plain = codec::encode(&endless);
    plain.truncate(2 * PATCH_LITERAL_BYTES_MAX + 1);
    assert!(patching.take(&mut plain).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_edit_is_rebuilt(
        length in 0..400_000_usize,
        piece in 1..70_000_usize,
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..100_000_usize, 0..90_000_usize),
            0..4,
        ),
    ) {
        let old = text(8, length);
        let mut new = old.clone();
        for (seed, (at, removed, added)) in (9..).zip(edits) {
            let start = at.index(new.len() + 1);
            let end = new.len().min(start + removed);
            new.splice(start..end, text(seed, added));
        }
        prop_assume!(!new.is_empty());
        let sketch = Sketch::of(old.clone(), new.len() as u64);
        let steps = steps(&new, sketch.ids());
        prop_assert_eq!(build(&old, &steps, new.len(), piece), new);
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut patching = Patching::new(Sketch::of(text(10, 10_000), 10_000), 10_000);
        let mut plain = bytes;
        // Whatever comes of it.
        let _ = patching.take(&mut plain);
    }
}

#[test]
fn steps_over_a_remembered_content_need_no_sketch() {
    let old = text(11, 5_000);
    let mut new = old.clone();
    new.splice(2_500..2_503, *b"edited");
    let steps = fine_steps(&new, &fine_ids(&old));
    assert!(literals(&steps) < 1_200, "{} bytes", literals(&steps));
    let built = over(old.clone(), &encoded(&steps), new.len());
    assert_eq!(built.unwrap(), Some(new.clone()));
    // Of another content something else comes out, or nothing.
    let other = over(text(12, 5_000), &encoded(&steps), new.len());
    assert!(other.is_err() || other.unwrap() != Some(new.clone()));
    // Steps that end early or go on make nothing.
    let cut = &encoded(&steps)[..encoded(&steps).len() - 1];
    assert_eq!(over(old.clone(), cut, new.len()).unwrap(), None);
    let long = [encoded(&steps), encoded(&steps)].concat();
    assert_eq!(over(old, &long, new.len()).unwrap(), None);
}
