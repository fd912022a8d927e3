//! Changes that settle together in several trees become visible together.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use sync_tests::{
    Rng, World, artifacts,
    compare::{self, Strictness},
    node::Node,
    wait::{self, DEADLINE},
};

/// The second tree of both nodes.
const PLANS: &str = "executionplans";

/// Two nodes with two trees each, their daemons not running.
fn two_trees() -> World {
    let world = World::new();
    for node in [&world.active, &world.passive] {
        let path = plans(node);
        fs::create_dir_all(&path).unwrap();
        node.edit_config(|config| {
            let mut tree = config["tree"][0].clone();
            let table = tree.as_table_mut().unwrap();
            table.insert("name".into(), PLANS.into());
            table.insert("path".into(), path.to_str().unwrap().into());
            config["tree"].as_array_mut().unwrap().push(tree);
        });
    }
    save(&world, 0);
    world
}

fn plans(node: &Node) -> PathBuf {
    node.tree.with_file_name(PLANS)
}

/// Files of each tree.
const FILES: usize = 40;

/// Writes one version of every file of both trees.
fn save(world: &World, version: u64) {
    for tree in [world.active.tree.clone(), plans(&world.active)] {
        for number in 0..FILES {
            let path = tree.join(format!("default/sequences/s{number}.xml"));
            let text = format!("<sequence name=\"s{number}\" description=\"{version}\"/>");
            artifacts::save(&path, text.as_bytes()).unwrap();
        }
    }
}

/// The version that a whole tree shows; none where its files differ in it.
fn version(tree: &Path) -> Option<u64> {
    let mut versions = (0..FILES).map(|number| {
        let path = tree.join(format!("default/sequences/s{number}.xml"));
        let text = fs::read_to_string(path).ok()?;
        let (_, rest) = text.split_once("description=\"")?;
        rest.split_once('"')?.0.parse::<u64>().ok()
    });
    let first = versions.next()??;
    versions.all(|it| it == Some(first)).then_some(first)
}

fn versions(node: &Node) -> [Option<u64>; 2] {
    [version(&node.tree), version(&plans(node))]
}

fn until_both_show(node: &Node, expected: u64) {
    wait::until("both trees to show the version", DEADLINE, || {
        let shown = versions(node);
        wait::ensure(
            shown == [Some(expected); 2],
            format!("{shown:?} instead of {expected}"),
        )
    });
}

/// How many spans the passive has applied.
fn spans(world: &World) -> usize {
    world.passive.log().matches("applied together").count()
}

#[test]
fn a_passive_killed_at_any_moment_has_both_trees_of_a_span_or_neither() {
    let mut rng = Rng::printed();
    let mut world = two_trees();
    world.passive.start();
    world.push();
    until_both_show(&world.passive, 0);
    let mut between = 0;
    for round in 1..=20 {
        save(&world, round);
        let mut push = world.active.command(&["push", "--wait=applied"]);
        push.stdout(Stdio::null()).stderr(Stdio::null());
        let mut push = push.spawn().unwrap();
        // Not a wait: a random moment is the subject.
        thread::sleep(Duration::from_millis(rng.within(20, 160)));
        world.passive.kill();
        push.kill().unwrap();
        push.wait().unwrap();
        // No active runs: what is there now is what recovery made of it.
        world.passive.start();
        let [one, other] = versions(&world.passive);
        assert_eq!(one, other, "round {round}");
        assert!(one == Some(round) || one == Some(round - 1), "{one:?}");
        between += u32::from(one != Some(round));
        world.push();
        until_both_show(&world.passive, round);
    }
    assert!(spans(&world) > 0, "no span came through in 20 rounds");
    assert!(between > 0, "no kill came before a commit in 20 rounds");
    world.active.run(&["verify"]).exits(0);
}

#[test]
fn what_settles_together_goes_together_and_one_tree_by_itself() {
    let mut world = two_trees();
    world.active.start();
    world.passive.start();
    until_both_show(&world.passive, 0);
    world.until_in_step();
    let before = spans(&world);
    save(&world, 1);
    until_both_show(&world.passive, 1);
    wait::until("the span to be told", DEADLINE, || {
        wait::ensure(spans(&world) > before, world.passive.log())
    });

    // A connection that was cut changes nothing about that.
    world.until_in_step();
    world.passive.kill();
    let before = spans(&world);
    save(&world, 2);
    world
        .active
        .until_status("both trees to be behind", |status| {
            let pending = status["peers"][0]["pending_files"].as_u64()?;
            (pending == 2 * FILES as u64).then_some(())
        });
    world.passive.start();
    until_both_show(&world.passive, 2);
    world.until_in_step();
    assert_eq!(spans(&world), before + 1, "{}", world.passive.log());

    world.save("default/api/alone.xml", "<api name=\"alone\"/>");
    world.until_equal(Strictness::Identity);
    assert_eq!(spans(&world), before + 1);
    world.active.run(&["verify"]).exits(0);
}

#[test]
fn a_tree_that_is_halted_or_refused_does_not_hold_up_the_other() {
    let mut world = two_trees();
    // The passive takes nothing of that name.
    world.passive.edit_config(|config| {
        let exclude = vec!["refused.xml".to_owned()];
        config["tree"].as_array_mut().unwrap()[1]
            .as_table_mut()
            .unwrap()
            .insert("exclude".into(), exclude.into());
    });
    world.active.start();
    world.passive.start();
    until_both_show(&world.passive, 0);
    world.until_in_step();

    let refused = plans(&world.active).join("default/sequences/refused.xml");
    artifacts::save(&refused, b"<sequence name=\"refused\"/>").unwrap();
    world.save("default/api/taken.xml", "<api name=\"taken\"/>");
    world.until_equal(Strictness::Identity);
    assert!(
        !plans(&world.passive)
            .join("default/sequences/refused.xml")
            .exists()
    );
    fs::remove_file(&refused).unwrap();
    world.push();

    fs::remove_dir_all(plans(&world.active).join("default")).unwrap();
    world.save(
        "default/api/taken.xml",
        "<api name=\"taken\" context=\"/again\"/>",
    );
    world.until_equal(Strictness::Identity);
    assert_eq!(version(&plans(&world.passive)), Some(0));
    let equal = compare::equal(
        &world.active.tree,
        &world.passive.tree,
        Strictness::Identity,
    );
    equal.unwrap();
}
