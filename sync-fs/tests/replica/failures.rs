//! A disk that is full: refusals that change nothing, and going on afterwards.

use std::{fs, path::PathBuf, process::Command};

use sync_core::{Generation, Preset, wire::Refusal};

use crate::{
    model::{Model, SECONDS},
    world::World,
};

/// A small file system of its own, unmounted in the end.
struct SmallDisk(
    PathBuf,
    #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir,
);

impl SmallDisk {
    fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_owned();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&at)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no permission to mount a small file system");
            return None;
        }
        fs::create_dir(at.join("tree")).unwrap();
        Some(Self(at, directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill(model: &mut Model, files: usize, bytes: usize) {
    for n in 0..files {
        let content = [n.to_le_bytes().as_slice(), &vec![b'x'; bytes]].concat();
        model.file_at(
            &format!("default/api/{n}.xml"),
            content,
            SECONDS + bytes as i64,
        );
    }
}

#[test]
fn a_generation_that_does_not_fit_is_refused_and_fits_when_there_is_space() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        return;
    };
    let mut world = World::at(&disk.0, Preset::Synapse);
    fill(&mut world.active, 20, 1_000);
    world.push();
    let before = Model::of_disk(&world.tree(""));
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    fill(&mut world.active, 20, 50_000);
    let refusal = world.begin().unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Unable(text) if text.contains("bytes")),
        "{refusal:?}"
    );
    assert_eq!(Model::of_disk(&world.tree("")), before);
    fs::remove_file(&ballast).unwrap();
    fill(&mut world.active, 20, 20_000);
    world.push();
    world.assert_in_sync();
}

#[test]
fn a_disk_without_inodes_refuses_too() {
    let Some(disk) = SmallDisk::new("size=8m,nr_inodes=150") else {
        return;
    };
    let mut world = World::at(&disk.0, Preset::Synapse);
    fill(&mut world.active, 20, 100);
    world.push();
    fill(&mut world.active, 200, 100);
    let refusal = world.begin().unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Unable(text) if text.contains("inodes")),
        "{refusal:?}"
    );
    world.active.0.clear();
    fill(&mut world.active, 25, 100);
    world.push();
    world.assert_in_sync();
}

/// The space goes after it was checked: while contents come, and at the commit.
#[test]
fn a_disk_that_fills_up_meanwhile_changes_nothing() {
    let Some(disk) = SmallDisk::new("size=3m") else {
        return;
    };
    let mut world = World::at(&disk.0, Preset::Synapse);
    fill(&mut world.active, 5, 1_000);
    world.push();
    let before = Model::of_disk(&world.tree(""));
    fill(&mut world.active, 10, 60_000);
    let mut intake = world.begin().unwrap();
    let ballast = disk.0.join("ballast");
    let filled = fs::write(&ballast, vec![1; 3 << 20]);
    assert!(filled.is_err(), "the disk is full now");
    let mut refused = None;
    for range in world.replica.wanted_small(&mut intake).unwrap() {
        for index in range.start..range.start + range.count {
            let content = world
                .active
                .content(&intake.changes()[index as usize].path)
                .to_vec();
            let put = world.replica.put_small(&mut intake, index, content.clone());
            refused = refused.or(put.err().map(|error| error.refusal()));
        }
    }
    let refused = refused.or(world
        .replica
        .commit(intake)
        .err()
        .map(|error| error.refusal()));
    assert!(matches!(refused, Some(Refusal::Unable(_))), "{refused:?}");
    assert_eq!(Model::of_disk(&world.tree("")), before);
    assert_eq!(
        world.replica.degraded(),
        None,
        "a full disk is no broken disk"
    );
    world.reopen();
    assert_eq!(Model::of_disk(&world.tree("")), before);
    fs::remove_file(&ballast).unwrap();
    world.push();
    world.assert_in_sync();
}

/// The space goes between commit and apply: the generation waits, durable.
#[test]
fn a_durable_generation_waits_for_space_and_survives_a_restart_meanwhile() {
    let Some(disk) = SmallDisk::new("size=3m") else {
        return;
    };
    let mut world = World::at(&disk.0, Preset::Synapse);
    fill(&mut world.active, 5, 1_000);
    world.push();
    // One staged content in several files: these are made when it is applied.
    for n in 0..5 {
        let at = format!("default/api/{n}.xml");
        world.active.file_at(&at, vec![b'x'; 100_000], SECONDS + 1);
    }
    let committed = world.commit();
    let ballast = disk.0.join("ballast");
    assert!(fs::write(&ballast, vec![1; 3 << 20]).is_err());
    let error = world.replica.apply(committed).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(world.replica.position().generation, Generation(1));
    world.reopen();
    assert!(world.recovery.unfinished.is_some());
    assert_eq!(world.replica.durable().generation, Generation(2));
    assert!(world.replica.resume().is_err());
    world.assert_nothing_left();
    fs::remove_file(&ballast).unwrap();
    world.replica.resume().unwrap();
    world.replica.checkpoint().unwrap();
    world.assert_in_sync();
}

#[test]
fn the_reserve_lets_a_durable_generation_be_applied_on_a_full_disk() {
    let Some(disk) = SmallDisk::new("size=3m") else {
        return;
    };
    let mut world = World::at(&disk.0, Preset::Synapse);
    world.active.directory("a");
    world.push();
    // What is in the place of a directory is made when it is applied.
    world.active.remove("a").file("a", vec![b'b'; 30_000]);
    let committed = world.commit();
    let ballast = disk.0.join("ballast");
    assert!(fs::write(&ballast, vec![1; 3 << 20]).is_err());
    world.replica.apply(committed).unwrap();
    world.replica.checkpoint().unwrap();
    world.active.file("more", "x");
    let refusal = world.begin().unwrap_err();
    assert!(
        matches!(refusal, Refusal::Unable(_)),
        "nothing new without the reserve"
    );
    fs::remove_file(&ballast).unwrap();
    world.push();
    world.assert_in_sync();
}
