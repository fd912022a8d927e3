//! Generations of two trees that count together or not at all.
//!
//! As in [`crash`](super::crash) a child is killed before every call of every kind;
//! here it takes a span into two trees, the first of which leads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sync_core::{Generation, Preset, journal::Lead};
use sync_fs::replica::{CheckpointError, Intake, Replica, Tentative};

use crate::{
    crash::{CALLS, WORLD, copy_tree, generation, kill_child, strace_is_here, stride},
    world::{World, options, temporary},
};

/// The two trees below `base`.
struct Pair {
    lead: World,
    led: World,
}

impl Pair {
    /// Opens both; the led one first, so that it asks what the lead has on the disk.
    fn open(base: &Path) -> Self {
        let mut led = options(&base.join("led"), Preset::Synapse, &[]);
        led.siblings = [(led.tree.clone(), base.join("lead/work"))].into();
        let (replica, recovery) = Replica::open(led).unwrap();
        let led = World::of(&base.join("led"), replica, recovery);
        let lead = World::at(&base.join("lead"), Preset::Synapse);
        Self { lead, led }
    }

    /// Two trees in step at their first generation.
    fn prepare(base: &Path) {
        for tree in ["lead/tree", "led/tree"] {
            fs::create_dir_all(base.join(tree)).unwrap();
        }
        let mut pair = Self::open(base);
        for world in pair.both() {
            world.active = generation(1);
            world.push();
            world.replica.checkpoint().unwrap();
        }
    }

    fn both(&mut self) -> [&mut World; 2] {
        [&mut self.lead, &mut self.led]
    }

    /// Takes in the next generation of both.
    fn take_in(&mut self, number: u64) -> [Intake; 2] {
        self.both().map(|world| {
            world.active = generation(number);
            let mut intake = world.begin().unwrap();
            world.feed(&mut intake);
            intake
        })
    }

    fn commit_led(&mut self, intake: Intake) -> Tentative {
        let position = self.lead.replica.position();
        let lead = Lead {
            tree: intake.header().tree.clone(),
            epoch: intake.header().epoch,
            generation: Generation(position.generation.0 + 1),
        };
        self.led.replica.commit_led(intake, &lead).unwrap()
    }

    fn numbers(&self) -> [u64; 2] {
        [&self.lead, &self.led].map(|world| world.replica.position().generation.0)
    }
}

/// The child of the test below; by itself it does nothing.
#[test]
fn child() {
    let Some(base) = std::env::var_os(WORLD).map(PathBuf::from) else {
        return;
    };
    let mut pair = Pair::open(&base);
    for number in 2..=3 {
        let [lead, led] = pair.take_in(number);
        let tentative = pair.commit_led(led);
        let committed = pair.lead.replica.commit(lead).unwrap();
        let confirmed = pair.led.replica.confirm(tentative);
        fs::write(base.join("acknowledged"), number.to_string()).unwrap();
        pair.led.replica.apply(confirmed).unwrap();
        pair.lead.replica.apply(committed).unwrap();
        if number == 3 {
            pair.lead.replica.checkpoint().unwrap();
            pair.led.replica.checkpoint().unwrap();
        }
    }
    fs::write(base.join("through"), "").unwrap();
}

#[test]
fn a_span_killed_anywhere_is_there_in_both_trees_or_in_none() {
    if !strace_is_here() {
        return;
    }
    let directory = temporary();
    let template = directory.path().join("template");
    fs::create_dir(&template).unwrap();
    Pair::prepare(&template);
    let mut kills = 0;
    for call in CALLS {
        for nth in (1..).step_by(stride()) {
            let base = directory.path().join("world");
            copy_tree(&template, &base);
            kill_child("spans::child", &base, "", call, nth);
            let through = base.join("through").exists();
            check(&base, &format!("killed before {call} number {nth}"));
            fs::remove_dir_all(&base).unwrap();
            kills += 1;
            if through {
                break;
            }
        }
    }
    eprintln!("{kills} kills");
    assert!(kills > 40);
}

/// Opens what a kill left and checks that both trees are at one span.
fn check(base: &Path, context: &str) {
    let acknowledged =
        fs::read_to_string(base.join("acknowledged")).map_or(1, |number| number.parse().unwrap());
    let mut pair = Pair::open(base);
    let [lead, led] = pair.numbers();
    assert_eq!(lead, led, "{context}");
    assert!(
        lead >= acknowledged,
        "{context}: {acknowledged} was acknowledged, {lead} stands"
    );
    for world in pair.both() {
        let recovery = &world.recovery;
        assert!(recovery.unfinished.is_none(), "{context}: {recovery:?}");
        assert!(recovery.not_saved.is_none(), "{context}: {recovery:?}");
        world.active = generation(lead);
        world.assert_in_sync();
        // And it goes on from there.
        world.active = generation(3);
        world.push();
        world.assert_in_sync();
    }
}

/// Two trees in step, in a directory that goes with them.
fn pair() -> (tempfile::TempDir, Pair) {
    let directory = temporary();
    Pair::prepare(directory.path());
    let pair = Pair::open(directory.path());
    (directory, pair)
}

#[test]
fn what_was_withdrawn_never_counts_even_when_the_lead_goes_on() {
    let (directory, mut pair) = pair();
    let [lead, led] = pair.take_in(2);
    let tentative = pair.commit_led(led);
    pair.led.replica.withdraw(tentative);
    // Each goes on by itself, and is killed.
    let committed = pair.lead.replica.commit(lead).unwrap();
    pair.lead.replica.apply(committed).unwrap();
    pair.led.active = generation(3);
    pair.led.push();
    drop(pair);
    let mut pair = Pair::open(directory.path());
    assert_eq!(pair.numbers(), [2, 2]);
    pair.led.active = generation(3);
    pair.led.assert_in_sync();
}

#[test]
fn nothing_else_is_taken_until_a_span_is_decided() {
    let (_directory, mut pair) = pair();
    let [_, led] = pair.take_in(2);
    let tentative = pair.commit_led(led);
    assert!(pair.led.begin().is_err());
    let early = pair.led.replica.checkpoint();
    assert!(matches!(early, Err(CheckpointError::Pending)), "{early:?}");
    assert_eq!(pair.led.replica.resume().unwrap(), None);
    pair.led.replica.withdraw(tentative);
    pair.led.push();
    pair.led.assert_in_sync();
}

#[test]
fn what_may_have_been_acknowledged_is_kept_where_the_lead_is_lost() {
    let (directory, mut pair) = pair();
    let [lead, led] = pair.take_in(2);
    let tentative = pair.commit_led(led);
    let committed = pair.lead.replica.commit(lead).unwrap();
    drop((tentative, committed, pair));
    fs::remove_dir_all(directory.path().join("lead/work")).unwrap();
    let pair = Pair::open(directory.path());
    assert_eq!(pair.led.replica.position().generation, Generation(2));
}
