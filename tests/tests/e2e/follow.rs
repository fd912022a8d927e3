//! The passive's tree follows the active's.

use std::fs;

use sync_tests::{Node, World, compare::Strictness, wait};

#[test]
fn an_empty_passive_becomes_equal_modification_times_included() {
    let mut world = World::new();
    world.fill(100);
    world.active.start();
    let outcome = world.passive.run(&["bootstrap", "--json"]).exits(0);
    let summary = outcome.message("summary");
    assert_eq!(summary["files"], 100);
    world.until_equal(Strictness::Times);
    world.passive.start();
    world.until_in_step();
    world.verify_clean();
}

#[test]
fn an_edit_a_new_file_and_a_deletion_arrive() {
    let (world, apis) = World::running(40);
    apis[0].revised().save(&world.active.tree).unwrap();
    world.save("default/sequences/new.xml", "<sequence name=\"new\"/>");
    world.delete(apis[3].path());
    world.until_equal(Strictness::Identity);
    world.verify_clean();
}

#[test]
fn a_renamed_file_and_a_renamed_directory_arrive() {
    let (world, apis) = World::running(43);
    let tree = &world.active.tree;
    fs::rename(
        tree.join(apis[0].path()),
        tree.join("default/api/renamed.xml"),
    )
    .unwrap();
    fs::rename(
        tree.join("default/local-entries"),
        tree.join("default/entries-moved"),
    )
    .unwrap();
    // The artifact directory stays on the passive, emptied, or the deployer
    // would not see the deletions.
    let passive = &world.passive.tree;
    wait::until("the renamed paths", wait::DEADLINE, || {
        let arrived = ["default/api/renamed.xml", "default/entries-moved"]
            .iter()
            .all(|path| passive.join(path).exists());
        wait::ensure(
            arrived && !passive.join(apis[0].path()).exists(),
            "some are not there yet",
        )
    });
    world.until_in_step();
    assert!(passive.join("default/local-entries").is_dir());
    world.verify_clean();
}

#[test]
fn files_written_at_once_into_new_nested_directories_arrive() {
    let (world, _) = World::running(8);
    for number in 0..20 {
        let path = format!("{number}/synapse-configs/default/api/{number}.xml");
        world.save(&path, &format!("<api name=\"{number}\"/>"));
    }
    world.until_equal(Strictness::Identity);
    world.until_in_step();
}

#[test]
fn a_changed_mode_arrives_without_content() {
    use std::os::unix::fs::PermissionsExt;
    let (world, apis) = World::running(8);
    let file = world.active.tree.join(apis[0].path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.until_equal(Strictness::Times);
}

#[test]
fn a_file_saved_twice_in_one_second_with_the_same_size_arrives() {
    let (world, _) = World::running(8);
    for round in 0..10 {
        world.save("default/api/same.xml", &format!("<api name=\"{round}\"/>"));
        world.push();
        world.until_equal(Strictness::Identity);
    }
}

#[test]
fn changed_content_gets_another_second_for_the_deployer() {
    let (world, apis) = World::running(8);
    let (ours, theirs) = (
        world.active.tree.join(apis[0].path()),
        world.passive.tree.join(apis[0].path()),
    );
    let second = |path| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).unwrap().mtime()
    };
    let before = second(&theirs);
    let same_time = fs::metadata(&ours).unwrap().modified().unwrap();
    world.save(apis[0].path(), "<api name=\"other\"/>");
    fs::File::options()
        .write(true)
        .open(&ours)
        .and_then(|file| file.set_modified(same_time))
        .unwrap();
    world.until_equal(Strictness::Identity);
    assert_ne!(second(&theirs), before);
    world.verify_clean();
}

#[test]
fn unchanged_files_keep_their_inode_and_time_through_edits_around_them() {
    use std::os::unix::fs::MetadataExt;
    let (world, apis) = World::running(40);
    let facts = |node: &Node| {
        let data = fs::metadata(node.tree.join(apis[5].path())).unwrap();
        (data.ino(), data.mtime(), data.mtime_nsec(), data.ctime())
    };
    let before = facts(&world.passive);
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
    assert_eq!(facts(&world.passive), before);
}
