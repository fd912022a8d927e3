//! Exit codes and messages of what is done wrong, as scripts and people meet
//! them.

use std::{fs, net::UdpSocket};

use sync_tests::{Settings, World, node::finish};

#[test]
fn a_misspelt_key_is_named() {
    let world = World::new();
    world.active.edit_config(|config| {
        let watch = config["watch"].as_table_mut().unwrap();
        watch.insert("setle_ms".into(), 50.into());
    });
    for command in ["status", "daemon", "push", "verify"] {
        let outcome = world.active.run(&[command]).exits(2);
        assert!(outcome.stderr.contains("setle_ms"), "{}", outcome.stderr);
    }
}

#[test]
fn a_missing_configuration_names_the_file_and_what_makes_one() {
    let world = World::new();
    fs::remove_file(&world.active.config).unwrap();
    let outcome = world.active.run(&["status"]).exits(2);
    assert!(outcome.stderr.contains("config.toml"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("init"), "{}", outcome.stderr);
}

#[test]
fn init_never_overwrites() {
    let world = World::new();
    let before = fs::read(&world.active.config).unwrap();
    let mut command = world
        .active
        .command(&["init", "--name", "again", "--role", "active"]);
    command
        .arg("--tree")
        .arg(format!("t={}", world.active.tree.display()));
    command.arg("--state-dir").arg(&world.active.state);
    assert_ne!(finish(command).code, Some(0));
    assert_eq!(fs::read(&world.active.config).unwrap(), before);
}

#[test]
fn a_second_daemon_on_one_state_directory_is_refused() {
    let (world, _) = World::running(8);
    let outcome = world.active.run(&["daemon"]).exits(11);
    let state = world.active.state.to_str().unwrap();
    assert!(outcome.stderr.contains(state), "{}", outcome.stderr);
    world.verify_clean();
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let world = World::new();
    let _taken = UdpSocket::bind(&world.active.address).unwrap();
    let outcome = world.active.run(&["daemon"]).exits(1);
    assert!(
        outcome.stderr.contains(&world.active.address),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_peer_that_does_not_answer_is_unreachable() {
    let world = World::new();
    world.fill(8);
    let outcome = world.active.run(&["push", "--timeout", "2"]).exits(7);
    assert!(
        outcome.stderr.contains(&world.passive.address),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_passive_does_not_push() {
    let (world, _) = World::running(8);
    world.passive.run(&["push"]).exits(6);
}

#[test]
fn an_active_is_not_bootstrapped() {
    let (world, _) = World::running(8);
    world.active.run(&["bootstrap"]).exits(6);
}

#[test]
fn sigterm_ends_both_daemons_cleanly_and_status_still_tells_what_is_known() {
    let (mut world, _) = World::running(40);
    let root = world.passive.status()["trees"][0]["root"].clone();
    for node in [&mut world.active, &mut world.passive] {
        let ended = node.stop();
        assert!(ended.success(), "{ended}");
        let outcome = node.run(&["status", "--json"]).exits(7);
        assert_eq!(outcome.message("status")["trees"][0]["root"], root);
    }
}

#[test]
fn a_dry_run_lists_what_a_push_would_do_and_does_nothing() {
    let (mut world, apis) = World::running_with(40, &Settings::default());
    assert!(world.active.stop().success());
    apis[0].revised().save(&world.active.tree).unwrap();
    apis[1].delete(&world.active.tree).unwrap();
    let before = sync_tests::compare::snapshot(&world.passive.tree).unwrap();
    let outcome = world.active.run(&["push", "-n", "--json"]).exits(0);
    let count = |action: &str| {
        let changes = outcome.messages("change");
        changes
            .iter()
            .filter(|line| line["action"] == action)
            .count()
    };
    assert_eq!(
        (count("update"), count("delete")),
        (4, 4),
        "{}",
        outcome.stdout
    );
    assert_eq!(
        sync_tests::compare::snapshot(&world.passive.tree).unwrap(),
        before
    );

    let outcome = world.active.run(&["push", "-n", "-i"]).exits(0);
    let gone = apis[1].path();
    let line = format!("*deleting   {}", gone.display());
    assert!(outcome.stdout.contains(&line), "{}", outcome.stdout);
}

#[test]
fn every_command_has_help_with_examples() {
    let world = World::new();
    for command in [
        "init",
        "trust",
        "daemon",
        "bootstrap",
        "push",
        "verify",
        "status",
        "pause",
        "resume",
        "release",
        "demo",
    ] {
        let outcome = world.active.run(&[command, "--help"]).exits(0);
        let examples = outcome.stdout.matches("apim-sync ").count();
        assert!(examples >= 2, "{command}: {}", outcome.stdout);
    }
}
