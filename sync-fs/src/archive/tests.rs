use std::{fs, path::Path};

use sync_core::{Epoch, FileEntry, Mode, Mtime, Position, history::Origin, history::PathChange};

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn root(number: u64) -> TreeRoot {
    TreeRoot(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn file(content: &[u8]) -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime::default(),
        length: content.len() as u64,
        content: ContentId::of(content),
    })
}

/// A generation that replaces `before` at one path by `after`.
fn replaced(generation: u64, before: &[u8], after: &[u8]) -> GenerationRecord {
    let change = PathChange {
        path: path("api/a.xml"),
        before: Some(file(before)),
        after: Some(file(after)),
    };
    let position = Position {
        epoch: Epoch(1),
        generation: Generation(generation),
        root: root(generation),
    };
    GenerationRecord::new(position, root(generation - 1), Origin::Watch, [change])
}

struct Kept {
    directory: tempfile::TempDir,
    limits: ArchiveLimits,
}

impl Kept {
    fn new(generations: usize, bytes: u64) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            limits: ArchiveLimits { generations, bytes },
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn open(&self) -> Archive {
        let work = Root::open(self.path()).unwrap();
        Archive::open(&work, self.limits).unwrap()
    }

    /// Takes `content` out of the tree and keeps it.
    fn keep(&self, archive: &mut Archive, content: &[u8]) {
        fs::write(self.path().join("out"), content).unwrap();
        let id = ContentId::of(content);
        archive
            .keep(&path("out"), id, content.len() as u64)
            .unwrap();
        assert!(!self.path().join("out").exists(), "kept or removed");
    }

    fn has(&self, content: &[u8]) -> bool {
        let work = Root::open(self.path()).unwrap();
        let found = super::content(&work, &ContentId::of(content)).unwrap();
        found.is_some()
    }

    fn generations(&self) -> Vec<u64> {
        let records = records(self.path()).unwrap().into_iter();
        records
            .filter_map(|record| match record {
                Record::Generation(record) => Some(record.position.generation.0),
                Record::Later(_) => None,
            })
            .collect()
    }
}

fn text(number: u64) -> Vec<u8> {
    format!("content of generation {number:010}").into_bytes()
}

/// Generations 2 to `last`, each of which replaces the content of the one before.
fn generations(kept: &Kept, archive: &mut Archive, last: u64) {
    for number in 2..=last {
        kept.keep(archive, &text(number - 1));
        archive.record(&replaced(number, &text(number - 1), &text(number)));
        while archive.tidy() {}
    }
}

#[test]
fn contents_and_records_are_there_after_a_restart() {
    let kept = Kept::new(100, 1 << 20);
    generations(&kept, &mut kept.open(), 5);
    let mut archive = kept.open();
    while archive.tidy() {}
    assert_eq!(kept.generations(), [2, 3, 4, 5]);
    assert!((1..5).all(|number| kept.has(&text(number))));
    assert!(archive.has(Generation(3), root(3)) && !archive.has(Generation(3), root(4)));
}

#[test]
fn the_oldest_generations_and_their_contents_go() {
    let kept = Kept::new(3, 1 << 20);
    generations(&kept, &mut kept.open(), 9);
    let mut archive = kept.open();
    while archive.tidy() {}
    assert_eq!(archive.chapters.len(), 3);
    assert!((6..9).all(|number| kept.has(&text(number))));
    assert!((1..6).all(|number| !kept.has(&text(number))));
}

#[test]
fn contents_are_bounded_by_bytes_and_records_stay() {
    let each = text(1).len() as u64;
    let kept = Kept::new(100, 4 * each);
    generations(&kept, &mut kept.open(), 20);
    assert_eq!(kept.generations().len(), 19);
    let there = (1..20).filter(|number| kept.has(&text(*number)));
    assert_eq!(there.collect::<Vec<_>>(), [16, 17, 18, 19]);
}

#[test]
fn a_content_stays_while_any_generation_refers_to_it() {
    let kept = Kept::new(2, 1 << 20);
    let mut archive = kept.open();
    for number in 2..8 {
        // The same content goes every time.
        kept.keep(&mut archive, b"one");
        archive.record(&replaced(number, b"one", &text(number)));
        while archive.tidy() {}
    }
    assert!(kept.has(b"one"));
    for number in 8..10 {
        archive.record(&replaced(number, b"not kept", b"either"));
        while archive.tidy() {}
    }
    assert!(!kept.has(b"one"));
    assert_eq!(archive.held_bytes, 0);
}

#[test]
fn what_a_kill_left_without_a_record_goes() {
    let kept = Kept::new(100, 1 << 20);
    let mut archive = kept.open();
    kept.keep(&mut archive, b"its record was never written");
    drop(archive);
    let mut archive = kept.open();
    while archive.tidy() {}
    assert!(!kept.has(b"its record was never written"));
}

#[test]
fn what_is_too_large_or_has_no_room_is_removed() {
    let kept = Kept::new(100, 10);
    let mut archive = kept.open();
    kept.keep(&mut archive, b"more than ten bytes");
    assert!(!kept.has(b"more than ten bytes"));
    archive.set_room(Space {
        bytes: 4,
        inodes: 100,
    });
    kept.keep(&mut archive, b"five.");
    kept.keep(&mut archive, b"four");
    assert!(!kept.has(b"five.") && kept.has(b"four"));
    assert!(archive.give_way().unwrap());
    assert!(!kept.has(b"four") && !archive.give_way().unwrap());
    assert_eq!(archive.held_bytes, 0);
}

#[test]
fn nothing_is_kept_where_it_is_switched_off() {
    let kept = Kept::new(0, 1 << 20);
    generations(&kept, &mut kept.open(), 4);
    assert!(fs::read_dir(kept.path()).unwrap().next().is_none());
    let kept = Kept::new(100, 0);
    generations(&kept, &mut kept.open(), 4);
    assert_eq!(kept.generations(), [2, 3, 4]);
    assert!(!kept.has(&text(2)));
}

#[test]
fn a_torn_end_is_cut_and_the_log_goes_on() {
    let kept = Kept::new(100, 1 << 20);
    generations(&kept, &mut kept.open(), 4);
    let log = kept.path().join("archive/log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(kept.generations(), [2, 3]);
    let mut archive = kept.open();
    archive.record(&replaced(5, &text(3), &text(5)));
    assert_eq!(kept.generations(), [2, 3, 5]);
}

#[test]
fn a_log_of_a_newer_release_is_left_as_it_is() {
    let kept = Kept::new(100, 1 << 20);
    generations(&kept, &mut kept.open(), 3);
    let log = kept.path().join("archive/log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[8] = 2;
    fs::write(&log, &bytes).unwrap();
    let mut archive = kept.open();
    assert!(!archive.is_kept());
    archive.record(&replaced(4, &text(3), &text(4)));
    assert_eq!(fs::read(&log).unwrap(), bytes);
    let error = records(kept.path()).unwrap_err();
    assert!(with_causes(&error).contains("version 2"), "{error}");
}

#[test]
fn the_log_is_copied_without_what_expired() {
    let kept = Kept::new(10, 0);
    let mut archive = kept.open();
    let many = |number: u64| {
        let changes = (0..2_000).map(|n| PathChange {
            path: path(&format!("api/{n}.xml")),
            before: Some(file(b"one")),
            after: Some(file(b"two")),
        });
        let position = Position {
            epoch: Epoch(1),
            generation: Generation(number),
            root: root(number),
        };
        GenerationRecord::new(position, root(number - 1), Origin::Watch, changes)
    };
    let mut longest = 0;
    for number in 1..60 {
        archive.record(&many(number));
        archive.tidy();
        longest = longest.max(fs::metadata(kept.path().join("archive/log")).unwrap().len());
    }
    let one = log::frame(&Record::Generation(many(1))).len() as u64;
    assert!(longest < 25 * one, "{longest} bytes, {one} a generation");
    let generations = kept.generations();
    assert_eq!(generations.last(), Some(&59));
    assert!((10..25).contains(&generations.len()), "{generations:?}");
    // What was recorded about them afterwards is found again too.
    archive.record_later(LaterSteps {
        generation: Generation(59),
        root: root(59),
        peer: None,
        times: Vec::new(),
    });
    archive.record_later(LaterSteps {
        generation: Generation(7),
        root: root(7),
        peer: None,
        times: Vec::new(),
    });
    let later = records(kept.path()).unwrap().into_iter();
    let later = later.filter(|record| matches!(record, Record::Later(_)));
    assert_eq!(later.count(), 1);
}
