//! A lease in a real etcd decides which node is active.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sync_tests::{
    World, artifacts,
    compare::{self, Strictness},
    etcd::{Certificates, Etcd, Way},
    node::Node,
    wait::{self, DEADLINE},
};

const TTL: Duration = Duration::from_secs(5);
/// What docs/cluster.md promises after the lease has ended: it is asked for every
/// second, and a promotion waits so long for a dead active.
const FOLLOWING: Duration = Duration::from_secs(9);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(4);

fn configure(node: &Node, endpoint: &str, tls: Option<&Certificates>) {
    let mut lease = toml::Table::new();
    lease.insert("endpoints".into(), vec![endpoint.to_owned()].into());
    lease.insert("key".into(), "/apim-sync/pair".into());
    lease.insert("ttl_s".into(), i64::try_from(TTL.as_secs()).unwrap().into());
    if let Some(tls) = tls {
        for (key, path) in [
            ("ca_file", &tls.authority),
            ("certificate_file", &tls.certificate),
            ("key_file", &tls.key),
        ] {
            lease.insert(key.into(), path.display().to_string().into());
        }
    }
    node.edit_config(|config| _ = config.insert("lease".into(), lease.into()));
}

/// Two nodes in step that ask for one lease, each on its own way.
fn pair(ways: [&str; 2]) -> World {
    let mut world = World::new();
    world.fill(40);
    for (node, way) in [&world.active, &world.passive].into_iter().zip(ways) {
        configure(node, &format!("http://{way}"), None);
    }
    world.active.start();
    world.passive.start();
    world.until_in_step();
    world
}

fn holds(status: &Value) -> bool {
    status["lease"]["held"] == true
}

fn until_leads(node: &Node, epoch: u64) {
    node.until_status(&format!("to lead in epoch {epoch}"), |status| {
        let leads = status["role"] == "active" && status["epoch"] == epoch && holds(status);
        leads.then_some(())
    });
}

fn until_follows(node: &Node, epoch: u64) {
    node.until_status(&format!("to follow in epoch {epoch}"), |status| {
        let follows = status["role"] == "passive" && status["epoch"] == epoch && !holds(status);
        follows.then_some(())
    });
}

fn save(node: &Node, name: &str) {
    let text =
        format!("<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/1\"/>");
    artifacts::save(
        &node.tree.join(format!("default/api/{name}.xml")),
        text.as_bytes(),
    )
    .unwrap();
}

fn until_equal(world: &World) {
    wait::until("both trees to be equal", DEADLINE, || {
        compare::equal(
            &world.active.tree,
            &world.passive.tree,
            Strictness::Identity,
        )
    });
}

#[test]
fn the_holder_is_active_and_when_it_dies_the_other_is_promoted() {
    let directory = tempfile::tempdir().unwrap();
    let Some(etcd) = Etcd::start(directory.path(), None) else {
        return;
    };
    let mut world = pair([etcd.address(); 2]);
    until_leads(&world.active, 1);
    let told = world.passive.until_status("the holder's name", |status| {
        status["lease"]["holder"].as_str().map(str::to_owned)
    });
    assert_eq!(told, "apim-1");
    // A daemon that is restarted in time keeps the lease.
    assert!(world.active.stop().success());
    world.active.start();
    until_leads(&world.active, 1);
    world.until_in_step();

    world.active.kill();
    let died = Instant::now();
    until_leads(&world.passive, 2);
    let took = died.elapsed();
    assert!(took < TTL + FOLLOWING + SLACK, "{took:?}");
    save(&world.passive, "meanwhile");
    world.active.start();
    until_follows(&world.active, 2);
    until_equal(&world);
    let refused = world.active.run(&["push"]).exits(6);
    assert!(refused.stderr.contains("passive"), "{}", refused.stderr);

    // A demotion hands the lease on; a promotion takes it along.
    world.passive.run(&["demote"]).exits(0);
    until_leads(&world.active, 3);
    until_follows(&world.passive, 3);
    world.passive.run(&["promote"]).exits(0);
    until_leads(&world.passive, 4);
    until_follows(&world.active, 4);
    save(&world.passive, "last");
    until_equal(&world);
}

#[test]
fn without_etcd_the_holder_stops_in_time_and_goes_on_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let Some(etcd) = Etcd::start(directory.path(), None) else {
        return;
    };
    let world = pair([etcd.address(); 2]);
    until_leads(&world.active, 1);
    etcd.suspend(true);
    let stopped = Instant::now();
    world
        .active
        .until_status("to stop sending", |status| (!holds(status)).then_some(()));
    let took = stopped.elapsed();
    assert!(took < TTL, "the lease may have ended before: {took:?}");
    // The renewal that was under way may not have been given up yet.
    world.active.until_status("to say why", |status| {
        let detail = status["lease"]["detail"].as_str()?;
        let unknown = status["lease"]["holder"].is_null();
        (unknown && detail.contains("no member of etcd answers")).then_some(())
    });
    save(&world.active, "held-back");
    world.active.until_status("to know of the edit", |status| {
        (status["peers"][0]["pending_files"] == 1).then_some(())
    });
    let refused = world.active.run(&["push"]).exits(6);
    assert!(
        refused.stderr.contains("does not hold the lease"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("no member of etcd answers"),
        "{}",
        refused.stderr
    );
    assert!(
        world
            .active
            .run(&["status", "--nagios"])
            .exits(2)
            .stdout
            .contains("lease")
    );
    assert!(
        !world
            .passive
            .tree
            .join("default/api/held-back.xml")
            .exists()
    );
    etcd.suspend(false);
    // Whoever is first: nothing is lost, and exactly one leads.
    wait::until("one to lead", DEADLINE, || {
        let [one, other] = [&world.active, &world.passive].map(Node::status);
        wait::ensure(holds(&one) != holds(&other), format!("{one} {other}"))
    });
    until_equal(&world);
}

#[test]
fn a_holder_cut_off_from_etcd_hands_over_and_two_never_send_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let Some(etcd) = Etcd::start(directory.path(), None) else {
        return;
    };
    let ways = [Way::to(etcd.address()), Way::to(etcd.address())];
    let world = pair([ways[0].address(), ways[1].address()]);
    until_leads(&world.active, 1);
    let over = AtomicBool::new(false);
    let (looks, both) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let first = holds(&world.active.status());
                let other = holds(&world.passive.status());
                // Held before and after: held when the other was asked.
                let at_once = first && other && holds(&world.active.status());
                both.fetch_add(u32::from(at_once), Ordering::SeqCst);
                looks.fetch_add(1, Ordering::SeqCst);
            }
        });
        for (node, other, way, epoch) in [
            (&world.active, &world.passive, &ways[0], 2),
            (&world.passive, &world.active, &ways[1], 3),
        ] {
            way.cut(true);
            node.until_status("to stop sending", |status| (!holds(status)).then_some(()));
            save(node, &format!("unsent-{epoch}"));
            until_leads(other, epoch);
            assert!(
                other
                    .tree
                    .join(format!("default/api/unsent-{epoch}.xml"))
                    .exists(),
                "it was handed over"
            );
            way.cut(false);
            until_follows(node, epoch);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(looks.into_inner() > 10);
    assert_eq!(both.into_inner(), 0);
    until_equal(&world);
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
/// Where Debian has the library that lies about the wall clock.
fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten();
    let found = places
        .map(|it| it.path().join("faketime/libfaketime.so.1"))
        .find(|it| it.exists());
    if found.is_none() {
        println!("SKIPPED: no libfaketime on this machine");
    }
    found
}

#[test]
fn a_wall_clock_that_jumps_makes_no_term_longer_or_shorter() {
    let directory = tempfile::tempdir().unwrap();
    let (Some(library), Some(etcd)) = (faketime(), Etcd::start(directory.path(), None)) else {
        return;
    };
    let mut world = World::new();
    world.fill(10);
    configure(&world.active, &format!("http://{}", etcd.address()), None);
    let clock = directory.path().join("clock");
    fs::write(&clock, "+0").unwrap();
    for (name, value) in [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ] {
        world.active.set_environment(name, &value);
    }
    world.active.start();
    until_leads(&world.active, 1);
    for jump in ["+3d", "-3d"] {
        fs::write(&clock, jump).unwrap();
        // Across a renewal or two.
        let begun = Instant::now();
        while begun.elapsed() < TTL {
            let lease = &world.active.status()["lease"];
            assert_eq!(lease["held"], true, "{jump}: {lease}");
            let left = lease["seconds_left"].as_f64().unwrap();
            assert!(left < TTL.as_secs_f64(), "{jump}: {lease}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    etcd.suspend(true);
    fs::write(&clock, "-5d").unwrap();
    let stopped = Instant::now();
    world
        .active
        .until_status("to stop sending", |status| (!holds(status)).then_some(()));
    assert!(stopped.elapsed() < TTL);
}

#[test]
fn etcd_is_asked_over_tls_with_certificates_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Certificates::make(directory.path());
    let Some(etcd) = Etcd::start(directory.path(), Some(&tls)) else {
        return;
    };
    let mut world = World::new();
    world.fill(10);
    let endpoint = format!("https://{}", etcd.address());
    configure(&world.active, &endpoint, Some(&tls));
    world.active.start();
    until_leads(&world.active, 1);
    assert!(world.active.stop().success());

    // Signed by another than who is trusted.
    let others = tempfile::tempdir().unwrap();
    let strange = Certificates::make(others.path());
    let wrong = Certificates {
        authority: strange.authority,
        ..tls
    };
    configure(&world.active, &endpoint, Some(&wrong));
    world.active.start();
    world
        .active
        .until_status("to refuse that member", |status| {
            status["lease"]["detail"]
                .as_str()?
                .contains("certificate")
                .then_some(())
        });
    assert!(!holds(&world.active.status()));
}

#[test]
fn a_command_without_a_daemon_sends_nothing() {
    let world = World::new();
    world.fill(10);
    configure(&world.active, "http://127.0.0.1:9", None);
    let refused = world.active.run(&["push"]).exits(6);
    assert!(
        refused.stderr.contains("only a daemon holds it"),
        "{}",
        refused.stderr
    );
    configure(&world.active, "127.0.0.1:9", None);
    let wrong = world.active.run(&["status"]).exits(2);
    assert!(
        wrong.stderr.contains("neither http:// nor https://"),
        "{}",
        wrong.stderr
    );
}
