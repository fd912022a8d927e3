//! QUIC between two nodes: connections whose ends both proved a pinned key,
//! carrying streams of framed messages.
//!
//! quinn stops here. [`Endpoint`] listens and dials, [`Connection`] opens and
//! accepts streams, [`Stream`] carries the messages of [`sync_core::wire`], and
//! everything that can end them is a [`Loss`], a [`StreamError`] or a
//! [`ConnectError`]. What is said on the streams is left to the sessions.

mod acceptor;
mod address;
mod connection;
mod endpoint;
mod frame;
mod loss;
mod pace;
mod seats;
mod settings;
mod tls;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use acceptor::{Accepted, Stranger};
pub use address::{Address, AddressError, NoAdvertisedAddress, advertised};
pub use connection::{Connection, Stream, Traffic};
pub use endpoint::{BindError, Endpoint, Setup, SocketBuffers};
pub use frame::{Receiver, Sender, StreamError};
pub use loss::{ConnectError, Distrust, Ending, Loss};
pub use settings::Deadlines;
