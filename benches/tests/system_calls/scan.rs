//! A node that starts on a tree in which nothing changed: it looks, and opens
//! nothing.

use std::time::{Duration, Instant};

use sync_tests::{
    Node, Role, Settings, artifacts,
    wait::{self, DEADLINE},
};

use crate::{
    bounds::{self, Bound},
    memory, strace,
};

const FILES: u32 = 10_000;

/// Calls a file.
const BOUNDS: [Bound; 2] = [
    // Measured 1.002: one look, after what is known is watched.
    ("statx", 1.01),
    // Measured 0.0023: 1,000 names a call.
    ("getdents64", 0.004),
];

/// A file that changed so shortly before it was read is read again at the next
/// start, which is not what is counted here. A little more than `sync_fs` has.
const RACY: Duration = Duration::from_millis(2_100);

#[test]
fn a_start_looks_at_an_unchanged_file_and_does_not_open_it() {
    if !strace::is_here() {
        return;
    }
    let home = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let mut node = Node::init(home.path(), "apim-1", Role::Active, &Settings::default());
    artifacts::fill(&node.tree, FILES as usize, 1).expect("the tree can be written");
    until_older_than(RACY);
    node.start();
    until_ready(&node);
    node.stop();
    let daemon = strace::Daemon::start(&node, home.path().join("strace"));
    until_ready(&node);
    bounds::check("start", &daemon.stop(&node), FILES, &BOUNDS);
}

/// Waits until everything written so far is older than `age`.
fn until_older_than(age: Duration) {
    let written = Instant::now();
    wait::until("the files to be old", DEADLINE, || {
        let passed = written.elapsed();
        wait::ensure(passed > age, format!("{passed:?} have passed"))
    });
}

fn until_ready(node: &Node) {
    node.until_status("the tree to be looked at", |status| {
        (status["trees"][0]["state"] == "ready").then_some(())
    });
}
