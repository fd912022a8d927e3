//! One side is away for a while.

use std::fs;

use sync_tests::{World, compare::Strictness, world::peer_of};

#[test]
fn a_stopped_passive_is_shown_with_its_lag_and_catches_up() {
    let (mut world, apis) = World::running(40);
    assert!(world.passive.stop().success());
    for api in &apis {
        api.revised().save(&world.active.tree).unwrap();
    }
    world.active.until_status("a growing lag", |status| {
        let peer = peer_of(status, "apim-2")?;
        let late = peer["lag_seconds"].as_f64()? > 0.5;
        let pending = peer["pending_files"].as_u64()? >= 40;
        (late && pending && peer["state"] != "connected").then_some(())
    });
    world.passive.start();
    world.until_equal(Strictness::Identity);
    world.until_in_step();
    world.active.until_status("no lag", |status| {
        (peer_of(status, "apim-2")?["lag_seconds"] == 0.0).then_some(())
    });
}

#[test]
fn a_paused_active_sends_nothing_until_it_is_resumed() {
    let (world, apis) = World::running(40);
    world.active.run(&["pause"]).exits(0);
    let before = fs::read(world.passive.tree.join(apis[0].path())).unwrap();
    apis[0].revised().save(&world.active.tree).unwrap();
    world
        .active
        .until_status("the edit to be pending", |status| {
            let pending = peer_of(status, "apim-2")?["pending_files"].as_u64()?;
            (status["paused"] == true && pending >= 4).then_some(())
        });
    assert_eq!(
        fs::read(world.passive.tree.join(apis[0].path())).unwrap(),
        before
    );
    world.active.run(&["resume"]).exits(0);
    world.until_equal(Strictness::Identity);
    world.active.until_status("no pause", |status| {
        (status["paused"] == false).then_some(())
    });
}

#[test]
fn a_pause_for_a_time_ends_by_itself() {
    let (world, apis) = World::running(40);
    world.active.run(&["pause", "--for", "2s"]).exits(0);
    apis[0].revised().save(&world.active.tree).unwrap();
    world.until_equal(Strictness::Identity);
}

#[test]
fn a_restarted_pair_is_in_step_without_sending_anything() {
    let (mut world, _) = World::running(40);
    let generation = world.active.status()["trees"][0]["generation"].clone();
    assert!(world.active.stop().success());
    assert!(world.passive.stop().success());
    world.passive.start();
    world.active.start();
    world.until_in_step();
    assert_eq!(world.active.status()["trees"][0]["generation"], generation);
    world.verify_clean();
}

#[test]
fn a_passive_that_lost_its_state_is_bootstrapped_again_in_place() {
    let (mut world, apis) = World::running(40);
    assert!(world.passive.stop().success());
    fs::remove_dir_all(world.passive.state.join("trees")).unwrap();
    apis[0].revised().save(&world.active.tree).unwrap();
    world
        .passive
        .run(&["bootstrap", "--confirm", "apim-2"])
        .exits(0);
    world.passive.start();
    world.until_equal(Strictness::Identity);
    world.until_in_step();
}
