use std::fs;

use sync_core::{
    ContentId, Entry, Epoch, FileEntry, Generation, Mode, Mtime, Position, RelPath,
    manifest::Record,
};

use super::*;
use crate::{
    observed::{Observed, Seen, Sighting},
    root::{Identity, Root, StatKey},
};

const IDENTITY: Identity = Identity {
    file_system: 0x1122_3344,
    inode: 99,
};

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn file(content: &str, seconds: i64) -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime {
            seconds,
            nanoseconds: 5,
        },
        length: content.len() as u64,
        content: ContentId::of(content.as_bytes()),
    })
}

fn sighting(at: &str, entry: Entry) -> Sighting {
    let key = StatKey {
        length: 7,
        mtime_ns: -1,
        ctime_ns: 2,
        inode: u64::MAX,
    };
    Sighting {
        path: path(at),
        entry,
        seen: Seen {
            key,
            racy: at.len().is_multiple_of(2),
        },
    }
}

/// An entry of each kind.
fn example() -> Observed {
    let mode = Mode::new(0o755);
    let target = b"to\xff".as_slice().into();
    Observed::from_sightings(vec![
        sighting("d", Entry::Directory { mode }),
        sighting("d/first", file("first", 1)),
        sighting("d/other", file("other", 2)),
        sighting("link", Entry::Symlink { target }),
    ])
}

fn position(agreed: &Observed) -> Position {
    Position {
        epoch: Epoch(3),
        generation: Generation(41),
        root: agreed.manifest().root(),
    }
}

fn save(work: &Root, agreed: &Observed) {
    let snapshot = Snapshot {
        position: position(agreed),
        identity: IDENTITY,
        agreed,
    };
    snapshot.save(work).unwrap();
}

fn work() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

fn load(work: &Root) -> TreeState {
    match TreeState::load(work) {
        Loaded::State(state) => *state,
        other => panic!("{other:?}"),
    }
}

fn sightings(observed: &Observed) -> Vec<Sighting> {
    let of = |record: Record<'_>| Sighting {
        path: record.path(),
        entry: record.entry(),
        seen: record.seen().unwrap(),
    };
    observed.iter().map(of).collect()
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let (_directory, work) = work();
    let agreed = example();
    save(&work, &agreed);
    let state = load(&work);
    assert_eq!(
        (state.position, state.identity),
        (position(&agreed), IDENTITY)
    );
    assert!(state.written_s > 1_700_000_000);
    assert_eq!(sightings(&state.agreed), sightings(&agreed));
}

#[test]
fn large_trees_are_read_in_pieces() {
    let (_directory, work) = work();
    let many = (0..5_000).map(|number| {
        sighting(
            &format!("default/api/{number}"),
            file(&number.to_string(), number),
        )
    });
    let agreed = Observed::from_sightings(many.collect());
    save(&work, &agreed);
    let state = load(&work);
    assert_eq!(sightings(&state.agreed), sightings(&agreed));
    assert_eq!(state.agreed.len(), 5_000);
}

#[test]
fn the_first_bytes_are_pinned() {
    let (directory, work) = work();
    let agreed = example();
    save(&work, &agreed);
    let bytes = fs::read(directory.path().join("state")).unwrap();
    assert_eq!(&bytes[..12], b"apimtree\x02\0\0\0");
    assert_eq!(&bytes[12..14], [3, 41]); // epoch, generation
    assert_eq!(&bytes[14..46], agreed.manifest().root().0);
    assert_eq!(&bytes[46..52], [252, 0x44, 0x33, 0x22, 0x11, 99]); // identity
}

/// A record of each kind, byte by byte: an upgrade must not change them.
#[test]
fn records_are_pinned() {
    let (directory, work) = work();
    let agreed = example();
    save(&work, &agreed);
    let bytes = fs::read(directory.path().join("state")).unwrap();
    let stat = [
        &2_i64.to_le_bytes()[..],
        &u64::MAX.to_le_bytes(),
        &7_u64.to_le_bytes(),
        &(-1_i64).to_le_bytes(),
    ]
    .concat();
    let directory = [b"\x01\0d\x14\xed\x01", &stat[..]].concat();
    let link = [b"\x04\0link\x1e\0\0\x03\0\0\0to\xff", &stat[..]].concat();
    let file = [
        b"\x07\0d/first\x15\xa4\x01",
        &ContentId::of(b"first").0[..],
        &5_u64.to_le_bytes(),
        &1_i64.to_le_bytes(),
        &5_u32.to_le_bytes(),
        &stat,
    ]
    .concat();
    for record in [directory, link, file] {
        assert!(
            bytes.windows(record.len()).any(|window| window == record),
            "{record:?} in {bytes:?}"
        );
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (directory, work) = work();
    let agreed = example();
    save(&work, &agreed);
    let file = directory.path().join("state");
    let whole = fs::read(&file).unwrap();
    let damaged = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        assert!(
            matches!(TreeState::load(&work), Loaded::Damaged(_)),
            "{what}"
        );
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        damaged(&bytes, &format!("a flipped bit in byte {at}"));
        damaged(&whole[..at], &format!("cut after {at} bytes"));
    }
    damaged(&[&whole[..], b"x"].concat(), "a byte too many");
    fs::write(&file, &whole).unwrap();
    load(&work);
}

#[test]
fn a_body_that_contradicts_itself_is_damaged_although_its_seal_is_good() {
    let (_directory, work) = work();
    let agreed = example();
    let other = Position {
        root: sync_core::Root([7; 32]),
        ..position(&agreed)
    };
    let snapshot = Snapshot {
        position: other,
        identity: IDENTITY,
        agreed: &agreed,
    };
    snapshot.save(&work).unwrap();
    assert!(matches!(TreeState::load(&work), Loaded::Damaged(reason) if reason.contains("root")));
}

#[test]
fn a_snapshot_that_was_never_written_is_missing() {
    let (directory, work) = work();
    assert!(matches!(TreeState::load(&work), Loaded::Missing));
    fs::write(directory.path().join("state.new"), "half").unwrap();
    assert!(matches!(TreeState::load(&work), Loaded::Missing));
    let agreed = example();
    save(&work, &agreed);
    load(&work);
    assert!(!directory.path().join("state.new").exists());
}
