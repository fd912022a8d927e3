//! What a description leads to beside the files of the homes: one module a
//! file, each from a [`Setup`](crate::setup::Setup) to a text.

pub mod checklist;
pub mod engine;
pub mod firewall;
pub mod hosts;
pub mod nginx;
pub mod sql;
pub mod systemd;
