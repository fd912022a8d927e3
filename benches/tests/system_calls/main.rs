//! How many system calls one file costs: a guard that needs no clock.
//!
//! Real nodes work under `strace`; every call that touches the tree or its work
//! directory is counted by kind and compared with a table of bounds, so that a
//! call more a file fails in CI on any machine. Each table says what was
//! measured when it was written: whoever makes a count smaller lowers its bound.
//! Run with `--no-capture` to see the counts.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the counts are shown to whoever asks, and a skipped test is said"
)]

mod bootstrap;
mod bounds;
mod edit;
mod scan;
mod strace;

use std::{env, path::PathBuf};

/// A directory in memory where there is one: no disk is measured here.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        env::temp_dir()
    }
}
