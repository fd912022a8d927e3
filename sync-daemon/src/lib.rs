//! A node of apim-sync as a library: watcher, transport, peers, control socket.
//!
//! It drives what `sync-core` decides and `sync-fs` carries out. It never
//! prints: callers receive events and failures.

mod alarm;
pub mod at_rest;
pub mod audit_log;
pub mod config;
pub mod control;
pub mod etcd;
pub mod events;
pub mod failure;
pub mod history;
pub mod identity;
mod metrics;
pub mod node;
pub mod pairing;
mod pauses;
pub mod private_file;
pub mod standing;
pub mod transport;
mod tree_thread;
pub mod trust;
mod watch;
