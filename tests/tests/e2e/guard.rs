//! No mass deletion leaves the active by itself.

use std::fs;

use serde_json::Value;
use sync_tests::{
    World,
    compare::{self, Snapshot, Strictness},
};

#[test]
fn an_emptied_source_deletes_nothing() {
    let (world, _) = World::running(40);
    let before = passive_files(&world);
    fs::remove_dir_all(world.active.tree.join("default")).unwrap();
    world.active.run(&["push", "--wait"]).exits(5);
    until_halted(&world);
    assert_untouched(&world, &before);
}

#[test]
fn a_vanished_source_deletes_nothing_and_its_return_goes_on() {
    let (world, apis) = World::running(40);
    let before = passive_files(&world);
    let away = world.path().join("away");
    fs::rename(&world.active.tree, &away).unwrap();
    world.active.run(&["push", "--wait"]).exits(5);
    world
        .active
        .until_status("the tree to be halted", |status| {
            (status["trees"][0]["state"] == "halted").then_some(())
        });
    assert_untouched(&world, &before);

    fs::rename(&away, &world.active.tree).unwrap();
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
}

#[test]
fn a_source_that_was_replaced_by_an_empty_directory_deletes_nothing() {
    let (world, _) = World::running(40);
    let before = passive_files(&world);
    fs::rename(&world.active.tree, world.path().join("away")).unwrap();
    fs::create_dir(&world.active.tree).unwrap();
    world.active.run(&["push", "--wait"]).exits(5);
    assert_untouched(&world, &before);
}

#[test]
fn a_daemon_that_starts_on_an_empty_source_deletes_nothing() {
    let (mut world, _) = World::running(40);
    let before = passive_files(&world);
    assert!(world.active.stop().success());
    fs::remove_dir_all(world.active.tree.join("default")).unwrap();
    world.active.start();
    world.active.run(&["push", "--wait"]).exits(5);
    assert_untouched(&world, &before);
}

#[test]
fn three_fifths_deleted_wait_for_a_release() {
    let (world, apis) = World::running(40);
    let before = passive_files(&world);
    for api in &apis[..6] {
        api.delete(&world.active.tree).unwrap();
    }
    let plan = until_halted(&world);
    world.active.run(&["push", "--wait"]).exits(5);
    assert_untouched(&world, &before);

    let wrong = "0123456789abcdef";
    assert_ne!(world.active.run(&["release", wrong]).code, Some(0));
    assert_untouched(&world, &before);

    world.active.run(&["release", &plan]).exits(0);
    world.until_equal(Strictness::Identity);
    world
        .active
        .until_status("the guard to be at rest", |status| {
            (status["guard"]["halted"] == false).then_some(())
        });
}

#[test]
fn a_few_deletions_need_no_release() {
    let (world, apis) = World::running(40);
    apis[0].delete(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
}

#[test]
fn edits_go_on_while_a_plan_is_halted_once_the_files_are_back() {
    let (world, apis) = World::running(40);
    for api in &apis[..6] {
        api.delete(&world.active.tree).unwrap();
    }
    let _ = until_halted(&world);
    for api in &apis[..6] {
        api.revised().save(&world.active.tree).unwrap();
    }
    world.until_equal(Strictness::Identity);
    world
        .active
        .until_status("the guard to be at rest", |status| {
            (status["guard"]["halted"] == false).then_some(())
        });
}

fn until_halted(world: &World) -> String {
    world
        .active
        .until_status("the guard to halt a plan", |status: &Value| {
            let plan = status["guard"]["plans"][0]["plan"].as_str()?;
            (status["guard"]["halted"] == true).then(|| plan.to_owned())
        })
}

fn passive_files(world: &World) -> Snapshot {
    compare::snapshot(&world.passive.tree).unwrap()
}

fn assert_untouched(world: &World, before: &Snapshot) {
    let changed = compare::differences(before, &passive_files(world), Strictness::Times);
    assert_eq!(changed, Vec::<String>::new());
}
