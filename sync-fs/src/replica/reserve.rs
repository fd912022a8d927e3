//! Space kept back so that a full disk never keeps a durable generation from
//! being applied, or a recovery from ending.

use sync_core::RelPath;

use crate::root::{AbsentIsNone, DiskError, Root};

/// A preallocated file that is given up when space runs out in the middle of
/// work that must not stop, and taken again before new work is accepted.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes: u64,
    held: bool,
}

impl Reserve {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, held: false }
    }

    /// Takes the reserve, unless it is held already.
    pub(super) fn take(&mut self, work: &Root) -> Result<(), DiskError> {
        if self.held {
            return Ok(());
        }
        let file = match work.open_file_to_write(&name()).absent_is_none()? {
            Some(file) => file,
            None => work.create_file(&name())?,
        };
        if let Err(error) = file.allocate(self.bytes) {
            file.set_length(0)?;
            return Err(error);
        }
        self.held = true;
        Ok(())
    }

    /// Gives the reserve up. Whether there was anything to give up.
    pub(super) fn give_up(&mut self, work: &Root) -> Result<bool, DiskError> {
        self.held = false;
        let Some(file) = work.open_file_to_write(&name()).absent_is_none()? else {
            return Ok(false);
        };
        let had = file.stat()?.length > 0;
        file.set_length(0)?;
        Ok(had)
    }
}

fn name() -> RelPath {
    RelPath::new(b"reserve").expect("a legal name")
}
