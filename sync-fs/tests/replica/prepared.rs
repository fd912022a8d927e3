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
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    let committed = world.replica.commit(intake).unwrap();
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
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    let committed = world.replica.commit(intake).unwrap();
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
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    let committed = world.replica.commit(intake).unwrap();
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
