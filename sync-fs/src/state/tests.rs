use std::fs;

use sync_core::{
    ContentId, Entry, Epoch, FileEntry, Generation, Manifest, Mode, Mtime, Position, RelPath,
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

/// A disk that differs from what was agreed in every way.
fn example() -> (Manifest, Observed) {
    let mode = Mode::new(0o755);
    let agreed = Manifest::from_entries([
        (path("d"), Entry::Directory { mode }),
        (path("d/same"), file("same", 1)),
        (path("d/touched"), file("touched", 1)),
        (path("d/edited"), file("old", 1)),
        (path("d/removed"), file("removed", 1)),
        (
            path("link"),
            Entry::Symlink {
                target: b"to\xff".as_slice().into(),
            },
        ),
    ]);
    let observed = Observed::from_sightings(vec![
        sighting("d", Entry::Directory { mode }),
        sighting("d/same", file("same", 1)),
        sighting("d/touched", file("touched", 2)),
        sighting("d/edited", file("new", 1)),
        sighting(
            "link",
            Entry::Symlink {
                target: b"to\xff".as_slice().into(),
            },
        ),
        sighting("added", file("added", 1)),
    ]);
    (agreed, observed)
}

fn position(agreed: &Manifest) -> Position {
    Position {
        epoch: Epoch(3),
        generation: Generation(41),
        root: agreed.root(),
    }
}

fn save(work: &Root, agreed: &Manifest, observed: &Observed) {
    let snapshot = Snapshot {
        position: position(agreed),
        identity: IDENTITY,
        agreed,
        observed,
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

fn entries(manifest: &Manifest) -> Vec<(RelPath, Entry)> {
    manifest
        .iter()
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect()
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let (_directory, work) = work();
    let (agreed, observed) = example();
    save(&work, &agreed, &observed);
    let state = load(&work);
    assert_eq!(
        (state.position, state.identity),
        (position(&agreed), IDENTITY)
    );
    assert!(state.written_s > 1_700_000_000);
    assert_eq!(entries(&state.agreed), entries(&agreed));
    assert_eq!(
        entries(state.observed.manifest()),
        entries(observed.manifest())
    );
    for (path, seen) in observed.iter() {
        assert_eq!(state.observed.seen(path), Some(seen));
    }
}

#[test]
fn large_trees_are_read_in_pieces() {
    let (_directory, work) = work();
    let sightings = (0..5_000)
        .map(|number| {
            sighting(
                &format!("default/api/{number}"),
                file(&number.to_string(), number),
            )
        })
        .collect();
    let observed = Observed::from_sightings(sightings);
    save(&work, observed.manifest(), &observed);
    let state = load(&work);
    assert_eq!(entries(&state.agreed), entries(observed.manifest()));
    assert_eq!(state.observed.len(), 5_000);
}

#[test]
fn the_first_bytes_are_pinned() {
    let (directory, work) = work();
    let (agreed, observed) = example();
    save(&work, &agreed, &observed);
    let bytes = fs::read(directory.path().join("state")).unwrap();
    assert_eq!(&bytes[..12], b"apimtree\x01\0\0\0");
    assert_eq!(&bytes[12..14], [3, 41]); // epoch, generation
    assert_eq!(&bytes[14..46], agreed.root().0);
    assert_eq!(&bytes[46..52], [252, 0x44, 0x33, 0x22, 0x11, 99]); // identity
    assert_eq!(bytes[57], 6); // entries on the disk, after the time
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (directory, work) = work();
    let (agreed, observed) = example();
    save(&work, &agreed, &observed);
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
    let (agreed, observed) = example();
    let other = Position {
        root: observed.manifest().root(),
        ..position(&agreed)
    };
    let snapshot = Snapshot {
        position: other,
        identity: IDENTITY,
        agreed: &agreed,
        observed: &observed,
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
    let (agreed, observed) = example();
    save(&work, &agreed, &observed);
    load(&work);
    assert!(!directory.path().join("state.new").exists());
}
