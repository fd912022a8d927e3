//! What the passive's hot deployer made of a push, and how the active hears of it.

use std::{path::Path, thread, time::Duration};

use serde_json::Value;
use sync_tests::{
    Outcome, Settings, World,
    artifacts::Api,
    deployer::{Deployer, Running},
    world::peer_of,
};

/// Several polls within that.
const POLL: Duration = Duration::from_millis(100);

/// Two nodes in step with the shortest interval that can be configured.
fn world() -> (World, Vec<Api>, Running) {
    world_with(1)
}

fn world_with(deploy_interval_s: i64) -> (World, Vec<Api>, Running) {
    let settings = Settings {
        deploy_interval_s: Some(deploy_interval_s),
        ..Settings::default()
    };
    let (world, apis) = World::running_with(40, &settings);
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    (world, apis, deployer.run(POLL))
}

/// An artifact that is well-formed, so that it travels, and that the deployer
/// refuses: the name of another one is in it.
fn refused(apis: &[Api]) -> String {
    apis[1].files()[0].1.clone()
}

fn push(world: &World) -> Outcome {
    world.active.run(&["push", "--wait=deployed", "--json"])
}

fn is_named(status: &Value, path: &Path, peer: Option<&str>, cause: &str) -> bool {
    let drift = status["drift"].as_array().map_or(&[][..], Vec::as_slice);
    drift.iter().any(|it| {
        it["path"] == path.to_str().unwrap() && it["peer"].as_str() == peer && it["cause"] == cause
    })
}

#[test]
fn a_push_that_the_deployer_takes_is_deployed_after_its_interval() {
    let (world, apis, deployer) = world();
    apis[0].revised().save(&world.active.tree).unwrap();
    let begun = std::time::Instant::now();
    let outcome = push(&world).exits(0);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waited");
    assert_eq!(outcome.message("summary")["deployed"], true);
    assert!(!outcome.messages("change").is_empty(), "{}", outcome.stdout);
    assert_eq!(outcome.messages("rejected"), [] as [Value; 0]);
    // Less is promised where less is waited for.
    let applied = world.active.run(&["push", "--wait=applied", "--json"]);
    assert!(applied.exits(0).message("summary")["deployed"].is_null());
    let faults = deployer.finish();
    assert!(faults.faults().is_empty(), "{:?}", faults.faults());
}

#[test]
fn a_push_that_the_deployer_rejects_names_the_paths_and_exits_9() {
    let (world, apis, deployer) = world();
    let (updated, new) = (apis[0].path(), Path::new("default/api/new.xml"));
    world.save(&updated, &refused(&apis));
    world.save(new, &refused(&apis));
    let good = apis[2].revised();
    good.save(&world.active.tree).unwrap();
    let outcome = push(&world).exits(9);
    let mut rejected: Vec<_> = outcome
        .messages("rejected")
        .iter()
        .map(|it| (it["path"].clone(), it["peer"].clone()))
        .collect();
    rejected.sort_by_key(|(path, _)| path.to_string());
    let expected = [updated.as_path(), new].map(|path| {
        let path = Value::from(path.to_str().unwrap());
        (path, Value::from(world.passive.name.as_str()))
    });
    assert_eq!(rejected, expected, "{}", outcome.stdout);
    assert_eq!(outcome.message("summary")["deployed"], false);
    assert!(
        outcome.stderr.contains("2 paths were rejected"),
        "{}",
        outcome.stderr
    );

    // For people, in the order of what happened.
    let words = world.active.run(&["push", "--wait=deployed"]).exits(9);
    let line = "rejected  default/api/new.xml by the deployer of apim-2\n";
    assert!(words.stdout.contains(line), "{}", words.stdout);
    assert!(words.stderr.contains("try: "), "{}", words.stderr);

    // Once it is corrected, the same command says so.
    apis[0].revised().save(&world.active.tree).unwrap();
    world.delete(new);
    let outcome = push(&world).exits(0);
    assert_eq!(outcome.message("summary")["deployed"], true);
    drop(deployer.finish());
}

#[test]
fn the_active_names_what_its_passive_sees_until_it_is_gone() {
    let (mut world, apis, deployer) = world();
    let peer = world.passive.name.clone();
    let rejected = apis[0].path();
    world.save(&rejected, &refused(&apis));
    let edited = apis[2].path();
    std::fs::write(world.passive.tree.join(&edited), "<api name=\"by hand\"/>").unwrap();
    world.active.until_status("both to be named", |status| {
        let both = is_named(status, &rejected, Some(&peer), "rejected")
            && is_named(status, &edited, Some(&peer), "edited");
        (both && status["drifted"] == 2).then_some(())
    });
    let screen = world.active.run(&["status"]).exits(0).stdout;
    for words in ["edited on apim-2", "rejected by the deployer of apim-2"] {
        assert!(screen.contains(words), "{words} in {screen}");
    }
    let (code, line) = nagios(&world);
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("1 drifted; 1 rejected by the deployer"),
        "{line}"
    );

    // What it said last stays known while it is away, with its age.
    world.passive.stop();
    world.active.until_status("the age to be told", |status| {
        let drift = status["drift"].as_array()?;
        let aged = |it: &Value| it["as_of_unix_seconds"].as_u64().is_some();
        (drift.len() == 2 && drift.iter().all(aged)).then_some(())
    });
    let screen = world.active.run(&["status"]).stdout;
    assert!(screen.contains("apim-2 is away: as of "), "{screen}");

    world.passive.start();
    apis[0].revised().save(&world.active.tree).unwrap();
    world.push();
    world.active.until_status("nothing to be named", |status| {
        let drift = status["drift"].as_array()?;
        (drift.is_empty() && peer_of(status, &peer)?["state"] == "connected").then_some(())
    });
    drop(deployer.finish());
}

fn nagios(world: &World) -> (Option<i32>, String) {
    let outcome = world.active.run(&["status", "--nagios"]);
    (outcome.code, outcome.stdout)
}

#[test]
fn a_passive_restarted_meanwhile_still_says_what_was_rejected() {
    let (mut world, apis, deployer) = world_with(4);
    world.save(apis[0].path(), &refused(&apis));
    let waiting = world.active.command(&["push", "--wait=deployed", "--json"]);
    let waiting = thread::spawn(move || sync_tests::node::finish(waiting));
    let passive = world.passive.tree.join(apis[0].path());
    let moved = passive.with_extension("xml.back");
    sync_tests::wait::until(
        "the deployer to reject it",
        sync_tests::wait::DEADLINE,
        || sync_tests::wait::ensure(moved.exists(), "it has not looked yet"),
    );
    world.passive.stop();
    world.passive.start();
    let outcome = waiting.join().unwrap().exits(9);
    let rejected = outcome.message("rejected");
    assert_eq!(rejected["path"], apis[0].path().to_str().unwrap());
    drop(deployer.finish());
}

#[test]
fn a_tree_that_no_deployer_reads_is_deployed_when_it_is_applied() {
    let settings = Settings {
        preset: "plain",
        ..Settings::default()
    };
    let (world, apis) = World::running_with(40, &settings);
    apis[0].revised().save(&world.active.tree).unwrap();
    let begun = std::time::Instant::now();
    let outcome = push(&world).exits(0);
    assert_eq!(outcome.message("summary")["deployed"], true);
    // The default interval of the other preset is 15 s.
    assert!(begun.elapsed() < Duration::from_secs(10));
}
