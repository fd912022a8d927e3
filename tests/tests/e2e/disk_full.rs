//! The passive's disk is full. Skipped where nothing may be mounted.

use std::fs;

use sync_tests::{
    Node, Role, Settings, World,
    artifacts::Api,
    compare::{self, Strictness},
    scratch::Mounted,
    wait::{self, DEADLINE},
    world::{in_step, peer_of},
};

/// Room for the journal and a small tree.
const DISK_BYTES: u64 = 192 << 20;

#[test]
fn a_full_disk_pauses_the_passive_and_nothing_is_lost() {
    let Some(disk) = Mounted::tmpfs(DISK_BYTES) else {
        return;
    };
    let mut world = World::new();
    let apis = world.fill(40);
    let mut small = Node::init(
        &disk.path().join("home"),
        "small",
        Role::Passive,
        &Settings::default(),
    );
    world.active.trust(&small);
    small.trust(&world.active);
    world.active.start();
    small.start();
    let equal = |deadline_for: &str| {
        wait::until(deadline_for, DEADLINE, || {
            compare::equal(&world.active.tree, &small.tree, Strictness::Identity)
        });
    };
    equal("the small node to be equal");
    let before = compare::snapshot(&small.tree).unwrap();

    let ballast = disk.fill_but(64 << 10).unwrap();
    for number in 0..40 {
        Api::new(&format!("Large{number}"), 60_000)
            .save(&world.active.tree)
            .unwrap();
    }
    world
        .active
        .until_status("the full disk to be named", |status| {
            let peer = peer_of(status, "small")?;
            peer["detail"].as_str()?.contains("free").then_some(())
        });
    let during = compare::snapshot(&small.tree).unwrap();
    assert_eq!(
        compare::differences(&before, &during, Strictness::Times),
        Vec::<String>::new()
    );

    fs::remove_file(ballast).unwrap();
    equal("the small node to catch up");
    world
        .active
        .until_status("the small node to be in step", |status| {
            in_step(status, "small").then_some(())
        });
    apis[0].revised().save(&world.active.tree).unwrap();
    equal("an edit after that");
}
