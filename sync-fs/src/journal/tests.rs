use sync_core::{Change, Epoch, Generation, Root as TreeRoot, generation::Action, journal::Place};

use super::*;

const FLOOR: u64 = 64 << 10;

/// In memory where there is such a place: thousands of syncs are not what these
/// tests are about.
fn work() -> (tempfile::TempDir, Root) {
    let memory = std::path::Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

fn tree() -> TreeName {
    TreeName::new("t").unwrap()
}

fn position(generation: u64) -> Position {
    Position {
        epoch: Epoch(1),
        generation: Generation(generation),
        root: TreeRoot::empty(),
    }
}

fn open(work: &Root) -> (Journal, Found) {
    Journal::open(work, &tree(), position(0), FLOOR).unwrap()
}

fn append(journal: &mut Journal, bytes: &[u8]) -> ContentId {
    let id = ContentId::of(bytes);
    journal.append(id, bytes).unwrap();
    id
}

fn commit(journal: &mut Journal, generation: u64) {
    let header = GenerationHeader {
        tree: tree(),
        epoch: Epoch(1),
        generation: Generation(generation),
        base: TreeRoot::empty(),
        root: TreeRoot::empty(),
    };
    let change = Change {
        path: RelPath::new(b"a").unwrap(),
        action: Action::Delete,
    };
    let placed = Placed {
        change,
        place: Place::Nowhere,
    };
    journal.commit(&header, &[placed], None).unwrap();
}

#[test]
fn commits_and_contents_are_found_again() {
    let (_directory, work) = work();
    let (mut journal, found) = open(&work);
    assert!(found.base.is_none() && !found.damaged);
    let first = append(&mut journal, b"first");
    commit(&mut journal, 1);
    let second = append(&mut journal, &[7; 60_000]);
    assert_eq!(journal.read(&second).unwrap().unwrap(), [7; 60_000]);
    journal.flush().unwrap();
    drop(journal);

    let (journal, found) = open(&work);
    assert_eq!(found.base, Some(position(0)));
    assert_eq!(found.commits.len(), 1);
    assert_eq!(journal.read(&first).unwrap().unwrap(), b"first");
    assert_eq!(journal.read(&second).unwrap().unwrap(), [7; 60_000]);
    assert_eq!(journal.uncommitted(), 1);
}

#[test]
fn a_reset_forgets_commits_and_keeps_what_a_transfer_left() {
    let (_directory, work) = work();
    let (mut journal, _) = open(&work);
    let old = append(&mut journal, b"old");
    commit(&mut journal, 1);
    let kept: Vec<_> = (0..200u32)
        .map(|n| append(&mut journal, &n.to_le_bytes().repeat(300)))
        .collect();
    journal.reset(&work, position(1)).unwrap();
    for _ in 0..2 {
        assert!(!journal.has(&old) && !journal.has_commits());
        for (n, id) in (0u32..).zip(&kept) {
            assert_eq!(
                journal.read(id).unwrap().unwrap(),
                n.to_le_bytes().repeat(300)
            );
        }
        let (again, found) = open(&work);
        assert_eq!(found.base, Some(position(1)));
        assert!(found.commits.is_empty());
        journal = again;
    }
}

#[test]
fn thousands_of_generations_recycle_one_file() {
    let (_directory, work) = work();
    let (mut journal, _) = open(&work);
    for generation in 1..=3_000 {
        append(&mut journal, &u64::to_le_bytes(generation));
        commit(&mut journal, generation);
        if journal.used() > FLOOR {
            journal.reset(&work, position(generation)).unwrap();
            assert_eq!(work.stat(&name()).unwrap().unwrap().length, FLOOR);
        }
    }
    let (_, found) = open(&work);
    let since = found.base.unwrap().generation.0;
    let numbers = found
        .commits
        .iter()
        .map(|commit| commit.header.generation.0);
    assert!(numbers.eq(since + 1..=3_000));
}

#[test]
fn a_large_generation_grows_the_file_and_a_reset_cuts_it_back() {
    let (_directory, work) = work();
    let (mut journal, _) = open(&work);
    assert_eq!(journal.growth(1_000), 0);
    assert!(journal.growth(FLOOR) > 0);
    let ids: Vec<_> = (0..100u8)
        .map(|n| append(&mut journal, &[n; 50_000]))
        .collect();
    commit(&mut journal, 1);
    let (mut journal, found) = open(&work);
    assert_eq!(found.commits.len(), 1);
    assert!(ids.iter().all(|id| journal.has(id)));
    journal.reset(&work, position(1)).unwrap();
    assert_eq!(work.stat(&name()).unwrap().unwrap().length, FLOOR);
}

#[test]
fn a_journal_that_is_not_ours_is_replaced_and_reported() {
    let (_directory, work) = work();
    let cases: [(&str, Vec<u8>); 3] = [
        ("empty", Vec::new()),
        ("zeros", vec![0; 100_000]),
        ("another tree's", {
            let header = SegmentHeader {
                segment: Segment(4),
                tree: TreeName::new("other").unwrap(),
                base: position(0),
            };
            header.encode()
        }),
    ];
    for (case, bytes) in cases {
        work.remove_file(&name()).absent_is_none().unwrap();
        work.create_file(&name())
            .unwrap()
            .write_all_at(&bytes, 0)
            .unwrap();
        let (mut journal, found) = open(&work);
        assert!(found.damaged && found.base.is_none(), "{case}");
        commit(&mut journal, 1);
        assert_eq!(open(&work).1.commits.len(), 1, "{case}");
    }
}

#[test]
fn a_failed_journal_refuses_everything_until_a_new_file_replaces_it() {
    let (_directory, work) = work();
    let (mut journal, _) = open(&work);
    commit(&mut journal, 1);
    let inode = work.stat(&name()).unwrap().unwrap().key.inode;
    journal.failed = Some("sync failed".into());
    let id = ContentId::of(b"x");
    assert!(matches!(
        journal.append(id, b"x"),
        Err(JournalError::Failed(_))
    ));
    journal.reset(&work, position(1)).unwrap();
    assert_ne!(work.stat(&name()).unwrap().unwrap().key.inode, inode);
    append(&mut journal, b"x");
    commit(&mut journal, 2);
    assert_eq!(open(&work).1.base, Some(position(1)));
}
