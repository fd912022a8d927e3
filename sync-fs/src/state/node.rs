//! The node's own record: its epoch and whether it is the active one.
//!
//! The epoch is the fencing token that keeps a former active from overwriting
//! newer work. It exists nowhere else on this node, so a damaged record is never
//! replaced by a guess.

use sync_core::{Epoch, RelPath, path::escape};
use thiserror::Error;

use super::sealed::{self, Format, Opened, Reader};
use crate::root::{DiskError, Root};

const FORMAT: Format = Format {
    magic: *b"apimnode",
    version: 1,
};

/// What a node knows of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeState {
    /// The highest epoch that it has seen.
    pub epoch: Epoch,
    /// Whether it is the active node of that epoch.
    pub active: bool,
}

/// A record that cannot be used.
#[derive(Debug, Error)]
#[error(
    "the record of this node's role and epoch in `{directory}` is damaged: {reason}; move the file \
     `node` away and run `apim-sync demote`: the node then learns the epoch from its peer"
)]
pub struct NodeStateError {
    /// The state directory, escaped.
    pub directory: String,
    /// What is wrong with it.
    pub reason: String,
}

fn file_name() -> RelPath {
    RelPath::new(b"node").expect("a plain name is a path")
}

impl NodeState {
    /// Reads the record in the state directory; `None` before the first.
    ///
    /// # Errors
    /// Where there is one that cannot be used.
    pub fn load(directory: &Root) -> Result<Option<Self>, NodeStateError> {
        let state = match sealed::open(directory, &file_name(), &FORMAT) {
            Opened::Missing => Ok(None),
            Opened::Damaged(reason) => Err(reason),
            Opened::Whole(reader) => read(reader).map(Some),
        };
        state.map_err(|reason| NodeStateError {
            directory: escape(directory.path().as_os_str().as_encoded_bytes()),
            reason,
        })
    }

    /// Puts the record into the state directory; durable when it returns.
    ///
    /// # Errors
    /// Where writing or syncing fails; the last record then still stands.
    pub fn save(&self, directory: &Root) -> Result<(), DiskError> {
        sealed::write(directory, &file_name(), &FORMAT, |writer| {
            writer.put(&(self.epoch, self.active))
        })
    }
}

fn read(mut reader: Reader) -> Result<NodeState, String> {
    let (epoch, active) = reader.next()?;
    reader.finish()?;
    Ok(NodeState { epoch, active })
}
