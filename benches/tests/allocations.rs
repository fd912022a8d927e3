//! How much memory an operation asks for: a guard that needs no clock.
//!
//! Only what the test's own thread allocates is counted, so the counts are the
//! same on every machine and beside every other test. A list that grows counts
//! once for each time it moves. Every bound says what was measured when it was
//! written: whoever makes a count smaller lowers its bound. Run with
//! `--no-capture` to see the counts.
#![expect(clippy::print_stdout, reason = "the counts are shown to whoever asks")]

#[path = "../benches/sample/mod.rs"]
mod sample;

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use sync_core::{
    Manifest, Preset,
    codec::encode,
    plan::{Plan, apply_changes, changes_between, check},
    section::{ChangeListReader, Content, SectionWriter},
    wire::Block,
};

/// Entries of a large tree: four levels of nodes, the last of them packs.
const ENTRIES: u32 = 100_000;
/// Changes of a large generation.
const CHANGES: u32 = 10_000;
/// What a section is cut into.
const PIECE_BYTES: usize = 256 << 10;

/// The most for each of the things that an operation works on.
struct Most {
    allocations: f64,
    bytes: f64,
}

// Measured 0.09 and 119, 50 of them the path: a pack for about 24 entries.
const HELD: Most = Most::of(0.1, 120.0);
// Measured 3.09, all but 0.09 the sample's own, and 352: the records and their
// sorted list are still held while the trie is made of them.
const BUILT: Most = Most::of(3.2, 360.0);
// Measured 10 and 4,452: a node and its children a level, the pack and its list.
const UPDATE: Most = Most::of(10.0, 4_600.0);
// Measured 2 and 2,624: the pack's list, and what a leaf covers.
const ROOT: Most = Most::of(2.0, 2_800.0);
// Measured 5 and 848: the path, the list of differences and what it is sorted as,
// two walks of a pack.
const DIFFERENCE: Most = Most::of(5.0, 900.0);
// Measured 16 and 8,732: most of it for the manifest after the change.
const PLAN: Most = Most::of(16.0, 9_000.0);
// Measured 2.005 and 441: the path twice, and the list of changes as it grows.
const DECODED: Most = Most::of(2.1, 450.0);
// Measured 5 and 2,799: the plain bytes as they gather, and the block.
const ENCODED: Most = Most::of(6.0, 2_900.0);

impl Most {
    const fn of(allocations: f64, bytes: f64) -> Self {
        Self { allocations, bytes }
    }
}

#[test]
fn a_manifest_holds_an_entry_in_few_bytes() {
    let mut manifest = Manifest::new();
    let used = measure(|| manifest = sample::manifest(ENTRIES));
    let left = |count: i64| u64::try_from(count).expect("no more is given back than was taken");
    let (count, bytes) = (left(used.count_current), left(used.bytes_current));
    compare("held, an entry", ENTRIES, count, bytes, &HELD);
    let (count, bytes) = (used.count_total, used.bytes_max);
    compare("built, an entry", ENTRIES, count, bytes, &BUILT);
    black_box(manifest);
}

#[test]
fn an_update_in_100_000_entries_copies_one_path_of_the_trie() {
    let before = sample::manifest(ENTRIES);
    black_box(before.root());
    let mut after = before.clone();
    let (path, entry) = sample::file(5, 1);
    let used = measure(|| drop(after.insert(path, entry)));
    expect("an update", &used, 1, &UPDATE);
    let used = measure(|| _ = black_box(after.root()));
    expect("the root after it", &used, 1, &ROOT);
}

#[test]
fn a_difference_in_100_000_entries_costs_the_difference() {
    let (before, after) = edited();
    let used = measure(|| assert_eq!(after.diff(&before).len(), 1));
    expect("a difference", &used, 1, &DIFFERENCE);
}

#[test]
fn a_plan_in_100_000_entries_costs_its_changes() {
    let (before, after) = edited();
    let changes = changes_between(&after, &before);
    let used = measure(|| {
        check(&before, &changes, Preset::Synapse).expect("a legal change");
        assert_eq!(
            Plan::new(&before, &changes, Preset::Synapse).steps().len(),
            1
        );
        assert_eq!(apply_changes(&before, &changes), after);
    });
    expect("a plan", &used, 1, &PLAN);
}

#[test]
fn a_change_list_is_decoded_with_few_allocations_a_change() {
    let changes = changes_between(&sample::manifest(CHANGES - 2), &Manifest::new());
    let plain: Vec<u8> = changes.iter().flat_map(encode).collect();
    let mut reader = ChangeListReader::new(CHANGES.into());
    let used = measure(|| {
        for piece in plain.chunks(PIECE_BYTES) {
            black_box(reader.push(piece).expect("what was encoded is decoded"));
        }
    });
    assert!(reader.is_complete());
    expect("decoding, a change", &used, CHANGES, &DECODED);
}

#[test]
fn an_edit_is_encoded_in_little_memory() {
    let (before, after) = edited();
    let changes = changes_between(&after, &before);
    let content = Content::Whole(vec![b'x'; 1_042]);
    let mut block: Option<Block> = None;
    // The compressor itself is C and is not counted.
    let used = measure(|| {
        let mut section = SectionWriter::new();
        assert!(section.change(&changes[0]).is_empty());
        assert!(section.content(&content).is_empty());
        block = Some(section.finish());
    });
    expect("encoding an edit", &used, 1, &ENCODED);
    black_box(block);
}

/// A large manifest before and after one edit, both with their roots known.
fn edited() -> (Manifest, Manifest) {
    let before = sample::manifest(ENTRIES);
    let mut after = before.clone();
    let (path, entry) = sample::file(5, 1);
    after.insert(path, entry);
    assert_ne!(before.root(), after.root());
    (before, after)
}

/// Compares all that was ever allocated.
#[track_caller]
fn expect(what: &str, used: &AllocationInfo, things: u32, most: &Most) {
    compare(what, things, used.count_total, used.bytes_total, most);
}

#[track_caller]
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn compare(what: &str, things: u32, allocations: u64, bytes: u64, most: &Most) {
    let each = |count: u64| count as f64 / f64::from(things);
    let (allocations, bytes) = (each(allocations), each(bytes));
    println!(
        "{what}: {allocations:.3} allocations (at most {}), {bytes:.1} bytes (at most {})",
        most.allocations, most.bytes
    );
    assert!(
        allocations <= most.allocations && bytes <= most.bytes,
        "{what}: {allocations:.3} allocations of {bytes:.1} bytes are more than {} of {}",
        most.allocations,
        most.bytes
    );
}
