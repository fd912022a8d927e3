//! What a node knows after a restart: one snapshot for each tree, and one small
//! record for the node itself.
//!
//! A snapshot is a copy of what can be found again by looking: when it is
//! missing or damaged, the caller scans the tree in full. The node's record
//! cannot be found again, so its damage is an error. How the files are written
//! and checked is [`sealed`]'s; when they are written is the callers'.

mod sealed;
#[cfg(test)]
mod tests;
mod tree;

pub use tree::{Loaded, Snapshot, TreeState};
