//! Whom this node trusts: the pinned keys, and nobody else.
//!
//! [`TrustStore`] is the file `trust.toml` of the state directory; [`Trusted`]
//! is what a running node shares with its TLS verifiers, so that a peer added
//! or removed counts from the next handshake on, and live connections of a
//! removed peer are cut. What a trusted peer may do is left to the sessions.

mod name;
mod shared;
mod store;

pub use name::{NodeName, NodeNameError};
pub use shared::Trusted;
pub use store::{Peer, TrustError, TrustStore};
