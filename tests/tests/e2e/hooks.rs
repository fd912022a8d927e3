//! Programs of the operator's are run when something happens, and nothing waits
//! for them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use serde_json::Value;
use sync_tests::{
    World, artifacts,
    node::Node,
    wait::{self, DEADLINE},
};

/// A hook's program, and what it was told.
struct Recorder {
    program: PathBuf,
    told: PathBuf,
}

impl Recorder {
    /// A program that writes down what it is told, then does `more`.
    fn new(directory: &Path, name: &str, more: &str) -> Self {
        let (program, told) = (directory.join(name), directory.join(format!("{name}.told")));
        let script = format!("#!/bin/sh\ncat >> '{}'\n{more}\n", told.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, told }
    }

    /// Everything it was told, in order.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.told).unwrap_or_default();
        let whole = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        whole.collect()
    }

    /// Waits until it is told of something that `is` what is waited for.
    fn until_told(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, DEADLINE, || {
            let told = self.told();
            let found = told.iter().find(|it| is(it)).cloned();
            found.ok_or_else(|| format!("{told:?}"))
        })
    }
}

fn hook(node: &Node, name: &str, recorder: &Recorder) {
    configure(node, name, vec![recorder.program.display().to_string()]);
}

fn configure(node: &Node, key: &str, value: impl Into<toml::Value>) {
    node.edit_config(|config| {
        let empty = toml::Value::Table(toml::Table::new());
        let hooks = config.entry("hooks").or_insert(empty);
        hooks
            .as_table_mut()
            .unwrap()
            .insert(key.into(), value.into());
    });
}

/// What the status says of a hook's last run.
fn last_run(node: &Node, name: &str) -> Option<Value> {
    let status = node.status();
    let hooks = status["hooks"].as_array()?;
    hooks.iter().find(|it| it["hook"] == name).cloned()
}

fn until_outcome(node: &Node, name: &str, outcome: &str) -> Value {
    wait::until(&format!("{name} to have {outcome}"), DEADLINE, || {
        let run = last_run(node, name);
        let run = run.filter(|run| run["outcome"] == outcome);
        run.ok_or_else(|| node.status().to_string())
    })
}

fn api(name: &str) -> String {
    format!("<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/1\"/>")
}

/// Two nodes in step, with hooks from the start.
fn running(hooks: impl FnOnce(&World)) -> World {
    let mut world = World::new();
    world.fill(40);
    hooks(&world);
    world.active.start();
    world.passive.start();
    world.until_in_step();
    world
}

#[test]
fn both_sides_of_a_promotion_are_told_and_the_command_waits_for_its_hook() {
    let mut recorders = None;
    let world = running(|world| {
        let promoted = Recorder::new(world.path(), "promoted", "echo rewritten");
        let demoted = Recorder::new(world.path(), "demoted", "");
        hook(&world.passive, "on_promote", &promoted);
        hook(&world.active, "on_demote", &demoted);
        recorders = Some((promoted, demoted));
    });
    let (promoted, demoted) = recorders.unwrap();
    world.passive.run(&["promote", "-n"]).exits(0);
    assert!(promoted.told().is_empty(), "a plan runs nothing");
    let outcome = world.passive.run(&["promote", "--json"]).exits(0);
    let run = outcome.message("hook");
    assert_eq!(
        (&run["hook"], &run["outcome"], &run["code"]),
        (&"on_promote".into(), &"exited".into(), &0.into())
    );
    let told = promoted.told();
    assert_eq!(told.len(), 1, "{told:?}");
    for (key, value) in [
        ("hook", Value::from("on_promote")),
        ("schema", 1.into()),
        ("node", "apim-2".into()),
        ("id", world.passive.id.clone().into()),
        ("role", "active".into()),
        ("epoch", 2.into()),
        ("active", Value::Null),
    ] {
        assert_eq!(told[0][key], value, "{key}");
    }
    let told = demoted.until_told("the demotion", |_| true);
    assert_eq!(
        (&told["role"], &told["active"]),
        (&"passive".into(), &"apim-2".into())
    );
    assert_eq!(last_run(&world.passive, "on_promote").unwrap()["runs"], 1);
    let audit = world.passive.state.join("audit/00000001.jsonl");
    wait::until("the audit log to say how the hook ended", DEADLINE, || {
        let text = fs::read_to_string(&audit).unwrap();
        let mut records = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = records.any(|it| it["hook"] == "on_promote" && it["outcome"] == "succeeded");
        wait::ensure(said, text)
    });
    assert!(
        world.passive.log().contains("rewritten"),
        "what it says is logged"
    );
    let again = world.passive.run(&["promote", "--json"]).exits(0);
    assert!(again.messages("hook").is_empty());
    assert_eq!(promoted.told().len(), 1, "nothing changed, nothing is told");
}

#[test]
fn a_hook_that_fails_or_hangs_undoes_nothing_and_is_shown() {
    let world = running(|world| {
        let fails = Recorder::new(world.path(), "fails", "echo no space >&2; exit 3");
        let hangs = Recorder::new(world.path(), "hangs", "sleep 600");
        hook(&world.passive, "on_promote", &fails);
        hook(&world.passive, "on_demote", &hangs);
        configure(&world.passive, "deadline_s", 1);
    });
    let promoted = world.passive.run(&["promote"]).exits(0);
    assert!(
        promoted.stderr.contains("on_promote: exit code 3"),
        "{}",
        promoted.stderr
    );
    assert!(
        promoted.stdout.contains("apim-2 is now active"),
        "{}",
        promoted.stdout
    );
    assert!(world.passive.log().contains("no space"));
    let run = last_run(&world.passive, "on_promote").unwrap();
    assert_eq!((&run["code"], &run["failures"]), (&3.into(), &1.into()));
    assert!(
        world
            .passive
            .run(&["status"])
            .exits(0)
            .stdout
            .contains("exit code 3")
    );
    let nagios = world.passive.run(&["status", "--nagios"]);
    assert!(
        nagios.stdout.contains("on_promote: exit code 3"),
        "{}",
        nagios.stdout
    );
    let demoted = world
        .passive
        .run(&["demote", "--confirm", "apim-2"])
        .exits(0);
    assert!(
        demoted.stderr.contains("on_demote: killed at its deadline"),
        "{}",
        demoted.stderr
    );
    assert_eq!(world.passive.status()["role"], "passive");
}

#[test]
fn a_hook_that_hangs_delays_no_edit_and_is_then_told_of_the_newest() {
    let mut recorders = None;
    let world = running(|world| {
        let more = format!(
            "while [ -e '{}' ]; do sleep 0.02; done",
            world.path().join("hang").display()
        );
        let sent = Recorder::new(world.path(), "sent", &more);
        let applied = Recorder::new(world.path(), "applied", &more);
        hook(&world.active, "on_generation", &sent);
        hook(&world.passive, "on_generation", &applied);
        recorders = Some((sent, applied));
    });
    let (sent, applied) = recorders.unwrap();
    let first = sent.until_told("the first generation", |told| told["generation"] == 1);
    assert!(first["changes"].as_u64().unwrap() >= 40);
    assert!(first["paths"].as_array().unwrap().len() <= 50);
    until_outcome(&world.active, "on_generation", "exited");
    until_outcome(&world.passive, "on_generation", "exited");
    let hang = world.path().join("hang");
    fs::write(&hang, "").unwrap();
    world.save("default/api/a.xml", &api("a"));
    let one = sent.until_told("the hook to hang", |told| {
        told["paths"][0]["path"] == "default/api/a.xml"
    });
    assert_eq!(
        (&one["paths"][0]["action"], &one["changes"]),
        (&"create".into(), &1.into())
    );
    applied.until_told("the other to hang", |told| {
        told["generation"] == one["generation"]
    });
    for name in ["b", "c", "d"] {
        world.save(format!("default/api/{name}.xml"), &api(name));
        world.push();
    }
    assert!(world.passive.tree.join("default/api/d.xml").exists());
    let newest = &world.active.status()["trees"][0]["generation"];
    fs::remove_file(&hang).unwrap();
    for recorder in [&sent, &applied] {
        let last = recorder.until_told("the newest", |told| told["generation"] == *newest);
        assert_eq!(last["changes"], 3, "all since it was told last: {last}");
        assert_eq!(last["previous_generation"], one["generation"]);
    }
}

#[test]
fn drift_is_told_once() {
    let mut recorder = None;
    let world = running(|world| {
        let drift = Recorder::new(world.path(), "drift", "");
        hook(&world.passive, "on_drift", &drift);
        recorder = Some(drift);
    });
    let recorder = recorder.unwrap();
    artifacts::save(
        &world.passive.tree.join("default/api/own.xml"),
        api("own").as_bytes(),
    )
    .unwrap();
    let told = recorder.until_told("the file", |_| true);
    assert_eq!(told["paths"][0]["path"], "default/api/own.xml");
    assert_eq!(told["paths"][0]["kind"], "created");
    assert_eq!(told["paths"][0]["cause"], "edited");
    artifacts::save(
        &world.passive.tree.join("default/api/more.xml"),
        api("more").as_bytes(),
    )
    .unwrap();
    let more = recorder.until_told("the other", |told| {
        told["paths"][0]["path"] == "default/api/more.xml"
    });
    assert_eq!(more["changes"], 1, "the first is not told again: {more}");
}

#[test]
fn every_kind_of_halt_is_told() {
    let mut recorder = None;
    let mut world = running(|world| {
        let halt = Recorder::new(world.path(), "halt", "");
        hook(&world.active, "on_halt", &halt);
        recorder = Some(halt);
    });
    let recorder = recorder.unwrap();
    let apis = world.active.tree.join("default/api");
    let aside = world.path().join("api");
    fs::rename(&apis, &aside).unwrap();
    let guard = recorder.until_told("the guard", |told| told["reason"] == "guard");
    let plan = world.active.until_status("the plan", |status| {
        status["guard"]["plans"][0]["plan"]
            .as_str()
            .map(str::to_owned)
    });
    assert_eq!(guard["plan"], plan);
    assert_eq!(guard["peer"], "apim-2");
    fs::rename(&aside, &apis).unwrap();
    world.push();

    let away = world.path().join("away");
    fs::rename(&world.active.tree, &away).unwrap();
    let source = recorder.until_told("the source", |told| told["reason"] == "source");
    assert_eq!(source["tree"], "synapse-configs");
    fs::rename(&away, &world.active.tree).unwrap();
    world.push();

    assert!(world.passive.stop().success());
    world
        .passive
        .run(&["promote", "--confirm", "apim-2"])
        .exits(0);
    world
        .active
        .until_status("the old active to be passive", |status| {
            (status["role"] == "passive").then_some(())
        });
    assert!(world.active.stop().success());
    // Both are promoted while neither runs.
    world
        .passive
        .run(&["demote", "--confirm", "apim-2"])
        .exits(0);
    for node in [&world.active, &world.passive] {
        node.run(&["promote"]).exits(0);
    }
    world.active.start();
    world.passive.start();
    let conflict = recorder.until_told("the conflict", |told| told["reason"] == "conflict");
    assert_eq!(conflict["peer"], "apim-2");
    assert_eq!(
        recorder
            .told()
            .iter()
            .filter(|told| told["reason"] == "guard")
            .count(),
        1
    );
}

#[test]
fn a_promotion_without_a_daemon_runs_its_hook_too() {
    let mut recorder = None;
    let mut world = running(|world| {
        let promoted = Recorder::new(world.path(), "promoted", "exit 4");
        hook(&world.passive, "on_promote", &promoted);
        recorder = Some(promoted);
    });
    assert!(world.passive.stop().success());
    let outcome = world.passive.run(&["promote"]).exits(0);
    assert!(
        outcome.stderr.contains("on_promote: exit code 4"),
        "{}",
        outcome.stderr
    );
    assert_eq!(recorder.as_ref().unwrap().told().len(), 1);
    let run = last_run(&world.passive, "on_promote").unwrap();
    assert_eq!(run["code"], 4, "known without a daemon");
    world.passive.start();
    assert_eq!(last_run(&world.passive, "on_promote").unwrap()["code"], 4);
    assert_eq!(recorder.unwrap().told().len(), 1, "told once");
}

#[test]
fn two_promotions_at_once_are_one_after_the_other() {
    let world = running(|_| {});
    let at_once = std::thread::scope(|scope| {
        let promotions = [(); 3].map(|()| scope.spawn(|| world.passive.run(&["promote"])));
        promotions.map(|promotion| promotion.join().unwrap())
    });
    let said: String = at_once.map(|outcome| outcome.exits(0).stdout).concat();
    assert_eq!(said.matches("is now active, epoch 2").count(), 1, "{said}");
    assert_eq!(
        said.matches("is already active, epoch 2").count(),
        2,
        "{said}"
    );
}

#[test]
fn a_node_that_is_killed_during_its_hook_runs_it_again() {
    let mut recorder = None;
    let mut world = running(|world| {
        let hang = world.path().join("hang");
        fs::write(&hang, "").unwrap();
        let more = format!("while [ -e '{}' ]; do sleep 0.02; done", hang.display());
        let promoted = Recorder::new(world.path(), "promoted", &more);
        hook(&world.passive, "on_promote", &promoted);
        recorder = Some(promoted);
    });
    let recorder = recorder.unwrap();
    let mut command = world.passive.command(&["promote"]).spawn().unwrap();
    recorder.until_told("the promotion", |_| true);
    world.passive.signal(Signal::KILL);
    world.passive.kill();
    command.wait().unwrap();
    fs::remove_file(world.path().join("hang")).unwrap();
    world.passive.start();
    until_outcome(&world.passive, "on_promote", "exited");
    let told = recorder.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["epoch"], told[1]["epoch"]);
    assert!(world.passive.stop().success());
    world.passive.start();
    assert_eq!(recorder.told().len(), 2, "and then no more");
}

#[test]
fn the_role_alone_is_one_word() {
    let mut world = World::new();
    let at_rest = world.passive.run(&["status", "--role"]).exits(7);
    assert_eq!(at_rest.stdout, "passive\n");
    world.active.start();
    let running = world.active.run(&["status", "--role"]).exits(0);
    assert_eq!(running.stdout, "active\n");
}

#[test]
fn a_hook_without_an_absolute_path_is_refused() {
    let world = World::new();
    configure(&world.active, "on_halt", vec!["mail".to_owned()]);
    let refused = world.active.run(&["status"]).exits(2);
    assert!(
        refused
            .stderr
            .contains("hooks.on_halt: `mail` is not an absolute path"),
        "{}",
        refused.stderr
    );
}
