//! End-to-end tests: the real binary, two nodes and more, seen from outside.
//!
//! Modules are named by what an operator would worry about. `heavy` holds what
//! loads the machine and therefore runs alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod audit_log;
mod away;
mod cluster;
mod commands;
mod corpus;
mod crash;
mod deploy;
mod deployed;
mod disk_full;
mod drift;
mod drift_policy;
mod failover;
mod follow;
mod guard;
mod heavy;
mod history;
mod hooks;
mod hostile;
mod lease;
mod patches;
mod quick_start;
mod rollback;
mod rsync_facts;
mod setup;
mod several;
mod spans;
mod tenants;
mod trust;
