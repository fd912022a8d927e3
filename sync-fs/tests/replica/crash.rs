//! Kills before every system call of every kind, each followed by a recovery.
//!
//! The test runs itself again under `strace`, which kills the child before its
//! n-th call of one kind, for n = 1, 2, … until the child gets through. Then the
//! replica is opened, and the tree must be exactly one of the generations that
//! may be there, never older than what was acknowledged, with nothing lost that
//! was not ours. The syncs do nothing here (the kernel survives): what a power
//! cut leaves is another test's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sync_core::{Generation, Preset};

use crate::{
    model::{Model, SECONDS},
    world::{World, scale, temporary},
};

/// Where the child finds its world; only the child has it.
pub(crate) const WORLD: &str = "APIM_SYNC_CRASH_WORLD";
const SCENARIO: &str = "APIM_SYNC_CRASH_SCENARIO";

/// Every call that changes something or makes it durable.
pub(crate) const CALLS: [&str; 14] = [
    "renameat2",
    "rename,renameat",
    "pwrite64",
    "fdatasync",
    "fsync",
    "syncfs",
    "openat",
    "unlinkat",
    "mkdirat,mkdir",
    "fallocate",
    "ftruncate",
    "fchmod",
    "utimensat",
    "copy_file_range",
];

/// What the child does, from which start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scenario {
    /// From nothing to the first generation.
    Fill,
    /// Two generations of every kind of change, with a checkpoint after each.
    Change,
    /// The same, where somebody edited, removed and added files before.
    Drifted,
    /// Opening what a kill after the commit left.
    Recover,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::Fill, Self::Change, Self::Drifted, Self::Recover];

    fn name(self) -> String {
        format!("{self:?}")
    }

    /// Makes the world the child starts from.
    fn prepare(self, base: &Path) {
        fs::create_dir(base.join("tree")).unwrap();
        if self == Self::Fill {
            return;
        }
        let mut world = World::at(base, Preset::Synapse);
        world.active = generation(1);
        world.push();
        world.replica.checkpoint().unwrap();
        match self {
            Self::Drifted => drift(&world),
            Self::Recover => {
                world.active = generation(2);
                world.push();
                world.active = generation(3);
                world.commit_only();
            }
            Self::Fill | Self::Change => {}
        }
    }

    /// The generations that may stand there afterwards.
    fn possible(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::Fill => 0..=1,
            Self::Change | Self::Drifted => 1..=3,
            Self::Recover => 3..=3,
        }
    }

    fn run(self, base: &Path) {
        let mut world = World::at(base, Preset::Synapse);
        let last = *self.possible().end();
        let next = world.replica.position().generation.0 + 1;
        for number in next..=last {
            world.active = generation(number);
            let mut intake = world.begin().unwrap();
            world.feed(&mut intake);
            let committed = world.replica.commit(intake).unwrap();
            fs::write(base.join("acknowledged"), number.to_string()).unwrap();
            world.replica.apply(committed).unwrap();
            world.replica.checkpoint().unwrap();
        }
    }
}

/// The active's state at each generation.
pub(crate) fn generation(number: u64) -> Model {
    let mut model = Model::default();
    if number >= 1 {
        model
            .file("default/api/a.xml", "a1")
            .file("default/api/b.xml", "b1")
            .file("default/api/goes.xml", "goes")
            .file("default/sequences/main.xml", "m1")
            .file("becomes-directory", "file")
            .file("becomes-file/inside", "inside")
            .file("lib/large.jar", vec![1; 70_000]);
    }
    if number >= 2 {
        model
            .file_at("default/api/a.xml", "a2", SECONDS)
            .remove("default/api/goes.xml")
            .rename("default/api/b.xml", "default/api/c.xml")
            .remove("becomes-directory")
            .file("becomes-directory/inside", "now")
            .remove("becomes-file")
            .file("becomes-file", "now a file")
            .file_at("lib/large.jar", vec![2; 80_000], SECONDS + 1)
            .chmod("default/sequences/main.xml", 0o600);
    }
    if number >= 3 {
        model
            .file_at("default/api/a.xml", "a1", SECONDS)
            .remove("lib")
            .file("default/sequences/new.xml", "n3");
    }
    model
}

/// Contents that nobody but their author has.
const EDITS: [&str; 4] = ["edited a", "edited goes", "inside too", "somebody's jar"];

fn drift(world: &World) {
    fs::write(world.tree("default/api/a.xml"), EDITS[0]).unwrap();
    fs::write(world.tree("default/api/goes.xml"), EDITS[1]).unwrap();
    fs::write(world.tree("becomes-file/too"), EDITS[2]).unwrap();
    fs::write(world.tree("lib/large.jar"), EDITS[3]).unwrap();
    fs::remove_dir_all(world.tree("default/sequences")).unwrap();
}

/// The child of the tests below; by itself it does nothing.
#[test]
fn child() {
    let Some(base) = std::env::var_os(WORLD).map(PathBuf::from) else {
        return;
    };
    let name = std::env::var(SCENARIO).unwrap();
    let scenario = Scenario::ALL
        .into_iter()
        .find(|scenario| scenario.name() == name);
    scenario.unwrap().run(&base);
    fs::write(base.join("through"), "").unwrap();
}

pub(crate) fn strace_is_here() -> bool {
    let here = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    let here = here.is_ok_and(|status| status.success());
    if !here {
        eprintln!("skipped: no strace, or no permission to trace");
    }
    here
}

/// Runs the child in a copy of `template` and kills it before its `nth` call.
fn kill_at(template: &Path, base: &Path, scenario: Scenario, call: &str, nth: u32) {
    copy_tree(template, base);
    kill_child("crash::child", base, &scenario.name(), call, nth);
}

/// Runs a test of this program as the child, and kills it before its `nth` call.
pub(crate) fn kill_child(child: &str, base: &Path, scenario: &str, call: &str, nth: u32) {
    Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
        ])
        .args(["-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", child, "--test-threads=1"])
        .env(WORLD, base)
        .env(SCENARIO, scenario)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// With all metadata: stats are part of what is tested.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

/// Opens what a kill left and checks all promises.
fn check(base: &Path, scenario: Scenario, context: &str) {
    let acknowledged =
        fs::read_to_string(base.join("acknowledged")).map_or(0, |number| number.parse().unwrap());
    let mut world = World::at(base, Preset::Synapse);
    assert!(
        world.recovery.unfinished.is_none(),
        "{context}: {:?}",
        world.recovery
    );
    assert!(
        world.recovery.not_saved.is_none(),
        "{context}: {:?}",
        world.recovery
    );
    let Generation(number) = world.replica.position().generation;
    assert!(
        scenario.possible().contains(&number),
        "{context}: generation {number}"
    );
    assert!(
        number >= acknowledged,
        "{context}: {acknowledged} was acknowledged, {number} stands"
    );
    world.active = generation(number);
    if scenario == Scenario::Drifted {
        assert_edits_are_kept(&world, context);
        // What was edited and no generation touched is still as it was left.
        let drift = world.drift();
        let heal: Vec<String> = drift.paths.iter().map(|at| at.path.escaped()).collect();
        world.push_healing(&heal.iter().map(String::as_str).collect::<Vec<_>>());
        assert_edits_are_kept(&world, context);
    }
    world.assert_in_sync();
    // And it goes on from there.
    world.active = generation(3);
    world.push();
    world.assert_in_sync();
}

fn assert_edits_are_kept(world: &World, context: &str) {
    let mut everywhere = world.aside();
    let tree = Model::of_disk(&world.tree(""));
    everywhere.extend(tree.0.keys().filter_map(|path| {
        fs::read(
            world
                .tree("")
                .join(std::str::from_utf8(path.as_bytes()).unwrap()),
        )
        .ok()
    }));
    for edit in EDITS {
        let kept = everywhere.iter().any(|content| content == edit.as_bytes());
        assert!(kept, "{context}: `{edit}` is lost");
    }
}

/// Kills at every `stride`-th call of each kind; says how many kills there were.
fn kill_everywhere(scenario: Scenario, stride: usize) -> u32 {
    let directory = temporary();
    let template = directory.path().join("template");
    fs::create_dir(&template).unwrap();
    scenario.prepare(&template);
    let mut kills = 0;
    for call in CALLS {
        for nth in (1..).step_by(stride) {
            let base = directory.path().join("world");
            kill_at(&template, &base, scenario, call, nth);
            let through = base.join("through").exists();
            kills += u32::from(!through);
            check(
                &base,
                scenario,
                &format!("{scenario:?}, killed before {call} number {nth}"),
            );
            fs::remove_dir_all(&base).unwrap();
            if through {
                break;
            }
        }
    }
    eprintln!("{kills} kills in {scenario:?}");
    kills
}

/// Every call with a scale of 3 or more; in continuous integration every third.
pub(crate) fn stride() -> usize {
    match scale() {
        0..=2 => 3,
        _ => 1,
    }
}

#[test]
fn a_first_fill_is_all_or_nothing() {
    if strace_is_here() {
        assert!(kill_everywhere(Scenario::Fill, stride()) > 20);
    }
}

#[test]
fn changes_of_every_kind_are_all_or_nothing() {
    if strace_is_here() {
        assert!(kill_everywhere(Scenario::Change, stride()) > 40);
    }
}

#[test]
fn nothing_that_somebody_edited_is_lost() {
    if strace_is_here() {
        assert!(kill_everywhere(Scenario::Drifted, stride()) > 40);
    }
}

#[test]
fn a_recovery_can_be_killed_anywhere() {
    if strace_is_here() {
        assert!(kill_everywhere(Scenario::Recover, stride()) > 20);
    }
}

/// A commit whose sync failed is not acknowledged, and the journal stays closed
/// until a new file has replaced it.
#[test]
fn a_failed_sync_of_the_journal_is_final() {
    fault("fdatasync", "EIO", 1, "failing_journal_child");
}

#[test]
fn failing_journal_child() {
    let Some(base) = std::env::var_os(WORLD).map(PathBuf::from) else {
        return;
    };
    // Opening makes the journal with `fsync`: the commit is the first `fdatasync`.
    let mut world = World::at(&base, Preset::Synapse);
    let journal = inode(&world.work("journal"));
    world.active.file("a", "1");
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    let error = world.replica.commit(intake).unwrap_err();
    let refusal = format!("{:?}", error.refusal());
    assert!(
        refusal.contains("Unable") && refusal.contains("Input/output error"),
        "{refusal}"
    );
    assert!(world.replica.degraded().is_some() && world.replica.wants_checkpoint());
    assert!(world.begin().is_err(), "degraded, and says so");
    world.assert_disk_is(&Model::default());
    world.replica.checkpoint().unwrap();
    assert_ne!(inode(&world.work("journal")), journal);
    world.push();
    world.assert_in_sync();
    fs::write(base.join("through"), "").unwrap();
}

/// A file whose sync failed is written anew before it is synced again.
#[test]
fn a_failed_sync_of_an_applied_file_makes_a_new_file() {
    // The journal is made with one sync of a file and one of its directory.
    fault("fsync", "EIO", 3, "failing_checkpoint_child");
}

#[test]
fn failing_checkpoint_child() {
    let Some(base) = std::env::var_os(WORLD).map(PathBuf::from) else {
        return;
    };
    let mut world = World::at(&base, Preset::Synapse);
    world.active.file("a", "1");
    world.push();
    let (before, seconds) = (inode(&world.tree("a")), world.seconds("a"));
    let error = world.replica.checkpoint().unwrap_err();
    assert!(error.to_string().contains("written again"), "{error}");
    assert!(world.replica.has_unsaved());
    world.replica.checkpoint().unwrap();
    assert_ne!(inode(&world.tree("a")), before);
    assert_eq!(world.seconds("a"), seconds, "the deployer sees no change");
    assert!(!world.replica.has_unsaved());
    world.assert_in_sync();
    fs::write(base.join("through"), "").unwrap();
}

fn inode(at: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    at.metadata().unwrap().ino()
}

/// Runs the test `child` with one call failing, and expects it to get through.
fn fault(call: &str, error: &str, nth: u32, child: &str) {
    if !strace_is_here() {
        return;
    }
    let directory = temporary();
    fs::create_dir(directory.path().join("tree")).unwrap();
    let output = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
        ])
        .args(["-e", &format!("inject={call}:error={error}:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("crash::{child}"), "--nocapture"])
        .env(WORLD, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(directory.path().join("through").exists(), "{said}");
}

/// Every call fails once with each of these; the replica says so and, opened
/// again on a healthy disk, stands at a boundary.
#[test]
fn every_call_may_fail_once() {
    if !strace_is_here() {
        return;
    }
    let directory = temporary();
    let template = directory.path().join("template");
    fs::create_dir(&template).unwrap();
    Scenario::Change.prepare(&template);
    let calls = [
        "renameat2",
        "pwrite64",
        "openat",
        "unlinkat",
        "fallocate",
        "fchmod",
        "utimensat",
        "statx",
    ];
    for call in calls {
        for error in ["EIO", "ENOSPC", "EACCES"] {
            for nth in (1..).step_by(7 * stride()) {
                let base = directory.path().join("world");
                copy_tree(&template, &base);
                let _ = Command::new("strace")
                    .args([
                        "-f",
                        "-qq",
                        "-o",
                        "/dev/null",
                        "-e",
                        &format!("trace={call}"),
                    ])
                    .args(["-e", &format!("inject={call}:error={error}:when={nth}")])
                    .arg(std::env::current_exe().unwrap())
                    .args(["--exact", "crash::child", "--test-threads=1"])
                    .env(WORLD, &base)
                    .env(SCENARIO, Scenario::Change.name())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .unwrap();
                let through = base.join("through").exists();
                check(
                    &base,
                    Scenario::Change,
                    &format!("{call} number {nth} failed with {error}"),
                );
                fs::remove_dir_all(&base).unwrap();
                if through || nth > 200 {
                    break;
                }
            }
        }
    }
}
