//! Back to an earlier generation, as a new one.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use sync_tests::{
    Settings, World, artifacts,
    compare::Strictness,
    node::{Node, TREE},
    wait::{self, DEADLINE},
};

const API: &str = "default/api";

fn api(name: &str, revision: u32) -> String {
    format!(
        "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/{revision}\"/>"
    )
}

fn at(name: &str) -> String {
    format!("{API}/{name}.xml")
}

fn read(node: &Node, name: &str) -> Option<String> {
    fs::read_to_string(node.tree.join(at(name))).ok()
}

/// The generation at which the active stands.
fn generation(node: &Node) -> u64 {
    let trees = &node.status()["trees"];
    trees[0]["generation"].as_u64().unwrap()
}

fn newest(node: &Node) -> Value {
    let listed = node.run(&["history", "--limit", "1", "--json"]).exits(0);
    listed.message("generation")
}

/// An edited, a deleted, a renamed and a new file, and the generation before that.
fn changed(world: &World) -> u64 {
    for name in ["edited", "deleted", "renamed"] {
        world.save(at(name), &api(name, 1));
    }
    world.push();
    let before = generation(&world.active);
    world.save(at("edited"), &api("edited", 2));
    world.push();
    world.save(at("edited"), &api("edited", 3));
    world.delete(at("deleted"));
    let tree = &world.active.tree;
    fs::rename(tree.join(at("renamed")), tree.join(at("moved"))).unwrap();
    world.save(at("new"), &api("new", 1));
    world.push();
    before
}

/// Checks that both nodes have what they had before [`changed`]'s changes.
fn is_as_before(world: &World) {
    for node in [&world.active, &world.passive] {
        for name in ["edited", "deleted", "renamed"] {
            assert_eq!(
                read(node, name),
                Some(api(name, 1)),
                "{name} on {}",
                node.name
            );
        }
        for name in ["moved", "new"] {
            assert_eq!(read(node, name), None, "{name} on {}", node.name);
        }
    }
    world.until_equal(Strictness::Identity);
    world.verify_clean();
}

fn all_contents(directory: &Path, into: &mut Vec<String>) {
    for item in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = item.path();
        match path.is_dir() {
            true => all_contents(&path, into),
            false => into.push(fs::read_to_string(path).unwrap_or_default()),
        }
    }
}

/// Everything in the tree and in the work directory of a node.
fn everything(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    all_contents(&node.tree, &mut found);
    all_contents(&node.state.join("trees").join(TREE), &mut found);
    found
}

#[test]
fn edits_deletions_and_renames_are_undone_with_contents_of_the_passive() {
    let (world, _) = World::running(20);
    let before = changed(&world);
    let at_then = generation(&world.active);
    let edited = fs::metadata(world.active.tree.join(at("edited"))).unwrap();

    let planned = world
        .active
        .run(&["rollback", &before.to_string(), "-n", "--json"])
        .exits(0);
    let paths: Vec<_> = planned.messages("change");
    assert_eq!(
        paths.len(),
        4,
        "edited, deleted, renamed back, new: {paths:?}"
    );
    assert_eq!(planned.message("summary")["dry_run"], true);
    assert_eq!(generation(&world.active), at_then, "a plan changes nothing");
    assert_eq!(read(&world.active, "edited"), Some(api("edited", 3)));

    let outcome = world
        .active
        .run(&["rollback", &before.to_string(), "--json"])
        .exits(0);
    assert_eq!(outcome.message("summary")["generation"], at_then + 1);
    is_as_before(&world);
    let now = fs::metadata(world.active.tree.join(at("edited"))).unwrap();
    let seconds = |it: &fs::Metadata| {
        let since = it.modified().unwrap().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs()
    };
    assert_ne!(
        seconds(&edited),
        seconds(&now),
        "the deployer has to see it"
    );
    let told = newest(&world.active);
    assert_eq!(
        (&told["origin"], &told["to"]),
        (&"rollback".into(), &before.into())
    );

    // And forward again: what the rollback replaced is kept too.
    world
        .active
        .run(&["rollback", &at_then.to_string()])
        .exits(0);
    assert_eq!(read(&world.passive, "edited"), Some(api("edited", 3)));
    assert_eq!(read(&world.passive, "moved"), Some(api("renamed", 1)));
    world.verify_clean();
    // Once there, nothing is to be done.
    let outcome = world
        .active
        .run(&["rollback", &(at_then + 2).to_string()])
        .exits(0);
    assert!(
        outcome.stderr.contains("stands there already"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn one_path_goes_back_alone() {
    let (world, _) = World::running(20);
    let before = changed(&world);
    let only = at("edited");
    world
        .active
        .run(&["rollback", &before.to_string(), "--only", &only])
        .exits(0);
    assert_eq!(read(&world.passive, "edited"), Some(api("edited", 1)));
    assert_eq!(read(&world.passive, "new"), Some(api("new", 1)));
    assert_eq!(read(&world.passive, "deleted"), None);
    world.verify_clean();
}

#[test]
fn it_works_without_a_daemon_on_the_active() {
    let (mut world, _) = World::running(20);
    let before = changed(&world);
    world.active.stop();
    world
        .active
        .run(&["rollback", &before.to_string()])
        .exits(0);
    world.active.start();
    is_as_before(&world);
}

#[test]
fn what_cannot_be_done_is_told_before_anything_changes() {
    let (mut world, _) = World::running(20);
    let before = changed(&world).to_string();
    let stands = generation(&world.active);

    let passive = world.passive.run(&["rollback", &before]).exits(6);
    assert!(passive.stderr.contains("on `apim-1`"), "{}", passive.stderr);
    let unknown = world.active.run(&["rollback", "999"]).exits(2);
    assert!(
        unknown.stderr.contains("the oldest that is kept is 1"),
        "{}",
        unknown.stderr
    );

    world.passive.stop();
    let away = world.active.run(&["rollback", &before]).exits(7);
    assert!(
        away.stderr.contains("nothing was changed"),
        "{}",
        away.stderr
    );
    let archive = world.passive.state.join("trees").join(TREE).join("archive");
    let contents = fs::read_dir(&archive).unwrap().flatten();
    let contents = contents.filter(|it| it.file_name().to_string_lossy().starts_with("c-"));
    // One is gone, the others lie: neither is taken for what it was.
    for (n, content) in contents.enumerate() {
        match n {
            0 => fs::remove_file(content.path()).unwrap(),
            _ => fs::write(content.path(), "<something-else/>").unwrap(),
        }
    }
    world.passive.start();
    world.until_in_step();
    let gone = world.active.run(&["rollback", &before]).exits(1);
    assert!(
        gone.stderr.contains("the content that `default/api/"),
        "{}",
        gone.stderr
    );
    assert!(
        gone.stderr.contains("nothing was changed"),
        "{}",
        gone.stderr
    );
    assert_eq!(generation(&world.active), stands);
    assert_eq!(read(&world.active, "edited"), Some(api("edited", 3)));
    world.verify_clean();
}

#[test]
fn the_guard_judges_a_rollback_and_can_be_overruled() {
    let (world, _) = World::running(20);
    world.save(at("one"), &api("one", 1));
    world.push();
    let before = generation(&world.active).to_string();
    for n in 0..30 {
        world.save(at(&format!("many-{n}")), &api("many", n));
    }
    world.push();
    let halted = world.active.run(&["rollback", &before]).exits(5);
    let plan = halted.stderr.split("release ").nth(1).unwrap();
    let plan = plan.split('`').next().unwrap().to_owned();
    assert!(read(&world.active, "many-7").is_some());
    world.active.run(&["release", &plan]).exits(0);
    world.active.run(&["rollback", &before]).exits(0);
    for node in [&world.active, &world.passive] {
        assert_eq!(read(node, "many-7"), None, "{}", node.name);
        assert_eq!(read(node, "one"), Some(api("one", 1)));
    }
    world.verify_clean();
}

#[test]
fn an_edit_made_at_the_same_time_is_never_lost() {
    let (world, _) = World::running(20);
    let files: Vec<String> = (0..60).map(|n| format!("file-{n}")).collect();
    for name in &files {
        world.save(at(name), &api(name, 1));
    }
    world.push();
    let before = generation(&world.active).to_string();
    for name in &files {
        world.save(at(name), &api(name, 2));
    }
    world.push();
    let over = AtomicBool::new(false);
    let last: Vec<u32> = thread::scope(|scope| {
        let editing = scope.spawn(|| {
            let mut last = vec![2; files.len()];
            for revision in 3.. {
                let n = revision as usize % files.len();
                let path = world.active.tree.join(at(&files[n]));
                artifacts::save(&path, api(&files[n], revision).as_bytes()).unwrap();
                last[n] = revision;
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // Bursts, between which the tree settles now and then.
                let pause = if revision % 8 == 0 { 90 } else { 1 };
                thread::sleep(Duration::from_millis(pause));
            }
            last
        });
        // A tree that changes all the time may be too much for it: that is told.
        let outcome = world.active.run(&["rollback", &before]);
        over.store(true, Ordering::Relaxed);
        assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
        editing.join().unwrap()
    });
    world.push();
    world.until_equal(Strictness::Identity);
    let kept = everything(&world.active);
    for (name, revision) in files.iter().zip(last) {
        let content = api(name, revision);
        let is_kept = kept.contains(&content);
        assert!(revision == 2 || is_kept, "revision {revision} of {name}");
    }
    world.verify_clean();
}

#[test]
fn a_rollback_that_was_killed_is_finished_by_the_next() {
    let (mut world, _) = World::running(10);
    // What an active saw is saved now and then, and when it stops.
    world.active.stop();
    world.active.start();
    let files: Vec<String> = (0..400).map(|n| format!("file-{n}")).collect();
    for name in &files {
        world.save(at(name), &api(name, 1));
    }
    world.push();
    let before = generation(&world.active).to_string();
    for name in &files {
        world.save(at(name), &api(name, 2));
    }
    world.push();
    let mut command = world.active.command(&["rollback", &before]);
    let mut child = command.spawn().unwrap();
    wait::until("the first file to go back", DEADLINE, || {
        let back = files
            .iter()
            .any(|name| read(&world.active, name) == Some(api(name, 1)));
        wait::ensure(back, "none yet")
    });
    world.active.kill();
    child.wait().unwrap();
    world.active.start();
    world.active.run(&["rollback", &before]).exits(0);
    for name in &files {
        assert_eq!(read(&world.passive, name), Some(api(name, 1)), "{name}");
    }
    world.until_equal(Strictness::Identity);
    world.verify_clean();
}

#[test]
fn a_new_active_goes_back_beyond_its_promotion() {
    let (world, _) = World::running(20);
    let before = changed(&world).to_string();
    world.passive.run(&["promote"]).exits(0);
    let new = &world.passive;
    wait::until("the old active to follow", DEADLINE, || {
        wait::ensure(world.active.status()["role"] == "passive", "not yet")
    });
    artifacts::save(&new.tree.join(at("edited")), api("edited", 4).as_bytes()).unwrap();
    new.run(&["push"]).exits(0);
    // What it replaced as a passive it has itself.
    new.run(&["rollback", &before]).exits(0);
    new.run(&["verify"]).exits(0);
    for node in [&world.active, &world.passive] {
        assert_eq!(
            read(node, "edited"),
            Some(api("edited", 1)),
            "{}",
            node.name
        );
        assert_eq!(
            read(node, "deleted"),
            Some(api("deleted", 1)),
            "{}",
            node.name
        );
        assert_eq!(read(node, "new"), None, "{}", node.name);
    }
}

#[test]
fn large_contents_come_back_whole() {
    let settings = Settings {
        preset: "plain",
        ..Settings::default()
    };
    let (world, _) = World::running_with(5, &settings);
    let large = |seed: u8| -> Vec<u8> {
        let mut state = u32::from(seed) + 1;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(1_500_000).collect()
    };
    let path = world.active.tree.join("large.jar");
    artifacts::save(&path, &large(1)).unwrap();
    world.push();
    let before = generation(&world.active).to_string();
    artifacts::save(&path, &large(2)).unwrap();
    world.push();
    world.active.run(&["rollback", &before]).exits(0);
    assert!(fs::read(&path).unwrap() == large(1));
    world.until_equal(Strictness::Times);
}
