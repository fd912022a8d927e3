//! The apim-sync node as a library: configuration, driver, watcher, QUIC
//! transport, peers and the control socket. It never prints; whoever starts a
//! node decides what becomes of its events, failures and log.

pub mod config;
pub mod control;
pub mod events;
pub mod failure;
pub mod identity;
pub mod pairing;
pub mod private_file;
pub mod standing;
pub mod transport;
pub mod trust;
