//! kill -9 at any moment leaves whole generations and nothing else.

use std::{process::Stdio, thread, time::Duration};

use sync_tests::{
    Rng, World,
    artifacts::{Api, FILES_PER_API},
    compare::{self, Strictness},
};

/// APIs in one generation: 300 files.
const APIS: usize = 75;

#[test]
fn a_passive_killed_at_any_moment_stands_at_one_generation() {
    let mut rng = Rng::printed();
    let mut world = World::new();
    let mut apis = world.fill(APIS * FILES_PER_API);
    world.passive.start();
    world.push();
    for round in 0..12 {
        let (old, new) = (
            apis.clone(),
            apis.iter().map(Api::revised).collect::<Vec<_>>(),
        );
        new.iter()
            .for_each(|api| api.save(&world.active.tree).unwrap());
        kill_during_a_push(&mut world, rng.within(1, 120));
        // No active runs: what is there now is what recovery made of it.
        world.passive.start();
        let (olds, news) = (present(&world, &old), present(&world, &new));
        let all = APIS * FILES_PER_API;
        assert!(
            (olds, news) == (all, unchanged(&old, &new)) || news == all,
            "round {round}: {olds} files of the old generation and {news} of the new one"
        );
        world.push();
        world.until_equal(Strictness::Identity);
        apis = new;
    }
    assert_eq!(world.passive.work("staging"), Vec::<String>::new());
    world.verify_clean();
}

/// Kills the passive `delay_ms` after a one-shot push began.
fn kill_during_a_push(world: &mut World, delay_ms: u64) {
    let mut command = world.active.command(&["push", "--wait=applied"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut push = command.spawn().unwrap();
    // Not a wait: a random moment is the subject.
    thread::sleep(Duration::from_millis(delay_ms));
    world.passive.kill();
    push.kill().unwrap();
    push.wait().unwrap();
}

/// How many files of `apis` the passive shows exactly.
fn present(world: &World, apis: &[Api]) -> usize {
    let files = apis.iter().flat_map(Api::files);
    files
        .filter(|(path, content)| {
            std::fs::read(world.passive.tree.join(path))
                .is_ok_and(|found| found == content.as_bytes())
        })
        .count()
}

/// Files that are the same in both generations.
fn unchanged(old: &[Api], new: &[Api]) -> usize {
    let pairs = old
        .iter()
        .flat_map(Api::files)
        .zip(new.iter().flat_map(Api::files));
    pairs.filter(|(old, new)| old == new).count()
}

#[test]
fn an_active_killed_during_edits_loses_none_of_them() {
    let mut rng = Rng::printed();
    let (mut world, mut apis) = World::running(80);
    for _ in 0..5 {
        apis = apis.iter().map(Api::revised).collect();
        apis.iter()
            .for_each(|api| api.save(&world.active.tree).unwrap());
        thread::sleep(Duration::from_millis(rng.within(0, 150)));
        world.active.kill();
        // Edits nobody watches.
        apis[0] = apis[0].revised();
        apis[0].save(&world.active.tree).unwrap();
        world.active.start();
        world.until_equal(Strictness::Identity);
    }
    world.until_in_step();
    world.verify_clean();
}

#[test]
fn both_nodes_killed_at_once_come_back_in_step() {
    let (mut world, apis) = World::running(80);
    apis.iter()
        .for_each(|api| api.revised().save(&world.active.tree).unwrap());
    world.active.kill();
    world.passive.kill();
    world.passive.start();
    world.active.start();
    world.until_equal(Strictness::Identity);
    world.until_in_step();
}

#[test]
fn a_killed_passive_that_returns_alone_serves_the_last_generation() {
    let (mut world, _) = World::running(80);
    world.passive.kill();
    world.active.kill();
    let before = compare::snapshot(&world.passive.tree).unwrap();
    world.passive.start();
    let after = compare::snapshot(&world.passive.tree).unwrap();
    assert_eq!(
        compare::differences(&before, &after, Strictness::Times),
        Vec::<String>::new()
    );
}
