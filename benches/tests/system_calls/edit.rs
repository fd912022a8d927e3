//! One edit in a tree of many files: what it costs both nodes, whatever the
//! tree's size.

use sync_tests::{Settings, World, artifacts};

use crate::{
    bounds::{self, Bound},
    memory,
    strace::{self, Attached},
};

/// More than all the calls of all the edits: one look at every file would be seen.
const FILES: usize = 4_000;
const EDITS: u32 = 40;

/// Calls an edit, on the node where it is made.
const ACTIVE: [Bound; 8] = [
    // Measured 11: the root and its mount seven times, the file four times.
    ("statx", 11.5),
    // Measured 3: the file, to hash it and to send it; the marker.
    ("openat", 3.1),
    // Measured 1.7 to 2.6: a directory is held open for 50 ms only.
    ("openat O_DIRECTORY", 5.0),
    // Measured 2: is the root still in its place, before a look and after.
    ("open O_DIRECTORY", 2.1),
    // Measured 2.
    ("fstatfs", 2.1),
    // Measured 2: to hash the file, to send it.
    ("pread64", 2.1),
    // Measured 2: the generation in the history, and when the peer had it.
    ("pwrite64", 2.1),
    // Measured 1: the marker.
    ("unlink", 1.1),
];

/// Calls an edit, on the node that follows.
const PASSIVE: [Bound; 16] = [
    // Measured 1: one a generation.
    ("fdatasync", 1.1),
    // Measured 0, for the checkpoint comes later.
    ("fsync", 0.1),
    ("syncfs", 0.1),
    // Measured 0.05: nothing is listed.
    ("getdents64", 0.2),
    // Measured 14 to 16: the root and its mount, the file before and after, the new
    // one when it is made.
    ("statx", 16.5),
    // Measured 2 to 3: staged, the marker, and the drift watch reads again what
    // was written less than two seconds ago.
    ("openat", 3.1),
    // Measured 2.1 to 4.5: a directory is held open for 50 ms only.
    ("openat O_DIRECTORY", 8.0),
    // Measured 3: is the root still in its place.
    ("open O_DIRECTORY", 3.2),
    // Measured 1: the drift watch.
    ("pread64", 1.1),
    // Measured 4: the content and the commit into the journal, the file, the record.
    ("pwrite64", 4.1),
    // Measured 2: into its place, and what stood there into the archive.
    ("renameat2", 2.1),
    // Measured 0: it is made with its mode, in one write.
    ("fallocate", 0.1),
    ("fchmod", 0.1),
    // Measured 1 each.
    ("fstatfs", 1.1),
    ("unlink", 1.1),
    ("utimensat", 1.1),
];

#[test]
fn an_edit_costs_both_nodes_the_same_few_calls_in_a_tree_of_any_size() {
    if !strace::is_here() {
        return;
    }
    let mut world = World::within(&memory(), &Settings::default());
    let apis = world.fill(FILES);
    world.active.start();
    world.passive.run(&["bootstrap"]).exits(0);
    world.passive.start();
    world.until_in_step();
    // Waits for the look at the whole tree with which a passive begins.
    world.push();
    let active = Attached::to(&world.active, world.path().join("active.strace"));
    let passive = Attached::to(&world.passive, world.path().join("passive.strace"));
    for api in apis.iter().take(EDITS as usize) {
        let (path, content) = &api.revised().files()[0];
        artifacts::save(&world.active.tree.join(path), content.as_bytes())
            .expect("the tree can be written");
        world.push();
    }
    let (active, passive) = (active.detach(&world.active), passive.detach(&world.passive));
    bounds::check("edit, active", &active, EDITS, &ACTIVE);
    bounds::check("edit, passive", &passive, EDITS, &PASSIVE);
}
