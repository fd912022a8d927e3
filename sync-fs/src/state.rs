//! What a node knows of each tree after a restart: one snapshot.
//!
//! A snapshot is a copy of what can be found again by looking: when it is
//! missing or damaged, the caller scans the tree in full. How the file is written
//! and checked is `sealed`'s; when it is written is the callers'.

mod sealed;
#[cfg(test)]
mod tests;
mod tree;

pub use tree::{Loaded, Snapshot, TreeState};
