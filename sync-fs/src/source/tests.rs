use std::{fs, ops::ControlFlow, os::unix::fs::symlink, path::Path};

use sync_core::{ContentId, limits::SMALL_CONTENT_BYTES_MAX, recipe::Recipe};

use super::*;
use crate::archive::ArchiveLimits;
use crate::scan::{ScanError, Trouble};

/// A tree, its work directory, and the source over them.
struct Fixture {
    home: tempfile::TempDir,
    source: Source,
}

impl Fixture {
    /// A tree that was looked at.
    fn new(files: &[(&str, &str)]) -> Self {
        let mut fixture = Self::bare(files);
        let first = fixture.look_at_everything();
        fixture.accept(&first);
        fixture
    }

    /// A tree of which nothing is known.
    fn bare(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tree")).unwrap();
        for (path, content) in files {
            write(&home.path().join("tree").join(path), content);
        }
        let source = Source::open(options(home.path())).unwrap();
        Self { home, source }
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.home.path().join("tree").join(path)
    }

    fn write(&self, path: &str, content: &str) {
        write(&self.tree(path), content);
    }

    fn look_at_everything(&mut self) -> Observations {
        let mut go_on = |_| ControlFlow::Continue(());
        self.source.observe_all(false, &mut go_on).unwrap()
    }

    fn look_at(&mut self, paths: &[&str]) -> Observations {
        let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
        self.source.observe(&paths).unwrap()
    }

    /// Accepts all, and believes the stats as if they were old.
    fn accept(&mut self, observations: &Observations) {
        for observation in &observations.list {
            let mut observation = observation.clone();
            if let State::Present { seen, .. } = &mut observation.state {
                seen.racy = false;
            }
            self.source.accept(&observation);
        }
    }

    fn reopened(mut self) -> Self {
        self.source.save(Epoch(1), Generation(2)).unwrap();
        let source = Source::open(options(self.home.path())).unwrap();
        Self {
            home: self.home,
            source,
        }
    }

    fn file(&self, at: &str) -> FileEntry {
        self.source.manifest().file(&path(at)).unwrap()
    }
}

fn options(home: &Path) -> SourceOptions {
    SourceOptions {
        archive: ArchiveLimits::default(),
        path: home.join("tree"),
        work_dir: home.join("work"),
        preset: Preset::Synapse,
        exclude: Rules::new(),
        threads: 2,
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

/// One line for each observation.
fn lines(observations: &Observations) -> Vec<String> {
    let line = |observation: &Observation| {
        let name = |artifact: &Option<String>| {
            artifact
                .as_ref()
                .map_or(String::new(), |name| format!(" {name}"))
        };
        let state = match &observation.state {
            State::Present { artifact, .. } => format!("present{}", name(artifact)),
            State::Missing { artifact, .. } => format!("missing{}", name(artifact)),
            State::Unstable => "unstable".into(),
            State::Unreadable(trouble) => format!("unreadable {trouble}"),
            State::IllFormed(fault) => format!("ill-formed line {}", fault.line),
            State::Excluded => "excluded".into(),
        };
        format!("{}: {state}", observation.path)
    };
    observations.list.iter().map(line).collect()
}

#[test]
fn a_new_tree_is_all_present_and_nothing_differs_once_it_is_accepted() {
    let mut fixture = Fixture::new(&[("default/api/a.xml", "<api name='a'/>"), ("b", "2")]);
    assert_eq!(fixture.source.start(), &Start::New);
    assert_eq!(fixture.source.manifest().totals().entries, 4);
    assert_eq!(fixture.file("b").content, ContentId::of(b"2"));
    let again = fixture.look_at_everything();
    assert_eq!((again.list.len(), again.work.hashed), (0, 0));
}

#[test]
fn after_a_restart_nothing_is_read_again_but_what_changed() {
    let fixture = Fixture::new(&[("d/1", "one"), ("d/2", "two"), ("3", "three")]);
    let root = fixture.source.manifest().root();
    let mut fixture = fixture.reopened();
    let position = Position {
        epoch: Epoch(1),
        generation: Generation(2),
        root,
    };
    assert_eq!(fixture.source.start(), &Start::Known(position));
    assert_eq!(fixture.source.manifest().root(), root);
    let quiet = fixture.look_at_everything();
    assert_eq!((quiet.list.len(), quiet.work.hashed), (0, 0));
    fixture.write("d/2", "TWO");
    let edited = fixture.look_at_everything();
    assert_eq!(
        (lines(&edited), edited.work.hashed),
        (vec!["d/2: present".into()], 1)
    );
}

#[test]
fn a_damaged_snapshot_means_that_everything_is_read_again() {
    let mut fixture = Fixture::new(&[("a", "1")]);
    fixture.source.save(Epoch(1), Generation(1)).unwrap();
    fs::write(fixture.home.path().join("work/state"), "not this").unwrap();
    let mut source = Source::open(options(fixture.home.path())).unwrap();
    assert!(matches!(source.start(), Start::Damaged(_)));
    let mut go_on = |_| ControlFlow::Continue(());
    assert_eq!(
        lines(&source.observe_all(false, &mut go_on).unwrap()),
        ["a: present"]
    );
}

#[test]
fn hints_are_followed_to_what_differs_and_no_further() {
    let mut fixture = Fixture::new(&[("a", "1"), ("b", "2"), ("d/x", "3"), ("d/s/y", "4")]);
    let cases: [(&[&str], &[&str]); 6] = [
        (&["b"], &[]),
        (&["nowhere", "d/nowhere/at/all"], &[]),
        (&["a"], &["a: present"]),
        (
            &["n/e/w"],
            &[
                "n: present",
                "n/e: present",
                "n/e/w: present",
                "n/other: present",
            ],
        ),
        (
            &["d"],
            &[
                "d: missing",
                "d/s: missing",
                "d/s/y: missing",
                "d/x: missing",
            ],
        ),
        (
            &["d/x", "d/s"],
            &["d/s: missing", "d/s/y: missing", "d/x: missing"],
        ),
    ];
    fixture.write("a", "edited");
    fixture.write("n/e/w", "new");
    fixture.write("n/other", "new");
    fs::remove_dir_all(fixture.tree("d")).unwrap();
    for (hints, expected) in cases {
        assert_eq!(lines(&fixture.look_at(hints)), expected, "{hints:?}");
    }
}

#[test]
fn a_path_may_change_its_kind() {
    let mut fixture = Fixture::new(&[("file", "1"), ("dir/x", "2"), ("gone/y", "3")]);
    fs::remove_file(fixture.tree("file")).unwrap();
    fixture.write("file/now/below", "4");
    fs::remove_dir_all(fixture.tree("dir")).unwrap();
    fixture.write("dir", "5");
    fs::remove_dir_all(fixture.tree("gone")).unwrap();
    symlink("dir", fixture.tree("gone")).unwrap();
    let expected = [
        "dir: present",
        "dir/x: missing",
        "file: present",
        "file/now: present",
        "file/now/below: present",
        "gone: missing",
        "gone/y: missing",
    ];
    let seen = fixture.look_at(&["dir", "file", "gone"]);
    assert_eq!(lines(&seen), expected);
    assert_eq!(seen.ignored[0].trouble, Trouble::Symlink);
    let all = fixture.look_at_everything();
    assert_eq!(lines(&all), expected);
    fixture.accept(&seen);
    assert_eq!(lines(&fixture.look_at_everything()), [""; 0]);
}

#[test]
fn what_is_not_accepted_is_found_again() {
    let mut fixture = Fixture::new(&[("a", "1"), ("b", "2")]);
    fs::remove_file(fixture.tree("a")).unwrap();
    fixture.write("b", "edited");
    for _ in 0..2 {
        assert_eq!(
            lines(&fixture.look_at(&["a", "b"])),
            ["a: missing", "b: present"]
        );
    }
    assert_eq!(fixture.file("a").content, ContentId::of(b"1"));
    let fixture = &mut fixture.reopened();
    assert_eq!(
        lines(&fixture.look_at_everything()),
        ["a: missing", "b: present"]
    );
}

#[test]
fn both_halves_of_a_rename_know_the_artifact() {
    let mut fixture = Fixture::new(&[("default/api/a.xml", "<api name='x'/>")]);
    fixture.write("default/api/a.xml", "<api name='Pizza'/>");
    let edited = fixture.look_at(&["default/api/a.xml"]);
    assert_eq!(lines(&edited), ["default/api/a.xml: present Pizza"]);
    fixture.accept(&edited);
    fs::remove_file(fixture.tree("default/api/a.xml")).unwrap();
    fixture.write("default/api/b.xml", "<api name='Pizza' context='/p'/>");
    let renamed = fixture.look_at(&["default/api/a.xml", "default/api/b.xml"]);
    let expected = [
        "default/api/a.xml: missing Pizza",
        "default/api/b.xml: present Pizza",
    ];
    assert_eq!(lines(&renamed), expected);
}

#[test]
fn xml_that_is_not_well_formed_is_held_until_it_is() {
    let mut fixture = Fixture::new(&[("a.xml", "<a/>")]);
    fixture.write("a.xml", "<a>\n  <b>\n</a>");
    for _ in 0..2 {
        let held = fixture.look_at(&["a.xml"]);
        assert_eq!(lines(&held), ["a.xml: ill-formed line 3"]);
        fixture.accept(&held);
        assert_eq!(fixture.file("a.xml").content, ContentId::of(b"<a/>"));
    }
    fixture.write("a.xml", "<a><b/></a>");
    assert_eq!(lines(&fixture.look_at(&["a.xml"])), ["a.xml: present"]);
}

#[test]
fn what_is_excluded_is_not_seen_and_what_was_listed_is_named() {
    let fixture = Fixture::new(&[("a.back", "1"), ("b", "2")]).reopened();
    let mut options = options(fixture.home.path());
    options.exclude.exclude(b"*.back").unwrap();
    fixture.write("new.back", "3");
    let source = Source::open(options).unwrap();
    let mut fixture = Fixture {
        home: fixture.home,
        source,
    };
    assert_eq!(
        lines(&fixture.look_at(&["a.back", "new.back"])),
        ["a.back: excluded"]
    );
    assert_eq!(lines(&fixture.look_at_everything()), ["a.back: excluded"]);
}

#[test]
fn a_former_passives_drift_is_looked_at_before_it_is_believed() {
    let fixture = Fixture::new(&[("same", "1"), ("edited", "2"), ("removed", "3")]);
    let agreed = fixture.source.accepted.clone();
    fixture.write("edited", "drift");
    fixture.write("added", "drift");
    fs::remove_file(fixture.tree("removed")).unwrap();
    let snapshot = Snapshot {
        position: Position {
            epoch: Epoch(1),
            generation: Generation(9),
            root: agreed.manifest().root(),
        },
        identity: fixture.source.identity,
        agreed: &agreed,
    };
    snapshot.save(&fixture.source.work).unwrap();
    let mut source = Source::open(options(fixture.home.path())).unwrap();
    assert_eq!(source.manifest().root(), agreed.manifest().root());
    let mut go_on = |_| ControlFlow::Continue(());
    let found = source.observe_all(false, &mut go_on).unwrap();
    assert_eq!(
        lines(&found),
        ["added: present", "edited: present", "removed: missing"]
    );
    assert_eq!(found.work.hashed, 2);
}

#[test]
fn a_root_that_went_or_was_replaced_or_emptied_is_not_believed() {
    let mut fixture = Fixture::new(&[("a", "1")]);
    fixture.source.check_root().unwrap();
    let (tree, away) = (fixture.tree(""), fixture.home.path().join("away"));
    fs::rename(&tree, &away).unwrap();
    assert!(matches!(
        fixture.source.check_root(),
        Err(SourceProblem::Vanished(_))
    ));
    let looked = fixture.source.observe(&[path("a")]);
    assert!(matches!(looked, Err(ScanError::RootGone(_))));
    fs::create_dir(&tree).unwrap();
    for _ in 0..2 {
        let replaced = fixture.source.check_root();
        assert!(matches!(replaced, Err(SourceProblem::Replaced { .. })));
        let looked = fixture.source.observe(&[path("a")]);
        assert!(matches!(looked, Err(ScanError::RootReplaced { .. })));
    }
    fs::remove_dir(&tree).unwrap();
    fs::rename(&away, &tree).unwrap();
    fixture.source.check_root().unwrap();
    fs::remove_file(tree.join("a")).unwrap();
    let empty = fixture.source.check_root();
    assert!(matches!(
        empty,
        Err(SourceProblem::Empty { entries: 1, .. })
    ));
}

#[test]
fn a_root_replaced_while_nobody_ran_is_believed_once_it_is_confirmed() {
    let fixture = Fixture::new(&[("a", "1")]);
    fs::rename(fixture.tree(""), fixture.home.path().join("away")).unwrap();
    fixture.write("a", "1");
    let mut fixture = fixture.reopened();
    assert!(matches!(
        fixture.source.check_root(),
        Err(SourceProblem::Replaced { .. })
    ));
    let looked = fixture.source.observe(&[path("a")]);
    assert!(matches!(looked, Err(ScanError::RootReplaced { .. })));
    fixture.source.confirm_root().unwrap();
    fixture.source.check_root().unwrap();
    assert_eq!(lines(&fixture.look_at(&["a"])), [""; 0]);
}

#[test]
fn contents_are_given_away_only_while_they_are_what_the_manifest_says() {
    let large = "0123456789abcdef".repeat(50_000);
    let fixture = Fixture::new(&[("small", "content"), ("large", &large)]);
    let (small, big) = (fixture.file("small"), fixture.file("large"));
    assert!(big.length > SMALL_CONTENT_BYTES_MAX);
    let source = &fixture.source;
    assert_eq!(
        source.read_whole(&path("small"), &small).unwrap(),
        b"content"
    );
    let held = source.open_large(&path("large"), &big).unwrap();
    assert_eq!(held.recipe().unwrap(), Recipe::of(large.as_bytes()).into());
    assert_eq!(held.read(10, 6).unwrap(), b"abcdef");
    assert!(held.read(big.length - 5, 6).is_err());

    for edited in ["CONTENT", "longer than before", ""] {
        fixture.write("small", edited);
        let gone = source.read_whole(&path("small"), &small);
        assert!(matches!(gone, Err(Gone::Changed { .. })), "{edited}");
    }
    fixture.write("large", &large.replace('7', "8"));
    assert!(matches!(held.recipe(), Err(Gone::Changed { .. })));
    fs::remove_file(fixture.tree("small")).unwrap();
    let gone = source.read_whole(&path("small"), &small);
    assert!(matches!(gone, Err(Gone::Unreadable(_))));
}

#[test]
fn a_first_look_accepted_at_once_is_the_same_as_one_by_one() {
    let files = [("a", "1"), ("b", "2"), ("d/c", "3")];
    let (mut whole, mut single) = (Fixture::bare(&files), Fixture::bare(&files));
    let found = whole.look_at_everything();
    whole.source.accept_all(found.list);
    let found = single.look_at_everything();
    for observation in &found.list {
        single.source.accept(observation);
    }
    assert_eq!(whole.source.manifest(), single.source.manifest());
    assert_eq!(
        lines(&whole.look_at_everything()),
        lines(&single.look_at_everything())
    );
    fs::remove_file(whole.tree("a")).unwrap();
    let found = whole.look_at_everything();
    whole.source.accept_all(found.list);
    assert_eq!(whole.source.manifest().get(&path("a")), None);
}

#[test]
fn a_look_at_paths_tells_the_directories_there_and_finds_all_that_went_below() {
    let mut fixture = Fixture::new(&[("a/b/one", "1"), ("a/two", "2"), ("c/d/three", "3")]);
    let seen = fixture.look_at(&["a"]);
    assert_eq!(seen.directories, [path("a"), path("a/b")]);
    assert_eq!(lines(&seen), [""; 0]);
    assert_eq!(fixture.look_at_everything().directories, []);

    // One went and another came: as many names as before.
    fs::rename(fixture.tree("a/b/one"), fixture.tree("a/b/new")).unwrap();
    fs::remove_dir_all(fixture.tree("c")).unwrap();
    fixture.write("e/f/four", "4");
    let seen = fixture.look_at(&["a", "c", "e"]);
    let directories = ["a", "a/b", "e", "e/f"].map(path);
    assert_eq!(seen.directories, directories);
    let gone = seen
        .list
        .iter()
        .filter(|it| matches!(it.state, State::Missing { .. }));
    let gone: Vec<_> = gone.map(|it| it.path.clone()).collect();
    assert_eq!(gone, ["a/b/one", "c", "c/d", "c/d/three"].map(path));
}

#[test]
fn a_large_file_that_changed_is_cut_while_it_is_hashed() {
    let mut content = "0123456789abcdef".repeat(600_000);
    let mut fixture = Fixture::new(&[("large.jar", &content)]);
    let (at, recipe) = fixture.source.next_recipe().unwrap().run().unwrap();
    fixture.source.note_recipe(&at, Arc::new(recipe));

    content.insert_str(5_000_000, "twenty bytes between");
    fixture.write("large.jar", &content);
    let seen = fixture.look_at(&["large.jar"]);
    fixture.accept(&seen);
    let expected = Recipe::of(content.as_bytes());
    assert_eq!(fixture.file("large.jar").content, expected.content);
    let last = fixture.source.recipes.last(&at).expect("it was made");
    assert!(**last == expected);
    assert!(
        fixture.source.next_recipe().is_none(),
        "nobody reads it again"
    );
}
