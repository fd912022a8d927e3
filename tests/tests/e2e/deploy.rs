//! What the hot deployer on the passive sees.

use std::{fs, thread, time::Duration};

use serde_json::Value;
use sync_tests::{
    Settings, World, artifacts::Api, compare::Strictness, deployer::Deployer, poller::Poller,
    world::names,
};

/// Far shorter than the real 15 s: more polls in the middle of a commit.
const POLL: Duration = Duration::from_millis(2);

#[test]
fn whole_sets_of_new_artifacts_are_never_seen_without_what_they_refer_to() {
    let settings = Settings {
        // This writer may be held up for longer than the usual 50 ms in the
        // middle of a set; the push ends the wait.
        settle_ms: 900,
        ..Settings::default()
    };
    let (world, _) = World::running_with(40, &settings);
    let deployer = Deployer::new(&world.passive.tree).run(POLL);
    for round in 0..5 {
        for number in 0..20 {
            let api = Api::new(&format!("New{round}x{number}"), 800);
            api.save(&world.active.tree).unwrap();
        }
        world.push();
    }
    world.until_equal(Strictness::Identity);
    let mut deployer = deployer.finish();
    deployer.poll();
    assert!(deployer.faults().is_empty(), "{:?}", deployer.faults());
    assert_eq!(deployer.sights().len(), 40 + 5 * 20 * 4);
}

#[test]
fn an_api_updated_by_delete_and_rewrite_is_never_missing_nor_partial() {
    let gaps_ms = [50, 200, 500, 1_000, 2_000, 4_500];
    let settings = Settings {
        delete_hold_ms: 10_000,
        ..Settings::default()
    };
    let (world, apis) = World::running_with(40, &settings);
    let watched = &apis[..gaps_ms.len()];
    let files = watched
        .iter()
        .map(|api| world.passive.tree.join(api.path()));
    let poller = Poller::start(files.collect(), |bytes| bytes.ends_with(b"</api>"));
    let deployer = Deployer::new(&world.passive.tree).run(POLL);
    thread::scope(|scope| {
        for (api, gap_ms) in watched.iter().zip(gaps_ms) {
            let tree = &world.active.tree;
            scope.spawn(move || {
                fs::remove_file(tree.join(api.path())).unwrap();
                // The product's own pause between DELETE and SAVE.
                thread::sleep(Duration::from_millis(gap_ms));
                api.revised().save(tree).unwrap();
            });
        }
    });
    world.until_equal(Strictness::Identity);
    let (findings, mut deployer) = (poller.finish(), deployer.finish());
    assert!(findings.faults.is_empty(), "{:?}", findings.faults);
    assert!(findings.looks > 1_000, "only {} looks", findings.looks);
    deployer.poll();
    assert!(deployer.faults().is_empty(), "{:?}", deployer.faults());
}

#[test]
fn a_deletion_waits_until_the_hold_is_over() {
    let settings = Settings {
        delete_hold_ms: 2_000,
        ..Settings::default()
    };
    let (world, apis) = World::running_with(40, &settings);
    let path = world.passive.tree.join(apis[0].path());
    let start = std::time::Instant::now();
    world.delete(apis[0].path());
    world
        .active
        .until_status("the deletion to be held", |status| {
            names(status, "held", apis[0].path().to_str()?).then_some(())
        });
    assert!(path.exists() || start.elapsed() >= Duration::from_secs(2));
    world.until_equal(Strictness::Identity);
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn an_artifact_that_changes_its_file_name_is_never_deployed_twice() {
    let (world, apis) = World::running(40);
    let mut deployer = Deployer::new(&world.passive.tree);
    deployer.poll();
    let deployer = deployer.run(POLL);
    let tree = &world.active.tree;
    for (number, api) in apis.iter().enumerate() {
        let renamed = tree.join(format!("default/api/renamed{number}.xml"));
        fs::rename(tree.join(api.path()), renamed).unwrap();
        world.push();
    }
    world.until_equal(Strictness::Identity);
    let deployer = deployer.finish();
    let rejected = fs::read_dir(world.passive.tree.join("default/api"))
        .unwrap()
        .flatten()
        .any(|item| item.path().extension().is_some_and(|end| end == "back"));
    assert!(!rejected, "{:?}", deployer.faults());
}

#[test]
fn xml_that_is_not_well_formed_is_held_named_and_sent_when_mended() {
    let (world, apis) = World::running(40);
    let path = apis[0].path();
    let before = fs::read(world.passive.tree.join(&path)).unwrap();
    world.save(&path, "<api name=\"half");
    world.save("default/api/new.xml", "<api></wrong>");
    let held = |status: &Value| {
        let both =
            names(status, "held", path.to_str()?) && names(status, "held", "default/api/new.xml");
        both.then_some(())
    };
    world.active.until_status("both files to be held", held);
    apis[1].revised().save(&world.active.tree).unwrap();
    world.push();
    assert_eq!(fs::read(world.passive.tree.join(&path)).unwrap(), before);
    assert!(!world.passive.tree.join("default/api/new.xml").exists());

    world.save(&path, "<api name=\"whole\"/>");
    world.delete("default/api/new.xml");
    world.until_equal(Strictness::Identity);
    world.active.until_status("nothing to be held", |status| {
        (status["held"].as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn nothing_but_whole_artifacts_ever_has_a_name_in_the_passives_tree() {
    let (world, apis) = World::running(40);
    let allowed = |name: &str| name.ends_with(".xml") && !name.starts_with('.');
    let directory = world.passive.tree.join("default/api");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let strange = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut strange = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for item in fs::read_dir(&directory).unwrap().flatten() {
                    let name = item.file_name().to_string_lossy().into_owned();
                    if !allowed(&name) {
                        strange.push(name);
                    }
                }
            }
            strange
        });
        for api in &apis {
            api.revised().save(&world.active.tree).unwrap();
            world.push();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert_eq!(strange, Vec::<String>::new());
}
