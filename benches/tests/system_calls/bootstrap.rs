//! A passive filled for the first time: what a new file costs to make.

use sync_tests::{Settings, World};

use crate::{
    bounds::{self, Bound},
    memory, strace,
};

const FILES: u32 = 2_000;

/// Calls a file: it is created with its mode, written, dated, looked at and
/// closed while the next ones come, and gets its name with its directory.
const BOUNDS: [Bound; 6] = [
    // Measured 1.03: as made.
    ("statx", 1.1),
    // Measured 1.01: the file.
    ("openat", 1.03),
    // Measured 0.02, and more on a loaded machine: a directory is held open for
    // 50 ms only.
    ("openat O_DIRECTORY", 2.0),
    // Measured 1.01: the file, and the journal in pieces of 256 KiB.
    ("pwrite64", 1.04),
    // Measured 1.00.
    ("utimensat", 1.02),
    // Measured 6 in all: one a commit, one a content beyond 64 KiB.
    ("fdatasync", 0.005),
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
