//! The file `trust.toml` of the state directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sync_core::limits::PEERS_MAX;
use thiserror::Error;

use super::name::NodeName;
use crate::{
    failure::{Failure, FailureKind},
    identity::NodeId,
    private_file::{self, Kept, PrivateFileError},
    transport::Address,
};

/// The file's name in the state directory.
const FILE_NAME: &str = "trust.toml";
/// What people who open the file read first.
const FILE_HEADER: &str = "\
# The peers this node trusts, each pinned by its public key. Written by
# `apim-sync trust` and `apim-sync join`; edit it only while no daemon runs.
";

/// A pinned peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What people call it here.
    pub name: NodeName,
    /// Its public key.
    pub id: NodeId,
    /// Where it listens; none for a peer that only dials this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

/// Why the trusted peers cannot be read or changed.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error("cannot use the list of trusted peers")]
    File(#[from] PrivateFileError),
    /// The file does not say what it should.
    #[error("cannot understand {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Two peers under one name.
    #[error("the name `{name}` belongs to the trusted peer {id}")]
    NameTaken {
        /// The name.
        name: NodeName,
        /// Whose it is.
        id: NodeId,
    },
    /// No such peer.
    #[error("no trusted peer is called `{name}`")]
    Unknown {
        /// The name looked for.
        name: NodeName,
    },
    /// The peer is pinned by the config file, which is not ours to edit.
    #[error("the config file pins `{name}`")]
    Configured {
        /// The peer's name.
        name: NodeName,
    },
    /// More peers than a node may have.
    #[error("a node trusts at most {PEERS_MAX} peers")]
    TooMany,
}

impl TrustError {
    /// What to try next.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::Malformed { path, .. } => format!("correct {}", path.display()),
            Self::NameTaken { name, .. } => {
                format!("choose another name, or `apim-sync trust remove {name}` first")
            }
            Self::Unknown { .. } => "`apim-sync trust list` shows the trusted peers".into(),
            Self::Configured { .. } => {
                "remove its [[peer]] section there, then reload the daemon".into()
            }
            Self::TooMany => "`apim-sync trust remove` one first".into(),
        }
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::File(_) | Self::Malformed { .. } => FailureKind::Failed,
            Self::NameTaken { .. }
            | Self::Unknown { .. }
            | Self::Configured { .. }
            | Self::TooMany => FailureKind::Usage,
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::caused_by(error.kind(), "using the trusted peers", &error).hint(error.hint())
    }
}

/// The form of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    #[serde(default)]
    peer: Vec<Peer>,
}

/// The pinned peers kept in a state directory.
#[derive(Debug)]
pub struct TrustStore {
    state_dir: PathBuf,
    peers: Vec<Peer>,
}

impl TrustStore {
    /// Reads the file; where there is none, nobody is trusted.
    ///
    /// # Errors
    /// When it cannot be read or understood, or other users could change it.
    pub fn load(state_dir: &Path) -> Result<Self, TrustError> {
        let mut store = Self {
            state_dir: state_dir.into(),
            peers: Vec::new(),
        };
        store.reload()?;
        Ok(store)
    }

    /// The peers, in the order they were added.
    #[must_use]
    pub fn list(&self) -> &[Peer] {
        &self.peers
    }

    /// The peer with this key.
    #[must_use]
    pub fn find(&self, id: &NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == *id)
    }

    /// Pins `peer`; one with the same key gets the new name and address.
    ///
    /// # Errors
    /// When the name belongs to another key, there are too many peers, or the
    /// file cannot be written. Nothing is changed then.
    pub fn add(&mut self, peer: Peer) -> Result<(), TrustError> {
        self.change(|peers| add_to(peers, peer))
    }

    /// Unpins the peer called `name` and says who it was.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn remove(&mut self, name: &NodeName) -> Result<Peer, TrustError> {
        self.change(|peers| {
            let position = peers.iter().position(|peer| peer.name == *name);
            let position = position.ok_or_else(|| TrustError::Unknown { name: name.clone() })?;
            Ok(peers.remove(position))
        })
    }

    /// Takes up what another process changed in the file.
    ///
    /// # Errors
    /// As [`TrustStore::load`]; the peers known before stay.
    pub fn reload(&mut self) -> Result<(), TrustError> {
        self.peers = read_peers(&self.path())?;
        Ok(())
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    fn path(&self) -> PathBuf {
        self.state_dir.join(FILE_NAME)
    }

    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Vec<Peer>) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        let _lock = private_file::lock(&self.state_dir)?;
        let mut peers = read_peers(&self.path())?;
        let outcome = change(&mut peers)?;
        write_peers(&self.path(), &peers)?;
        self.peers = peers;
        Ok(outcome)
    }
}

pub(super) fn add_to(peers: &mut Vec<Peer>, peer: Peer) -> Result<(), TrustError> {
    check_name_free(peers, &peer)?;
    if let Some(known) = peers.iter_mut().find(|known| known.id == peer.id) {
        *known = peer;
    } else if peers.len() < PEERS_MAX {
        peers.push(peer);
    } else {
        return Err(TrustError::TooMany);
    }
    Ok(())
}

pub(super) fn check_name_free(peers: &[Peer], peer: &Peer) -> Result<(), TrustError> {
    let holder = peers
        .iter()
        .find(|known| known.name == peer.name && known.id != peer.id);
    match holder {
        Some(holder) => Err(TrustError::NameTaken {
            name: holder.name.clone(),
            id: holder.id,
        }),
        None => Ok(()),
    }
}

fn read_peers(path: &Path) -> Result<Vec<Peer>, TrustError> {
    let bytes = private_file::read(path, Kept::Unchanged)?.unwrap_or_default();
    let file: TrustFile = toml::from_slice(&bytes).map_err(|source| TrustError::Malformed {
        path: path.into(),
        source: Box::new(source),
    })?;
    let mut peers = Vec::new();
    for peer in file.peer {
        add_to(&mut peers, peer)?;
    }
    Ok(peers)
}

fn write_peers(path: &Path, peers: &[Peer]) -> Result<(), TrustError> {
    let file = TrustFile {
        peer: peers.to_vec(),
    };
    let text = toml::to_string(&file).expect("names, keys and addresses are plain strings");
    private_file::replace(path, format!("{FILE_HEADER}\n{text}").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn peer(name: &str, key: u8) -> Peer {
        Peer {
            name: name.parse().unwrap(),
            id: NodeId([key; 32]),
            address: None,
        }
    }

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[test]
    fn peers_added_are_found_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = TrustStore::load(directory.path()).unwrap();
        let mut with_address = peer("apim-2", 2);
        with_address.address = Some("[::1]:7420".parse().unwrap());
        store.add(with_address.clone()).unwrap();
        store.add(peer("apim-3", 3)).unwrap();

        let again = TrustStore::load(directory.path()).unwrap();
        assert_eq!(again.list(), [with_address, peer("apim-3", 3)]);
        assert_eq!(again.find(&NodeId([3; 32])), Some(&peer("apim-3", 3)));
        assert_eq!(again.find(&NodeId([4; 32])), None);
        let text = std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap();
        assert!(text.starts_with("# The peers"), "{text}");
    }

    #[test]
    fn a_key_has_one_entry_and_a_name_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = TrustStore::load(directory.path()).unwrap();
        store.add(peer("old-name", 2)).unwrap();
        store.add(peer("new-name", 2)).unwrap();
        assert_eq!(store.list(), [peer("new-name", 2)]);
        let error = store.add(peer("new-name", 3)).unwrap_err();
        assert!(matches!(error, TrustError::NameTaken { .. }), "{error}");
        assert_eq!(store.list(), [peer("new-name", 2)]);
    }

    #[test]
    fn removing_names_who_was_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = TrustStore::load(directory.path()).unwrap();
        store.add(peer("apim-2", 2)).unwrap();
        assert_eq!(store.remove(&name("apim-2")).unwrap(), peer("apim-2", 2));
        let error = store.remove(&name("apim-2")).unwrap_err();
        assert!(matches!(error, TrustError::Unknown { .. }), "{error}");
    }

    #[test]
    fn two_processes_changing_the_file_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut one = TrustStore::load(directory.path()).unwrap();
        let mut other = TrustStore::load(directory.path()).unwrap();
        one.add(peer("apim-2", 2)).unwrap();
        other.add(peer("apim-3", 3)).unwrap();
        assert_eq!(other.list(), [peer("apim-2", 2), peer("apim-3", 3)]);
    }

    #[test]
    fn a_trust_file_that_is_not_understood_trusts_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let good = format!("[[peer]]\nname = \"a\"\nid = \"{}\"\n", "ab".repeat(32));
        for text in [
            "[[peer]]\nname = \"a\"\n".to_owned(),
            good.replace("ab", "zz"),
            format!("{good}colour = 1\n"),
            good.replace("\"a\"", "\"-rf\""),
            format!("{good}{}", good.replace("ab", "cd")),
        ] {
            std::fs::write(&path, &text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(TrustStore::load(directory.path()).is_err(), "{text}");
        }
        std::fs::write(&path, good).unwrap();
        assert_eq!(TrustStore::load(directory.path()).unwrap().list().len(), 1);
    }

    #[test]
    fn no_more_peers_than_the_limit() {
        let mut peers = Vec::new();
        for number in 0..PEERS_MAX {
            let mut one = peer(&format!("apim-{number}"), 0);
            one.id.0[..8].copy_from_slice(&number.to_le_bytes());
            add_to(&mut peers, one).unwrap();
        }
        let error = add_to(&mut peers, peer("one-more", 255)).unwrap_err();
        assert!(matches!(error, TrustError::TooMany), "{error}");
    }
}
