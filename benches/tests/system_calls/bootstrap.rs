//! A passive filled for the first time: what a new file costs to make.

use sync_tests::{Settings, World};

use crate::{
    bounds::{self, Bound},
    memory, strace,
};

const FILES: u32 = 2_000;

/// Calls a file. The least is one each of openat, pwrite64, fchmod, utimensat,
/// renameat2, close and statx.
const BOUNDS: [Bound; 11] = [
    // Measured 3.02: absent in the tree, absent again, as made.
    ("statx", 3.1),
    // Measured 3.05 to 3.10: two directories for most files, and the file.
    ("openat", 3.2),
    // Measured 2.04 to 2.06.
    ("close", 2.2),
    // Measured 1.00.
    ("fallocate", 1.02),
    // Measured 1.00: back from the journal.
    ("pread64", 1.02),
    // Measured 1.015: the file, and the journal in pieces of 256 KiB.
    ("pwrite64", 1.04),
    // Measured 1.004, with those of the work directory.
    ("fchmod", 1.02),
    // Measured 1.00.
    ("utimensat", 1.02),
    // Measured 1.004, with large contents.
    ("renameat2", 1.02),
    // Measured 7 in all: one a commit, one a content beyond 64 KiB.
    ("fdatasync", 0.005),
    // Measured 7 in all: what is made once.
    ("fsync", 0.005),
];

#[test]
fn a_bootstrap_costs_each_file_no_more_calls_than_agreed() {
    if !strace::is_here() {
        return;
    }
    let mut world = World::within(&memory(), &Settings::default());
    world.fill(FILES as usize);
    world.active.start();
    let log = world.path().join("strace");
    let counts = strace::of_command(&world.passive, &["bootstrap"], &log);
    bounds::check("bootstrap", &counts, FILES, &BOUNDS);
}
