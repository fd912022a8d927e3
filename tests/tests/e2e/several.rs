//! More passives, or no daemon at all.

use std::{fs, os::unix::fs::MetadataExt};

use sync_tests::{
    World, artifacts,
    compare::{self, Strictness},
};

#[test]
fn a_second_passive_follows_too() {
    let (world, apis) = World::running(40);
    let mut third = world.another_passive("apim-3");
    third.start();
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
    sync_tests::wait::until(
        "the third node to be equal",
        sync_tests::wait::DEADLINE,
        || compare::equal(&world.active.tree, &third.tree, Strictness::Identity),
    );
    let outcome = world.active.run(&["verify", "--json"]).exits(0);
    assert_eq!(outcome.messages("summary").len(), 2);
    world.active.run(&["verify", "--peer", "apim-3"]).exits(0);
}

#[test]
fn a_push_without_a_daemon_does_the_work_itself() {
    let mut world = World::new();
    let apis = world.fill(40);
    world.passive.start();
    let outcome = world
        .active
        .run(&["push", "--wait=applied", "--json"])
        .exits(0);
    let summary = outcome.message("summary");
    assert!(summary["sent_bytes"].as_u64() > Some(0), "{summary}");
    world.until_equal(Strictness::Times);

    apis[0].revised().save(&world.active.tree).unwrap();
    let outcome = world
        .active
        .run(&["push", "--wait=applied", "--json"])
        .exits(0);
    assert_eq!(outcome.messages("change").len(), 4, "{}", outcome.stdout);
    world.until_equal(Strictness::Identity);

    let outcome = world
        .active
        .run(&["push", "--wait=applied", "--json"])
        .exits(0);
    assert_eq!(outcome.messages("change").len(), 0, "{}", outcome.stdout);
}

#[test]
fn a_bootstrap_refuses_a_different_tree_until_confirmed() {
    let mut world = World::new();
    world.fill(40);
    world.active.start();
    let precious = world.passive.tree.join("default/api/precious.xml");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "<api name=\"precious\"/>").unwrap();
    let before = compare::snapshot(&world.passive.tree).unwrap();
    let outcome = world.passive.run(&["bootstrap"]).exits(5);
    assert!(outcome.stderr.contains("--confirm"), "{}", outcome.stderr);
    assert_eq!(compare::snapshot(&world.passive.tree).unwrap(), before);
    world
        .passive
        .run(&["bootstrap", "--confirm", "wrong-node"])
        .exits(5);
    assert_eq!(compare::snapshot(&world.passive.tree).unwrap(), before);

    world
        .passive
        .run(&["bootstrap", "--confirm", "apim-2"])
        .exits(0);
    world.until_equal(Strictness::Times);
}

#[test]
fn a_bootstrap_of_an_equal_tree_needs_no_confirmation_and_touches_no_file() {
    let mut world = World::new();
    world.fill(40);
    let apis = artifacts::fill(&world.passive.tree, 40, 1).unwrap();
    let facts = || {
        let files = apis.iter().map(|api| world.passive.tree.join(api.path()));
        let facts = files.map(|file| {
            let data = fs::metadata(file).unwrap();
            (data.ino(), data.mtime(), data.ctime_nsec())
        });
        facts.collect::<Vec<_>>()
    };
    let before = facts();
    world.active.start();
    world.passive.run(&["bootstrap"]).exits(0);
    assert_eq!(facts(), before);
    world.until_equal(Strictness::Times);

    // From then on it is a copy like any other.
    apis[0].revised().save(&world.active.tree).unwrap();
    world.passive.start();
    world.until_equal(Strictness::Identity);
}

#[test]
fn a_tree_that_rsync_kept_equal_is_followed_from_the_first_edit_on() {
    let mut world = World::new();
    let apis = world.fill(40);
    artifacts::fill(&world.passive.tree, 40, 1).unwrap();
    world.active.start();
    world.passive.start();
    world.until_in_step();
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
}
