//! What loads the machine: runs alone.

use sync_tests::{World, compare::Strictness, world::peer_of};

#[test]
fn ten_thousand_files_are_followed_and_verified() {
    let (world, apis) = World::running(10_000);
    for api in apis.iter().step_by(100) {
        api.revised().save(&world.active.tree).unwrap();
    }
    world.until_equal(Strictness::Identity);
    world.verify_clean();
    let outcome = world.active.run(&["verify", "--quick", "--json"]).exits(0);
    assert_eq!(outcome.message("summary")["in_sync"], true);

    // One edit among them costs what one edit costs.
    world.save(apis[0].path(), "<api name=\"edited\"/>");
    let outcome = world
        .active
        .run(&["push", "--wait=applied", "--json"])
        .exits(0);
    world.until_equal(Strictness::Identity);
    let sent = outcome.message("summary")["sent_bytes"].as_u64();
    assert!(sent < Some(10_000), "{}", outcome.stdout);
    let status = world.active.status();
    assert_eq!(peer_of(&status, "apim-2").unwrap()["pending_files"], 0);
}
