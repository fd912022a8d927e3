use std::fs;

use super::{line::Head, *};

struct Log {
    directory: tempfile::TempDir,
    identity: Identity,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::create(directory.path()).unwrap();
        Self {
            directory,
            identity,
        }
    }

    /// A log of `count` records.
    fn of(count: u64) -> Self {
        let log = Self::new();
        let mut writer = Writer::open(log.directory.path(), log.identity.clone()).unwrap();
        (1..=count).for_each(|n| log.write(&mut writer, n));
        log
    }

    fn write(&self, writer: &mut Writer, n: u64) {
        let (sender, entries) = sync_channel(1);
        let plan = format!("{n:016x}");
        let said = Said::Released { plan };
        sender
            .send(Entry {
                said,
                durable: None,
            })
            .unwrap();
        drop(sender);
        let (told, lost) = (Mutex::new(None), AtomicU64::new(0));
        let opened = Writer::open(self.directory.path(), self.identity.clone()).unwrap();
        std::mem::replace(writer, opened).run(&entries, &told, &lost);
        *writer = Writer::open(self.directory.path(), self.identity.clone()).unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("audit/00000001.jsonl")
    }

    fn edit(&self, edit: impl FnOnce(Vec<String>) -> Vec<String>) {
        let text = fs::read_to_string(self.path()).unwrap();
        let lines = edit(text.lines().map(str::to_owned).collect());
        fs::write(self.path(), lines.join("\n") + "\n").unwrap();
    }

    fn check(&self) -> Checked {
        check(self.directory.path(), &self.identity.id()).unwrap()
    }

    fn troubles(&self) -> Vec<(Option<u64>, Trouble)> {
        let findings = self.check().findings.into_iter();
        findings.map(|it| (it.record, it.trouble)).collect()
    }
}

#[test]
fn a_log_that_nobody_touched_is_proved_over_restarts() {
    let log = Log::of(6);
    let checked = log.check();
    assert_eq!((checked.records, checked.first), (6, Some(1)));
    assert_eq!(checked.findings, []);
    assert_eq!(checked.head.unwrap().record, 6);
}

#[test]
fn a_changed_byte_is_named_with_its_record() {
    let log = Log::of(5);
    log.edit(|mut lines| {
        lines[2] = lines[2].replace("0000000000000003", "0000000000000009");
        lines
    });
    assert_eq!(
        log.troubles(),
        [
            (Some(3), Trouble::Foreign),
            (Some(4), Trouble::Missing { first: 3, last: 3 })
        ]
    );
    let finding = &log.check().findings[0];
    assert_eq!(
        (finding.file.as_str(), finding.line),
        ("audit/00000001.jsonl", 3)
    );
}

#[test]
fn dropped_and_swapped_lines_are_found() {
    let log = Log::of(6);
    log.edit(|mut lines| {
        lines.drain(2..4);
        lines
    });
    let missing = Trouble::Missing { first: 3, last: 4 };
    assert_eq!(log.troubles(), [(Some(5), missing)]);

    let log = Log::of(6);
    log.edit(|mut lines| {
        lines.swap(2, 3);
        lines
    });
    let missing = Trouble::Missing { first: 3, last: 3 };
    assert_eq!(
        log.troubles(),
        [(Some(4), missing), (Some(3), Trouble::Reordered)]
    );

    let log = Log::of(4);
    log.edit(|lines| lines[2..].to_vec());
    let missing = Trouble::Missing { first: 1, last: 2 };
    assert_eq!(log.troubles(), [(Some(3), missing)]);
}

#[test]
fn a_line_that_is_no_record_is_damage_and_the_log_goes_on() {
    let log = Log::of(3);
    let bytes = fs::read(log.path()).unwrap();
    fs::write(log.path(), &bytes[..bytes.len() - 20]).unwrap();
    let mut writer = Writer::open(log.directory.path(), log.identity.clone()).unwrap();
    log.write(&mut writer, 9);
    assert_eq!(log.troubles(), [(None, Trouble::Damaged)]);
    assert_eq!(
        log.check().head.unwrap().record,
        3,
        "the number of the one that was cut"
    );
}

#[test]
fn a_log_of_another_key_is_foreign() {
    let (log, other) = (Log::of(2), Log::of(2));
    fs::copy(other.path(), log.path()).unwrap();
    assert!(log.troubles().iter().all(|(_, it)| *it == Trouble::Foreign));
}

#[test]
fn an_end_that_was_cut_off_is_found_by_what_a_peer_has_seen() {
    let log = Log::of(5);
    let seen = log.check().head.unwrap();
    log.edit(|lines| lines[..3].to_vec());
    assert_eq!(log.troubles(), [], "a chain alone does not prove its end");
    let mut checked = log.check();
    checked.compare("apim-2", &seen);
    let peer = "apim-2".to_owned();
    assert_eq!(checked.findings[0].trouble, Trouble::CutOff { peer });
    // And written anew from there, with the right key.
    let mut writer = Writer::open(log.directory.path(), log.identity.clone()).unwrap();
    (7..9).for_each(|n| log.write(&mut writer, n));
    let mut checked = log.check();
    assert_eq!(checked.findings, []);
    checked.compare("apim-2", &seen);
    let peer = "apim-2".to_owned();
    assert_eq!(checked.findings[0].trouble, Trouble::Rewritten { peer });
    // What it has seen of the part that stands is no finding.
    let mut checked = log.check();
    let hash = checked.head.as_ref().unwrap().hash.clone();
    checked.compare("apim-2", &Head { record: 5, hash });
    assert_eq!(checked.findings, []);
}
