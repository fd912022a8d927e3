//! What somebody else did to the passive's tree is seen, kept and healed.

use std::{fs, os::unix::fs::PermissionsExt};

use sync_core::{Generation, Preset, drift::Cause};
use sync_fs::replica::{DriftKind, Drifted};

use crate::{
    model::{SECONDS, path},
    world::{World, go_on, touch},
};

fn filled() -> World {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        world
            .active
            .file(&format!("default/api/{name}.xml"), format!("{name} agreed"));
    }
    world.active.file("default/sub/x.xml", "x");
    world.push();
    world
}

#[test]
fn every_kind_of_drift_is_named() {
    let mut world = filled();
    fs::write(world.tree("default/api/a.xml"), "edited").unwrap();
    fs::remove_file(world.tree("default/api/b.xml")).unwrap();
    fs::write(world.tree("default/api/b.xml.back"), "b agreed").unwrap();
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(world.tree("default/api/c.xml"), closed).unwrap();
    touch(&world.tree("default/api/d.xml"), SECONDS + 1_000);
    fs::remove_file(world.tree("default/api/e.xml")).unwrap();
    fs::create_dir(world.tree("default/api/e.xml")).unwrap();
    let expected = [
        ("default/api/a.xml", DriftKind::Edited),
        // A copy beside it is no evidence.
        ("default/api/b.xml", DriftKind::Missing),
        ("default/api/b.xml.back", DriftKind::Extra),
        ("default/api/c.xml", DriftKind::Metadata),
        ("default/api/d.xml", DriftKind::Touched),
        ("default/api/e.xml", DriftKind::Edited),
    ];
    // As often as it is asked, and after a restart.
    for restart in [false, false, true] {
        if restart {
            world.replica.checkpoint().unwrap();
            world.reopen();
        }
        let drift = world.drift();
        let found: Vec<_> = drift
            .paths
            .iter()
            .map(|drifted| (drifted.path.escaped(), drifted.kind.clone()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(at, kind)| ((*at).to_owned(), kind.clone()))
            .collect();
        assert_eq!(found, expected);
        let by_hand = |drifted: &Drifted| drifted.cause == Cause::Edited;
        assert!(drift.paths.iter().all(by_hand), "{:?}", drift.paths);
        assert!(!drift.is_none());
        assert_ne!(drift.disk.root(), world.replica.position().root);
    }
}

/// What the deployer does with a file that it refuses.
fn refuse(world: &World, path: &str, moved: &str, old: Option<&str>) {
    fs::rename(world.tree(path), world.tree(moved)).unwrap();
    if let Some(old) = old {
        fs::write(world.tree(path), old).unwrap();
    }
}

fn causes(world: &mut World) -> Vec<(String, Cause)> {
    let drift = world.drift();
    let shown = |drifted: &Drifted| (drifted.path.escaped(), drifted.cause);
    drift.paths.iter().map(shown).collect()
}

#[test]
fn what_the_deployer_refused_is_told_from_what_a_hand_did() {
    let mut world = filled();
    refuse(&world, "default/api/a.xml", "default/api/a.xml.back", None);
    fs::write(world.tree("default/api/b.xml.back"), "another time").unwrap();
    let (b, second) = ("default/api/b.xml", "default/api/b.xml.1.back");
    refuse(&world, b, second, Some("b of before"));
    // Kept by hand before it was edited: a copy, not the file itself.
    fs::copy(
        world.tree("default/api/c.xml"),
        world.tree("default/api/c.xml.back"),
    )
    .unwrap();
    fs::write(world.tree("default/api/c.xml"), "by hand").unwrap();
    for restart in [false, true] {
        if restart {
            world.replica.checkpoint().unwrap();
            world.reopen();
        }
        let mut causes = causes(&mut world);
        causes.retain(|(path, _)| !path.ends_with(".back"));
        let expected = [
            ("default/api/a.xml".to_owned(), Cause::Rejected),
            ("default/api/b.xml".to_owned(), Cause::Rejected),
            ("default/api/c.xml".to_owned(), Cause::Edited),
        ];
        assert_eq!(causes, expected, "restarted: {restart}");
    }
}

#[test]
fn what_the_deployer_wrote_again_is_told_from_what_a_hand_made() {
    let mut world = filled();
    world.active.file("default/sequences/main.xml", "main");
    world.push();
    world
        .active
        .remove("default/sequences/main.xml")
        .remove("default/api/a.xml")
        .remove("default/api/b.xml");
    world.push();
    fs::write(world.tree("default/sequences/main.xml"), "main, anew").unwrap();
    fs::write(world.tree("default/api/a.xml"), "a agreed").unwrap();
    fs::write(world.tree("default/api/b.xml"), "by hand").unwrap();
    let named = |causes: [Cause; 3]| {
        let paths = ["default/api/a.xml", "default/api/b.xml"];
        let paths = paths.into_iter().chain(["default/sequences/main.xml"]);
        let named = paths.map(str::to_owned).zip(causes);
        named.collect::<Vec<_>>()
    };
    let (edited, restored) = (Cause::Edited, Cause::Restored);
    assert_eq!(causes(&mut world), named([restored, edited, restored]));
    // What was deleted is forgotten with a restart.
    world.replica.checkpoint().unwrap();
    world.reopen();
    assert_eq!(causes(&mut world), named([edited, edited, restored]));
}

#[test]
fn only_a_deep_look_finds_what_keeps_its_stat() {
    let mut world = filled();
    assert_eq!(world.drift().paths, []);
    let deep = world.replica.drift(true, &mut go_on).unwrap();
    assert_eq!(deep.hashed, 6);
    assert_eq!(deep.paths, []);
    assert_eq!(deep.disk.root(), world.replica.position().root);
}

#[test]
fn what_is_replaced_or_deleted_and_not_ours_is_kept_aside() {
    let mut world = filled();
    fs::write(world.tree("default/api/a.xml"), "hand edit a").unwrap();
    fs::write(world.tree("default/api/b.xml"), "hand edit b").unwrap();
    fs::write(world.tree("default/api/new.xml"), "was here before").unwrap();
    fs::write(world.tree("default/sub/extra"), "extra").unwrap();
    fs::remove_file(world.tree("default/api/c.xml")).unwrap();
    fs::create_dir(world.tree("default/api/c.xml")).unwrap();
    fs::write(world.tree("default/api/c.xml/inside"), "inside c").unwrap();
    world
        .active
        .file_at("default/api/a.xml", "a2", SECONDS + 5)
        .remove("default/api/b.xml")
        .file("default/api/new.xml", "new")
        .file("default/api/c.xml", "c2")
        .remove("default/sub");
    let pushed = world.push();
    let kept: Vec<_> = pushed
        .applied
        .kept_aside
        .iter()
        .map(|kept| kept.path.escaped())
        .collect();
    assert_eq!(kept.len(), 5, "{kept:?}");
    let mut aside = world.aside();
    aside.sort();
    let expected = [
        "extra",
        "hand edit a",
        "hand edit b",
        "inside c",
        "was here before",
    ];
    assert_eq!(aside, expected.map(|text| text.as_bytes().to_vec()));
    for kept in &pushed.applied.kept_aside {
        let at = world.work(std::str::from_utf8(kept.kept_at.as_bytes()).unwrap());
        assert!(at.exists(), "{kept}");
        assert!(kept.kept_at.escaped().starts_with("aside/2-"));
        assert!(kept.kept_at.escaped().ends_with(&kept.path.escaped()));
    }
    world.assert_in_sync();
}

#[test]
fn an_edit_that_is_what_comes_anyway_is_not_kept_aside() {
    let mut world = filled();
    fs::write(world.tree("default/api/a.xml"), "the same idea").unwrap();
    world
        .active
        .file_at("default/api/a.xml", "the same idea", SECONDS + 9);
    let pushed = world.push();
    assert_eq!(pushed.applied.kept_aside, []);
    world.assert_in_sync();
}

#[test]
fn a_healing_push_puts_right_what_agreed_has_already() {
    let mut world = filled();
    fs::write(world.tree("default/api/a.xml"), "hand edit").unwrap();
    fs::remove_file(world.tree("default/api/b.xml")).unwrap();
    fs::write(world.tree("default/api/c.xml.back"), "moved away").unwrap();
    fs::remove_dir_all(world.tree("default/sub")).unwrap();
    touch(&world.tree("default/api/d.xml"), SECONDS + 50);
    let heal = [
        "default/api/a.xml",
        "default/api/b.xml",
        "default/api/c.xml.back",
        "default/sub",
        "default/sub/x.xml",
        "default/api/d.xml",
    ];
    let pushed = world.push_healing(&heal);
    assert_eq!(pushed.applied.position.generation, Generation(2));
    let kept: Vec<_> = pushed
        .applied
        .kept_aside
        .iter()
        .map(|kept| kept.path.escaped())
        .collect();
    assert_eq!(kept, ["default/api/a.xml", "default/api/c.xml.back"]);
    assert_eq!(
        world.seconds("default/api/d.xml"),
        SECONDS,
        "a time is drift like any other"
    );
    world.assert_in_sync();
    world.reopen();
    world.assert_in_sync();
}

#[test]
fn an_edited_file_that_is_healed_shows_other_seconds() {
    let mut world = filled();
    let at = world.tree("default/api/a.xml");
    fs::write(&at, "hand edit").unwrap();
    touch(&at, SECONDS);
    let pushed = world.push_healing(&["default/api/a.xml"]);
    assert_ne!(world.seconds("default/api/a.xml"), SECONDS);
    assert_eq!(pushed.applied.bumped, 1);
    world.assert_in_sync();
}

#[test]
fn healing_what_is_right_already_changes_nothing() {
    let mut world = filled();
    let before = fs::metadata(world.tree("default/api/a.xml")).unwrap();
    let pushed = world.push_healing(&["default/api/a.xml", "default/nothing", "default/sub"]);
    assert!(pushed.sent.is_empty());
    let after = fs::metadata(world.tree("default/api/a.xml")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((before.ino(), before.mtime()), (after.ino(), after.mtime()));
    world.assert_in_sync();
}

#[test]
fn removed_directories_are_made_again_on_the_way() {
    let mut world = filled();
    fs::remove_dir_all(world.tree("default")).unwrap();
    world.active.file("default/api/f.xml", "new");
    world.push();
    assert_eq!(world.read("default/api/f.xml"), "new");
    let missing = world.drift().paths.len();
    assert_eq!(missing, 7, "the rest is drift, to be healed on demand");
}

#[test]
fn special_files_and_links_in_the_way_are_kept_aside() {
    let mut world = World::with_preset(Preset::Synapse);
    world.active.file("a", "one").file("b", "two");
    world.push();
    fs::remove_file(world.tree("a")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.tree("a")).unwrap();
    fs::remove_file(world.tree("b")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.tree("b")).unwrap();
    world
        .active
        .file_at("a", "three", 5)
        .file_at("b", "four", 5);
    let kept = world.push().applied.kept_aside;
    assert_eq!(kept.len(), 2);
    assert!(
        fs::symlink_metadata(world.work(&kept[0].kept_at.escaped()))
            .unwrap()
            .is_symlink()
    );
    world.assert_in_sync();
}

#[test]
fn a_mode_of_an_edited_file_changes_and_the_edit_stays_drift() {
    let mut world = filled();
    world.active.chmod("default/api/a.xml", 0o600);
    let mut intake = world.begin().unwrap();
    assert!(world.feed(&mut intake).is_empty());
    fs::write(world.tree("default/api/a.xml"), "edited in between").unwrap();
    let committed = world.replica.commit(intake).unwrap();
    let applied = world.replica.apply(committed).unwrap();
    assert_eq!(applied.kept_aside, []);
    assert_eq!(world.read("default/api/a.xml"), "edited in between");
    let drift = world.drift();
    assert_eq!(drift.paths.len(), 1);
    assert_eq!(drift.paths[0].path, path("default/api/a.xml"));
    assert_eq!(drift.paths[0].kind, DriftKind::Edited);
}

#[test]
fn only_what_a_generation_would_undo_is_held() {
    let mut world = filled();
    fs::write(world.tree("default/api/a.xml"), "by hand").unwrap();
    fs::write(world.tree("default/api/b.xml"), "the same idea").unwrap();
    touch(&world.tree("default/api/c.xml"), SECONDS + 50);
    fs::write(
        world.tree("default/api/d.xml"),
        "by hand, and nobody changes it",
    )
    .unwrap();
    refuse(&world, "default/api/e.xml", "default/api/e.xml.back", None);
    fs::write(world.tree("default/sub/made"), "made by hand").unwrap();
    let undone = |world: &mut World| {
        let intake = world.begin().unwrap();
        let held = world.replica.undone_by(&intake).unwrap();
        world.replica.give_up(intake).unwrap();
        held
    };
    for (name, content) in [("b", "the same idea"), ("c", "c2"), ("e", "e2")] {
        world
            .active
            .file(&format!("default/api/{name}.xml"), content);
    }
    assert_eq!(undone(&mut world), None);
    world.active.file("default/api/a.xml", "a2");
    let one = undone(&mut world).unwrap();
    assert_eq!(one.paths, 1);
    assert_eq!(undone(&mut world), Some(one), "the same decision");
    world
        .active
        .remove("default/sub/x.xml")
        .remove("default/sub");
    assert_eq!(undone(&mut world).unwrap().paths, 2);
    fs::write(world.tree("default/api/a.xml"), "by hand once more").unwrap();
    fs::remove_file(world.tree("default/sub/made")).unwrap();
    assert_ne!(undone(&mut world).unwrap().plan, one.plan);
}
