//! What is accepted, what is refused, and what is never asked for.

use std::fs;

use sync_core::{
    Change, ContentId, Epoch, Generation, GenerationHeader, Preset, Root, TreeName,
    generation::Action, guard::Guard, wire::Refusal,
};
use sync_fs::replica::{AdoptError, IntakeError, Replica, ReplicaError};

use crate::{
    model::{Item, Model, SECONDS, path},
    world::{OPEN, World, go_on, options},
};

fn filled() -> World {
    let mut world = World::new();
    for n in 0..50 {
        world
            .active
            .file(&format!("default/api/{n}.xml"), format!("content {n}"));
    }
    world.push();
    world
}

#[test]
fn renames_copies_and_reverts_cost_no_contents() {
    let mut world = filled();
    world.replica.checkpoint().unwrap();
    world.active.rename("default/api", "default/endpoints");
    world
        .active
        .file("copies/a.xml", "content 7")
        .file("copies/b.xml", "content 7");
    assert!(world.push().sent.is_empty());
    world.assert_in_sync();
    world.active.file("default/endpoints/1.xml", "content 2");
    assert!(world.push().sent.is_empty());
    world.assert_in_sync();
}

#[test]
fn a_content_is_asked_for_once_however_often_it_is_used() {
    let mut world = World::new();
    for n in 0..5 {
        world.active.file(&format!("d/{n}"), "the same");
    }
    world.active.file("empty", "");
    assert_eq!(world.push().sent.len(), 1);
    world.assert_in_sync();
}

#[test]
fn a_source_that_was_edited_is_not_copied_from() {
    let mut world = filled();
    world.replica.checkpoint().unwrap();
    fs::write(world.tree("default/api/3.xml"), "CONTENT 3").unwrap();
    world.active.file("copy.xml", "content 3");
    assert_eq!(world.push().sent, [path("copy.xml")]);
    assert_eq!(world.read("copy.xml"), "content 3");
}

#[test]
fn an_interrupted_transfer_goes_on_where_it_stopped() {
    let mut world = World::new();
    for n in 0..20 {
        world
            .active
            .file(&format!("api/{n:02}.xml"), format!("content {n}"));
    }
    let mut intake = world.begin().unwrap();
    let wanted = world.replica.wanted_small(&mut intake).unwrap();
    assert_eq!(wanted.iter().map(|range| range.count).sum::<u32>(), 20);
    for index in 1..12 {
        let at = intake.changes()[index].path.clone();
        let content = world.active.content(&at).to_vec();
        world
            .replica
            .put_small(&mut intake, u32::try_from(index).unwrap(), content)
            .unwrap();
    }
    world.replica.give_up(intake).unwrap();
    assert_eq!(world.replica.staged_contents(), 11);
    world.reopen();
    assert_eq!(world.replica.staged_contents(), 11);
    assert_eq!(world.push().sent.len(), 9);
    world.assert_in_sync();
    world.replica.checkpoint().unwrap();
    assert_eq!(world.replica.staged_contents(), 0);
}

#[test]
fn a_checkpoint_keeps_what_an_interrupted_transfer_left() {
    let mut world = filled();
    world
        .active
        .file("new.xml", "arrived before the link went down");
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    drop(intake);
    world.replica.checkpoint().unwrap();
    world.reopen();
    assert!(world.push().sent.is_empty());
    world.assert_in_sync();
}

#[test]
fn contents_that_are_not_the_announced_ones_are_refused() {
    let mut world = World::new();
    world.active.file("a", "right").directory("d");
    let mut intake = world.begin().unwrap();
    world.replica.wanted_small(&mut intake).unwrap();
    for wrong in ["wrong", "", "right and more"] {
        let error = world
            .replica
            .put_small(&mut intake, 0, wrong.as_bytes().to_vec())
            .unwrap_err();
        assert!(matches!(error, IntakeError::WrongContent { .. }), "{wrong}");
        assert!(matches!(error.refusal(), Refusal::Protocol(_)));
    }
    for index in [1, 99] {
        let error = world
            .replica
            .put_small(&mut intake, index, b"right".to_vec())
            .unwrap_err();
        assert!(matches!(error, IntakeError::NotWanted { .. }));
    }
    assert!(world.replica.commit(intake).is_err());
    world.assert_disk_is(&Model::default());
}

#[test]
fn generations_that_do_not_follow_are_refused() {
    let mut world = filled();
    world.active.file("new", "x");
    let (header, changes) = world.offer();
    let other_root = Root([9; 32]);
    let here = world.replica.position();
    type Edit = fn(&mut GenerationHeader, Root);
    let cases: [(&str, Edit, Refusal); 5] = [
        ("another base", |h, root| h.base = root, Refusal::Base(here)),
        (
            "a lower number",
            |h, _| h.generation = Generation(0),
            Refusal::Base(here),
        ),
        (
            "the same number",
            |h, _| h.generation = Generation(1),
            Refusal::Base(here),
        ),
        (
            "a lower epoch",
            |h, _| h.epoch = Epoch(0),
            Refusal::Epoch(Epoch(1)),
        ),
        (
            "another tree",
            |h, _| h.tree = TreeName::new("tenants").unwrap(),
            Refusal::UnknownTree(TreeName::new("tenants").unwrap()),
        ),
    ];
    for (case, edit, expected) in cases {
        let mut header = header.clone();
        edit(&mut header, other_root);
        let refusal = world
            .replica
            .begin(header, changes.clone(), &OPEN, None)
            .unwrap_err();
        assert_eq!(refusal, expected, "{case}");
    }
    let mut header = header;
    header.root = other_root;
    let refusal = world
        .replica
        .begin(header, changes, &OPEN, None)
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Protocol(_)));
}

#[test]
fn change_lists_that_make_no_tree_are_refused() {
    let mut world = filled();
    let link = Item::Link(b"/etc".to_vec());
    world.active.item(path("link"), link);
    let refusal = world.begin().unwrap_err();
    assert!(
        matches!(refusal, Refusal::Protocol(_)),
        "a link in a synapse tree"
    );
    let changes = vec![Change {
        path: path("default"),
        action: Action::Delete,
    }];
    let header = world.header(&changes);
    let refusal = world
        .replica
        .begin(header, changes, &OPEN, None)
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Protocol(_)), "orphans");
}

#[test]
fn mass_deletions_halt_until_they_are_released() {
    let mut world = filled();
    let before = Model::of_disk(&world.tree(""));
    world.active.0.clear();
    world.active.file("left", "x");
    let (header, changes) = world.offer();
    let guard = Guard::default();
    let refusal = world
        .replica
        .begin(header.clone(), changes.clone(), &guard, None)
        .unwrap_err();
    let Refusal::Guard {
        plan,
        deletions: 50,
        files: 50,
    } = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(Model::of_disk(&world.tree("")), before);
    world
        .replica
        .begin(header, changes, &guard, Some(plan))
        .unwrap();
}

#[test]
fn a_tree_that_was_never_synchronised_is_not_overwritten() {
    let mut world = World::new();
    fs::write(world.tree("same.xml"), "same").unwrap();
    fs::write(world.tree("mine.xml"), "mine").unwrap();
    fs::create_dir(world.tree("kept")).unwrap();
    world.adopt();
    assert!(world.replica.is_new());
    world.replica.set_overwrite(false);
    world
        .active
        .file("same.xml", "same")
        .file("mine.xml", "theirs")
        .file("new.xml", "new");
    let refusal = world.begin().unwrap_err();
    assert_eq!(refusal, Refusal::NotEmpty { differences: 2 });
    world.replica.set_overwrite(true);
    let before = world.seconds("same.xml");
    let pushed = world.push();
    assert_eq!(pushed.sent, [path("mine.xml"), path("new.xml")]);
    assert_eq!(
        world.seconds("same.xml"),
        before,
        "an equal file keeps its time"
    );
    world.replica.set_overwrite(false);
    world.active.file("mine.xml", "theirs again");
    world.push();
}

#[test]
fn an_adopted_tree_is_still_known_after_a_restart() {
    let mut world = World::new();
    fs::write(world.tree("a"), "a").unwrap();
    world.adopt();
    let position = world.replica.position();
    world.reopen();
    assert_eq!(world.replica.position(), position);
    assert!(world.replica.is_new());
    assert_eq!(world.drift().paths, []);
}

#[test]
fn paths_excluded_here_are_neither_written_nor_deleted() {
    let mut world = filled();
    world
        .active
        .file("default/node.jndi", "theirs")
        .file("default/dir/x", "x");
    world.push();
    fs::write(world.tree("default/node.jndi"), "mine").unwrap();
    fs::write(world.tree("default/dir/own.jndi"), "mine too").unwrap();
    world.exclude = vec!["*.jndi"];
    world.reopen();
    assert_eq!(world.drift().paths, []);
    world
        .active
        .remove("default/node.jndi")
        .remove("default/dir");
    world.push();
    assert_eq!(world.read("default/node.jndi"), "mine");
    assert_eq!(world.read("default/dir/own.jndi"), "mine too");
    world.active.file("default/b.jndi", "theirs");
    assert!(matches!(world.begin().unwrap_err(), Refusal::Unable(_)));
}

#[test]
fn a_work_directory_in_the_wrong_place_is_refused() {
    let base = crate::world::temporary();
    fs::create_dir(base.path().join("tree")).unwrap();
    let mut inside = options(base.path(), Preset::Synapse, &[]);
    inside.work_dir = base.path().join("tree/.work");
    let error = Replica::open(inside).unwrap_err();
    assert!(
        matches!(error, ReplicaError::WorkDirInTree { .. }),
        "{error}"
    );
    let mut elsewhere = options(base.path(), Preset::Synapse, &[]);
    let disk = tempfile::tempdir().unwrap();
    elsewhere.work_dir = disk.path().join("work");
    if base.path().starts_with("/dev/shm") {
        let error = Replica::open(elsewhere).unwrap_err();
        assert!(matches!(error, ReplicaError::OtherMount { .. }), "{error}");
        assert!(error.to_string().contains("work_dir"));
    }
    let mut absent = options(base.path(), Preset::Synapse, &[]);
    absent.root = base.path().join("nothing");
    assert!(matches!(
        Replica::open(absent).unwrap_err(),
        ReplicaError::Root(_)
    ));
}

#[test]
fn thousands_of_generations_stay_in_a_small_journal() {
    let mut world = World::new();
    for n in 0..1_000u32 {
        world
            .active
            .file_at("default/api/a.xml", n.to_le_bytes(), SECONDS + i64::from(n));
        world.push();
        if n % 100 == 99 {
            world.replica.checkpoint().unwrap();
        }
    }
    world.assert_in_sync();
    assert!(world.work("journal").metadata().unwrap().len() < 2 << 20);
    assert_eq!(
        world.entry("default/api/a.xml").content,
        ContentId::of(&999u32.to_le_bytes())
    );
    assert_eq!(world.replica.position().generation, Generation(1_000));
}

#[test]
fn of_two_generations_taken_in_at_once_only_one_is_committed() {
    let mut world = filled();
    world.active.file("one", "1");
    let mut late = world.begin().unwrap();
    world.feed(&mut late);
    world.active.file("two", "2");
    world.push();
    let error = world.replica.commit(late).unwrap_err();
    assert_eq!(error.refusal(), Refusal::Superseded);
    world.assert_in_sync();
}

#[test]
fn only_a_new_tree_is_taken_as_it_is() {
    let mut world = filled();
    let error = world.replica.adopt(&mut go_on).unwrap_err();
    assert!(matches!(error, AdoptError::NotNew(Generation(1))));
    world.assert_in_sync();
}
