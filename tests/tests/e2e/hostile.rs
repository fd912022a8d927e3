//! Names that programs stumble over.

use std::{fs, os::unix::fs::symlink};

use sync_tests::{Settings, World, compare::Strictness, hostile};

fn plain() -> Settings {
    Settings {
        preset: "plain",
        exclude: Vec::new(),
        ..Settings::default()
    }
}

#[test]
fn hostile_names_arrive_byte_for_byte_and_never_reach_a_terminal_raw() {
    let (world, _) = World::running_with(0, &plain());
    let tree = &world.active.tree;
    for name in hostile::names() {
        fs::write(tree.join(&name), "content").unwrap();
        let directory = tree.join("directories").join(&name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(&name), "nested").unwrap();
    }
    symlink("/etc/passwd", tree.join("link")).unwrap();
    symlink(tree, tree.join("loop")).unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    world.verify_clean();

    for name in hostile::names() {
        fs::remove_file(world.passive.tree.join(name)).unwrap();
    }
    let outcome = world.active.run(&["verify", "--json"]).exits(3);
    assert_eq!(outcome.messages("difference").len(), hostile::names().len());
    let people = world.active.run(&["verify"]).exits(3);
    let logs = [world.active.log(), world.passive.log()];
    for text in [
        &outcome.stdout,
        &people.stdout,
        &people.stderr,
        &logs[0],
        &logs[1],
    ] {
        assert!(
            !text.contains("\x1b[2J") && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}

#[test]
fn links_and_special_files_of_a_synapse_tree_are_left_alone() {
    let (world, _) = World::running(8);
    let tree = &world.active.tree;
    symlink("/etc/passwd", tree.join("default/api/link.xml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("default/api/fifo.xml"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    world.save("default/api/real.xml", "<api name=\"real\"/>");
    world.push();
    let theirs = world.passive.tree.join("default/api");
    assert!(theirs.join("real.xml").is_file());
    assert!(fs::symlink_metadata(theirs.join("link.xml")).is_err());
    assert!(fs::symlink_metadata(theirs.join("fifo.xml")).is_err());
}
