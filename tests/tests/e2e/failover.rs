//! Roles change: planned, after a death, and out of each other's sight.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::Value;
use sync_tests::{
    World, artifacts,
    compare::{self, Strictness},
    node::{Node, TREE},
    wait::{self, DEADLINE},
};

/// Writes a file of a node's tree as the product does.
fn save(node: &Node, path: &str, content: &str) {
    artifacts::save(&node.tree.join(path), content.as_bytes()).unwrap();
}

fn api(name: &str, revision: &str) -> String {
    format!(
        "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/{revision}\"/>"
    )
}

/// Waits until the status of a node says this role and epoch, and no conflict.
fn until_is(node: &Node, role: &str, epoch: u64) {
    node.until_status(&format!("{role} in epoch {epoch}"), |status| {
        let is = status["role"] == role && status["epoch"] == epoch;
        (is && status.get("conflict").is_none()).then_some(())
    });
}

fn until_equal(one: &Node, other: &Node) {
    wait::until("both trees to be equal", DEADLINE, || {
        compare::equal(&one.tree, &other.tree, Strictness::Identity)
    });
}

/// Contents of everything that a node kept aside.
fn kept_aside(node: &Node) -> Vec<String> {
    fn read(directory: &Path, into: &mut Vec<String>) {
        for item in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = item.path();
            if path.is_dir() {
                read(&path, into);
            } else {
                into.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut kept = Vec::new();
    read(
        &node.state.join("trees").join(TREE).join("aside"),
        &mut kept,
    );
    kept.sort();
    kept
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_planned_promotion_loses_nothing_that_was_acknowledged() {
    let (world, _) = World::running(40);
    let (old, new) = (&world.active, &world.passive);
    let over = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let editing = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("default/api/edit-{n}.xml");
                save(old, &path, &api("edit", &n.to_string()));
                if old.run(&["push"]).code == Some(0) {
                    acknowledged.push(path);
                }
            }
            acknowledged
        });
        wait::until("edits to flow", DEADLINE, || {
            wait::ensure(new.tree.join("default/api/edit-3.xml").exists(), "not yet")
        });
        let outcome = new.run(&["promote", "--json"]).exits(0);
        let standing = outcome.message("standing");
        assert_eq!(
            (&standing["role"], &standing["epoch"]),
            (&"active".into(), &2.into())
        );
        // Nobody waits for the daemon: it answers in its new role at once.
        assert_eq!(new.status()["role"], "active");
        assert_ne!(old.status()["role"], "active");
        over.store(true, Ordering::Relaxed);
        editing.join().unwrap()
    });
    assert!(acknowledged.len() > 3, "{acknowledged:?}");
    for path in &acknowledged {
        assert!(new.tree.join(path).exists(), "{path} was acknowledged");
    }
    until_is(old, "passive", 2);
    save(new, "default/api/after.xml", &api("after", "1"));
    new.run(&["push"]).exits(0);
    until_equal(new, old);
    new.run(&["verify"]).exits(0);
    // The old one refuses what is the active's to do.
    old.run(&["push"]).exits(6);
}

#[test]
fn a_promotion_can_be_undone_by_another() {
    let (world, _) = World::running(40);
    world.passive.run(&["promote"]).exits(0);
    save(&world.passive, "default/api/there.xml", &api("there", "1"));
    world.passive.run(&["push"]).exits(0);
    world.active.run(&["promote"]).exits(0);
    until_is(&world.active, "active", 3);
    until_is(&world.passive, "passive", 3);
    world.save("default/api/back.xml", &api("back", "1"));
    world.push();
    world.until_equal(Strictness::Identity);
    assert_eq!(kept_aside(&world.active), Vec::<String>::new());
    assert_eq!(kept_aside(&world.passive), Vec::<String>::new());
}

#[test]
fn a_plan_changes_nothing_and_a_second_promotion_says_so() {
    let (world, _) = World::running(40);
    let plan = world.passive.run(&["promote", "-n"]).exits(0);
    assert!(plan.stdout.contains("apim-1"), "{}", plan.stdout);
    assert!(
        plan.stdout.contains("would be active, epoch 2"),
        "{}",
        plan.stdout
    );
    assert_eq!(world.passive.status()["role"], "passive");
    assert_eq!(world.active.status()["epoch"], 1);
    world
        .passive
        .run(&["promote", "--confirm", "apim-1"])
        .exits(6);
    let again = world.active.run(&["promote"]).exits(0);
    assert!(again.stdout.contains("already active"), "{}", again.stdout);
    until_is(&world.active, "active", 1);
}

#[test]
fn an_active_that_died_returns_as_a_passive_and_its_edits_are_kept_aside() {
    let (mut world, apis) = World::running(40);
    world.active.kill();
    let theirs = apis[0].path();
    let promoted = world.passive.run(&["promote"]).exits(0);
    assert!(
        promoted.stderr.contains("not reached"),
        "{}",
        promoted.stderr
    );
    assert!(
        promoted.stderr.contains("last agreed"),
        "{}",
        promoted.stderr
    );
    until_is(&world.passive, "active", 2);
    // Both sides go on by themselves.
    apis[1].revised().save(&world.passive.tree).unwrap();
    save(
        &world.passive,
        "default/api/new-there.xml",
        &api("there", "1"),
    );
    world.passive.run(&["push"]).exits(7);
    fs::write(world.active.tree.join(&theirs), api("edited", "alone")).unwrap();
    save(&world.active, "default/api/alone.xml", &api("alone", "1"));
    world.active.start();
    until_is(&world.active, "passive", 2);
    until_equal(&world.passive, &world.active);
    assert_eq!(
        kept_aside(&world.active),
        [api("alone", "1"), api("edited", "alone")]
    );
    world.passive.run(&["verify"]).exits(0);
    world.active.run(&["push"]).exits(6);
}

#[test]
fn one_command_of_an_old_active_finds_out_as_well() {
    let (mut world, _) = World::running(40);
    world.active.kill();
    world.passive.run(&["promote"]).exits(0);
    save(&world.active, "default/api/alone.xml", &api("alone", "1"));
    world.active.run(&["push"]).exits(6);
    assert_eq!(world.active.status()["role"], "passive");
    world.active.start();
    until_equal(&world.passive, &world.active);
    assert_eq!(kept_aside(&world.active), [api("alone", "1")]);
}

#[test]
fn a_restored_state_directory_finds_out_at_the_first_contact() {
    let (mut world, _) = World::running(40);
    assert!(world.active.stop().success());
    let backup = world.path().join("backup");
    copy(&world.active.state, &backup);
    world.active.start();
    world.until_in_step();
    world.passive.run(&["promote"]).exits(0);
    until_is(&world.active, "passive", 2);
    save(&world.passive, "default/api/later.xml", &api("later", "1"));
    world.passive.run(&["push"]).exits(0);
    until_equal(&world.passive, &world.active);
    assert!(world.active.stop().success());
    fs::remove_dir_all(&world.active.state).unwrap();
    copy(&backup, &world.active.state);
    assert_eq!(world.active.status()["role"], "active", "as it was");
    save(&world.active, "default/api/alone.xml", &api("alone", "1"));
    save(
        &world.passive,
        "default/api/latest.xml",
        &api("latest", "1"),
    );
    world.active.start();
    until_is(&world.active, "passive", 2);
    until_equal(&world.passive, &world.active);
    assert!(world.active.tree.join("default/api/latest.xml").exists());
    assert_eq!(kept_aside(&world.active), [api("alone", "1")]);
    assert_eq!(kept_aside(&world.passive), Vec::<String>::new());
}

/// Both nodes are promoted while neither can reach the other, and edited.
fn both_promoted() -> World {
    let (mut world, apis) = World::running(40);
    assert!(world.active.stop().success());
    assert!(world.passive.stop().success());
    world.active.run(&["demote"]).exits(6);
    world
        .active
        .run(&["demote", "--confirm", "apim-1"])
        .exits(0);
    for node in [&world.active, &world.passive] {
        let outcome = node.run(&["promote", "--json"]).exits(0);
        assert_eq!(outcome.message("standing")["epoch"], 2);
        let at = apis[0].path();
        fs::write(node.tree.join(at), api("both", &node.name)).unwrap();
        save(
            node,
            &format!("default/api/{}.xml", node.name),
            &api("one", &node.name),
        );
    }
    world
}

fn until_halted(node: &Node) -> Value {
    node.until_status("a conflict", |status| status.get("conflict").cloned())
}

#[test]
fn two_promotions_out_of_sight_halt_both_until_a_person_decides() {
    let mut world = both_promoted();
    let before = [&world.active, &world.passive].map(|node| compare::snapshot(&node.tree).unwrap());
    world.active.start();
    world.passive.start();
    assert_eq!(until_halted(&world.active)["peer"], "apim-2");
    assert_eq!(until_halted(&world.passive)["peer"], "apim-1");
    for node in [&world.active, &world.passive] {
        node.run(&["push"]).exits(6);
        node.run(&["demote"]).exits(6);
        let refused = node.run(&["promote"]).exits(6);
        assert!(refused.stderr.contains("--confirm"), "{}", refused.stderr);
    }
    world
        .passive
        .run(&["promote", "--confirm", "apim-1"])
        .exits(6);
    // The conflict outlives a restart.
    assert!(world.active.stop().success());
    assert!(world.active.status().get("conflict").is_some());
    world.active.start();
    until_halted(&world.active);
    let after = [&world.active, &world.passive].map(|node| compare::snapshot(&node.tree).unwrap());
    assert!(before == after, "nothing was sent or taken");
    for (node, other) in [("apim-1", "apim-2"), ("apim-2", "apim-1")] {
        let asked = [&world.active, &world.passive]
            .into_iter()
            .find(|it| it.name == node);
        let diff = asked.unwrap().run(&["diff", "--json"]).exits(3);
        let changes = three_way(&diff);
        let own = format!("default/api/{node}.xml");
        let theirs = format!("default/api/{other}.xml");
        assert!(
            changes.contains(&(own, "added".into(), "same".into())),
            "{changes:?}"
        );
        assert!(
            changes.contains(&(theirs, "same".into(), "added".into())),
            "{changes:?}"
        );
        let both = changes
            .iter()
            .filter(|(_, here, there)| here == "changed" && there == "changed");
        assert_eq!((both.count(), changes.len()), (1, 3), "{changes:?}");
        asked.unwrap().run(&["ready"]).exits(3);
    }

    world
        .passive
        .run(&["promote", "--confirm", "apim-2"])
        .exits(0);
    until_is(&world.passive, "active", 3);
    until_is(&world.active, "passive", 3);
    until_equal(&world.passive, &world.active);
    assert!(
        compare::snapshot(&world.passive.tree).unwrap() == after[1],
        "the winner's tree"
    );
    assert_eq!(
        kept_aside(&world.active),
        [api("both", "apim-1"), api("one", "apim-1")]
    );
    assert_eq!(kept_aside(&world.passive), Vec::<String>::new());
    world.passive.run(&["verify"]).exits(0);
    let diff = world.active.run(&["diff", "--json"]).exits(0);
    let aside = diff.messages("aside");
    assert!(
        aside
            .iter()
            .any(|it| it["path"] == "default/api/apim-1.xml"),
        "{aside:?}"
    );
    assert_eq!(aside.len(), 2);
}

/// (path, here, there) of every line of `diff --json`.
fn three_way(outcome: &sync_tests::outcome::Outcome) -> Vec<(String, String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let lines = outcome.messages("three_way");
    lines
        .iter()
        .map(|line| (text(line, "path"), text(line, "here"), text(line, "there")))
        .collect()
}

#[test]
fn what_would_be_lost_is_told_on_both_nodes() {
    let (mut world, apis) = World::running(40);
    for node in [&world.active, &world.passive] {
        let ready = node.run(&["ready", "--json"]).exits(0);
        assert_eq!(ready.message("readiness")["ready"], true);
        assert_eq!(node.run(&["ready"]).exits(0).stdout.lines().count(), 1);
        node.run(&["diff"]).exits(0);
    }
    world.active.run(&["pause"]).exits(0);
    fs::write(world.active.tree.join(apis[0].path()), api("edited", "1")).unwrap();
    world.save("default/api/new.xml", &api("new", "1"));
    world.delete(apis[1].path());
    for (node, here, there) in [
        (&world.active, "added", "same"),
        (&world.passive, "same", "added"),
    ] {
        let ready = node.run(&["ready", "--json"]).exits(3);
        let pending = ready.messages("pending");
        assert!(
            pending
                .iter()
                .any(|line| line["path"] == "default/api/new.xml"),
            "{pending:?}"
        );
        assert_eq!(ready.message("readiness")["ready"], false);
        let diff = three_way(&node.run(&["diff", "--json"]).exits(3));
        let line = (
            "default/api/new.xml".to_owned(),
            here.to_owned(),
            there.to_owned(),
        );
        assert!(diff.contains(&line), "{diff:?}");
        assert_eq!(diff.len(), 3, "{diff:?}");
        let one = three_way(
            &node
                .run(&["diff", "default/api/new.xml", "--json"])
                .exits(3),
        );
        assert_eq!(one, [line]);
    }
    // The active cannot hand over what it may not send.
    world.passive.run(&["promote"]).exits(4);
    assert_eq!(world.active.status()["role"], "active");
    world.active.run(&["resume"]).exits(0);
    world.push();
    world.passive.run(&["ready"]).exits(0);
    world.save("default/api/broken.xml", "<api");
    let held = world
        .passive
        .run(&["ready", "--json"])
        .exits(3)
        .message("readiness");
    assert!(
        held["reasons"][0].as_str().unwrap().contains("broken.xml"),
        "{held}"
    );
    assert!(world.active.stop().success());
    let alone = world
        .passive
        .run(&["ready", "--json"])
        .exits(3)
        .message("readiness");
    assert!(
        alone["reasons"][0].as_str().unwrap().contains("apim-1"),
        "{alone}"
    );
    world.passive.run(&["diff"]).exits(7);
    // Without a daemon here as well.
    world.active.start();
    world.until_in_step();
    assert!(world.passive.stop().success());
    world.passive.run(&["ready"]).exits(3);
    world.passive.run(&["diff", "default/api/new.xml"]).exits(0);
}

#[test]
fn an_active_that_cannot_send_everything_is_overruled_on_confirmation() {
    let (world, _) = World::running(40);
    world.active.run(&["pause"]).exits(0);
    world.save("default/api/unsent.xml", &api("unsent", "1"));
    world.passive.run(&["ready"]).exits(3);
    world.passive.run(&["promote"]).exits(4);
    until_is(&world.active, "active", 1);
    world
        .passive
        .run(&["promote", "--confirm", "apim-2"])
        .exits(0);
    until_is(&world.passive, "active", 2);
    until_is(&world.active, "passive", 2);
    until_equal(&world.passive, &world.active);
    assert_eq!(kept_aside(&world.active), [api("unsent", "1")]);
}

#[test]
fn a_higher_epoch_that_never_knew_of_the_other_is_a_conflict_too() {
    let mut world = both_promoted();
    world
        .passive
        .run(&["demote", "--confirm", "apim-2"])
        .exits(0);
    world.passive.run(&["promote"]).exits(0);
    assert_eq!(world.passive.status()["epoch"], 3);
    world.active.start();
    world.passive.start();
    until_halted(&world.active);
    until_halted(&world.passive);
    world
        .active
        .run(&["promote", "--confirm", "apim-1"])
        .exits(0);
    until_is(&world.active, "active", 4);
    until_is(&world.passive, "passive", 4);
    world.until_equal(Strictness::Identity);
    assert_eq!(
        kept_aside(&world.passive),
        [api("both", "apim-2"), api("one", "apim-2")]
    );
}

#[test]
fn a_daemon_is_not_needed_to_promote() {
    let (mut world, _) = World::running(40);
    assert!(world.passive.stop().success());
    world.save("default/api/last.xml", &api("last", "1"));
    world.passive.run(&["promote"]).exits(0);
    assert!(world.passive.tree.join("default/api/last.xml").exists());
    until_is(&world.active, "passive", 2);
    until_is(&world.passive, "active", 2);
    world.passive.start();
    save(&world.passive, "default/api/next.xml", &api("next", "1"));
    world.passive.run(&["push"]).exits(0);
    until_equal(&world.passive, &world.active);
    assert_eq!(kept_aside(&world.active), Vec::<String>::new());
}

#[test]
fn a_demoted_active_waits_for_the_promotion_of_its_peer() {
    let (world, _) = World::running(40);
    let plan = world.active.run(&["demote", "-n"]).exits(0);
    assert!(plan.stdout.contains("apim-2"), "{}", plan.stdout);
    assert_eq!(world.active.status()["role"], "active");
    world.save("default/api/last.xml", &api("last", "1"));
    world.active.run(&["demote"]).exits(0);
    assert!(world.passive.tree.join("default/api/last.xml").exists());
    until_is(&world.active, "passive", 1);
    let again = world.active.run(&["demote"]).exits(0);
    assert!(again.stdout.contains("already passive"), "{}", again.stdout);
    world.passive.run(&["promote"]).exits(0);
    until_is(&world.passive, "active", 2);
    save(&world.passive, "default/api/next.xml", &api("next", "1"));
    world.passive.run(&["push"]).exits(0);
    until_equal(&world.passive, &world.active);
    assert_eq!(kept_aside(&world.active), Vec::<String>::new());
}

/// Runs `promote` on a node whose daemon does not run, killed before its `nth` rename:
/// each of its records is one. Whether it came through.
fn promote_killed_at(node: &Node, nth: u32) -> bool {
    let calls = "rename,renameat,renameat2";
    let promote = node.command(&["promote"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")]);
    strace.arg(promote.get_program()).args(promote.get_args());
    strace.output().unwrap().status.success()
}

#[test]
fn a_promotion_killed_at_any_record_never_leaves_two_actives_and_ends_when_run_again() {
    let (mut world, _) = World::running(40);
    assert!(world.passive.stop().success());
    let mut unled = 0;
    for nth in 1.. {
        let came_through = promote_killed_at(&world.passive, nth);
        let roles = [&world.active, &world.passive].map(|node| node.status()["role"].clone());
        let actives = roles.iter().filter(|role| *role == "active").count();
        assert!(actives <= 1, "killed before rename {nth}: {roles:?}");
        if actives == 0 {
            unled += 1;
            let shown = world.passive.run(&["status"]).exits(7).stdout;
            assert!(shown.contains("`apim-sync promote` here"), "{shown}");
        }
        world.passive.run(&["promote"]).exits(0);
        let epoch = world.passive.status()["epoch"].as_u64().unwrap();
        // It dials, and so the other hears of it.
        world.passive.start();
        until_is(&world.active, "passive", epoch);
        if came_through {
            break;
        }
        // And back, for the next one.
        until_equal(&world.passive, &world.active);
        world.active.run(&["promote"]).exits(0);
        until_is(&world.passive, "passive", epoch + 1);
        assert!(world.passive.stop().success());
    }
    assert!(unled > 0, "no kill came between the two records");
}
