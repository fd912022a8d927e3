//! Who may talk to whom.

use std::fs;

use sync_tests::{Node, Role, Settings, World, compare::Strictness, world::peer_of};

#[test]
fn a_stranger_gets_nothing() {
    let (world, _) = World::running(8);
    let home = world.path().join("stranger");
    let stranger = Node::init(&home, "stranger", Role::Passive, &Settings::default());
    stranger.trust(&world.active);
    let outcome = stranger.run(&["bootstrap"]).exits(8);
    assert!(!outcome.stderr.is_empty());
    assert_eq!(fs::read_dir(&stranger.tree).unwrap().count(), 0);
}

#[test]
fn an_address_where_another_key_answers_is_refused() {
    let mut world = World::new();
    world.fill(8);
    let home = world.path().join("other");
    let other = Node::init(&home, "other", Role::Active, &Settings::default());
    world.passive.run(&["trust", "remove", "apim-1"]).exits(0);
    let id = ["trust", "add", "apim-1", "--id", &other.id];
    let arguments = [&id[..], &["--address", &world.active.address]].concat();
    world.passive.run(&arguments).exits(0);
    world.active.start();
    world.passive.run(&["bootstrap"]).exits(8);
    assert_eq!(fs::read_dir(&world.passive.tree).unwrap().count(), 0);
}

#[test]
fn a_removed_peer_is_cut_off_at_once_and_comes_back_when_added() {
    let (world, apis) = World::running(8);
    world.active.run(&["trust", "remove", "apim-2"]).exits(0);
    world
        .passive
        .until_status("the connection to be cut", |status| {
            let state = &peer_of(status, "apim-1")?["state"];
            (state != "connected").then_some(())
        });
    apis[0].revised().save(&world.active.tree).unwrap();
    world.active.trust(&world.passive);
    world.until_equal(Strictness::Identity);
}

#[test]
fn the_list_of_peers_shows_names_ids_and_addresses() {
    let world = World::new();
    let outcome = world.active.run(&["trust", "list"]).exits(0);
    for word in ["apim-2", &world.passive.id, &world.passive.address] {
        assert!(outcome.stdout.contains(word), "{}", outcome.stdout);
    }
}

#[test]
fn the_key_can_be_read_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let state = fs::metadata(&world.active.state).unwrap();
    assert_eq!(state.permissions().mode() & 0o077, 0);
    for item in fs::read_dir(&world.active.state).unwrap().flatten() {
        let name = item.file_name().to_string_lossy().into_owned();
        if name.contains("key") {
            assert_eq!(
                item.metadata().unwrap().permissions().mode() & 0o077,
                0,
                "{name}"
            );
        }
    }
}
