use super::{
    log::{HEADER_BYTES, Log, NoLog, frame, header, read},
    *,
};
use crate::{
    generation::Epoch,
    plan::{apply_changes, changes_between},
    sample::{path, tree},
};

fn position(generation: u64, manifest: &Manifest) -> Position {
    Position {
        epoch: Epoch(1),
        generation: Generation(generation),
        root: manifest.root(),
    }
}

fn step(generation: u64, from: &Manifest, to: &Manifest) -> GenerationRecord {
    let changes = to.diff(from).into_iter().map(|difference| PathChange {
        path: difference.path,
        before: difference.theirs,
        after: difference.ours,
    });
    GenerationRecord::new(
        position(generation, to),
        from.root(),
        Origin::Watch,
        changes,
    )
}

/// States of a tree, one generation each, with the records that join them.
fn states(texts: &[&str]) -> (Vec<Manifest>, Vec<GenerationRecord>) {
    let states: Vec<Manifest> = texts.iter().map(|text| tree(text)).collect();
    let records = states
        .windows(2)
        .zip(2..)
        .map(|(pair, generation)| step(generation, &pair[0], &pair[1]))
        .collect();
    (states, records)
}

#[test]
fn undoing_leads_back_to_every_generation() {
    let (states, records) = states(&[
        "api/a.xml one",
        "api/a.xml two\napi/b.xml one",
        "api/b.xml one 600",
        "sequences/c.xml one",
        "api/a.xml two\napi/b.xml one",
    ]);
    let current = &states[4];
    for (generation, state) in (2..).zip(&states[1..]) {
        let (found, at) = manifest_at(current, &records, Generation(generation)).unwrap();
        assert_eq!(found.root(), state.root(), "{generation}");
        assert_eq!(at.generation, Generation(generation));
        let there = apply_changes(current, &changes_between(&found, current));
        assert_eq!(there.root(), state.root(), "{generation}");
    }
    let error = manifest_at(current, &records, Generation(1)).unwrap_err();
    let (wanted, oldest) = (Generation(1), Generation(2));
    assert_eq!(error, NotKept::Unknown { wanted, oldest });
}

#[test]
fn records_lead_on_from_any_state() {
    let (states, mut records) = states(&["a one", "a two", "a one", "a one 600\nb one"]);
    records.insert(1, step(9, &tree("b one"), &tree("b two")));
    let last = states.last().unwrap().root();
    for state in &states {
        assert_eq!(carried_on(state.clone(), &records).root(), last);
    }
    let elsewhere = tree("c one");
    assert_eq!(
        carried_on(elsewhere.clone(), &records).root(),
        elsewhere.root()
    );
}

#[test]
fn a_line_that_leads_elsewhere_does_not_count() {
    let (states, mut records) = states(&["a one", "a two", "a three"]);
    let stray = step(9, &tree("b one"), &tree("b two"));
    records.insert(1, stray);
    let (found, _) = manifest_at(&states[2], &records, Generation(2)).unwrap();
    assert_eq!(found.root(), states[1].root());
    assert!(manifest_at(&states[2], &records, Generation(9)).is_err());
    // The tree stands where no record leads.
    assert!(manifest_at(&tree("c one"), &records, Generation(2)).is_err());
}

#[test]
fn nothing_leads_back_beyond_a_generation_that_is_not_listed() {
    let (states, mut records) = states(&["a one", "a two", "a three", "a four"]);
    records[1].changes.clear();
    let current = &states[3];
    assert!(manifest_at(current, &records, Generation(3)).is_ok());
    let error = manifest_at(current, &records, Generation(2)).unwrap_err();
    let (wanted, at) = (Generation(2), Generation(3));
    assert_eq!(
        error,
        NotKept::Cut {
            wanted,
            at,
            paths: 1
        }
    );
}

#[test]
fn a_record_that_does_not_say_what_happened_is_not_believed() {
    let (states, mut records) = states(&["a one", "a two", "a three"]);
    records[1].changes[0].before = records[1].changes[0].after.clone();
    assert!(manifest_at(&states[2], &records, Generation(2)).is_err());
}

#[test]
fn changes_are_counted_by_kind_and_named_up_to_a_bound() {
    let before = tree("a one\nb one\nc one");
    let after = tree("a two\nb one 600\nd one");
    let record = step(2, &before, &after);
    let counts = record.counts;
    assert_eq!(
        (counts.created, counts.updated, counts.deleted),
        (1, 1, 1),
        "{counts:?}"
    );
    assert_eq!((counts.metadata, counts.healed), (1, 0));
    assert!(record.is_whole());
    let same = after.get(&path("a"));
    let many = (0..=CHANGES_LISTED_MAX).map(|n| PathChange {
        path: path(&n.to_string()),
        before: same.clone(),
        after: same.clone(),
    });
    let record = GenerationRecord::new(record.position, record.base, Origin::Start, many);
    assert_eq!(record.counts.healed, CHANGES_LISTED_MAX as u64 + 1);
    assert!(!record.is_whole() && record.changes.is_empty());
}

/// One of everything that a log can hold.
fn samples() -> Vec<Record> {
    let root = Root([0xbb; 32]);
    let position = Position {
        epoch: Epoch(3),
        generation: Generation(70_000),
        root: Root([0xaa; 32]),
    };
    let time = |step| Time {
        step,
        at_ms: 1_700_000_000_000,
    };
    let later = |peer: Option<&str>, steps: &[Step]| {
        Record::Later(LaterSteps {
            generation: Generation(7),
            root,
            peer: peer.map(str::to_owned),
            times: steps.iter().copied().map(time).collect(),
        })
    };
    let change = PathChange {
        path: path("api/a.xml"),
        before: tree("a one").get(&path("a")),
        after: None,
    };
    let origins = [
        Origin::Start,
        Origin::Watch,
        Origin::Rollback(Generation(5)),
        Origin::peer("apim-1"),
        Origin::Journal,
    ];
    let mut records: Vec<Record> = origins
        .into_iter()
        .map(|origin| {
            let mut record = GenerationRecord::new(position, root, origin, [change.clone()]);
            record.times = vec![time(Step::Seen), time(Step::Settled), time(Step::Published)];
            Record::Generation(record)
        })
        .collect();
    records.push(later(
        Some("apim-2"),
        &[Step::Sent, Step::Durable, Step::Applied],
    ));
    records.push(later(
        None,
        &[Step::Received, Step::Deployed, Step::Rejected],
    ));
    records
}

fn whole(records: &[Record]) -> Vec<u8> {
    let frames = records.iter().flat_map(frame);
    header().into_iter().chain(frames).collect()
}

fn records_of(log: &Log) -> Vec<Record> {
    log.records
        .iter()
        .map(|(_, record)| record.clone())
        .collect()
}

/// Logs of this release stay readable: these bytes never change.
#[test]
fn the_bytes_of_a_log_are_pinned() {
    let hash = blake3::hash(&whole(&samples())).to_hex();
    assert_eq!(hash.as_str(), PINNED);
}

const PINNED: &str = "5439bca375b134726396872be52d1bd2eaa99298fbbddc209dfec368c147c087";

#[test]
fn a_log_that_is_cut_anywhere_gives_whole_records_and_says_so() {
    let records = samples();
    let bytes = whole(&records);
    let log = read(&bytes).unwrap();
    assert_eq!(records_of(&log), records);
    assert_eq!((log.end, &log.damage), (bytes.len(), &None));
    for cut in 0..bytes.len() {
        let log = read(&bytes[..cut]).unwrap();
        let kept = log.records.len();
        assert_eq!(records_of(&log), records[..kept], "{cut}");
        let at_a_joint = cut == 0 || cut == log.end;
        assert_eq!(log.damage.is_none(), at_a_joint, "{cut}: {:?}", log.damage);
        assert!(log.end <= cut || cut < HEADER_BYTES);
    }
}

#[test]
fn a_damaged_byte_ends_the_log_at_its_record() {
    let records = samples();
    let bytes = whole(&records);
    let log = read(&bytes).unwrap();
    for at in HEADER_BYTES..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let before = log.records.iter().filter(|(range, _)| range.end <= at);
        let expected = before.count();
        let log = read(&damaged).unwrap();
        assert_eq!(log.records.len(), expected, "{at}");
        assert!(log.damage.is_some(), "{at}");
    }
}

#[test]
fn another_file_and_another_version_are_refused() {
    let mut bytes = whole(&samples());
    bytes[8] = 9;
    assert_eq!(read(&bytes), Err(NoLog::Version(9)));
    bytes[0] = 0;
    assert_eq!(read(&bytes), Err(NoLog::Magic));
}
