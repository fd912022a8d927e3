use std::{
    fs,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use sync_core::{Mode, Mtime};

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

fn put(root: &Root, at: &RelPath, content: &[u8]) {
    root.create_parents(at, Mode::new(0o755)).unwrap();
    root.create_file(at)
        .unwrap()
        .write_all_at(content, 0)
        .unwrap();
}

fn content(root: &Root, at: &RelPath) -> Vec<u8> {
    let file = root.open_file(at).unwrap();
    let mut content = vec![0; usize::try_from(file.stat().unwrap().length).unwrap()];
    file.read_at(&mut content, 0).unwrap();
    content
}

#[test]
fn hostile_names_are_created_listed_renamed_and_removed() {
    let (_directory, root) = root();
    let long = vec![b'x'; 255];
    let deep = vec!["d"; 30].join("/");
    let names: &[&[u8]] = &[
        b"-rf",
        b"a\nb",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        &long,
        deep.as_bytes(),
        b"%2e",
        b" ",
    ];
    for name in names {
        let from = RelPath::new(name).unwrap();
        put(&root, &from, name);
        assert_eq!(content(&root, &from), *name);
    }
    let listed = root.list(None).unwrap();
    assert_eq!(listed.len(), names.len());
    for name in names {
        let from = RelPath::new(name).unwrap();
        root.rename(&from, &root, &path("moved"), Target::Free)
            .unwrap();
        assert_eq!(root.stat(&from).unwrap(), None);
        root.remove_file(&path("moved")).unwrap();
    }
}

#[test]
fn no_operation_follows_a_link_on_the_way_or_at_the_end() {
    let (directory, root) = root();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("canary"), "alive").unwrap();
    symlink(outside.path(), directory.path().join("out")).unwrap();
    symlink(
        outside.path().join("canary"),
        directory.path().join("canary"),
    )
    .unwrap();
    let through = path("out/canary");
    let last = path("canary");
    let absent: &[(&str, Result<(), DiskError>)] = &[
        ("open", root.open_file(&through).map(drop)),
        ("create", root.create_file(&path("out/new")).map(drop)),
        ("remove", root.remove_file(&through)),
        (
            "mkdir",
            root.create_directory(&path("out/d"), Mode::new(0o755)),
        ),
        ("mode", root.set_mode(&through, Mode::new(0))),
        ("time", root.set_mtime(&through, Mtime::default())),
        ("list", root.list(Some(&path("out"))).map(drop)),
        ("open last", root.open_file(&last).map(drop)),
        ("write last", root.open_file_to_write(&last).map(drop)),
        ("mode last", root.set_mode(&last, Mode::new(0))),
        (
            "rename",
            root.rename(&through, &root, &path("stolen"), Target::Replaced),
        ),
    ];
    for (what, result) in absent {
        let cause = result.as_ref().map_err(DiskError::cause);
        assert_eq!(cause, Err(Cause::Absent), "{what}");
    }
    assert_eq!(root.stat(&through).unwrap(), None);
    assert_eq!(root.stat(&last).unwrap().unwrap().kind, Kind::Symlink);
    let canary = fs::read_to_string(outside.path().join("canary")).unwrap();
    assert_eq!(canary, "alive");
}

#[test]
fn rename_keeps_to_what_was_asked_about_the_target() {
    let (_directory, root) = root();
    let (a, b) = (path("a/file"), path("b/file"));
    put(&root, &a, b"one");
    put(&root, &b, b"two");
    let taken = root.rename(&a, &root, &b, Target::Free).unwrap_err();
    assert_eq!(taken.cause(), Cause::Exists);
    root.rename(&a, &root, &b, Target::Exchanged).unwrap();
    assert_eq!(
        (content(&root, &a), content(&root, &b)),
        (b"two".to_vec(), b"one".to_vec())
    );
    root.rename(&a, &root, &b, Target::Replaced).unwrap();
    assert_eq!(content(&root, &b), b"two");
    let gone = root.rename(&a, &root, &b, Target::Exchanged).unwrap_err();
    assert_eq!(gone.cause(), Cause::Absent);
}

#[test]
fn a_directory_removed_and_made_again_is_walked_to_again() {
    let (directory, root) = root();
    put(&root, &path("d/one"), b"1");
    fs::remove_dir_all(directory.path().join("d")).unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    put(&root, &path("d/two"), b"2");
    assert_eq!(fs::read(directory.path().join("d/two")).unwrap(), b"2");
}

#[test]
fn a_renamed_directory_takes_its_descriptor_along() {
    let (directory, root) = root();
    put(&root, &path("d/one"), b"1");
    root.rename(&path("d"), &root, &path("e"), Target::Free)
        .unwrap();
    put(&root, &path("d/two"), b"2");
    assert!(directory.path().join("d/two").exists());
    assert!(!directory.path().join("e/two").exists());
}

#[test]
fn a_subroot_is_a_root_of_its_own() {
    let (_directory, root) = root();
    put(&root, &path("work/staging/x"), b"new");
    let staging = root.subroot(&path("work/staging")).unwrap();
    staging
        .rename(&path("x"), &root, &path("x"), Target::Free)
        .unwrap();
    assert_eq!(content(&root, &path("x")), b"new");
    assert_ne!(staging.identity().unwrap(), root.identity().unwrap());
    assert_eq!(staging.mount().unwrap(), root.mount().unwrap());
}

#[test]
fn errors_say_what_was_done_to_which_escaped_path() {
    let (directory, root) = root();
    let missing = RelPath::new(b"no\nsuch").unwrap();
    let error = root.open_file(&missing).unwrap_err();
    let shown = format!("cannot open `{}/no%0Asuch`", directory.path().display());
    assert_eq!(error.to_string(), shown);
}

#[test]
fn a_fifo_is_special_and_never_opened() {
    let (directory, root) = root();
    let fifo = rustix::fs::open(
        directory.path(),
        OFlags::PATH | OFlags::DIRECTORY,
        RawMode::empty(),
    )
    .unwrap();
    rustix::fs::mkfifoat(&fifo, "pipe", RawMode::RUSR).unwrap();
    let at = path("pipe");
    assert_eq!(root.stat(&at).unwrap().unwrap().kind, Kind::Special);
    assert_eq!(root.open_file(&at).unwrap_err().cause(), Cause::Absent);
}

#[test]
fn mode_time_and_length_go_through_the_open_file() {
    let (_directory, root) = root();
    let at = path("f");
    let file = root.create_file(&at).unwrap();
    let mtime = Mtime {
        seconds: -5,
        nanoseconds: 999_999_999,
    };
    file.allocate(4096).unwrap();
    file.set_length(3).unwrap();
    file.set_mode(Mode::new(0o751)).unwrap();
    file.set_mtime(mtime).unwrap();
    let stat = root.stat(&at).unwrap().unwrap();
    assert_eq!(
        (stat.mode.bits(), stat.mtime, stat.length),
        (0o751, mtime, 3)
    );
}

#[test]
fn a_parent_that_turns_into_a_link_and_back_leads_nowhere_else() {
    let (directory, root) = root();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("canary"), "alive").unwrap();
    fs::create_dir(directory.path().join("p")).unwrap();
    fs::write(directory.path().join("p/canary"), "dead").unwrap();
    symlink(outside.path(), directory.path().join("link")).unwrap();
    let flipping = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = Root::open(directory.path()).unwrap();
            while flipping.load(Ordering::Relaxed) {
                root.rename(&path("p"), &root, &path("link"), Target::Exchanged)
                    .unwrap();
            }
        });
        let end = Instant::now() + Duration::from_millis(700);
        let mut rounds = 0_u32;
        while Instant::now() < end {
            rounds += 1;
            attack(&root, rounds);
        }
        flipping.store(false, Ordering::Relaxed);
        assert!(rounds > 100, "only {rounds} rounds");
    });
    let names: Vec<_> = fs::read_dir(outside.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["canary"]);
    let canary = fs::read_to_string(outside.path().join("canary")).unwrap();
    assert_eq!(canary, "alive");
    let mtime = fs::metadata(outside.path().join("canary"))
        .unwrap()
        .modified();
    assert!(mtime.unwrap() > std::time::UNIX_EPOCH + Duration::from_secs(1));
}

/// One of everything that could do harm. Each may fail: the way there may be a
/// link just now.
fn attack(root: &Root, round: u32) {
    let (canary, fresh) = (path("p/canary"), path("p/fresh"));
    root.held.forget(b"p"); // walk every time
    if let Ok(file) = root.open_file_to_write(&canary) {
        let mut content = [0; 5];
        file.read_at(&mut content, 0).unwrap();
        assert_ne!(&content, b"alive", "read through a link");
        file.write_all_at(b"dead", 0).unwrap();
    }
    let _ = root.set_mtime(&canary, Mtime::default());
    let _ = root.set_mode(&canary, Mode::new(0o600 | (round & 0o77)));
    let _ = root.create_file(&fresh);
    let _ = root.create_directory(&path("p/made"), Mode::new(0o755));
    let _ = root.create_symlink(&path("p/pointer"), b"x");
    let _ = root.rename(&fresh, root, &canary, Target::Replaced);
    for name in ["p/made", "p/pointer", "p/fresh"] {
        let _ = root.remove_file(&path(name));
        let _ = root.remove_directory(&path(name));
    }
}
