//! Where the benches that need a disk write.

use std::{env, ffi::OsString};

use tempfile::TempDir;

/// Names another directory, on the disk that is to be measured.
const PLACE: &str = "SYNC_BENCHES_DIR";
/// The default: the machine's own disk is shared with everything else on it.
const MEMORY: &str = "/dev/shm";

/// A new directory there.
pub(crate) fn directory() -> TempDir {
    let place = env::var_os(PLACE).unwrap_or_else(|| OsString::from(MEMORY));
    tempfile::tempdir_in(&place).unwrap_or_else(|error| {
        panic!("making a directory in {place:?}: {error}; {PLACE} names another place")
    })
}
