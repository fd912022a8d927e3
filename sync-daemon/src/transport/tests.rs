//! The transport between real sockets on the loopback interface.

mod flood;
mod frames;
mod trust;
