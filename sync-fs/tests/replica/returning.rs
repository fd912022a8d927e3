//! A tree changes hands between the roles of its node: what an acknowledged
//! generation said goes on, and what only this node had is kept aside.

use std::fs;

use sync_core::{Epoch, Generation, Preset};
use sync_fs::{
    Replica, Source,
    archive::ArchiveLimits,
    replica::{Basis, kept_aside},
    source::{SourceOptions, Start},
    stint,
};

use crate::{
    model::path,
    world::{World, go_on, options},
};

/// A passive that was in step, whose node has become active.
fn promoted() -> World {
    let mut world = World::new();
    for name in ["same", "edited", "gone", "theirs"] {
        let at = format!("default/api/{name}.xml");
        world.active.file(&at, format!("{name} agreed"));
    }
    world.push();
    stint::begin_active(options(&world.base, Preset::Synapse, &[])).unwrap();
    world
}

/// What the node does as the active: looks at its tree and saves what it saw.
fn lead(world: &World) -> Source {
    let mut source = Source::open(SourceOptions {
        archive: ArchiveLimits::default(),
        path: world.tree(""),
        work_dir: world.work(""),
        preset: Preset::Synapse,
        exclude: sync_core::exclude::Rules::new(),
        threads: 1,
    })
    .unwrap();
    let seen = source.observe_all(false, &mut go_on).unwrap();
    source.accept_all(seen.list);
    source.save(Epoch(1), Generation(7)).unwrap();
    source
}

#[test]
fn an_active_that_was_killed_before_it_saved_anything_is_recognised() {
    let mut world = World::new();
    fs::create_dir_all(world.tree("default/api")).unwrap();
    fs::write(world.tree("default/api/alone.xml"), "alone").unwrap();
    fs::remove_dir_all(world.work("")).unwrap();
    fs::create_dir(world.work("")).unwrap();
    stint::mark_active(&world.work("")).unwrap();
    assert!(stint::begin_passive(&world.work("")).unwrap());
    let mut options = options(&world.base, Preset::Synapse, &[]);
    options.overwrite = false;
    (world.replica, world.recovery) = Replica::open(options).unwrap();
    world.adopt();
    world.active.file("default/api/a.xml", "a");
    world.push();
    world.assert_in_sync();
    assert_eq!(world.aside(), [b"alone".to_vec()]);
}

/// Edits that nobody else has.
fn edit_alone(world: &World) {
    fs::write(world.tree("default/api/edited.xml"), "edited here").unwrap();
    fs::write(world.tree("default/api/new.xml"), "new here").unwrap();
    fs::remove_file(world.tree("default/api/gone.xml")).unwrap();
}

/// The node is passive again.
fn step_down(world: &mut World) {
    assert!(stint::begin_passive(&world.work("")).unwrap());
    world.reopen();
    assert!(world.replica.is_returning());
}

#[test]
fn a_passive_hands_over_everything_it_acknowledged() {
    let mut world = World::new();
    world.active.file("default/api/a.xml", "one");
    world.push();
    world.active.file("default/api/a.xml", "two");
    world.commit_only();
    stint::begin_active(options(&world.base, Preset::Synapse, &[])).unwrap();
    assert_eq!(world.read("default/api/a.xml"), "two");
    let (position, agreed) = stint::last_agreed(&world.work("")).unwrap();
    assert_eq!(agreed, world.active.manifest());
    let source = lead(&world);
    assert_eq!(source.start(), &Start::Known(position));
    assert!(!world.work("journal").exists());
    // Again, as after a kill: nothing is left to do.
    stint::begin_active(options(&world.base, Preset::Synapse, &[])).unwrap();
}

#[test]
fn what_only_a_returning_active_had_is_kept_aside() {
    let mut world = promoted();
    let (_, agreed) = stint::last_agreed(&world.work("")).unwrap();
    edit_alone(&world);
    lead(&world);
    step_down(&mut world);
    assert_eq!(world.recovery.basis, Basis::Returned);
    assert_eq!(world.replica.position().generation, Generation(7));
    world.replica.know_agreed(agreed);
    world.active.file("default/api/theirs.xml", "theirs since");
    world.active.file("default/api/edited.xml", "theirs too");
    world.push();
    world.assert_in_sync();
    let mut aside = world.aside();
    aside.sort();
    assert_eq!(aside, [b"edited here".to_vec(), b"new here".to_vec()]);
    let listed = kept_aside(&world.work(""), 10).unwrap();
    let paths: Vec<_> = listed.into_iter().map(|kept| kept.path).collect();
    assert_eq!(
        paths,
        [path("default/api/edited.xml"), path("default/api/new.xml")]
    );
    // From now on it is a passive like any other.
    assert!(!world.replica.is_returning());
    world.replica.checkpoint().unwrap();
    assert!(!world.work("returning").exists());
    world.active.file("default/api/theirs.xml", "later");
    world.push();
    assert_eq!(world.aside().len(), 2);
}

#[test]
fn all_that_is_replaced_is_kept_where_nobody_knows_what_was_agreed() {
    let mut world = promoted();
    lead(&world);
    step_down(&mut world);
    world.active.file("default/api/theirs.xml", "theirs since");
    world.active.remove("default/api/gone.xml");
    world.push();
    world.assert_in_sync();
    let mut aside = world.aside();
    aside.sort();
    assert_eq!(aside, [b"gone agreed".to_vec(), b"theirs agreed".to_vec()]);
}

#[test]
fn a_kill_in_the_middle_of_the_return_loses_nothing() {
    let mut world = promoted();
    edit_alone(&world);
    lead(&world);
    for _ in 0..2 {
        step_down(&mut world);
    }
    let (_, agreed) = stint::last_agreed(&world.work("")).unwrap();
    world.replica.know_agreed(agreed);
    world.active.file("default/api/edited.xml", "theirs");
    world.commit_only();
    world.reopen();
    assert_eq!(world.read("default/api/edited.xml"), "theirs");
    assert!(world.aside().contains(&b"edited here".to_vec()));
    assert!(world.aside().contains(&b"new here".to_vec()));
    world.assert_in_sync();
    assert!(!world.work("returning").exists());
}

#[test]
fn an_unmounted_tree_is_not_taken_for_what_an_active_left() {
    let mut world = promoted();
    lead(&world);
    fs::rename(world.tree(""), world.base.join("away")).unwrap();
    fs::create_dir(world.tree("")).unwrap();
    step_down(&mut world);
    assert!(world.recovery.root_replaced);
    assert_eq!(world.replica.agreed().totals().files, 4);
    fs::remove_dir(world.tree("")).unwrap();
    fs::rename(world.base.join("away"), world.tree("")).unwrap();
    step_down(&mut world);
    assert!(!world.recovery.root_replaced);
    world.push();
    world.assert_in_sync();
}

#[test]
fn what_was_never_agreed_leaves_no_record_of_an_agreement() {
    let mut world = promoted();
    assert!(stint::last_agreed(&world.work("")).is_some());
    edit_alone(&world);
    lead(&world);
    step_down(&mut world);
    stint::begin_active(options(&world.base, Preset::Synapse, &[])).unwrap();
    assert!(stint::last_agreed(&world.work("")).is_none());
    let source = lead(&world);
    assert!(
        source
            .manifest()
            .get(&path("default/api/new.xml"))
            .is_some()
    );
}
