//! The passive side of one tree, through its public face, on real directories.

mod apply;
mod crash;
mod drift;
mod failures;
mod intake;
mod large;
mod model;
mod recovery;
mod world;
