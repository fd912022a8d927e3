//! Opening a replica after it was interrupted, and after its files were
//! damaged. Kills at every call are in `crash`.

use std::{fs, os::unix::fs::MetadataExt};

use sync_core::Generation;
use sync_fs::replica::Basis;

use crate::{
    model::{Model, SECONDS, path},
    world::World,
};

/// Three generations: the first saved, the second applied, the third durable.
fn interrupted() -> (World, [Model; 3]) {
    let mut world = World::new();
    world
        .active
        .file("default/api/a.xml", "a1")
        .file("default/api/b.xml", "b1")
        .file("default/sequences/s.xml", "s1");
    world.push();
    let first = world.active.clone();
    world.replica.checkpoint().unwrap();
    world
        .active
        .file_at("default/api/a.xml", "a2", SECONDS + 1)
        .file("default/api/passing.xml", "only in the second");
    world.push();
    let second = world.active.clone();
    world
        .active
        .file_at("default/api/b.xml", "b3", SECONDS + 2)
        .remove("default/api/passing.xml")
        .remove("default/sequences/s.xml")
        .file("default/sequences/t.xml", "t3");
    world.commit_only();
    let third = world.active.clone();
    (world, [first, second, third])
}

#[test]
fn what_is_durable_is_applied_first_of_all() {
    let (mut world, _) = interrupted();
    let untouched = world.tree("default/api/a.xml").metadata().unwrap();
    world.reopen();
    assert_eq!(world.recovery.redone, [Generation(2), Generation(3)]);
    assert_eq!(world.recovery.basis, Basis::Snapshot);
    assert_eq!(world.recovery.kept_aside, []);
    assert_eq!(world.replica.position().generation, Generation(3));
    let after = world.tree("default/api/a.xml").metadata().unwrap();
    assert_eq!(
        (untouched.ino(), untouched.mtime()),
        (after.ino(), after.mtime())
    );
    world.assert_in_sync();
    world.reopen();
    assert_eq!(world.recovery.redone, [], "the first recovery was saved");
    world.assert_in_sync();
}

#[test]
fn a_recovery_keeps_aside_what_nobody_put_there() {
    let (mut world, _) = interrupted();
    fs::write(world.tree("default/api/b.xml"), "edited while we were down").unwrap();
    fs::write(world.tree("default/api/passing.xml"), "this too").unwrap();
    world.reopen();
    assert_eq!(world.recovery.kept_aside.len(), 2);
    let mut aside = world.aside();
    aside.sort();
    assert_eq!(
        aside,
        [b"edited while we were down".to_vec(), b"this too".to_vec()]
    );
    world.assert_in_sync();
}

/// What XFS shows after a power cut: names without their bytes.
#[test]
fn files_that_a_power_cut_emptied_are_written_again() {
    let (mut world, _) = interrupted();
    for at in ["default/api/a.xml", "default/api/b.xml"] {
        fs::write(world.tree(at), "").unwrap();
    }
    world.reopen();
    assert_eq!(world.recovery.kept_aside, []);
    world.assert_in_sync();
}

#[test]
fn damage_is_a_grid() {
    enum What {
        Gone,
        Cut,
        Flipped,
        Empty,
    }
    for file in ["state", "journal"] {
        for what in [What::Gone, What::Cut, What::Flipped, What::Empty] {
            let (mut world, models) = interrupted();
            let at = world.work(file);
            let bytes = fs::read(&at).unwrap();
            match what {
                What::Gone => fs::remove_file(&at).unwrap(),
                What::Cut => fs::write(&at, &bytes[..bytes.len().min(9_000) / 2]).unwrap(),
                What::Flipped => {
                    let bytes: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x10).collect();
                    fs::write(&at, bytes).unwrap();
                }
                What::Empty => fs::write(&at, "").unwrap(),
            }
            world.reopen();
            // Either everything durable is there, or what was applied before.
            let disk = Model::of_disk(&world.tree(""));
            let expected = if file == "state" {
                &models[2]
            } else {
                &models[1]
            };
            assert_eq!(disk, expected.timeless());
            if file == "state" {
                assert!(matches!(world.recovery.basis, Basis::Rebuilt(_)));
                assert_eq!(world.replica.position().generation, Generation(3));
                assert_eq!(
                    world.replica.position().root,
                    world.active.manifest().root()
                );
            }
            // And in either case the next push leads on.
            world.push();
            let drift = world.drift();
            let heal: Vec<String> = drift.paths.iter().map(|at| at.path.escaped()).collect();
            world.push_healing(&heal.iter().map(String::as_str).collect::<Vec<_>>());
            world.assert_in_sync();
            world.reopen();
            assert_eq!(world.recovery.basis, Basis::Snapshot);
            world.assert_in_sync();
        }
    }
}

/// Somebody put back a copy of the snapshot from before the last checkpoint.
#[test]
fn a_snapshot_older_than_the_journal_is_not_believed() {
    let (mut world, _) = interrupted();
    let old = fs::read(world.work("state")).unwrap();
    world.reopen();
    world.active.file("more", "x");
    world.push();
    world.replica.checkpoint().unwrap();
    fs::write(world.work("state"), old).unwrap();
    world.reopen();
    assert!(matches!(world.recovery.basis, Basis::Rebuilt(_)));
    assert_eq!(world.replica.position().generation, Generation(4));
    world.assert_in_sync();
}

#[test]
fn a_file_of_a_later_generation_that_is_lost_is_healed_not_invented() {
    let mut world = World::new();
    world.active.file("big.jar", vec![7; 100_000]);
    world.push();
    // Applied, its staged file used up, and removed before the checkpoint.
    fs::remove_file(world.tree("big.jar")).unwrap();
    world.reopen();
    assert_eq!(world.replica.position().generation, Generation(1));
    assert_eq!(world.drift().paths.len(), 1);
    assert_eq!(world.push_healing(&["big.jar"]).sent, [path("big.jar")]);
    world.assert_in_sync();
}

#[test]
fn leftovers_nobody_knows_are_kept_aside() {
    let (mut world, _) = interrupted();
    fs::write(world.work("staging/t-7"), "somebody's only copy").unwrap();
    fs::write(world.work("staging/t-8"), "a1").unwrap();
    fs::create_dir(world.work("staging/t-9")).unwrap();
    fs::create_dir_all(world.work("staging/t-10/deep")).unwrap();
    fs::write(world.work("staging/t-10/deep/file"), "in a directory").unwrap();
    world.reopen();
    // Beside these what was made to replace a file.
    assert_eq!(world.recovery.leftovers_removed, 3);
    let mut aside = world.aside();
    aside.sort();
    assert_eq!(
        aside,
        [b"in a directory".to_vec(), b"somebody's only copy".to_vec()]
    );
    world.assert_in_sync();
}

#[test]
fn another_root_directory_in_the_trees_place_is_reported() {
    let (mut world, _) = interrupted();
    world.reopen();
    assert!(!world.recovery.root_replaced);
    fs::rename(world.tree(""), world.base.join("elsewhere")).unwrap();
    fs::create_dir(world.tree("")).unwrap();
    world.reopen();
    assert!(world.recovery.root_replaced);
}

#[test]
fn what_a_checkpoint_costs_is_the_last_snapshot_and_what_it_spares_the_journal() {
    let mut world = World::new();
    world.active.file("a.xml", "a1");
    world.push();
    world.replica.checkpoint().unwrap();
    assert_eq!(world.replica.unsaved().unwrap(), None);
    world.active.file("b.xml", "b".repeat(10_000));
    world.push();
    let unsaved = world.replica.unsaved().unwrap().expect("a generation is");
    let state = world.work("state").metadata().unwrap().len();
    assert_eq!(unsaved.snapshot_bytes, state);
    assert!(unsaved.journal_bytes > 10_000, "{unsaved:?}");
    world.replica.checkpoint().unwrap();
    assert_eq!(world.replica.unsaved().unwrap(), None);
}
