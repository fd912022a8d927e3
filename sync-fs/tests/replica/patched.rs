//! Contents that come as patches of what stands here.

use std::fs;

use sync_core::{
    codec,
    patch::{Patched, Patching, Sketch, fine_ids, fine_steps, steps},
};
use sync_fs::replica::IntakeError;

use crate::{
    model::{SECONDS, path},
    world::World,
};

/// Text of `lines` numbered lines.
fn text(lines: usize) -> String {
    (0..lines)
        .map(|line| format!("{line} is a line\n"))
        .collect()
}

/// Small and large, edited where they stand; and one too small for a patch.
fn edited() -> World {
    let mut world = World::new();
    for (name, lines) in [("tiny", 20), ("small", 1_000), ("large", 10_000)] {
        world.active.file(name, text(lines));
    }
    world.push();
    for (name, lines) in [("tiny", 20), ("small", 1_000), ("large", 10_000)] {
        let new = text(lines).replace("\n10 is", "\nten is");
        world.active.file_at(name, new, SECONDS + 1);
    }
    world
}

#[test]
fn what_changed_is_built_of_what_stands_here() {
    let mut world = edited();
    let mut intake = world.begin().unwrap();
    let wanted = world.replica.wanted_patches(&mut intake, 0).unwrap();
    assert_eq!(wanted.len(), 2);
    for (index, file) in wanted {
        let old = world.replica.content_like(&intake, index).unwrap();
        let sketch = Sketch::of(old, file.length);
        let new = world
            .active
            .content(&intake.changes()[index as usize].path)
            .to_vec();
        let mut plain: Vec<u8> = steps(&new, sketch.ids())
            .iter()
            .flat_map(sync_core::codec::encode)
            .collect();
        assert!(plain.len() < 10_000, "{} bytes", plain.len());
        let mut patching = Patching::new(sketch, new.len());
        let Some(Patched::Whole(built)) = patching.take(&mut plain).unwrap() else {
            panic!("not whole");
        };
        assert!(
            world
                .replica
                .put_patched(&mut intake, index, built)
                .unwrap()
        );
    }
    assert!(
        world
            .replica
            .wanted_patches(&mut intake, 0)
            .unwrap()
            .is_empty()
    );
    assert_eq!(world.feed(&mut intake), [path("tiny")]);
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

#[test]
fn a_patch_that_made_another_content_changes_nothing() {
    let mut world = edited();
    let mut intake = world.begin().unwrap();
    for (index, file) in world.replica.wanted_patches(&mut intake, 0).unwrap() {
        let wrong = vec![b'x'; usize::try_from(file.length).unwrap()];
        assert!(
            !world
                .replica
                .put_patched(&mut intake, index, wrong)
                .unwrap()
        );
    }
    assert_eq!(world.feed(&mut intake).len(), 3);
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

#[test]
fn a_small_content_is_not_patched_without_something_like_it() {
    let mut world = World::new();
    world.active.file("new", text(1_000));
    let mut intake = world.begin().unwrap();
    assert!(
        world
            .replica
            .wanted_patches(&mut intake, 0)
            .unwrap()
            .is_empty()
    );
    let put = world
        .replica
        .put_patched(&mut intake, 7, text(1_000).into());
    assert!(
        matches!(put, Err(IntakeError::NotWanted { index: 7 })),
        "{put:?}"
    );
}

#[test]
fn of_a_file_that_went_meanwhile_nothing_is_taken() {
    let mut world = edited();
    let mut intake = world.begin().unwrap();
    let wanted = world.replica.wanted_patches(&mut intake, 0).unwrap();
    fs::remove_file(world.tree("large")).unwrap();
    fs::remove_file(world.tree("small")).unwrap();
    for (index, _) in wanted {
        let like = world.replica.content_like(&intake, index).unwrap();
        assert!(like.is_empty());
    }
}

#[test]
fn new_contents_that_are_neither_small_nor_long_share_a_conversation() {
    let mut world = World::new();
    for (name, bytes) in [("small", 64 << 10), ("middle", 500_000), ("long", 2 << 20)] {
        world.active.file(name, vec![b'x'; bytes]);
    }
    let mut intake = world.begin().unwrap();
    let wanted = world.replica.wanted_patches(&mut intake, 0).unwrap();
    let lengths: Vec<u64> = wanted.iter().map(|(_, file)| file.length).collect();
    assert_eq!(lengths, [500_000]);
}

/// The steps that an active sends for the file called `small`, whose old content it
/// remembers; and the position of the change.
fn remembered(world: &World, intake: &sync_fs::replica::Intake) -> (u32, Vec<u8>) {
    let at = path("small");
    let changes = intake.changes();
    let index = changes.iter().position(|change| change.path == at).unwrap();
    let steps = fine_steps(world.active.content(&at), &fine_ids(text(1_000).as_bytes()));
    let steps: Vec<u8> = steps.iter().flat_map(codec::encode).collect();
    assert!(steps.len() < 2_000, "{} bytes", steps.len());
    (u32::try_from(index).unwrap(), steps)
}

#[test]
fn steps_over_what_is_agreed_make_the_content() {
    let mut world = edited();
    let mut intake = world.begin().unwrap();
    let (index, steps) = remembered(&world, &intake);
    world.replica.put_steps(&mut intake, index, &steps).unwrap();
    assert_eq!(world.feed(&mut intake), [path("tiny"), path("large")]);
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

#[test]
fn steps_over_what_somebody_changed_make_nothing_and_the_content_is_asked_for() {
    let changed: [fn(&World); 4] = [
        |world| fs::write(world.tree("small"), "a hand's").unwrap(),
        |world| fs::remove_file(world.tree("small")).unwrap(),
        |world| {
            fs::remove_file(world.tree("small")).unwrap();
            fs::create_dir(world.tree("small")).unwrap();
        },
        |world| {
            let other = text(1_000).replace("900", "999");
            fs::write(world.tree("small"), other).unwrap();
        },
    ];
    for change in changed {
        let mut world = edited();
        change(&world);
        let mut intake = world.begin().unwrap();
        let (index, steps) = remembered(&world, &intake);
        world.replica.put_steps(&mut intake, index, &steps).unwrap();
        assert_eq!(world.feed(&mut intake).len(), 3);
        let committed = world.replica.commit(intake).unwrap();
        world.replica.apply(committed).unwrap();
        world.assert_in_sync();
    }
}
