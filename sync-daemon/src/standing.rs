//! What a node is: its role, the promotions behind its epoch, and the conflict it
//! may be in. Kept in the state directory.
//!
//! The role decides which way changes flow and comes from nowhere else; the
//! lineage fences off a former active. When either changes is decided by
//! [`sync_core::fence`] and by people.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::Error as _};
use sync_core::{
    Epoch,
    fence::{Lineage, Promotion},
};
use thiserror::Error;

use crate::{
    events::Role,
    failure::{Failure, FailureKind},
    identity::NodeId,
    private_file::{self, Kept, PrivateFileError},
};

/// The file's name in the state directory.
const FILE_NAME: &str = "node.toml";
/// What people who open the file read first.
const FILE_HEADER: &str = "# What this node is. Written by apim-sync; do not edit.\n";

/// A node's role, lineage and conflict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which way changes flow.
    pub role: Role,
    /// The promotions behind the node's epoch.
    pub lineage: Lineage,
    /// The other active that this active has found: until a person decides,
    /// neither sends or takes anything.
    pub rival: Option<Rival>,
}

/// A node that was promoted, or made, without knowing of this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rival {
    /// What this node calls the peer from which it heard of it.
    pub name: String,
    /// That peer.
    pub node: NodeId,
    /// The lineage that does not continue ours.
    pub lineage: Lineage,
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

/// The form of the file. One without promotions is of a release that knew none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandingFile {
    role: Role,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    promotion: Vec<PromotionForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rival: Option<RivalForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RivalForm {
    name: String,
    node: NodeId,
    promotion: Vec<PromotionForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromotionForm {
    epoch: u64,
    /// Of whom; absent where nobody was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    /// Sixteen hexadecimal digits: TOML has no numbers so large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

impl From<&Promotion> for PromotionForm {
    fn from(promotion: &Promotion) -> Self {
        let is_of_node = promotion.node != [0; 32];
        Self {
            epoch: promotion.epoch.0,
            node: is_of_node.then_some(NodeId(promotion.node)),
            nonce: is_of_node.then(|| format!("{:016x}", promotion.nonce)),
        }
    }
}

fn forms(lineage: &Lineage) -> Vec<PromotionForm> {
    lineage
        .promotions()
        .iter()
        .map(PromotionForm::from)
        .collect()
}

fn lineage(forms: Vec<PromotionForm>) -> Result<Lineage, toml::de::Error> {
    let promotion = |form: PromotionForm| {
        let digits = form.nonce.unwrap_or_else(|| "0".to_owned());
        let nonce = u64::from_str_radix(&digits, 16).map_err(toml::de::Error::custom)?;
        Ok(Promotion {
            epoch: Epoch(form.epoch),
            node: form.node.map_or([0; 32], |node| node.0),
            nonce,
        })
    };
    let promotions: Result<Vec<_>, toml::de::Error> = forms.into_iter().map(promotion).collect();
    Lineage::new(promotions?).map_err(toml::de::Error::custom)
}

impl TryFrom<StandingFile> for Standing {
    type Error = toml::de::Error;

    fn try_from(file: StandingFile) -> Result<Self, toml::de::Error> {
        let own = match file.promotion.is_empty() {
            true => Lineage::first(Epoch(file.epoch)),
            false => lineage(file.promotion)?,
        };
        if own.epoch() != Epoch(file.epoch) {
            let why = "the last promotion is not that of the epoch";
            return Err(toml::de::Error::custom(why));
        }
        let rival = file.rival.map(|form| {
            Ok::<_, toml::de::Error>(Rival {
                name: form.name,
                node: form.node,
                lineage: lineage(form.promotion)?,
            })
        });
        Ok(Self {
            role: file.role,
            lineage: own,
            rival: rival.transpose()?,
        })
    }
}

impl Standing {
    /// Makes a new node: `role`, in the first epoch.
    ///
    /// # Errors
    /// When the state directory holds a node already, or cannot be written.
    pub fn create(state_dir: &Path, role: Role) -> Result<Self, StandingError> {
        let standing = Self {
            role,
            lineage: Lineage::first(Epoch(1)),
            rival: None,
        };
        private_file::create(&state_dir.join(FILE_NAME), standing.text().as_bytes())?;
        Ok(standing)
    }

    /// The node's epoch, at least 1.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lineage.epoch()
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
        let parsed = toml::from_slice::<StandingFile>(&bytes).and_then(Self::try_from);
        parsed.map_err(|source| StandingError::Damaged {
            path,
            source: Box::new(source),
        })
    }

    /// Keeps a changed standing; durable when it returns.
    ///
    /// # Errors
    /// When the file cannot be written; the old one is then still there.
    pub fn store(&self, state_dir: &Path) -> Result<(), StandingError> {
        private_file::replace(&state_dir.join(FILE_NAME), self.text().as_bytes())?;
        Ok(())
    }

    fn text(&self) -> String {
        let file = StandingFile {
            role: self.role,
            epoch: self.epoch().0,
            promotion: forms(&self.lineage),
            rival: self.rival.as_ref().map(|rival| RivalForm {
                name: rival.name.clone(),
                node: rival.node,
                promotion: forms(&rival.lineage),
            }),
        };
        let body = toml::to_string(&file).expect("names and numbers are TOML");
        format!("{FILE_HEADER}{body}")
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
        assert_eq!(made.epoch(), Epoch(1));
        assert_eq!(Standing::load(directory.path()).unwrap(), made);
        let rival = made.lineage.promote([], [2; 32], 5);
        let promoted = Standing {
            role: Role::Active,
            lineage: made.lineage.promote([], [1; 32], u64::MAX),
            rival: Some(Rival {
                name: "apim-2".into(),
                node: NodeId([2; 32]),
                lineage: rival,
            }),
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

    #[test]
    fn a_file_of_an_earlier_release_is_the_first_lineage_of_its_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        private_file::create(&path, b"role = \"active\"\nepoch = 3\n").unwrap();
        let standing = Standing::load(directory.path()).unwrap();
        assert_eq!(standing.lineage, Lineage::first(Epoch(3)));
        let lying = b"role = \"active\"\nepoch = 3\n[[promotion]]\nepoch = 2\n";
        private_file::replace(&path, lying).unwrap();
        assert!(Standing::load(directory.path()).is_err());
    }
}
