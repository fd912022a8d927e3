//! Golden bytes, and damage as a grid: whatever is done to a journal, what is
//! believed of it is a run of whole records from its start.

use super::*;
use crate::{
    entry::{Entry, FileEntry, Mode, Mtime},
    generation::{Action, Epoch, Generation},
    manifest::Root,
    path::RelPath,
};

const NEW: &[u8] = b"<api name=\"Pizza\"/>";
const OTHER: &[u8] = b"<sequence name=\"main\"/>";

fn tree() -> TreeName {
    TreeName::new("synapse-configs").unwrap()
}

fn header() -> SegmentHeader {
    SegmentHeader {
        segment: Segment(7),
        tree: tree(),
        base: position(3, 1),
    }
}

fn position(generation: u64, root: u8) -> Position {
    Position {
        epoch: Epoch(2),
        generation: Generation(generation),
        root: Root([root; 32]),
    }
}

fn generation(number: u64) -> GenerationHeader {
    GenerationHeader {
        tree: tree(),
        epoch: Epoch(2),
        generation: Generation(number),
        base: Root([1; 32]),
        root: Root([2; 32]),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn put(at: &str, content: &[u8], place: Place) -> Placed {
    let file = FileEntry {
        mode: Mode::new(0o640),
        mtime: Mtime {
            seconds: 1_700_000_000,
            nanoseconds: 5,
        },
        length: content.len() as u64,
        content: ContentId::of(content),
    };
    Placed {
        change: Change {
            path: path(at),
            action: Action::Put(Entry::File(file)),
        },
        place,
    }
}

fn delete(at: &str) -> Placed {
    Placed {
        change: Change {
            path: path(at),
            action: Action::Delete,
        },
        place: Place::Nowhere,
    }
}

/// A file with its header in place and the tail after it.
fn empty_file(header: &SegmentHeader) -> (Vec<u8>, Tail) {
    let mut file = vec![0; usize::try_from(RECORDS_AT).unwrap()];
    let at = usize::try_from(header.offset()).unwrap();
    let bytes = header.encode();
    file[at..at + bytes.len()].copy_from_slice(&bytes);
    (file, Tail::start(header))
}

/// Two generations, the first with two contents, and one content after them.
fn sample() -> Vec<u8> {
    let (mut file, mut tail) = empty_file(&header());
    tail.content(ContentId::of(NEW), NEW, &mut file);
    tail.content(ContentId::of(OTHER), OTHER, &mut file);
    let first = [
        put("api/p.xml", NEW, Place::Journal),
        put("s/main.xml", OTHER, Place::Journal),
    ];
    tail.commit(&generation(4), &first, None, &mut file);
    tail.commit(&generation(5), &[delete("api/p.xml")], None, &mut file);
    tail.content(ContentId::of(b"later"), b"later", &mut file);
    file
}

#[test]
fn what_is_written_is_read() {
    let file = sample();
    let prefix = Prefix::of(&file).unwrap();
    assert_eq!(prefix.commits.len(), 2);
    assert_eq!(prefix.commits[0].header, generation(4));
    assert_eq!(prefix.commits[0].changes[1].change.path, path("s/main.xml"));
    assert_eq!(prefix.commits[1].position().generation, Generation(5));
    assert_eq!(prefix.contents.len(), 3);
    for content in [NEW, OTHER, b"later"] {
        let extent = prefix.contents[&ContentId::of(content)];
        let start = usize::try_from(extent.offset).unwrap();
        assert_eq!(&file[start..start + content.len()], content);
    }
    assert_eq!(prefix.tail.offset(), file.len() as u64);
    assert!(prefix.contents[&ContentId::of(b"later")].offset > prefix.uncommitted_at);
}

fn lead() -> Lead {
    Lead {
        tree: TreeName::new("executionplans").unwrap(),
        epoch: Epoch(2),
        generation: Generation(9),
    }
}

/// A generation of a span, and one after it.
fn spanned() -> Vec<u8> {
    let (mut file, mut tail) = empty_file(&header());
    tail.content(ContentId::of(NEW), NEW, &mut file);
    let first = [put("api/p.xml", NEW, Place::Journal)];
    tail.commit(&generation(4), &first, Some(&lead()), &mut file);
    tail.commit(&generation(5), &[delete("api/p.xml")], None, &mut file);
    file
}

#[test]
fn a_commit_says_which_trees_commit_decides_about_it() {
    let commits = Prefix::of(&spanned()).unwrap().commits;
    let leads: Vec<_> = commits.into_iter().map(|commit| commit.lead).collect();
    assert_eq!(leads, [Some(lead()), None]);
}

/// A commit by its roots, from and to, and whether another tree's decides about it.
type Step = (u8, u8, bool);

fn run(commits: &[Step]) -> Vec<Commit> {
    let commit = |&(base, root, is_led): &Step| Commit {
        header: GenerationHeader {
            base: Root([base; 32]),
            root: Root([root; 32]),
            ..generation(u64::from(root))
        },
        changes: Vec::new(),
        lead: is_led.then(lead),
    };
    commits.iter().map(commit).collect()
}

#[test]
fn a_led_commit_counts_where_the_next_follows_or_the_lead_was_reached() {
    // Commits, and the numbers of those that count if the lead was reached, or not.
    type Case = (&'static [Step], &'static [u64], &'static [u64]);
    let cases: &[Case] = &[
        (&[(0, 1, false), (1, 2, false)], &[1, 2], &[1, 2]),
        (&[(0, 1, false), (1, 2, true)], &[1, 2], &[1]),
        (&[(0, 1, true), (1, 2, false)], &[1, 2], &[1, 2]),
        (&[(0, 1, true), (0, 2, false)], &[2], &[2]),
        (&[(0, 1, true), (0, 1, true)], &[1], &[]),
        (&[(0, 1, true), (1, 2, true)], &[1, 2], &[1]),
        (
            &[(0, 1, true), (0, 2, true), (2, 3, false)],
            &[2, 3],
            &[2, 3],
        ),
    ];
    for (commits, reached, missed) in cases {
        for (is_reached, expected) in [(true, reached), (false, missed)] {
            let counted = counting(run(commits), |_| is_reached);
            let numbers: Vec<_> = counted.iter().map(|it| it.header.generation.0).collect();
            assert_eq!(&numbers, expected, "{commits:?}, reached: {is_reached}");
        }
    }
}

#[test]
fn a_lead_is_reached_by_its_generation_and_every_later_one() {
    for (epoch, number, is_reached) in [
        (2, 8, false),
        (2, 9, true),
        (2, 10, true),
        (3, 1, true),
        (1, 20, false),
    ] {
        let position = Position {
            epoch: Epoch(epoch),
            ..position(number, 1)
        };
        assert_eq!(lead().is_reached_by(&position), is_reached, "{position:?}");
    }
}

/// These bytes are on the disks of users: a change needs a new record magic and
/// a reader for the old one.
#[test]
fn golden_bytes() {
    let cases: [(&str, Vec<u8>, &str); 3] = [
        ("header", header().encode(), "32b2d617695dced4"),
        ("file", sample(), "170c71ab14da04fc"),
        ("span", spanned(), "d510a394164afc02"),
    ];
    for (what, bytes, expected) in cases {
        let digest = blake3::hash(&bytes).to_hex();
        assert_eq!(&digest[..16], expected, "{what}");
    }
    let encoded = header().encode();
    assert_eq!(&encoded[..12], b"asjrnl1\n\x33\0\0\0");
    assert_eq!(&encoded[12..30], b"\x07\x0fsynapse-configs\x02");
    let (_, mut tail) = empty_file(&header());
    let mut record = Vec::new();
    tail.content(ContentId::of(NEW), NEW, &mut record);
    assert_eq!(
        &record[..RECORD_HEAD_BYTES],
        b"asr1\x01\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x33\0\0\0\0\0\0\0"
    );
    assert_eq!(
        &record[RECORD_HEAD_BYTES..][..ID_BYTES],
        ContentId::of(NEW).0
    );
    assert_eq!(record.len(), RECORD_HEAD_BYTES + 0x33 + SEAL_BYTES);
}

#[test]
fn a_record_after_a_commit_starts_a_block_of_its_own() {
    let (mut file, mut tail) = empty_file(&header());
    for number in 4..8 {
        tail.commit(&generation(number), &[delete("a")], None, &mut file);
        assert_eq!(tail.offset() % BLOCK_BYTES, 0);
        assert_eq!(tail.offset(), file.len() as u64);
    }
    assert_eq!(Prefix::of(&file).unwrap().commits.len(), 4);
}

#[test]
fn many_changes_take_several_records_and_one_commit() {
    let (mut file, mut tail) = empty_file(&header());
    let changes: Vec<Placed> = (0..30_000)
        .map(|i| delete(&format!("default/api/{i}.xml")))
        .collect();
    tail.commit(&generation(4), &changes, None, &mut file);
    assert!(file.len() > CHANGES_BYTES_AIM + usize::try_from(RECORDS_AT).unwrap());
    let prefix = Prefix::of(&file).unwrap();
    assert_eq!(prefix.commits[0].changes, changes);
}

#[test]
fn every_single_damaged_byte_ends_the_run_at_its_record() {
    let whole = sample();
    let undamaged = Prefix::of(&whole).unwrap();
    let records = usize::try_from(RECORDS_AT).unwrap();
    for at in records..whole.len() {
        let mut file = whole.clone();
        file[at] ^= 0x40;
        let prefix = Prefix::of(&file).unwrap();
        let in_padding = prefix == undamaged;
        assert!(
            in_padding && whole[at] == 0 || prefix.tail.offset() <= at as u64,
            "byte {at} of a record was changed and the record still believed"
        );
        assert_prefix_of(&prefix, &undamaged);
    }
}

#[test]
fn a_file_cut_off_anywhere_gives_whole_commits_or_none() {
    let whole = sample();
    let undamaged = Prefix::of(&whole).unwrap();
    for length in usize::try_from(RECORDS_AT).unwrap()..whole.len() {
        assert_prefix_of(&Prefix::of(&whole[..length]).unwrap(), &undamaged);
    }
}

fn assert_prefix_of(prefix: &Prefix, whole: &Prefix) {
    assert!(whole.commits.starts_with(&prefix.commits));
    assert!(
        prefix
            .contents
            .iter()
            .all(|(id, extent)| whole.contents[id] == *extent)
    );
}

#[test]
fn what_other_lives_of_the_file_left_behind_is_not_believed() {
    struct Case {
        name: &'static str,
        old: fn(&SegmentHeader) -> SegmentHeader,
    }
    let cases = [
        Case {
            name: "an earlier segment",
            old: |header| SegmentHeader {
                segment: Segment(header.segment.0 - 1),
                ..header.clone()
            },
        },
        Case {
            name: "another tree",
            old: |header| SegmentHeader {
                tree: TreeName::new("tenants").unwrap(),
                ..header.clone()
            },
        },
        Case {
            name: "another base",
            old: |header| SegmentHeader {
                base: position(9, 9),
                ..header.clone()
            },
        },
    ];
    for case in cases {
        let (_, mut old_tail) = empty_file(&(case.old)(&header()));
        let (mut file, _) = empty_file(&header());
        old_tail.commit(&generation(4), &[delete("a")], None, &mut file);
        assert!(
            Prefix::of(&file).unwrap().commits.is_empty(),
            "{}",
            case.name
        );
    }
}

/// A commit was given up after part of it was written, and what followed ends
/// exactly where an old record starts.
#[test]
fn an_abandoned_record_behind_a_new_one_is_not_believed() {
    let (mut file, tail) = empty_file(&header());
    let start = file.len();
    let mut abandoned = tail.clone();
    abandoned.content(ContentId::of(b"one"), b"one", &mut file);
    abandoned.commit(&generation(4), &[delete("a")], None, &mut file);
    let mut anew = Vec::new();
    tail.clone()
        .content(ContentId::of(b"two"), b"two", &mut anew);
    file[start..start + anew.len()].copy_from_slice(&anew);
    let prefix = Prefix::of(&file).unwrap();
    assert!(prefix.commits.is_empty());
    assert_eq!(prefix.contents.len(), 1);
    assert_eq!(prefix.tail.offset(), (start + anew.len()) as u64);
}

#[test]
fn a_torn_header_leaves_its_predecessor_in_force() {
    let old = header();
    let new = old.next(position(8, 8));
    assert_ne!(old.offset(), new.offset());
    let (mut file, _) = empty_file(&old);
    let at = usize::try_from(new.offset()).unwrap();
    let bytes = new.encode();
    for written in 0..bytes.len() {
        file[at..at + written].copy_from_slice(&bytes[..written]);
        assert_eq!(SegmentHeader::newest(&file), Some(old.clone()));
    }
    file[at..at + bytes.len()].copy_from_slice(&bytes);
    assert_eq!(SegmentHeader::newest(&file), Some(new));
    assert!(bytes.len() < 512, "a header is less than a sector");
}

#[test]
fn a_commit_that_claims_what_is_not_there_is_not_believed() {
    let cases = [
        ("no such content", put("a", NEW, Place::Journal)),
        (
            "a content for a deletion",
            Placed {
                place: Place::Staged,
                ..delete("a")
            },
        ),
    ];
    for (name, placed) in cases {
        let (mut file, mut tail) = empty_file(&header());
        tail.commit(&generation(4), &[placed], None, &mut file);
        let prefix = Prefix::of(&file).unwrap();
        assert!(prefix.commits.is_empty(), "{name}");
        assert_eq!(prefix.tail, Tail::start(&header()), "{name}");
    }
}
