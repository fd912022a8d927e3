//! What events look like: for people, as JSON, as progress.
//!
//! Everything here turns values into lines; the terminal writes them.

pub(crate) mod changes;
pub(crate) mod differences;
mod drift;
pub(crate) mod history;
pub(crate) mod nagios;
pub(crate) mod progress;
pub(crate) mod quantity;
pub(crate) mod status;
pub(crate) mod utc;
