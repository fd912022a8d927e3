//! The only door to the disk.
//!
//! Everything here blocks and belongs on a plain thread; each tree is owned by
//! one. What a change means is decided in `sync-core`; when it happens is
//! decided in `sync-daemon`.

pub mod archive;
pub mod journal;
pub mod lock;
pub mod mount;
pub mod observed;
pub mod recipes;
pub mod replica;
pub mod root;
pub mod scan;
pub mod source;
pub mod state;
pub mod stint;

pub use replica::Replica;
pub use root::{AbsentIsNone, Cause, DiskError, HeldFile, Kind, Root, Stat, StatKey, Target};
pub use source::Source;

/// An error with everything that caused it, for a peer or a report.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
