//! What a node is: its role and its epoch, kept in the state directory.
//!
//! The role decides which way changes flow and comes from nowhere else; the
//! epoch fences off a former active. Changing either is a promotion's concern.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sync_core::Epoch;
use thiserror::Error;

use crate::{
    events::Role,
    failure::{Failure, FailureKind},
    private_file::{self, Kept, PrivateFileError},
};

/// The file's name in the state directory.
const FILE_NAME: &str = "node.toml";
/// What people who open the file read first.
const FILE_HEADER: &str = "# What this node is. Written by apim-sync; do not edit.\n";

/// A node's role and epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which way changes flow.
    pub role: Role,
    /// The node's epoch, at least 1.
    pub epoch: Epoch,
}

/// Why a node does not know what it is.
#[derive(Debug, Error)]
pub enum StandingError {
    /// It was never initialised.
    #[error("there is no {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file does not say what it should.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be read or written.
    #[error("cannot use the node's role and epoch")]
    File(#[from] PrivateFileError),
}

impl From<StandingError> for Failure {
    fn from(error: StandingError) -> Self {
        let (kind, hint) = match &error {
            StandingError::Missing { .. } => (
                FailureKind::Usage,
                "make this node with `apim-sync init --keep-config --role ROLE`; is `state_dir` in the configuration right?"
                    .into(),
            ),
            StandingError::Damaged { .. } => {
                (FailureKind::Failed, "restore it from a backup".into())
            }
            StandingError::File(error) => (FailureKind::Failed, error.hint()),
        };
        Self::caused_by(kind, "reading what this node is", &error).hint(hint)
    }
}

/// The form of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandingFile {
    role: Role,
    epoch: u64,
}

impl Standing {
    /// Makes a new node: `role`, in the first epoch.
    ///
    /// # Errors
    /// When the state directory holds a node already, or cannot be written.
    pub fn create(state_dir: &Path, role: Role) -> Result<Self, StandingError> {
        let standing = Self {
            role,
            epoch: Epoch(1),
        };
        private_file::create(&state_dir.join(FILE_NAME), standing.text().as_bytes())?;
        Ok(standing)
    }

    /// Reads what [`Standing::create`] or [`Standing::store`] kept.
    ///
    /// # Errors
    /// When there is nothing, it is damaged, or others could have changed it.
    pub fn load(state_dir: &Path) -> Result<Self, StandingError> {
        let path = state_dir.join(FILE_NAME);
        let Some(bytes) = private_file::read(&path, Kept::Unchanged)? else {
            return Err(StandingError::Missing { path });
        };
        let parsed = toml::from_slice::<StandingFile>(&bytes);
        let file = parsed.map_err(|source| StandingError::Damaged {
            path,
            source: Box::new(source),
        })?;
        Ok(Self {
            role: file.role,
            epoch: Epoch(file.epoch),
        })
    }

    /// Keeps a changed role or epoch; durable when it returns.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then still there.
    pub fn store(self, state_dir: &Path) -> Result<(), StandingError> {
        private_file::replace(&state_dir.join(FILE_NAME), self.text().as_bytes())?;
        Ok(())
    }

    fn text(self) -> String {
        let (role, epoch) = (self.role.name(), self.epoch);
        format!("{FILE_HEADER}role = \"{role}\"\nepoch = {epoch}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_remembers_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let error = Standing::load(directory.path()).unwrap_err();
        assert!(matches!(error, StandingError::Missing { .. }));
        let made = Standing::create(directory.path(), Role::Passive).unwrap();
        assert_eq!(made.epoch, Epoch(1));
        assert_eq!(Standing::load(directory.path()).unwrap(), made);
        let promoted = Standing {
            role: Role::Active,
            epoch: Epoch(2),
        };
        promoted.store(directory.path()).unwrap();
        assert_eq!(Standing::load(directory.path()).unwrap(), promoted);
    }

    #[test]
    fn a_node_is_made_once_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        Standing::create(directory.path(), Role::Active).unwrap();
        assert!(Standing::create(directory.path(), Role::Passive).is_err());
        let path = directory.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 12]).unwrap();
        let error = Standing::load(directory.path()).unwrap_err();
        assert!(matches!(error, StandingError::Damaged { .. }));
    }
}
