//! What the passive does about what a hand changed: `alert`, `heal`, `hold`.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use sync_tests::{
    Settings, World,
    artifacts::Api,
    compare::{self, Kind, Strictness},
    deployer::{Deployer, Sight},
    node::TREE,
    wait::{self, DEADLINE},
    world::names,
};

const BY_HAND: &str = "<api name=\"by hand\"/>";

/// Two nodes in step, the passive with this policy for its tree.
fn world(policy: &str) -> (World, Vec<Api>) {
    let mut world = World::with(&Settings {
        deploy_interval_s: Some(1),
        ..Settings::default()
    });
    let apis = world.fill(40);
    world.passive.edit_config(|config| {
        let trees = config["tree"].as_array_mut().unwrap();
        trees[0]
            .as_table_mut()
            .unwrap()
            .insert("drift".into(), policy.into());
    });
    world.active.start();
    world.passive.start();
    world.until_in_step();
    world.until_equal(Strictness::Times);
    (world, apis)
}

fn edit(world: &World, path: impl AsRef<Path>) {
    fs::write(world.passive.tree.join(path), BY_HAND).unwrap();
}

fn read(world: &World, path: impl AsRef<Path>) -> String {
    fs::read_to_string(world.passive.tree.join(path)).unwrap()
}

/// Whether some file in the tree's `aside` directory has this content.
fn kept_aside(world: &World, content: &str) -> bool {
    let aside = world.passive.state.join("trees").join(TREE).join("aside");
    let kept = Kind::File(content.into());
    compare::snapshot(&aside).is_ok_and(|files| files.values().any(|it| it.kind == kept))
}

fn until_named(world: &World, path: &Path) {
    world
        .active
        .until_status("the edit to be named on the active", |status| {
            names(status, "drift", path.to_str()?).then_some(())
        });
}

#[test]
fn alert_tells_and_the_next_change_of_the_path_replaces() {
    let (world, apis) = world("alert");
    let path = apis[0].path();
    edit(&world, &path);
    until_named(&world, &path);
    // Other paths go on; this one stays as it is.
    apis[1].revised().save(&world.active.tree).unwrap();
    world.until_in_step();
    assert_eq!(read(&world, &path), BY_HAND);
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
    assert!(kept_aside(&world, BY_HAND));
}

#[test]
fn heal_mends_within_seconds_what_was_edited_deleted_and_made() {
    let (world, apis) = world("heal");
    let tree = &world.passive.tree;
    let edited = apis[0].path();
    let made = PathBuf::from("default/api/made.xml");
    let before = fs::metadata(tree.join(&edited)).unwrap().mtime();
    edit(&world, &edited);
    fs::remove_file(tree.join(apis[1].path())).unwrap();
    edit(&world, &made);
    // The edit has the time of what it replaced: the deployer saw that already.
    let file = fs::File::options()
        .write(true)
        .open(tree.join(&edited))
        .unwrap();
    let seconds = Duration::from_secs(u64::try_from(before).unwrap());
    file.set_modified(std::time::UNIX_EPOCH + seconds).unwrap();
    world.until_equal(Strictness::Identity);
    assert!(!tree.join(&made).exists());
    assert!(kept_aside(&world, BY_HAND));
    let after = fs::metadata(tree.join(&edited)).unwrap().mtime();
    assert_ne!(after, before, "the deployer reads it again");
    world.active.until_status("no drift", |status| {
        status["drift"].as_array()?.is_empty().then_some(())
    });
    world.verify_clean();
}

#[test]
fn heal_asks_again_after_a_restart_for_what_happened_meanwhile() {
    let (mut world, apis) = world("heal");
    world.passive.stop();
    edit(&world, apis[0].path());
    world.passive.start();
    world.until_equal(Strictness::Identity);
    assert!(kept_aside(&world, BY_HAND));
}

#[test]
fn heal_never_loops_against_a_deployer_that_rejects() {
    let (world, apis) = world("heal");
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    let deployer = deployer.run(Duration::from_millis(50));
    // The name of another artifact: it travels, and the deployer refuses it.
    let refused = apis[1].files()[0].1.clone();
    let path = apis[0].path();
    world.save(&path, &refused);
    let outcome = world.active.run(&["push", "--wait=deployed"]).exits(9);
    assert!(outcome.stdout.contains("rejected"), "{}", outcome.stdout);
    // A hand edit elsewhere is healed: so healing had its chance meanwhile.
    edit(&world, "default/local-entries/made.xml");
    wait::until("the other path to be healed", DEADLINE, || {
        let made = world.passive.tree.join("default/local-entries/made.xml");
        wait::ensure(!made.exists(), "it is still there")
    });
    // Its source changes: then it is sent, and taken.
    apis[0].revised().save(&world.active.tree).unwrap();
    let outcome = world.active.run(&["push", "--wait=deployed"]).exits(0);
    assert!(!outcome.stdout.contains("rejected"), "{}", outcome.stdout);
    let deployer = deployer.finish();
    let times = |wanted: &Sight| deployer.sights().iter().filter(|it| *it == wanted).count();
    // Once when it was saved; `push` sends everything anew, once more.
    let rejected = times(&Sight::Rejected(world.passive.tree.join(&path)));
    assert!(rejected <= 2, "rejected {rejected} times");
}

#[test]
fn heal_gives_up_on_what_changes_again_each_time() {
    let (world, apis) = world("heal");
    let path = apis[0].path();
    let agreed = read(&world, &path);
    for number in 0..3 {
        fs::write(
            world.passive.tree.join(&path),
            format!("<edit number=\"{number}\"/>"),
        )
        .unwrap();
        wait::until("the edit to be healed", DEADLINE, || {
            wait::ensure(read(&world, &path) == agreed, "it is still there")
        });
    }
    edit(&world, &path);
    until_named(&world, &path);
    // Another path is healed, this one is not any more.
    fs::remove_file(world.passive.tree.join(apis[1].path())).unwrap();
    wait::until("the other path to be healed", DEADLINE, || {
        let there = world.passive.tree.join(apis[1].path()).exists();
        wait::ensure(there, "it is still missing")
    });
    assert_eq!(read(&world, &path), BY_HAND);
    world.push();
    assert_eq!(read(&world, &path), agreed);
}

#[test]
fn hold_takes_nothing_that_would_replace_an_edit_until_it_is_released() {
    let (world, apis) = world("hold");
    let path = apis[0].path();
    edit(&world, &path);
    until_named(&world, &path);
    // What does not touch it flows.
    apis[1].revised().save(&world.active.tree).unwrap();
    world.until_in_step();
    let wanted = apis[0].revised().files()[0].1.clone();
    world.save(&path, &wanted);
    let outcome = world.active.run(&["push", "--wait=applied"]).exits(5);
    assert!(
        outcome.stderr.contains("apim-sync release"),
        "{}",
        outcome.stderr
    );
    assert_eq!(read(&world, &path), BY_HAND);
    for node in [&world.active, &world.passive] {
        node.until_status("the held plan to be shown", |status| {
            let plans = status["guard"]["plans"].as_array()?;
            plans.iter().any(|plan| plan["drifted"] == 1).then_some(())
        });
    }
    let screen = world.active.run(&["status"]).exits(0).stdout;
    let words = "would replace 1 path of synapse-configs changed on apim-2";
    assert!(screen.contains(words), "{screen}");
    let screen = world.passive.run(&["status"]).exits(0).stdout;
    assert!(screen.contains("changed here\n"), "{screen}");

    // Another edit asks for another decision.
    let first = plan(&world);
    fs::write(world.passive.tree.join(&path), "<api name=\"once more\"/>").unwrap();
    let second = wait::until("the new edit to be held", DEADLINE, || {
        let now = plan(&world);
        (now != first).then_some(now).ok_or("it is the same plan")
    });
    world.active.run(&["release", &first]).exits(2);
    world.active.run(&["release", &second]).exits(0);
    wait::until("the released change to be applied", DEADLINE, || {
        wait::ensure(read(&world, &path) == wanted, "it is not there yet")
    });
    assert!(kept_aside(&world, "<api name=\"once more\"/>"));
    world.active.until_status("nothing to be halted", |status| {
        (status["guard"]["halted"] == false).then_some(())
    });
}

/// The plan that the active shows as halted.
fn plan(world: &World) -> String {
    world.active.until_status("a halted plan", |status| {
        let plan = status["guard"]["plans"].as_array()?.first()?;
        plan["plan"].as_str().map(str::to_owned)
    })
}

#[test]
fn hold_lets_go_when_the_hand_edit_is_taken_back() {
    let (world, apis) = world("hold");
    let path = apis[0].path();
    let agreed = read(&world, &path);
    edit(&world, &path);
    apis[0].revised().save(&world.active.tree).unwrap();
    world
        .active
        .until_status("the plan to be halted", |status| {
            (status["guard"]["halted"] == true).then_some(())
        });
    fs::write(world.passive.tree.join(&path), agreed).unwrap();
    world.until_equal(Strictness::Identity);
    world
        .active
        .until_status("nothing to be halted", |status: &Value| {
            (status["guard"]["halted"] == false).then_some(())
        });
}

#[test]
fn hold_does_not_hold_back_the_correction_of_what_the_deployer_rejected() {
    let (world, apis) = world("hold");
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    let refused = apis[1].files()[0].1.clone();
    world.save(apis[0].path(), &refused);
    world.until_equal(Strictness::Identity);
    deployer.poll();
    until_named(&world, &apis[0].path());
    let corrected = apis[0].revised();
    corrected.save(&world.active.tree).unwrap();
    wait::until("the correction to be applied", DEADLINE, || {
        let is_there = read(&world, corrected.path()) == corrected.files()[0].1;
        wait::ensure(is_there, "it is not there yet")
    });
}
