//! The audit log: what it says, and that nobody can change it unseen.

use std::{fs, path::PathBuf};

use serde_json::Value;
use sync_tests::{
    World,
    node::Node,
    wait::{self, DEADLINE},
};

const A: &str = "default/api/a.xml";

fn api(revision: u32) -> String {
    format!("<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"a\" context=\"/{revision}\"/>")
}

fn file(node: &Node) -> PathBuf {
    node.state.join("audit/00000001.jsonl")
}

fn records(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(file(node)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(node: &Node) -> Vec<String> {
    let name = |record: &Value| record["event"].as_str().unwrap().to_owned();
    records(node).iter().map(name).collect()
}

/// Changes the lines of a node's log.
fn edit(node: &Node, edit: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(file(node)).unwrap();
    let mut lines = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(file(node), lines.join("\n") + "\n").unwrap();
}

fn kinds(node: &Node) -> Vec<String> {
    let outcome = node.run(&["history", "--check", "--json"]).exits(3);
    let kind = |it: &Value| it["kind"].as_str().unwrap().to_owned();
    outcome.messages("audit_finding").iter().map(kind).collect()
}

/// Waits until a peer has seen the log of `node` as it is now.
fn until_witnessed(node: &Node) {
    wait::until("the peer to see the log", DEADLINE, || {
        let outcome = node.run(&["history", "--check", "--json"]).exits(0);
        let witnesses = outcome.message("audit_checked")["witnesses"].clone();
        wait::ensure(witnesses == 1, witnesses.to_string())
    });
}

#[test]
fn what_somebody_may_have_to_answer_for_is_signed() {
    let (world, _) = World::running(10);
    world.save(A, &api(1));
    world.push();
    let stands = world.active.status()["trees"][0]["generation"]
        .as_u64()
        .unwrap();
    world.save(A, &api(2));
    world.push();
    world
        .active
        .run(&["rollback", &stands.to_string()])
        .exits(0);
    let signed = world.active.run(&["verify", "--sign", "--json"]).exits(0);
    let summary = signed.message("summary");
    let evidence = &summary["evidence"];
    world.passive.run(&["promote"]).exits(0);
    for node in [&world.active, &world.passive] {
        let checked = node.run(&["history", "--check"]).exits(0);
        assert!(checked.stdout.contains("as written"), "{}", checked.stdout);
    }
    let of_active = events(&world.active);
    for event in ["standing", "published", "rolled_back", "verified"] {
        assert!(
            of_active.iter().any(|it| it == event),
            "{event}: {of_active:?}"
        );
    }
    let verified = records(&world.active);
    let verified = verified
        .iter()
        .find(|it| it["event"] == "verified")
        .unwrap();
    assert_eq!(verified["record"], evidence["record"]);
    assert_eq!(
        (&verified["differences"], &verified["deep"]),
        (&0.into(), &true.into())
    );
    assert_eq!(verified["root_peer"], summary["root_peer"]);
    assert_eq!(evidence["file"], "audit/00000001.jsonl");
    let promoted = records(&world.passive);
    let promoted = promoted.iter().find(|it| it["role"] == "active").unwrap();
    assert_eq!(promoted["epoch"], 2);
    let applied = records(&world.passive);
    let applied = applied.iter().filter(|it| it["event"] == "applied").count();
    assert!(applied >= 3, "{applied}");
}

#[test]
fn a_changed_a_dropped_and_a_moved_record_are_named() {
    let (mut world, _) = World::running(10);
    for revision in 1..=4 {
        world.save(A, &api(revision));
        world.push();
    }
    world.active.stop();
    let active = &world.active;
    let whole = fs::read(file(active)).unwrap();
    let at_rest = active.run(&["history", "--check"]).exits(0);
    assert!(
        at_rest.stderr.contains("no peer was asked"),
        "{}",
        at_rest.stderr
    );

    edit(active, |lines| {
        lines[2] = lines[2].replace("\"unix_ms\":1", "\"unix_ms\":2");
    });
    assert_eq!(kinds(active), ["foreign", "missing"]);
    let shown = active.run(&["history", "--check"]).exits(3);
    assert!(
        shown.stdout.contains("audit/00000001.jsonl:3: record 3"),
        "{}",
        shown.stdout
    );

    fs::write(file(active), &whole).unwrap();
    edit(active, |lines| drop(lines.remove(1)));
    assert_eq!(kinds(active), ["missing"]);

    fs::write(file(active), &whole).unwrap();
    edit(active, |lines| lines.swap(1, 2));
    assert_eq!(kinds(active), ["missing", "reordered"]);

    fs::write(file(active), &whole).unwrap();
    fs::copy(file(&world.passive), file(active)).unwrap();
    assert!(kinds(active).iter().all(|kind| kind == "foreign"));
}

#[test]
fn an_end_that_was_cut_off_is_known_to_the_peer() {
    let (mut world, _) = World::running(10);
    for revision in 1..=4 {
        world.save(A, &api(revision));
        world.push();
    }
    until_witnessed(&world.passive);
    world.passive.stop();
    edit(&world.passive, |lines| lines.truncate(1));
    world.passive.run(&["history", "--check"]).exits(0); // a chain alone does not prove its end
    world.passive.start();
    world.until_in_step();
    let found = kinds(&world.passive);
    assert!(!found.is_empty());
    assert!(
        found.iter().all(|it| it == "cut_off" || it == "rewritten"),
        "{found:?}"
    );
    // However long it has become since.
    for revision in 5..=12 {
        world.save(A, &api(revision));
        world.push();
    }
    assert!(kinds(&world.passive).contains(&"rewritten".to_owned()));
}
