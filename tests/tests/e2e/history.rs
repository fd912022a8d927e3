//! What each node remembers of the past.

use std::fs;

use serde_json::Value;
use sync_tests::{Settings, World, artifacts, compare::Strictness, node::Node};

const A: &str = "default/api/a.xml";
const B: &str = "default/api/b.xml";

fn api(name: &str, revision: u32) -> String {
    format!(
        "<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/{revision}\"/>"
    )
}

fn generations(node: &Node, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["history", "--json"], arguments].concat();
    node.run(&arguments).exits(0).messages("generation")
}

fn step<'a>(generation: &'a Value, name: &str) -> Option<&'a Value> {
    let steps = generation["steps"].as_array()?;
    steps.iter().find(|step| step["step"] == name)
}

/// The milliseconds of these steps, which must be there.
fn times(generation: &Value, names: &[&str]) -> Vec<u64> {
    let time = |name: &&str| step(generation, name)?["unix_ms"].as_u64();
    let found: Option<Vec<u64>> = names.iter().map(time).collect();
    found.unwrap_or_else(|| panic!("{names:?} of {generation}"))
}

#[test]
fn both_nodes_tell_who_changed_what_and_when() {
    let (mut world, _) = World::running(20);
    world.save(A, &api("a", 1));
    world.push();
    world.save(A, &api("a", 2));
    world.push();
    fs::remove_file(world.active.tree.join(A)).unwrap();
    world.push();

    let of_active = generations(&world.active, &[A]);
    let of_passive = generations(&world.passive, &[A]);
    let actions = |list: &[Value]| -> Vec<String> {
        let action = |it: &Value| it["changes"][0]["action"].as_str().unwrap().to_owned();
        list.iter()
            .filter(|it| it["listed"] == true)
            .map(action)
            .collect()
    };
    assert_eq!(actions(&of_active), ["delete", "update", "create"]);
    assert_eq!(actions(&of_passive), ["delete", "update", "create"]);
    for (ours, theirs) in of_active.iter().zip(&of_passive).take(3) {
        for key in ["generation", "epoch", "base", "root"] {
            assert_eq!(ours[key], theirs[key]);
        }
        assert_eq!(ours["origin"], "watch");
        assert_eq!(
            (&theirs["origin"], &theirs["from"]),
            (&"peer".into(), &"apim-1".into())
        );
        let steps = ["settled", "published", "sent", "durable", "applied"];
        let order = times(ours, &steps);
        assert!(order.is_sorted(), "{ours}");
        assert_eq!(step(ours, "applied").unwrap()["peer"], "apim-2");
        assert!(times(theirs, &["received", "durable", "applied"]).is_sorted());
    }
    assert!(times(&of_active[1], &["seen", "settled"]).is_sorted());
    // What was there is the content after the generation before.
    let [update, create] = [&of_active[1], &of_active[2]];
    assert_eq!(
        update["changes"][0]["before"],
        create["changes"][0]["after"]
    );

    // Without daemons the disk knows the same.
    world.active.stop();
    world.passive.stop();
    assert_eq!(generations(&world.active, &[A]), of_active);
    assert_eq!(generations(&world.passive, &[A]), of_passive);
    let one = generations(&world.passive, &["--limit", "1"]);
    assert_eq!(one.len(), 1);
    let shown = world.passive.run(&["history"]).exits(0).stdout;
    assert!(
        shown.contains("-1  from apim-1") && shown.contains("- default/api/a.xml"),
        "{shown}"
    );
}

#[test]
fn a_first_fill_is_one_entry_without_paths() {
    let (world, _) = World::running(20);
    for node in [&world.active, &world.passive] {
        let all = generations(node, &[]);
        let first = all.last().unwrap();
        assert_eq!(
            (&first["listed"], &first["updated"]),
            (&false.into(), &0.into())
        );
        assert!(first["created"].as_u64().unwrap() >= 20, "{first}");
    }
}

#[test]
fn the_history_survives_a_kill_and_names_every_generation_once() {
    let (mut world, _) = World::running(20);
    for revision in 1..=3 {
        world.save(A, &api("a", revision));
        world.push();
    }
    let before = generations(&world.passive, &[A]);
    world.active.kill();
    world.passive.kill();
    world.active.start();
    world.passive.start();
    world.save(B, &api("b", 1));
    world.push();
    assert_eq!(generations(&world.passive, &[A]), before);
    for node in [&world.active, &world.passive] {
        let all = generations(node, &["--limit", "100"]);
        let numbers: Vec<u64> = all
            .iter()
            .map(|it| it["generation"].as_u64().unwrap())
            .collect();
        assert!(
            numbers.is_sorted_by(|a, b| a > b),
            "{} {numbers:?}",
            node.name
        );
        // Each begins where the one before ended.
        for pair in all.windows(2) {
            assert_eq!(pair[0]["base"], pair[1]["root"], "{}", node.name);
        }
    }
}

#[test]
fn the_number_of_generations_is_bounded() {
    let mut world = World::with(&Settings::default());
    for node in [&world.active, &world.passive] {
        node.edit_config(|config| {
            let history: toml::Table = "generations = 3\nbytes = \"1MiB\"".parse().unwrap();
            config.insert("history".into(), history.into());
        });
    }
    world.fill(10);
    world.active.start();
    world.passive.start();
    world.until_in_step();
    for revision in 1..=8 {
        world.save(A, &api("a", revision));
        world.push();
    }
    // What is too much goes when the tree is idle.
    sync_tests::wait::until("old contents to go", sync_tests::wait::DEADLINE, || {
        let kept = world.passive.work("archive").len();
        sync_tests::wait::ensure(kept <= 1 + 3, format!("{kept} names"))
    });
    world.verify_clean();
}

#[test]
fn what_was_kept_aside_is_listed_with_the_history() {
    let (world, _) = World::running(20);
    world.save(A, &api("a", 1));
    world.push();
    artifacts::save(&world.passive.tree.join(A), b"<edited-here/>").unwrap();
    world.push();
    world.until_equal(Strictness::Identity);
    let aside = world
        .passive
        .run(&["history", "--json"])
        .exits(0)
        .messages("aside");
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(aside[0]["path"], A);
    let healed = &generations(&world.passive, &[A])[0];
    assert_eq!(
        (&healed["changes"][0]["action"], &healed["healed"]),
        (&"heal".into(), &1.into())
    );
}

#[test]
fn a_trace_follows_a_file_over_both_nodes() {
    let (mut world, _) = World::running(10);
    world.save(A, &api("a", 1));
    world.push();
    world.save(A, &api("a", 2));
    world.push();
    for asked in [&world.active, &world.passive] {
        let traces = asked
            .run(&["trace", A, "--json"])
            .exits(0)
            .messages("trace");
        assert_eq!(traces.len(), 2, "{traces:?}");
        assert!(traces[0]["generation"].as_u64() > traces[1]["generation"].as_u64());
        let steps = traces[0]["steps"].as_array().unwrap();
        let at = |clock: &str, name: &str| {
            let mut own = steps.iter().filter(|step| step["clock"] == clock);
            own.find(|step| step["step"] == name)
                .unwrap_or_else(|| panic!("{name} by {clock}: {steps:?}"))
                .clone()
        };
        for name in ["seen", "settled", "published", "sent"] {
            at("apim-1", name);
        }
        // The active has heard of it; the passive was there.
        assert_eq!(at("apim-1", "applied")["heard"], true);
        for name in ["received", "durable", "applied"] {
            assert!(at("apim-2", name).get("heard").is_none(), "{name}");
        }
    }
    // A peer that is away is told, and left out.
    world.passive.stop();
    let alone = world.active.run(&["trace", A]).exits(0);
    assert!(
        alone.stderr.contains("without the part of `apim-2`"),
        "{}",
        alone.stderr
    );
    assert!(
        alone.stdout.contains("apim-1") && !alone.stdout.contains("apim-2"),
        "{}",
        alone.stdout
    );
    let unknown = world
        .active
        .run(&["trace", "default/api/none.xml"])
        .exits(2);
    assert!(
        unknown
            .stderr
            .contains("no generation that is kept touched it"),
        "{}",
        unknown.stderr
    );
}
