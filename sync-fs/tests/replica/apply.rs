//! Applying generations.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use sync_core::{Generation, Preset};

use crate::{
    model::{Item, Model, SECONDS, path},
    world::{World, mtime},
};

#[test]
fn a_first_fill_and_a_change_of_every_kind() {
    let mut world = World::new();
    world
        .active
        .file("default/api/a.xml", "<api/>")
        .file("default/api/b.xml", "<api b=''/>")
        .file("default/api/gone.xml", "gone")
        .file("default/sequences/main.xml", "main")
        .file("default/sequences/deep/er/x.xml", "deep")
        .file("synapse.properties", "k=v")
        .directory("default/empty");
    let filled = world.push();
    assert_eq!(filled.sent.len(), 6);
    world.assert_in_sync();

    world
        .active
        .file_at("default/api/a.xml", "<api new=''/>", SECONDS + 7)
        .remove("default/api/gone.xml")
        .rename("default/api/b.xml", "default/api/c.xml")
        .chmod("synapse.properties", 0o600)
        .remove("default/sequences/deep")
        .remove("default/empty")
        .file("default/new/y.xml", "new");
    let changed = world.push();
    assert_eq!(
        changed.sent,
        [path("default/api/a.xml"), path("default/new/y.xml")]
    );
    assert_eq!(changed.applied.kept_aside, []);
    assert_eq!(world.seconds("default/api/a.xml"), SECONDS + 7);
    assert_eq!(world.replica.position().generation, Generation(2));
    world.assert_in_sync();
    world.reopen();
    world.assert_in_sync();
    assert!(world.aside().is_empty());
}

#[test]
fn files_and_directories_take_each_others_place() {
    for preset in [Preset::Synapse, Preset::Plain] {
        let mut world = World::with_preset(preset);
        world
            .active
            .file("x", "a file")
            .file("d/one", "1")
            .file("d/sub/two", "2")
            .directory("e");
        world.push();
        world
            .active
            .remove("x")
            .file("x/inside/now", "a directory")
            .remove("d")
            .file("d", "a file now")
            .remove("e")
            .file("e", "and this");
        let pushed = world.push();
        assert_eq!(pushed.applied.kept_aside, []);
        world.assert_in_sync();
        world
            .active
            .remove("x")
            .file("x", "back")
            .remove("d")
            .directory("d");
        world.push();
        world.assert_in_sync();
        assert!(world.aside().is_empty());
    }
}

#[test]
fn links_of_a_plain_tree_are_entries() {
    let mut world = World::with_preset(Preset::Plain);
    let link = |target: &str| Item::Link(target.as_bytes().to_vec());
    world
        .active
        .item(path("l"), link("/etc/passwd"))
        .item(path("d/m"), link("../x"))
        .file("f", "file");
    world.push();
    world.assert_in_sync();
    world
        .active
        .item(path("l"), link("elsewhere"))
        .item(path("f"), link("was a file"))
        .item(
            path("d/m"),
            Item::File {
                content: b"was a link".to_vec(),
                mode: 0o600,
                seconds: 1,
            },
        );
    world.push();
    world.assert_in_sync();
}

#[test]
fn hostile_names_are_applied_byte_for_byte() {
    let mut world = World::with_preset(Preset::Plain);
    let long = vec![b'x'; 255];
    let deep = vec!["d"; 60].join("/").into_bytes();
    let names: [&[u8]; 10] = [
        b"-rf",
        b"a\nb",
        b"\xff\xfe",
        b"...",
        b" ",
        b"%2e",
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        &long,
        &deep,
    ];
    for name in names {
        let content = name.to_vec();
        world.active.item(
            path(name),
            Item::File {
                content,
                mode: 0o644,
                seconds: 9,
            },
        );
    }
    world.push();
    world.assert_in_sync();
    for name in names {
        let content = [name, &b" again"[..]].concat();
        world.active.item(
            path(name),
            Item::File {
                content,
                mode: 0o600,
                seconds: 10,
            },
        );
    }
    world.push();
    world.assert_in_sync();
    world.active.0.clear();
    world.push();
    world.assert_in_sync();
}

#[test]
fn a_mode_changes_without_the_content_or_the_time() {
    let mut world = World::new();
    world.active.file("default/api/a.xml", "text");
    world.push();
    let before = world.tree("default/api/a.xml").metadata().unwrap();
    world
        .active
        .chmod("default/api/a.xml", 0o600)
        .chmod("default", 0o700);
    let pushed = world.push();
    let after = world.tree("default/api/a.xml").metadata().unwrap();
    assert!(pushed.sent.is_empty());
    assert_eq!(before.ino(), after.ino());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    world.assert_in_sync();
}

#[test]
fn directories_that_lock_their_owner_out_are_filled_first() {
    let mut world = World::new();
    world
        .active
        .file("default/api/a.xml", "text")
        .chmod("default/api", 0o500);
    world.push();
    world.assert_in_sync();
    world
        .active
        .file_at("default/api/a.xml", "other", SECONDS + 1);
    world.push();
    world.assert_in_sync();
}

/// What the deployer compares: whole seconds.
#[test]
fn changed_content_always_shows_other_whole_seconds() {
    let mut world = World::new();
    world
        .active
        .file("default/api/a.xml", "one")
        .file("other.xml", "same");
    world.push();
    let mut seen = vec![world.seconds("default/api/a.xml")];
    for content in ["two", "three", "one", "two"] {
        // A copy that keeps its source's time.
        world.active.file("default/api/a.xml", content);
        let pushed = world.push();
        let seconds = world.seconds("default/api/a.xml");
        assert!(
            !seen.contains(&seconds),
            "{seconds} was seen before: {seen:?}"
        );
        assert_eq!(pushed.applied.bumped, 1);
        assert_eq!(world.entry("default/api/a.xml").mtime.seconds, seconds);
        seen.push(seconds);
        world.assert_in_sync();
    }
    assert_eq!(world.seconds("other.xml"), SECONDS);
}

#[test]
fn seconds_seen_before_a_restart_still_count() {
    let mut world = World::new();
    world.active.file("default/api/a.xml", "one");
    world.push();
    world
        .active
        .file_at("default/api/a.xml", "two", SECONDS + 1);
    world.push();
    std::mem::forget(std::mem::replace(&mut world.replica, World::new().replica));
    world.reopen();
    world.active.file_at("default/api/a.xml", "three", SECONDS);
    world.push();
    let seconds = world.seconds("default/api/a.xml");
    assert!(![SECONDS, SECONDS + 1].contains(&seconds), "{seconds}");
}

#[test]
fn a_plain_tree_keeps_the_sources_time() {
    let mut world = World::with_preset(Preset::Plain);
    world.active.file("a", "one");
    world.push();
    world.active.file("a", "two");
    assert_eq!(world.push().applied.bumped, 0);
    assert_eq!(world.entry("a").mtime, mtime(SECONDS));
    world.assert_in_sync();
}

#[test]
fn emptied_artifact_directories_stay_and_are_no_drift() {
    let mut world = World::new();
    world
        .active
        .file("default/api/a.xml", "one")
        .file("default/other/b", "two");
    world.push();
    world.active.0.clear();
    world.active.file("keep", "me");
    world.push();
    assert!(world.tree("default/api").is_dir());
    assert!(!world.tree("default/other").exists());
    assert_eq!(world.drift().paths, []);
    world.active.file("default/api/a.xml", "again");
    world.push();
    world.assert_in_sync();
}

#[test]
fn ten_thousand_files_come_and_change_in_two_generations() {
    let mut world = World::new();
    for n in 0..10_000 {
        let at = format!("default/api/admin--Api{n}_v1.0.0.xml");
        world
            .active
            .file(&at, format!("<api name='{n}'/>").repeat(40));
    }
    let filled = world.push();
    assert_eq!(filled.sent.len(), 10_000);
    world.assert_in_sync();
    world.replica.checkpoint().unwrap();
    for n in (0..10_000).step_by(2) {
        let at = format!("default/api/admin--Api{n}_v1.0.0.xml");
        world
            .active
            .file(&at, format!("<api name='{n}' v='2'/>").repeat(40));
    }
    let changed = world.push();
    assert_eq!(changed.sent.len(), 5_000);
    assert_eq!(changed.applied.bumped, 5_000);
    world.assert_in_sync();
    world.reopen();
    assert_eq!(world.recovery.redone, [Generation(2)]);
    assert_eq!(world.recovery.kept_aside, []);
    world.assert_in_sync();
}

#[test]
fn a_reader_never_misses_a_name_or_meets_half_a_file() {
    let mut world = World::new();
    let names: Vec<String> = (0..300).map(|n| format!("default/api/f{n}.xml")).collect();
    let content = |name: &str, version: u32| format!("{name} {version};").repeat(400);
    for name in &names {
        world.active.file(name, content(name, 0));
    }
    world.push();
    let versions: BTreeMap<_, Vec<String>> = names
        .iter()
        .map(|name| {
            (
                world.tree(name),
                (0..4).map(|version| content(name, version)).collect(),
            )
        })
        .collect();
    let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                for (at, versions) in &versions {
                    // Not by path alone: what was opened must be whole.
                    let file = fs::File::open(at).expect("the name is there");
                    let mut bytes = vec![0; 20_000];
                    let count = file.read_at(&mut bytes, 0).unwrap();
                    let text = std::str::from_utf8(&bytes[..count]).unwrap();
                    assert!(
                        versions.iter().any(|version| version == text),
                        "{at:?} is torn"
                    );
                }
                rounds.fetch_add(1, Ordering::Release);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        for version in 1..4 {
            let before = rounds.load(Ordering::Acquire);
            for name in &names {
                world.active.file(name, content(name, version));
            }
            world.push();
            let patience = Instant::now() + Duration::from_secs(20);
            while rounds.load(Ordering::Acquire) < before + 2 && Instant::now() < patience {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Release);
    });
    world.assert_in_sync();
}

#[test]
fn a_file_that_cannot_be_replaced_stops_the_generation_until_it_can() {
    let mut world = World::new();
    world
        .active
        .file("default/sequences/a.xml", "1")
        .file("default/api/b.xml", "1");
    world.push();
    let before = Model::of_disk(&world.tree(""));
    // A mount point cannot be renamed away, not even by root.
    let held = world.tree("default/sequences/a.xml");
    if !bind_mount(&held) {
        eprintln!("skipped: no permission to mount");
        return;
    }
    world
        .active
        .file("default/sequences/a.xml", "2")
        .file("default/api/b.xml", "2");
    let committed = world.commit();
    let error = world.replica.apply(committed).unwrap_err();
    assert_eq!(error.path, path("default/sequences/a.xml"));
    assert_eq!(world.replica.position().generation, Generation(1));
    assert_eq!(world.replica.durable().generation, Generation(2));
    assert!(world.begin().is_err());
    assert!(world.replica.checkpoint().is_err());
    unmount(&held);
    assert_eq!(Model::of_disk(&world.tree("")), before);
    let applied = world.replica.resume().unwrap().unwrap();
    assert_eq!(applied.position.generation, Generation(2));
    world.assert_in_sync();
}

#[test]
fn what_a_stuck_generation_has_applied_so_far_is_no_drift() {
    let mut world = World::new();
    world
        .active
        .file("default/sequences/a.xml", "1")
        .file("default/api/b.xml", "1");
    world.push();
    let held = world.tree("default/api/b.xml");
    if !bind_mount(&held) {
        eprintln!("skipped: no permission to mount");
        return;
    }
    world
        .active
        .file("default/sequences/a.xml", "2")
        .file("default/api/b.xml", "2");
    world.commit_only();
    assert!(world.replica.resume().is_err());
    assert_eq!(world.read("default/sequences/a.xml"), "2");
    let while_stuck = world.drift().paths;
    unmount(&held);
    assert_eq!(while_stuck, []);
    world.replica.resume().unwrap();
    world.assert_in_sync();
}

fn bind_mount(at: &std::path::Path) -> bool {
    let status = std::process::Command::new("mount")
        .arg("--bind")
        .arg(at)
        .arg(at)
        .status();
    status.is_ok_and(|status| status.success())
}

fn unmount(at: &std::path::Path) {
    let status = std::process::Command::new("umount")
        .arg(at)
        .status()
        .unwrap();
    assert!(status.success());
}
