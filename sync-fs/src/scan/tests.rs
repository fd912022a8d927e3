use std::{
    fs,
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, fs::symlink},
    path::Path,
    sync::LazyLock,
    time::UNIX_EPOCH,
};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use sync_core::{ContentId, Entry, Mode};

use super::*;
use crate::{
    observed::Seen,
    root::{Kind, StatKey},
};

static NOTHING_EXCLUDED: LazyLock<Rules> = LazyLock::new(Rules::new);

fn options() -> ScanOptions<'static> {
    ScanOptions {
        exclude: &NOTHING_EXCLUDED,
        preset: Preset::Synapse,
        deep: false,
        threads: 1,
        inspect: Inspect::Nothing,
        agreed: None,
    }
}

/// A tree on the disk and what was seen of it.
struct Fixture {
    directory: tempfile::TempDir,
    root: Root,
    observed: Observed,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let fixture = Self {
            directory,
            root,
            observed: Observed::new(),
        };
        for (path, content) in files {
            fixture.write(path, content);
        }
        fixture
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn scan(&self, options: ScanOptions<'_>) -> Scan {
        self.try_scan(options).unwrap()
    }

    fn try_scan(&self, options: ScanOptions<'_>) -> Result<Scan, ScanError> {
        let mut go_on = |_| ControlFlow::Continue(());
        scan(&self.root, &self.observed, options, &mut go_on)
    }

    /// Takes a scan up, and believes its stats as if they were old.
    fn take_up(&mut self, mut scan: Scan) {
        for sighting in scan.changed.iter_mut().chain(&mut scan.refreshed) {
            sighting.seen.racy = false;
        }
        scan.apply_to(&mut self.observed);
    }

    fn settled(files: &[(&str, &str)]) -> Self {
        let mut fixture = Self::new(files);
        let first = fixture.scan(options());
        fixture.take_up(first);
        fixture
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn names(paths: &[RelPath]) -> Vec<String> {
    paths.iter().map(RelPath::escaped).collect()
}

fn changed(scan: &Scan) -> Vec<String> {
    scan.changed.iter().map(|s| s.path.escaped()).collect()
}

fn entries(scan: &Scan) -> Vec<(&RelPath, &Entry)> {
    scan.changed.iter().map(|s| (&s.path, &s.entry)).collect()
}

fn troubles(scan: &Scan) -> Vec<(String, Trouble)> {
    scan.problems
        .iter()
        .map(|problem| (problem.path.escaped(), problem.trouble.clone()))
        .collect()
}

/// Makes this thread obey permissions even as root.
fn obey_permissions() {
    let mut sets = capabilities(None).unwrap();
    sets.effective
        .remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

#[test]
fn the_first_scan_lists_files_and_directories_with_mode_and_content() {
    let fixture = Fixture::new(&[("default/api/a.xml", "<api/>")]);
    fs::create_dir(fixture.path().join("empty")).unwrap();
    let file = fixture.path().join("default/api/a.xml");
    fs::set_permissions(file, fs::Permissions::from_mode(0o4640)).unwrap();
    let scan = fixture.scan(options());
    assert_eq!(
        changed(&scan),
        ["default", "default/api", "default/api/a.xml", "empty"]
    );
    let entry = scan.changed[2].entry.as_file().unwrap();
    assert_eq!(entry.mode, Mode::new(0o640));
    assert_eq!(entry.content, ContentId::of(b"<api/>"));
    assert_eq!((scan.work.entries, scan.work.hashed), (4, 1));
}

#[test]
fn an_unchanged_tree_is_not_read_again_unless_deeply() {
    let fixture = Fixture::settled(&[("a/1", "one"), ("a/2", "two"), ("b/3", "three")]);
    let quick = fixture.scan(options());
    assert!(quick.is_clean(), "{quick:?}");
    assert_eq!((quick.work.entries, quick.work.hashed), (5, 0));
    let deep = fixture.scan(ScanOptions {
        deep: true,
        ..options()
    });
    assert!(deep.changed.is_empty() && deep.gone.is_empty());
    assert_eq!((deep.work.hashed, deep.work.hashed_bytes), (3, 11));
}

#[test]
fn edits_creations_and_removals_are_found() {
    let mut fixture = Fixture::settled(&[("a", "1"), ("b", "2"), ("d/x", "3"), ("d/y", "4")]);
    fixture.write("a", "changed");
    fixture.write("new/file", "new");
    fs::remove_dir_all(fixture.path().join("d")).unwrap();
    let scan = fixture.scan(options());
    assert_eq!(changed(&scan), ["a", "new", "new/file"]);
    assert_eq!(names(&scan.gone), ["d", "d/x", "d/y"]);
    fixture.take_up(scan);
    assert!(fixture.scan(options()).is_clean());
    assert_eq!(fixture.observed.manifest().totals().entries, 4);
    assert_eq!(fixture.observed.len(), 4);
}

#[test]
fn a_touched_file_is_refreshed_and_not_changed() {
    let fixture = Fixture::settled(&[("a", "1")]);
    fixture.write("a", "1");
    let scan = fixture.scan(options());
    assert!(scan.changed.is_empty());
    assert_eq!(scan.refreshed.len(), 1);
}

#[test]
fn an_edit_of_the_same_size_in_the_same_instant_is_found() {
    let mut fixture = Fixture::new(&[("a", "old")]);
    let mut first = fixture.scan(options());
    fixture.write("a", "new");
    // Whatever the clock of the file system did: the times are those seen.
    let key = fixture.root.stat(&path("a")).unwrap().unwrap().key;
    first.changed[0].seen = Seen { key, racy: true };
    first.apply_to(&mut fixture.observed);
    assert_eq!(changed(&fixture.scan(options())), ["a"]);
}

#[test]
fn only_a_deep_scan_finds_what_left_the_stat_alone() {
    let mut fixture = Fixture::settled(&[("a", "good")]);
    fixture.write("a", "rots");
    let key = fixture.root.stat(&path("a")).unwrap().unwrap().key;
    let entry = fixture.observed.manifest().get(&path("a")).unwrap().clone();
    let seen = Seen { key, racy: false };
    fixture.observed.put(Sighting {
        path: path("a"),
        entry,
        seen,
    });
    assert!(fixture.scan(options()).is_clean());
    let deep = ScanOptions {
        deep: true,
        ..options()
    };
    assert_eq!(changed(&fixture.scan(deep)), ["a"]);
}

#[test]
fn new_xml_is_inspected_while_it_is_read() {
    let mut fixture = Fixture::settled(&[("old.xml", "<a name='old'/>")]);
    fixture.write("old.xml", "<a name='edited'/>");
    fixture.write("half.xml", "<a>\n<b>");
    fixture.write("half.xml.back", "<a>");
    let inspecting = ScanOptions {
        inspect: Inspect::SoundnessAndNames,
        ..options()
    };
    let scan = fixture.scan(inspecting);
    let ill_formed: Vec<_> = scan
        .ill_formed
        .iter()
        .map(|(path, _)| path.escaped())
        .collect();
    assert_eq!(ill_formed, ["half.xml"]);
    assert_eq!(scan.artifacts, [(path("old.xml"), "edited".to_owned())]);
    fixture.take_up(scan);
    fs::write(fixture.path().join("half.xml"), "<a>\n<b>").unwrap();
    assert!(
        fixture.scan(inspecting).ill_formed.is_empty(),
        "the same content is not judged again"
    );
    let plain = Fixture::new(&[("half.xml", "<a>")]).scan(ScanOptions {
        preset: Preset::Plain,
        ..inspecting
    });
    assert!(plain.ill_formed.is_empty());
}

#[test]
fn times_prove_nothing_until_they_are_two_seconds_old() {
    let read = |_| ControlFlow::Continue(());
    let scratch = look::Scratch::new(&read);
    let now_ns = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let seconds = 1_000_000_000;
    // (age of the change, age of the modification) in seconds
    let cases = [
        ((0, 900), true),
        ((1, 900), true),
        ((-60, 900), true),
        ((900, 1), true),
        ((900, 900), false),
        ((4, 4), false),
        ((900, -900), false), // set by hand to the future
    ];
    for ((change, modification), racy) in cases {
        let key = StatKey {
            ctime_ns: now_ns - change * seconds,
            mtime_ns: now_ns - modification * seconds,
            ..StatKey::default()
        };
        assert_eq!(scratch.is_racy(&key), racy, "{change} {modification}");
    }
}

#[test]
fn an_edit_with_its_modification_time_put_back_is_found() {
    let fixture = Fixture::settled(&[("a", "old")]);
    let before = fixture.root.stat(&path("a")).unwrap().unwrap();
    fixture.write("a", "new");
    fixture.root.set_mtime(&path("a"), before.mtime).unwrap();
    assert_eq!(changed(&fixture.scan(options())), ["a"]);
}

#[test]
fn hostile_names_are_entries_and_names_too_deep_are_reported() {
    let fixture = Fixture::new(&[]);
    let names: [&[u8]; 5] = [
        b"-rf",
        b"a\nb",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
    ];
    for name in names {
        fs::write(fixture.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    fixture.write(&"x".repeat(255), "");
    fixture.write(&vec!["d"; 30].join("/"), "");
    fs::create_dir_all(fixture.path().join(vec!["e"; 65].join("/"))).unwrap();
    let scan = fixture.scan(options());
    assert_eq!(scan.changed.len(), 5 + 1 + 30 + 64);
    let too_deep = (vec!["e"; 65].join("/"), PathError::TooDeep);
    assert_eq!(scan.illegal_names, [too_deep]);
}

#[test]
fn links_and_special_files_are_reported_and_take_no_entry() {
    let mut fixture = Fixture::settled(&[("was-file", "x"), ("d/file", "y")]);
    let pipe = fs::File::open(fixture.path()).unwrap();
    rustix::fs::mkfifoat(&pipe, "pipe", rustix::fs::Mode::RUSR).unwrap();
    fs::remove_file(fixture.path().join("was-file")).unwrap();
    symlink("d", fixture.path().join("was-file")).unwrap();
    fs::rename(fixture.path().join("d"), fixture.path().join("e")).unwrap();
    symlink("e", fixture.path().join("d")).unwrap();
    let scan = fixture.scan(options());
    let expected = [
        ("d".to_owned(), Trouble::Symlink),
        ("pipe".to_owned(), Trouble::Special),
        ("was-file".to_owned(), Trouble::Symlink),
    ];
    assert_eq!(troubles(&scan), expected);
    assert_eq!(names(&scan.gone), ["d", "d/file", "was-file"]);
    fixture.take_up(scan);
    let plain = fixture.scan(ScanOptions {
        preset: Preset::Plain,
        ..options()
    });
    assert_eq!(changed(&plain), ["d", "was-file"]);
    let target = b"e".as_slice().into();
    assert_eq!(plain.changed[0].entry, Entry::Symlink { target });
}

#[test]
fn what_cannot_be_read_never_counts_as_gone() {
    let fixture = Fixture::settled(&[("d/below/1", "x"), ("d/2", "y"), ("f", "z"), ("g", "")]);
    fixture.write("f", "edited");
    let locked = fs::Permissions::from_mode(0o000);
    fs::set_permissions(fixture.path().join("d"), locked.clone()).unwrap();
    fs::set_permissions(fixture.path().join("f"), locked).unwrap();
    fs::remove_file(fixture.path().join("g")).unwrap();
    obey_permissions();
    let scan = fixture.scan(options());
    assert_eq!(names(&scan.gone), ["g"]);
    let reason: Box<str> = "Permission denied (os error 13)".into();
    let denied = |path: &str| (path.to_owned(), Trouble::Unreadable(reason.clone()));
    assert_eq!(troubles(&scan), [denied("d"), denied("f")]);
    fs::set_permissions(fixture.path().join("d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unreadable_root_is_an_error_and_not_an_empty_tree() {
    let fixture = Fixture::settled(&[("f", "x")]);
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o000)).unwrap();
    obey_permissions();
    let result = fixture.try_scan(options());
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(result, Err(ScanError::Root(_))), "{result:?}");
}

#[test]
fn a_root_that_is_gone_or_replaced_is_an_error_of_its_own() {
    let fixture = Fixture::settled(&[("f", "x")]);
    let moved = fixture.path().with_extension("moved");
    fs::rename(fixture.path(), &moved).unwrap();
    let gone = fixture.try_scan(options());
    assert!(matches!(gone, Err(ScanError::RootGone(_))), "{gone:?}");
    fs::create_dir(fixture.path()).unwrap();
    let replaced = fixture.try_scan(options());
    fs::remove_dir_all(moved).unwrap();
    assert!(
        matches!(replaced, Err(ScanError::RootReplaced { .. })),
        "{replaced:?}"
    );
}

#[test]
fn a_file_that_moves_under_the_reader_is_unstable_and_keeps_its_entry() {
    let fixture = Fixture::settled(&[("f", "old"), ("g", "x")]);
    fixture.write("f", "being written");
    let file = fixture.path().join("f");
    let grow = |_| {
        let mut content = fs::read(&file).unwrap();
        content.push(b'.');
        fs::write(&file, content).unwrap();
        ControlFlow::Continue(())
    };
    let observer = look::Observer {
        previous: &fixture.observed,
        options: options(),
        mount: fixture.root.mount().unwrap(),
    };
    let directory = fixture.root.directory(None).unwrap();
    let mut scratch = look::Scratch::new(&grow);
    let found = observer.look(
        look::Name {
            directory: &directory,
            name: c"f",
            path: b"f",
        },
        fixture.observed.known(b"f"),
        &mut scratch,
    );
    let unstable = Trouble::Unstable;
    assert!(matches!(found, look::Look::Trouble { trouble, .. } if trouble == unstable));
    assert!(Trouble::Unstable.keeps_the_known());
}

#[test]
fn excluded_paths_are_invisible_and_not_called_gone() {
    let fixture = Fixture::settled(&[("a.back", "1"), ("logs/x", "2"), ("b", "3"), ("c", "4")]);
    fs::remove_file(fixture.path().join("c")).unwrap();
    let mut exclude = Rules::new();
    exclude.exclude(b"*.back").unwrap();
    exclude.exclude(b"/logs/").unwrap();
    let scan = fixture.scan(ScanOptions {
        exclude: &exclude,
        ..options()
    });
    assert_eq!(names(&scan.excluded), ["a.back", "logs", "logs/x"]);
    assert_eq!(names(&scan.gone), ["c"]);
}

#[test]
fn empty_artifact_directories_that_nobody_agreed_on_are_invisible() {
    let mut fixture = Fixture::settled(&[("default/api/a.xml", "<api/>"), ("default/x", "")]);
    fs::remove_file(fixture.path().join("default/api/a.xml")).unwrap();
    fs::create_dir_all(fixture.path().join("default/sequences")).unwrap();
    fs::create_dir_all(fixture.path().join("default/other")).unwrap();
    let mut agreed = fixture.observed.manifest().clone();
    agreed.remove(&path("default/api"));
    agreed.remove(&path("default/api/a.xml"));
    let agreed_options = ScanOptions {
        agreed: Some(&agreed),
        ..options()
    };
    let scan = fixture.scan(agreed_options);
    assert_eq!(names(&scan.gone), ["default/api", "default/api/a.xml"]);
    assert_eq!(changed(&scan), ["default/other"]);
    fixture.take_up(scan);
    assert!(fixture.scan(agreed_options).is_clean());
    fixture.write("default/api/b.xml", "<api/>");
    assert_eq!(
        changed(&fixture.scan(agreed_options)),
        ["default/api", "default/api/b.xml"]
    );
}

#[test]
fn two_threads_find_what_one_finds() {
    let mut fixture = Fixture::new(&[]);
    for number in 0..1500 {
        fixture.write(&format!("flat/{number}"), &number.to_string());
        if number % 10 == 0 {
            fixture.write(&format!("deep/{number}/a/b/c"), "x");
        }
    }
    let two = ScanOptions {
        threads: 2,
        ..options()
    };
    let (one, other) = (fixture.scan(options()), fixture.scan(two));
    assert_eq!(one.changed.len(), 1500 + 150 * 4 + 2);
    assert_eq!(entries(&one), entries(&other));
    fixture.take_up(one);
    fs::remove_dir_all(fixture.path().join("deep/500")).unwrap();
    fixture.write("flat/7", "edited");
    let (one, other) = (fixture.scan(options()), fixture.scan(two));
    assert_eq!(one.gone, other.gone);
    assert_eq!(entries(&one), entries(&other));
    assert_eq!((one.gone.len(), one.changed.len()), (4, 1));
}

#[test]
fn a_scan_is_stopped_by_its_report() {
    let fixture = Fixture::new(&[("a", "1"), ("b/c", "2")]);
    let mut stop = |_| ControlFlow::Break(());
    let result = scan(&fixture.root, &fixture.observed, options(), &mut stop);
    assert!(matches!(result, Err(ScanError::Stopped)));
}

#[test]
fn the_subtree_of_a_directory_is_scanned_alone() {
    let mut fixture = Fixture::settled(&[("a", "1"), ("d/x", "2"), ("d-e", "3"), ("d/s/y", "4")]);
    for file in ["a", "d/s/y", "d-e"] {
        fs::remove_file(fixture.path().join(file)).unwrap();
    }
    let mut go_on = |_| ControlFlow::Continue(());
    let start = path("d/s");
    let below = scan_below(
        &fixture.root,
        &[start],
        &fixture.observed,
        options(),
        &mut go_on,
    );
    assert_eq!(names(&below.unwrap().gone), ["d/s/y"]);
    let start = path("d");
    let below = scan_below(
        &fixture.root,
        &[start],
        &fixture.observed,
        options(),
        &mut go_on,
    );
    let below = below.unwrap();
    assert_eq!(names(&below.gone), ["d/s/y"]);
    fixture.take_up(below);
    assert_eq!(names(&fixture.scan(options()).gone), ["a", "d-e"]);
}

#[test]
fn another_file_system_inside_the_tree_is_reported_and_not_entered() {
    let root = Root::open(Path::new("/dev")).unwrap();
    let shm = root.stat(&path("shm")).unwrap();
    let is_mount =
        shm.is_some_and(|stat| stat.kind == Kind::Directory && stat.mount != root.mount().unwrap());
    if !is_mount {
        println!("skipped: nothing is mounted at /dev/shm");
        return;
    }
    let mut go_on = |_| ControlFlow::Continue(());
    let scan = scan(&root, &Observed::new(), options(), &mut go_on).unwrap();
    assert!(troubles(&scan).contains(&("shm".to_owned(), Trouble::OtherMount)));
    assert!(!changed(&scan).iter().any(|path| path.starts_with("shm")));
}

#[test]
fn seen_is_small() {
    // 100,000 entries must stay far below 60 MB.
    assert!(size_of::<Seen>() <= 40 && size_of::<Sighting>() <= 136);
}
