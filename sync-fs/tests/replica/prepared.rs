//! New files and directories that are made ready while a generation comes in.

use std::fs;

use crate::{model::path, world::World};

/// Enough for a thread of its own.
const MANY: usize = 300;

fn fill(world: &mut World, files: usize) {
    for n in 0..files {
        let kind = ["api", "sequences", "endpoints"][n % 3];
        world.active.file(
            &format!("default/{kind}/{n:03}.xml"),
            format!("<a n='{n}'/>"),
        );
    }
}

fn prepared(world: &World) -> usize {
    fs::read_dir(world.work("prepared")).unwrap().count()
}

#[test]
fn a_first_fill_of_any_size_is_whole_and_leaves_nothing_prepared() {
    for files in [3, 30, MANY] {
        let mut world = World::new();
        fill(&mut world, files);
        assert_eq!(world.push().sent.len(), files);
        let looked = world.drift();
        assert_eq!(looked.paths, [], "{files} files");
        world.assert_in_sync();
        assert_eq!(prepared(&world), 0);
    }
}

#[test]
fn a_new_directory_appears_with_all_its_files_and_none_before_its_turn() {
    let mut world = World::new();
    fill(&mut world, MANY);
    let committed = world.commit();
    // The first directory in the deployer's order is in the way of its own.
    fs::create_dir_all(world.tree("default/endpoints")).unwrap();
    fs::write(world.tree("default/endpoints/own.xml"), "<own/>").unwrap();
    let applied = world.replica.apply(committed).unwrap();
    assert_eq!(applied.kept_aside, []);
    assert_eq!(world.read("default/endpoints/own.xml"), "<own/>");
    fs::remove_file(world.tree("default/endpoints/own.xml")).unwrap();
    world.assert_in_sync();
    assert_eq!(prepared(&world), 0);
}

#[test]
fn a_file_in_the_way_of_a_new_directory_is_kept_aside() {
    let mut world = World::new();
    fill(&mut world, MANY);
    let committed = world.commit();
    fs::create_dir_all(world.tree("default")).unwrap();
    fs::write(world.tree("default/api"), "a file").unwrap();
    fs::write(world.tree("default/sequences"), "another").unwrap();
    let applied = world.replica.apply(committed).unwrap();
    assert_eq!(applied.kept_aside.len(), 2);
    let mut aside = world.aside();
    aside.sort();
    assert_eq!(aside, [b"a file".to_vec(), b"another".to_vec()]);
    world.assert_in_sync();
}

#[test]
fn a_generation_that_is_given_up_leaves_nothing_prepared() {
    for files in [3, MANY] {
        let mut world = World::new();
        fill(&mut world, files);
        let mut intake = world.begin().unwrap();
        world.feed(&mut intake);
        world.replica.give_up(intake).unwrap();
        assert_eq!(prepared(&world), 0);
        assert_eq!(world.push().sent, [], "the journal has the contents");
        world.assert_in_sync();
    }
}

#[test]
fn what_a_kill_left_prepared_is_removed_and_made_again() {
    let mut world = World::new();
    fill(&mut world, MANY);
    world.commit_only();
    assert!(prepared(&world) > 0);
    let recovery = world.reopen();
    assert_eq!(recovery.kept_aside, []);
    world.assert_in_sync();
    assert_eq!(prepared(&world), 0);
}

#[test]
fn a_file_changed_behind_the_replicas_back_after_it_was_prepared_is_drift() {
    let mut world = World::new();
    fill(&mut world, 30);
    let committed = world.commit();
    // Nobody can guess these names; whoever does changes what was agreed.
    let directory = fs::read_dir(world.work("prepared"))
        .unwrap()
        .next()
        .unwrap();
    let file = fs::read_dir(directory.unwrap().path())
        .unwrap()
        .next()
        .unwrap();
    let name = file.as_ref().unwrap().file_name();
    fs::write(file.unwrap().path(), "<other/>").unwrap();
    world.replica.apply(committed).unwrap();
    let found = world.drift().paths;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path.file_name(), name.as_encoded_bytes());
    assert!(found[0].path.starts_with(&path("default")));
}

/// How many files wait to replace others.
fn replacements(world: &World) -> usize {
    let left = fs::read_dir(world.work("staging")).unwrap();
    let names = left.map(|found| found.unwrap().file_name());
    names
        .filter(|name| name.as_encoded_bytes().starts_with(b"r-"))
        .count()
}

/// Every file of `fill` with other content.
fn change(world: &mut World, files: usize) {
    for n in 0..files {
        let kind = ["api", "sequences", "endpoints"][n % 3];
        let at = format!("default/{kind}/{n:03}.xml");
        let changed = format!("<a n='{n}' changed='yes'/>");
        world.active.file_at(&at, changed, 1_900_000_000);
    }
}

#[test]
fn changed_files_are_ready_before_they_are_durable_and_leave_nothing() {
    for files in [1, 30, MANY] {
        let mut world = World::new();
        fill(&mut world, files);
        world.push();
        change(&mut world, files);
        let committed = world.commit();
        assert_eq!(replacements(&world), files);
        assert_ne!(
            world.read("default/api/000.xml"),
            "<a n='0' changed='yes'/>"
        );
        let applied = world.replica.apply(committed).unwrap();
        assert_eq!(applied.kept_aside, []);
        world.assert_in_sync();
    }
}

#[test]
fn a_replacement_whose_time_the_commit_moves_on_gets_that_time() {
    let mut world = World::new();
    fill(&mut world, 1);
    world.push();
    let before = world.seconds("default/api/000.xml");
    let content = "<a changed='within the same second'/>";
    world.active.file_at("default/api/000.xml", content, before);
    let committed = world.commit();
    assert_eq!(replacements(&world), 1);
    let applied = world.replica.apply(committed).unwrap();
    assert_eq!(applied.bumped, 1);
    assert_eq!(world.read("default/api/000.xml"), content);
    assert_ne!(world.seconds("default/api/000.xml"), before);
    assert_eq!(world.drift().paths, []);
    world.assert_nothing_left();
}

#[test]
fn replacements_of_a_generation_that_never_was_are_removed_unseen() {
    let mut world = World::new();
    fill(&mut world, 30);
    world.push();
    change(&mut world, 30);
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    // A kill in the middle of a write.
    fs::write(world.work("staging/r-2-0"), "<a n='0' chan").unwrap();
    drop(intake);
    let recovery = world.reopen();
    assert_eq!(recovery.kept_aside, []);
    assert_eq!(replacements(&world), 0);
    world.push();
    world.assert_in_sync();
}

#[test]
fn what_an_exchange_left_under_the_name_of_a_replacement_is_nobody_elses_loss() {
    let mut world = World::new();
    fill(&mut world, 30);
    world.push();
    change(&mut world, 30);
    world.commit_only();
    // Killed after an exchange with what somebody wrote at that very moment.
    fs::write(world.work("staging/r-2-0"), "<somebody's only copy/>").unwrap();
    world.reopen();
    assert_eq!(world.aside(), [b"<somebody's only copy/>".to_vec()]);
    assert_eq!(replacements(&world), 0);
    world.assert_in_sync();
}

#[test]
fn a_replacement_is_never_put_in_place_of_a_file_that_is_not_ours() {
    let mut world = World::new();
    fill(&mut world, 30);
    world.push();
    change(&mut world, 30);
    let committed = world.commit();
    fs::write(world.tree("default/api/000.xml"), "<own/>").unwrap();
    fs::remove_file(world.tree("default/api/003.xml")).unwrap();
    let applied = world.replica.apply(committed).unwrap();
    assert_eq!(applied.kept_aside.len(), 1);
    assert_eq!(world.aside(), [b"<own/>".to_vec()]);
    world.assert_in_sync();
}
