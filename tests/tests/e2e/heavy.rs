//! What loads the machine: runs alone.

use std::time::Instant;

use sync_tests::{World, compare::Strictness, world::peer_of};

#[test]
fn ten_thousand_files_are_bootstrapped_edited_and_verified() {
    let (world, apis) = World::running(10_000);
    for api in apis.iter().step_by(100) {
        api.revised().save(&world.active.tree).unwrap();
    }
    world.until_equal(Strictness::Identity);
    world.verify_clean();
    let outcome = world.active.run(&["verify", "--quick", "--json"]).exits(0);
    assert_eq!(outcome.message("summary")["in_sync"], true);
}

#[test]
fn one_edit_among_ten_thousand_files_travels_alone() {
    let (world, apis) = World::running(10_000);
    let start = Instant::now();
    world.save(apis[0].path(), "<api name=\"edited\"/>");
    let outcome = world
        .active
        .run(&["push", "--wait=applied", "--json"])
        .exits(0);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    world.until_equal(Strictness::Identity);
    for summary in outcome.messages("summary") {
        assert!(summary["sent_bytes"].as_u64() < Some(10_000), "{summary}");
    }
    let status = world.active.status();
    assert_eq!(peer_of(&status, "apim-2").unwrap()["pending_files"], 0);
}
