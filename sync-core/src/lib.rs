//! What apim-sync decides, without touching the world.
//!
//! This crate holds the model (paths, entries, the manifest trie, generations),
//! the rules (plan, order, guard, settle) and the bytes (wire and journal
//! formats). It opens no file, reads no clock, spawns nothing and prints
//! nothing: callers pass observations and the current time in and carry out
//! what comes back.

pub mod artifact;
pub mod blocks;
pub mod codec;
pub mod content;
pub mod deploy;
pub mod drift;
pub mod entry;
pub mod exclude;
pub mod fence;
pub mod generation;
mod glob;
pub mod guard;
pub mod history;
pub mod journal;
pub mod lease;
pub mod limits;
pub mod manifest;
pub mod patch;
pub mod path;
pub mod plan;
pub mod preset;
pub mod recipe;
pub mod reconcile;
#[cfg(test)]
mod sample;
pub mod section;
pub mod seen;
pub mod settle;
pub mod tenant;
pub mod well_formed;
pub mod wire;

pub use content::ContentId;
pub use entry::{Entry, FileEntry, Mode, Mtime};
pub use generation::{Action, Change, Epoch, Generation, GenerationHeader, Position, TreeName};
pub use manifest::{Difference, Manifest, Root};
pub use path::RelPath;
pub use preset::Preset;
pub use seen::{Seen, StatKey};
pub use tenant::Tenant;
