//! `verify` names every difference and changes nothing.

use std::{fs, os::unix::fs::PermissionsExt};

use sync_tests::{
    World,
    compare::{self, Strictness},
};

#[test]
fn nodes_in_step_verify_clean_and_show_the_same_root() {
    let (world, _) = World::running(100);
    let outcome = world.active.run(&["verify", "--json"]).exits(0);
    let summary = outcome.message("summary");
    assert_eq!(summary["in_sync"], true);
    assert_eq!(summary["files"], 100);
    assert_eq!(summary["differences"], 0);
    assert_eq!(summary["root_local"], summary["root_peer"]);
    let root = |node: &sync_tests::Node| node.status()["trees"][0]["root"].clone();
    assert_eq!(root(&world.active), root(&world.passive));
    assert_eq!(root(&world.active), summary["root_local"]);
    world.active.run(&["verify", "--quick"]).exits(0);
    world.passive.run(&["verify"]).exits(0);
}

#[test]
fn every_kind_of_drift_is_named_and_nothing_is_changed() {
    let (world, apis) = World::running(40);
    let path = |number: usize| apis[number].path();
    let drifted = |number| world.passive.tree.join(path(number));

    flip_one_bit(&drifted(0));
    fs::remove_file(drifted(1)).unwrap();
    fs::write(world.passive.tree.join("default/api/extra.xml"), "<a/>").unwrap();
    fs::set_permissions(drifted(2), fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(drifted(3)).unwrap();
    fs::create_dir(drifted(3)).unwrap();
    let before = compare::snapshot(&world.passive.tree).unwrap();

    let outcome = world.active.run(&["verify", "--json"]).exits(3);
    let mut found: Vec<(String, String)> = outcome
        .messages("difference")
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (text("path"), text("kind"))
        })
        .collect();
    found.sort();
    let name = |number: usize| path(number).to_str().unwrap().to_owned();
    let expected = [
        (name(0), "content".to_owned()),
        (name(1), "missing".to_owned()),
        (name(2), "metadata".to_owned()),
        (name(3), "content".to_owned()),
        ("default/api/extra.xml".to_owned(), "extra".to_owned()),
    ];
    assert_eq!(found, expected);
    let summary = outcome.message("summary");
    assert_eq!(summary["differences"], 5);
    assert_eq!(summary["in_sync"], false);

    let after = compare::snapshot(&world.passive.tree).unwrap();
    let changed = compare::differences(&before, &after, Strictness::Times);
    assert_eq!(changed, Vec::<String>::new());
}

#[test]
fn verify_works_without_a_daemon_on_the_asking_side() {
    let (mut world, apis) = World::running(40);
    assert!(world.active.stop().success());
    world.verify_clean();
    // An edit that waits to be sent is a difference, not an order to send it.
    apis[0].revised().save(&world.active.tree).unwrap();
    let before = compare::snapshot(&world.passive.tree).unwrap();
    world.active.run(&["verify"]).exits(3);
    assert_eq!(compare::snapshot(&world.passive.tree).unwrap(), before);
}

#[test]
fn combined_output_marks_every_path_as_rclone_does() {
    let (world, apis) = World::running(8);
    fs::write(world.passive.tree.join("default/api/extra.xml"), "<a/>").unwrap();
    fs::remove_file(world.passive.tree.join(apis[0].path())).unwrap();
    fs::write(world.passive.tree.join(apis[1].path()), "<a/>").unwrap();
    let outcome = world.active.run(&["verify", "--combined"]).exits(3);
    let marks = |mark: char| {
        outcome
            .stdout
            .lines()
            .filter(|line| line.starts_with(mark))
            .count()
    };
    assert_eq!(
        (marks('+'), marks('-'), marks('*')),
        (1, 1, 1),
        "{}",
        outcome.stdout
    );
    assert!(marks('=') >= 6, "{}", outcome.stdout);
}

/// Changes content but neither length nor modification time: what a failing
/// disk does, and what a copier that looks at times never sees.
fn flip_one_bit(path: &std::path::Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}
