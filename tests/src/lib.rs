//! Two real nodes on this machine, and independent judges of what they do.
//!
//! [`World`] drives the binary `apim-sync` as an operator would: processes,
//! configuration files, exit codes, JSON. Nothing here uses the project's own
//! crates: a fault in the engine must not hide itself in its judge.

pub mod apim_home;
pub mod artifacts;
pub mod binary;
pub mod compare;
pub mod corpus;
pub mod deployer;
pub mod etcd;
pub mod hostile;
pub mod lockstep;
pub mod network;
pub mod node;
pub mod outcome;
pub mod poller;
pub mod rng;
pub mod scratch;
pub mod wait;
pub mod world;

pub use node::{Node, Role, Settings};
pub use outcome::Outcome;
pub use rng::Rng;
pub use world::World;
