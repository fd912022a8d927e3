//! Someone else changes the passive's tree.

use std::{fs, path::Path};

use serde_json::Value;
use sync_tests::{
    World,
    compare::{self, Strictness},
    deployer::Deployer,
    node::TREE,
    wait,
    world::names,
};

#[test]
fn a_hand_edit_is_named_then_kept_aside_when_the_source_changes() {
    let (world, apis) = World::running(40);
    let path = apis[0].path();
    let theirs = world.passive.tree.join(&path);
    fs::write(&theirs, "<api name=\"edited by hand\"/>").unwrap();
    let shown = path.to_str().unwrap();
    world
        .passive
        .until_status("the edit to be named", |status| {
            names(status, "drift", shown).then_some(())
        });
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
    assert!(kept_aside(&world, "<api name=\"edited by hand\"/>"));
    world.passive.until_status("no drift", |status| {
        (!names(status, "drift", shown)).then_some(())
    });
    world.verify_clean();
}

#[test]
fn a_bootstrap_without_a_daemon_heals_every_drift_too() {
    let (mut world, apis) = World::running(40);
    world.passive.stop();
    let tree = world.passive.tree.clone();
    fs::write(tree.join(apis[0].path()), "<edited/>").unwrap();
    fs::remove_file(tree.join(apis[1].path())).unwrap();
    fs::write(tree.join("default/api/extra.xml"), "<extra/>").unwrap();
    let generation = |status: &Value| status["trees"][0]["generation"].as_u64();
    let before = generation(&world.active.status());
    apis[2].revised().save(&world.active.tree).unwrap();
    world
        .active
        .until_status("the change to be published", |status| {
            (generation(status) > before).then_some(())
        });
    world.passive.run(&["bootstrap"]).exits(0);
    compare::equal(&world.active.tree, &tree, Strictness::Identity).unwrap();
    assert!(kept_aside(&world, "<edited/>"));
    assert!(kept_aside(&world, "<extra/>"));
}

#[test]
fn an_explicit_push_heals_every_drift_and_keeps_what_was_there() {
    let (world, apis) = World::running(40);
    let tree = &world.passive.tree;
    fs::write(tree.join(apis[0].path()), "<edited/>").unwrap();
    fs::remove_file(tree.join(apis[1].path())).unwrap();
    fs::write(tree.join("default/api/extra.xml"), "<extra/>").unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    world.verify_clean();
    assert!(kept_aside(&world, "<edited/>"));
    assert!(kept_aside(&world, "<extra/>"));
}

/// It asks for the passive's picture along with its greeting, and uses that.
#[test]
fn a_push_without_a_daemon_heals_every_drift_too() {
    let (mut world, apis) = World::running(40);
    world.active.stop();
    let tree = world.passive.tree.clone();
    fs::write(tree.join(apis[0].path()), "<edited/>").unwrap();
    fs::remove_file(tree.join(apis[1].path())).unwrap();
    fs::write(world.active.tree.join(apis[2].path()), "<changed/>").unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    assert!(kept_aside(&world, "<edited/>"));
    fs::write(tree.join(apis[3].path()), "<edited later/>").unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    assert!(kept_aside(&world, "<edited later/>"));
}

#[test]
fn what_the_deployer_rejects_is_told_from_what_a_hand_did() {
    let (mut world, apis) = World::running(40);
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    // Well-formed, so that the gate lets them through, and refused all the same:
    // the name of another artifact.
    let other = fs::read_to_string(world.active.tree.join(apis[1].path())).unwrap();
    let (updated, new) = (apis[0].path(), Path::new("default/api/new.xml"));
    world.save(&updated, &other);
    world.save(new, &other);
    world.until_equal(Strictness::Identity);
    deployer.poll();
    assert!(world.passive.tree.join(&updated).exists());
    assert!(!world.passive.tree.join(new).exists());
    let edited = apis[2].path();
    fs::write(world.passive.tree.join(&edited), "<edited/>").unwrap();
    let named = |status: &Value| {
        let rejected_update = drifted(status, &updated, "edited", "rejected");
        let rejected_new = drifted(status, new, "deleted", "rejected");
        let by_hand = drifted(status, &edited, "edited", "edited");
        (rejected_update && rejected_new && by_hand).then_some(())
    };
    world.passive.until_status("each to be named", named);
    // The evidence is on the disk: a restart finds it again.
    world.passive.stop();
    world.passive.start();
    world.passive.until_status("each to be named again", named);
    let screen = world.passive.run(&["status"]).exits(0).stdout;
    for line in [
        "default/api/new.xml  rejected by the deployer\n",
        ".xml  edited here\n",
        "rejected: the passive server's log says why",
    ] {
        assert!(screen.contains(line), "{line:?} in {screen}");
    }
}

#[test]
fn a_main_sequence_that_the_deployer_writes_again_is_told() {
    let (world, _) = World::running(40);
    let main = Path::new("default/sequences/main.xml");
    world.save(main, "<sequence name=\"main\"/>");
    world.until_equal(Strictness::Identity);
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    world.delete(main);
    world.until_equal(Strictness::Identity);
    deployer.poll();
    assert!(world.passive.tree.join(main).exists());
    world
        .passive
        .until_status("the sequence to be named", |status| {
            drifted(status, main, "created", "restored").then_some(())
        });
}

#[test]
fn a_symbolic_link_in_the_passives_tree_is_never_written_through() {
    let (world, apis) = World::running(40);
    let canary = world.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "outside").unwrap();
    let tree = &world.passive.tree;
    let file = tree.join(apis[0].path());
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(canary.join("file"), &file).unwrap();
    let directory = tree.join("default/local-entries");
    fs::remove_dir_all(&directory).unwrap();
    std::os::unix::fs::symlink(&canary, &directory).unwrap();

    apis[0].revised().save(&world.active.tree).unwrap();
    world.save("default/local-entries/new.xml", "<localEntry key=\"new\"/>");
    // Whether this push says 0 or 4 is not the subject.
    let _ = world.active.run(&["push", "--wait=applied"]);
    wait::until(
        "the link to be replaced by the file",
        wait::DEADLINE,
        || {
            let data = fs::symlink_metadata(&file).map_err(|error| error.to_string())?;
            wait::ensure(data.is_file(), "it is still a link")
        },
    );
    assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "outside");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
}

/// Whether a status says how a path differs and who did it.
fn drifted(status: &Value, path: &Path, kind: &str, cause: &str) -> bool {
    let drift = status["drift"].as_array().map_or(&[][..], Vec::as_slice);
    drift.iter().any(|it| {
        it["path"] == path.to_str().unwrap() && it["kind"] == kind && it["cause"] == cause
    })
}

/// Whether some file in the tree's `aside` directory has this content.
fn kept_aside(world: &World, content: &str) -> bool {
    let aside = world.passive.state.join("trees").join(TREE).join("aside");
    let Ok(files) = sync_tests::compare::snapshot(&aside) else {
        return false;
    };
    let kept = sync_tests::compare::Kind::File(content.into());
    files.values().any(|item| item.kind == kept)
}
