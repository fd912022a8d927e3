//! The passive side of one tree, through its public face, on real directories.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed step is a failed test, and a skipped one is said"
)]

mod apply;
mod crash;
mod drift;
mod failures;
mod intake;
mod large;
mod model;
mod patched;
mod power;
mod prepared;
mod recovery;
mod returning;
mod spans;
mod world;
