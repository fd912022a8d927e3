//! Someone else changes the passive's tree.

use std::fs;

use sync_tests::{World, compare::Strictness, deployer::Deployer, node::TREE, wait, world::names};

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

#[test]
fn what_the_deployer_rejects_is_named() {
    let (world, apis) = World::running(40);
    let path = apis[0].path();
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    // Well-formed, so that the gate lets it through, and refused all the same:
    // the name of another artifact.
    let other = fs::read_to_string(world.active.tree.join(apis[1].path())).unwrap();
    world.save(&path, &other);
    world.until_equal(Strictness::Identity);
    deployer.poll();
    assert!(!deployer.faults().is_empty());
    let shown = path.to_str().unwrap();
    world
        .passive
        .until_status("the rejection to be named", |status| {
            names(status, "drift", shown).then_some(())
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

/// Whether some file in the tree's `aside` directory has this content.
fn kept_aside(world: &World, content: &str) -> bool {
    let aside = world.passive.state.join("trees").join(TREE).join("aside");
    let Ok(files) = sync_tests::compare::snapshot(&aside) else {
        return false;
    };
    let kept = sync_tests::compare::Kind::File(content.into());
    files.values().any(|item| item.kind == kept)
}
