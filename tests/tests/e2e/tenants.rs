//! A tree of tenants: each top directory is one's.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use sync_tests::{
    Settings, World,
    artifacts::{self, Api},
    compare::{self, Strictness},
    deployer::{Deployer, Sight},
    node::Node,
    wait::{self, DEADLINE},
    world::names,
};

/// Far shorter than the real 15 s: more polls in the middle of a commit.
const POLL: Duration = Duration::from_millis(2);

/// The artifacts of one tenant, in the layout of the product.
fn fill(tree: &Path, tenant: &str, files: usize) -> Vec<Api> {
    let synapse = synapse(tree, tenant);
    fs::create_dir_all(&synapse).unwrap();
    artifacts::fill(&synapse, files, 1).unwrap()
}

fn synapse(tree: &Path, tenant: &str) -> std::path::PathBuf {
    tree.join(tenant).join("synapse-configs")
}

/// Tenant 1 with a hundred files, tenant 7 with eight and what else a tenant has,
/// in step on two nodes.
fn running() -> (World, Vec<Api>) {
    let settings = Settings {
        preset: "tenants",
        ..Settings::default()
    };
    let mut world = World::with(&settings);
    let tree = &world.active.tree;
    fill(tree, "1", 100);
    let apis = fill(tree, "7", 8);
    for (file, text) in [
        ("7/userstores/ldap.xml", "<UserStoreManager/>"),
        ("7/executionplans/gold.siddhiql", "@Plan:name('gold')"),
    ] {
        artifacts::save(&tree.join(file), text.as_bytes()).unwrap();
    }
    world.active.start();
    world.passive.start();
    world.until_in_step();
    world.until_equal(Strictness::Times);
    (world, apis)
}

/// What a status says of a tenant.
fn tenant<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let tenants = status["trees"][0]["tenants"].as_array()?;
    tenants.iter().find(|it| it["tenant"] == name)
}

fn until_tenant(node: &Node, name: &str, state: &str) -> Value {
    node.until_status(&format!("tenant {name} to be {state}"), |status| {
        let tenant = tenant(status, name)?;
        (tenant["state"] == state).then(|| tenant.clone())
    })
}

#[test]
fn each_tenant_has_a_root_that_both_nodes_agree_on() {
    let (mut world, apis) = running();
    let here = until_tenant(&world.active, "7", "ready");
    let there = until_tenant(&world.passive, "7", "ready");
    assert_eq!(here["root"], there["root"]);
    assert_eq!(here["files"], 10);
    assert_eq!(here["pending_files"], 0);
    assert_eq!(here["lag_seconds"], 0.0);
    let one = until_tenant(&world.active, "1", "ready");

    apis[0]
        .revised()
        .save(&synapse(&world.active.tree, "7"))
        .unwrap();
    world.until_equal(Strictness::Identity);
    world.until_in_step();
    let changed = until_tenant(&world.active, "7", "ready");
    assert_ne!(changed["root"], here["root"]);
    assert_eq!(
        until_tenant(&world.passive, "7", "ready")["root"],
        changed["root"]
    );
    assert_eq!(
        until_tenant(&world.active, "1", "ready")["root"],
        one["root"]
    );

    // A passive that is away is behind on what changed meanwhile, and on nothing else.
    assert!(world.passive.stop().success());
    apis[1]
        .revised()
        .save(&synapse(&world.active.tree, "7"))
        .unwrap();
    let behind = until_tenant(&world.active, "7", "pending");
    assert!(behind["pending_files"].as_u64() > Some(0), "{behind}");
    assert!(behind["lag_seconds"].as_f64() > Some(0.0), "{behind}");
    let shown = world.active.run(&["status"]).exits(0).stdout;
    assert!(shown.contains("tenant 7  pending"), "{shown}");
    assert!(!shown.contains("tenant 1 "), "{shown}");
    assert_eq!(
        tenant(&world.active.status(), "1").unwrap()["state"],
        "ready"
    );
    let at_rest = world.passive.status();
    assert!(tenant(&at_rest, "7").is_some(), "{at_rest}");
}

#[test]
fn a_tenant_comes_and_an_artifact_is_renamed_within_one() {
    let (world, apis) = running();
    let deployer = Deployer::new(&synapse(&world.passive.tree, "7")).run(POLL);
    fill(&world.active.tree, "9", 12);
    world.until_equal(Strictness::Identity);
    let before = synapse(&world.passive.tree, "7").join(apis[0].path());
    let old = synapse(&world.active.tree, "7").join(apis[0].path());
    fs::rename(&old, old.with_file_name("renamed.xml")).unwrap();
    world.until_equal(Strictness::Identity);
    let mut deployer = deployer.finish();
    deployer.poll();
    let undeployed = |sight: &&Sight| matches!(sight, Sight::Undeployed(path) if *path == before);
    let faults: Vec<_> = deployer.faults().into_iter().collect();
    assert!(faults.iter().all(undeployed), "{faults:?}");
    until_tenant(&world.passive, "9", "ready");

    // The gate is that of any tree that is deployed.
    world.save("9/synapse-configs/default/api/torn.xml", "<api name=");
    world
        .active
        .until_status("the torn file to be held", |status| {
            names(status, "held", "9/synapse-configs/default/api/torn.xml").then_some(())
        });
    assert!(
        !synapse(&world.passive.tree, "9")
            .join("default/api/torn.xml")
            .exists()
    );
}

#[test]
fn what_a_tenants_deployer_reads_stays_when_it_is_emptied() {
    let (world, _) = running();
    fs::remove_dir_all(world.active.tree.join("7/userstores")).unwrap();
    world.until_equal_but_empty_directories();
    world.until_in_step();
    assert!(world.passive.tree.join("7/userstores").is_dir());
    world.verify_clean();
    let status = world.passive.status();
    assert_eq!(
        status["drift"].as_array().map(Vec::len),
        Some(0),
        "{status}"
    );
}

#[test]
fn a_tenant_that_is_emptied_waits_for_a_release_however_small_it_is() {
    let (world, _) = running();
    let before = compare::snapshot(&world.passive.tree).unwrap();
    fs::remove_dir_all(world.active.tree.join("7")).unwrap();
    let outcome = world.active.run(&["push", "--wait"]).exits(5);
    let expected = "would delete 10 of 10 files (tenant 7: no file would be left)";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    assert_eq!(until_tenant(&world.active, "7", "halted")["files"], 0);
    assert_eq!(compare::snapshot(&world.passive.tree).unwrap(), before);
    let status = world.active.status();
    let plan = &status["guard"]["plans"][0];
    assert_eq!(
        (&plan["tenant"], &plan["deletions"]),
        (&"7".into(), &10.into())
    );
    let shown = world.active.run(&["status"]).exits(0).stdout;
    assert!(shown.contains("10 of 10 files of tenant 7 of"), "{shown}");

    world
        .active
        .run(&["release", plan["plan"].as_str().unwrap()])
        .exits(0);
    world.until_equal_but_empty_directories();
    world.until_in_step();
    world.verify_clean();
}

#[test]
fn one_tenant_can_be_verified() {
    let (world, apis) = running();
    let edited = synapse(&world.passive.tree, "7").join(apis[0].path());
    fs::write(&edited, "<edited/>").unwrap();
    until_tenant(&world.passive, "7", "drifted");

    let one = world
        .active
        .run(&["verify", "--tenant", "1", "--json"])
        .exits(0);
    let summary = one.message("summary");
    assert_eq!(
        (&summary["tenant"], &summary["files"]),
        (&"1".into(), &100.into())
    );
    assert_eq!(summary["root_local"], summary["root_peer"]);
    let seven = world
        .active
        .run(&["verify", "--tenant", "7", "--json"])
        .exits(3);
    assert_eq!(seven.message("difference")["tenant"], "7");
    assert_ne!(
        seven.message("summary")["root_local"],
        seven.message("summary")["root_peer"]
    );
    let status = world.active.status();
    assert_eq!(
        tenant(&status, "1").unwrap()["last_verify"]["differences"],
        0
    );
    assert_eq!(
        tenant(&status, "7").unwrap()["last_verify"]["differences"],
        1
    );
    assert!(status["peers"][0]["last_verify"].is_null(), "{status}");

    let none = world.active.run(&["verify", "--tenant", "12"]).exits(2);
    assert!(
        none.stderr.contains("neither side has a tenant `12`"),
        "{}",
        none.stderr
    );
    world.active.run(&["verify", "--tenant", "../7"]).exits(2);
}

#[test]
fn a_paused_tenant_is_held_and_the_others_go_on() {
    let (mut world, apis) = running();
    let (here, there) = (&world.active.tree, &world.passive.tree);
    let before = tenant(&world.passive.status(), "7").unwrap()["root"].clone();
    world.active.run(&["pause", "--tenant", "7"]).exits(0);
    apis[0].revised().save(&synapse(here, "7")).unwrap();
    let ones = fill(here, "1", 100);
    ones[0].revised().save(&synapse(here, "1")).unwrap();
    let outcome = world.active.run(&["push", "--wait"]).exits(4);
    assert!(outcome.stderr.contains("tenant 7 of"), "{}", outcome.stderr);
    compare::equal(&here.join("1"), &there.join("1"), Strictness::Identity).unwrap();
    let held = until_tenant(&world.active, "7", "paused");
    assert!(held["pending_files"].as_u64() > Some(0), "{held}");
    assert_eq!(until_tenant(&world.passive, "7", "ready")["root"], before);
    world.active.run(&["push", "--tenant", "7"]).exits(1);
    world.active.run(&["ready"]).exits(3);
    assert_ne!(world.passive.run(&["promote"]).code, Some(0));

    // It outlives a restart, and what is held is told from what goes on.
    assert!(world.active.stop().success());
    assert_eq!(world.active.status()["pauses"][0]["tenant"], "7");
    world.active.start();
    world.active.run(&["push", "--wait"]).exits(4);
    ones[1]
        .revised()
        .save(&synapse(&world.active.tree, "1"))
        .unwrap();
    world.active.run(&["push", "--wait"]).exits(4);
    let (here, there) = (&world.active.tree, &world.passive.tree);
    compare::equal(&here.join("1"), &there.join("1"), Strictness::Identity).unwrap();
    assert_eq!(until_tenant(&world.passive, "7", "ready")["root"], before);
    let shown = world.active.run(&["status"]).exits(0).stdout;
    assert!(shown.contains("`apim-sync resume --tenant 7`"), "{shown}");

    world.active.run(&["resume", "--tenant", "8"]).exits(2);
    world.active.run(&["resume", "--tenant", "7"]).exits(0);
    world.until_equal(Strictness::Identity);
    world.until_in_step();
    world.verify_clean();
}

#[test]
fn a_pause_of_a_tenant_runs_out_and_a_halted_one_does_not_stop_the_others() {
    let (world, apis) = running();
    let here = &world.active.tree;
    fs::remove_dir_all(here.join("7/synapse-configs")).unwrap();
    fs::remove_dir_all(here.join("7/userstores")).unwrap();
    fs::remove_dir_all(here.join("7/executionplans")).unwrap();
    until_tenant(&world.active, "7", "halted");
    let new = Api::new("While7IsHalted", 800);
    new.save(&synapse(here, "1")).unwrap();
    world.active.run(&["push", "--wait"]).exits(5);
    assert!(!synapse(&world.passive.tree, "1").join(new.path()).exists());

    world.active.run(&["pause", "--tenant", "7"]).exits(0);
    wait::until("the others to go on", DEADLINE, || {
        compare::equal(
            &here.join("1"),
            &world.passive.tree.join("1"),
            Strictness::Identity,
        )
    });
    for api in &apis {
        api.save(&synapse(here, "7")).unwrap();
    }
    artifacts::save(&here.join("7/userstores/ldap.xml"), b"<UserStoreManager/>").unwrap();
    world
        .active
        .run(&["pause", "--tenant", "7", "--for", "1s"])
        .exits(0);
    world.until_equal_but_empty_directories();
}

#[test]
fn one_tenant_can_be_pushed() {
    let (mut world, apis) = running();
    let ones = fill(&world.passive.tree, "1", 4);
    let edit = |tenant: &str, api: &Api| {
        let path = synapse(&world.passive.tree, tenant).join(api.path());
        fs::write(&path, "<edited/>").unwrap();
        path
    };
    let (one, seven) = (edit("1", &ones[0]), edit("7", &apis[0]));
    until_tenant(&world.passive, "7", "drifted");
    until_tenant(&world.passive, "1", "drifted");
    world.active.run(&["push", "--tenant", "7"]).exits(0);
    assert_ne!(fs::read(&seven).unwrap(), b"<edited/>");
    assert_eq!(fs::read(&one).unwrap(), b"<edited/>");

    // Without a daemon nothing but that tenant is sent.
    assert!(world.active.stop().success());
    let new = Api::new("New", 800);
    new.save(&synapse(&world.active.tree, "1")).unwrap();
    new.save(&synapse(&world.active.tree, "7")).unwrap();
    world.active.run(&["push", "--tenant", "7"]).exits(0);
    assert!(synapse(&world.passive.tree, "7").join(new.path()).exists());
    assert!(!synapse(&world.passive.tree, "1").join(new.path()).exists());
    world.active.run(&["push"]).exits(0);
    world.until_equal(Strictness::Identity);
    world.active.run(&["push"]).exits(0);
    world.active.start();
    world.until_in_step();
    world.verify_clean();
}

#[test]
fn one_tenant_can_go_back() {
    let (world, apis) = running();
    let generation = world.active.status()["trees"][0]["generation"].to_string();
    let paths = ["1", "7"].map(|tenant| synapse(Path::new(""), tenant).join(apis[0].path()));
    let old = paths
        .each_ref()
        .map(|path| fs::read(world.active.tree.join(path)).unwrap());
    for path in &paths {
        world.save(
            path,
            "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"new\" context=\"/new\"/>",
        );
    }
    world.push();
    let back = ["rollback", &generation, "--tenant", "7"];
    world.active.run(&back).exits(0);
    world.until_equal(Strictness::Identity);
    let now = paths
        .each_ref()
        .map(|path| fs::read(world.passive.tree.join(path)).unwrap());
    assert_ne!(now[0], old[0], "tenant 1 keeps what it has");
    assert_eq!(now[1], old[1]);
    world.verify_clean();
}

#[test]
fn a_tree_without_tenants_has_none_to_verify() {
    let (world, _) = World::running(8);
    let outcome = world.active.run(&["verify", "--tenant", "7"]).exits(2);
    assert!(
        outcome.stderr.contains("preset = \"tenants\""),
        "{}",
        outcome.stderr
    );
}
