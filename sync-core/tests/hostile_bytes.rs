//! No bytes, whatever they claim, make a decoder panic or allocate much.
//!
//! A test binary of its own: it counts what its thread allocates.

#![expect(
    unsafe_code,
    reason = "an allocator that counts implements an unsafe trait"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fmt::Debug,
};

use proptest::prelude::*;
use sync_core::{
    Change, ContentId, RelPath,
    blocks::Decompressor,
    codec::{self, Decode},
    limits::FRAME_BYTES_MAX,
    patch::Step,
    section::{ChangeListReader, ContentSplitter},
    wire::{
        AuditAnswer, AuditRequest, Block, Claim, DeployedAnswer, FETCH_GROUP_LIST_MAX, FetchAnswer,
        FetchRequest, HandoverAnswer, JoinAnswer, NEED_RANGES_MAX, Opening, PatchRequest, Range,
        Reply,
    },
};

/// What one frame may make us hold at once, itself not counted.
const PEAK_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn add(bytes: usize) {
    HELD.set(HELD.get().wrapping_add(bytes));
    if HELD.get() as isize > PEAK.get() as isize {
        PEAK.set(HELD.get());
    }
}

fn subtract(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub(bytes));
}

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` holds at once.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().wrapping_sub(before))
}

/// Decodes `bytes` as a `T`; only memory and panics matter.
fn bounded<T: Decode<()> + Debug>(what: &str, bytes: &[u8]) {
    let (decoded, held) = peak(|| codec::decode::<T>(bytes));
    assert!(
        held <= PEAK_BYTES_MAX,
        "{held} bytes held for {what} of {} bytes as {}, decoded: {}",
        bytes.len(),
        std::any::type_name::<T>(),
        decoded.is_ok(),
    );
}

fn bounded_as_anything(what: &str, bytes: &[u8]) {
    bounded::<Opening>(what, bytes);
    bounded::<JoinAnswer>(what, bytes);
    bounded::<Reply>(what, bytes);
    bounded::<Block>(what, bytes);
    bounded::<AuditRequest>(what, bytes);
    bounded::<Claim>(what, bytes);
    bounded::<HandoverAnswer>(what, bytes);
    bounded::<DeployedAnswer>(what, bytes);
    bounded::<AuditAnswer>(what, bytes);
    bounded::<FetchRequest>(what, bytes);
    bounded::<FetchAnswer>(what, bytes);
    bounded::<PatchRequest>(what, bytes);
    bounded::<Step>(what, bytes);
    bounded::<Change>(what, bytes);
    bounded::<Vec<RelPath>>(what, bytes);
}

/// Lengths as an attacker would claim them, in every width of the encoding.
fn claimed_lengths() -> Vec<Vec<u8>> {
    let frame = FRAME_BYTES_MAX as u64;
    [
        0,
        1,
        250,
        251,
        frame - 1,
        frame,
        frame + 1,
        4 * frame,
        1 << 31,
        (1 << 32) - 1,
        1 << 63,
        u64::MAX,
    ]
    .iter()
    .map(codec::encode)
    .collect()
}

#[test]
fn claimed_lengths_are_checked_before_they_are_believed() {
    for variant in 0..13_u8 {
        for length in claimed_lengths() {
            for tail in [&[][..], &[0; 64], &[1; 64], &[255; 64]] {
                let bytes = [&[variant][..], &length, tail].concat();
                bounded_as_anything("a claimed length", &bytes);
                bounded_as_anything("a claimed length", &bytes[1..]);
                let nested = [&[variant, 1][..], &length, tail].concat();
                bounded_as_anything("a nested claimed length", &nested);
            }
        }
    }
}

#[test]
fn a_frame_full_of_small_things_stays_small() {
    let frame = FRAME_BYTES_MAX as u32;
    let fill = |head: &[u8], count: u32, item: &[u8]| {
        let room = FRAME_BYTES_MAX - 16;
        let count = count.min(u32::try_from(room / item.len()).unwrap());
        let mut bytes = [head, &codec::encode(&u64::from(count))].concat();
        bytes.extend(item.repeat(count as usize));
        bytes.extend([1; 8]);
        bytes
    };
    let inner = [&[0, 1][..], &[0; 16]].concat(); // no prefix, an inner node without children
    let leaf = [0, 0, 0]; // no prefix, a leaf without entries
    let leaf_of_one = [0, 0, 1, 1, b'p', 0, 0];
    let path = [1, b'p'];
    let unreadable = [1, b'p', 0];
    let probe = [0, 0];
    let range = [0, 0];
    for count in [
        1_000, 7_000, 40_000, 60_000, 100_000, 130_000, 250_000, frame,
    ] {
        bounded::<AuditAnswer>("inner nodes", &fill(&[2], count, &inner));
        bounded::<AuditAnswer>("leaves", &fill(&[2], count, &leaf));
        bounded::<AuditAnswer>("leaves of one", &fill(&[2], count, &leaf_of_one));
        let ready = [&[1][..], &[0; 32], &[0, 0, 0]].concat();
        bounded::<AuditAnswer>("unreadable paths", &fill(&ready, count, &unreadable));
        let touched = [&ready[..], &[0]].concat();
        bounded::<AuditAnswer>("touched paths", &fill(&touched, count, &path));
        bounded::<AuditRequest>("probes", &fill(&[0], count, &probe));
        bounded::<Reply>("ranges", &fill(&[0], count, &range));
        bounded::<FetchRequest>("groups", &fill(&[1], count, &[0]));
        bounded::<PatchRequest>("pieces", &fill(&[0xcc; 32], count, &[1; 5]));
        bounded::<Vec<RelPath>>("paths", &fill(&[], count, &path));
    }
}

#[test]
fn the_longest_lists_a_node_may_send_are_decoded() {
    let range = Range {
        start: u32::MAX,
        count: u32::MAX,
    };
    let group = (ContentId([255; 32]), u64::MAX);
    let need = codec::encode(&Reply::Need(vec![range; NEED_RANGES_MAX]));
    let groups = codec::encode(&FetchAnswer::Groups {
        groups: vec![group; FETCH_GROUP_LIST_MAX],
        last: true,
    });
    let block = codec::encode(&Block {
        plain_length: u32::MAX,
        compressed: vec![0; FRAME_BYTES_MAX - 16],
        last: true,
    });
    for frame in [&need, &groups, &block] {
        assert!(frame.len() <= FRAME_BYTES_MAX);
    }
    assert!(codec::decode::<Reply>(&need).is_ok());
    assert!(codec::decode::<FetchAnswer>(&groups).is_ok());
    assert!(codec::decode::<Block>(&block).is_ok());
}

#[test]
fn blocks_that_claim_much_hold_little() {
    for plain_length in [0, 1, 1 << 20, (1 << 20) + 1, 1 << 31, u32::MAX] {
        let block = Block {
            plain_length,
            compressed: vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 0, 0],
            last: true,
        };
        let (_, held) = peak(|| Decompressor::new().push(&block).is_ok());
        assert!(
            held <= 2 * FRAME_BYTES_MAX,
            "{held} bytes for {plain_length}"
        );
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        bounded_as_anything("random bytes", &bytes);
    }

    #[test]
    fn random_bytes_of_small_numbers_never_panic(
        bytes in prop::collection::vec(0..6_u8, 0..400),
    ) {
        bounded_as_anything("small numbers", &bytes);
    }

    #[test]
    fn random_sections_never_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        count in 0..5_u64,
    ) {
        let mut list = ChangeListReader::new(count);
        let mut splitter = ContentSplitter::new([0, 3, 100]).unwrap();
        for piece in &pieces {
            let _ = list.push(piece);
            let _ = splitter.push(piece);
            let block = Block { plain_length: 100, compressed: piece.clone(), last: true };
            let _ = Decompressor::new().push(&block);
        }
    }
}
