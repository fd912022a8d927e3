//! Who a node is: one Ed25519 key pair, made once and kept in the state
//! directory.
//!
//! The public key is the [`NodeId`]; there is no certificate, no authority and
//! no expiry. Whom to trust is left to [`trust`](crate::trust), how the key
//! is shown to a peer to [`transport`](crate::transport).

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    failure::{Failure, FailureKind},
    private_file::{self, Kept, PrivateFileError},
};

/// The key's name in the state directory.
const FILE_NAME: &str = "node.key";
/// What precedes the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo`
/// (RFC 8410): the form in which TLS carries a raw public key.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A node's public key, and so its name that cannot be forged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The id whose key a TLS peer showed, if that is an Ed25519 key.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }

    fn to_spki(self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// Whether the node signed `message` so.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(message, signature).is_ok()
    }

    /// The first eight digits: enough for people to tell nodes apart.
    #[must_use]
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

/// Text that is no node id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no node id: an id is 64 hexadecimal digits, as `init` prints them")]
pub struct NodeIdError {
    text: String,
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        HEXLOWER_PERMISSIVE
            .decode(text.trim().as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| NodeIdError {
                text: text.escape_debug().take(100).collect(),
            })
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(text: String) -> Result<Self, NodeIdError> {
        text.parse()
    }
}

/// Why a node has no identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The key was never made.
    #[error("there is no key at {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is not an Ed25519 key.
    #[error("{} is damaged or no Ed25519 key", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use the node's key")]
    File(#[from] PrivateFileError),
    /// The operating system gave no randomness.
    #[error("cannot make a key: the operating system gives no random numbers")]
    Random,
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let hint = match &error {
            IdentityError::Missing { .. } => {
                "make this node's identity with `apim-sync init --keep-config --role ROLE`".into()
            }
            IdentityError::Damaged { .. } => {
                "restore it from a backup; or move it away, run `apim-sync init` and pair again"
                    .into()
            }
            IdentityError::File(error) => error.hint(),
            IdentityError::Random => "see `dmesg`".into(),
        };
        Self::caused_by(FailureKind::Failed, "using this node's identity", &error).hint(hint)
    }
}

/// What [`Identity::reset_secret`] is derived for.
const RESET_CONTEXT: &str = "apim-sync 2026 stateless reset of a QUIC connection";

/// The node's own key pair.
#[derive(Clone)]
pub struct Identity {
    id: NodeId,
    reset_secret: [u8; 32],
    key: Arc<CertifiedKey>,
    pair: Arc<Ed25519KeyPair>,
}

impl Identity {
    /// Makes the key of a new node and keeps it in `state_dir`.
    ///
    /// # Errors
    /// When a key is there already or cannot be written.
    pub fn create(state_dir: &Path) -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::Random)?;
        let pkcs8 = pair.to_pkcs8().map_err(|_| IdentityError::Random)?;
        let path = state_dir.join(FILE_NAME);
        private_file::create(&path, pkcs8.as_ref())?;
        Self::from_pkcs8(pkcs8.as_ref()).ok_or(IdentityError::Damaged { path })
    }

    /// Reads the key that [`Identity::create`] kept.
    ///
    /// # Errors
    /// When there is none, it is damaged, or other users could have read it.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join(FILE_NAME);
        match private_file::read(&path, Kept::Secret)? {
            Some(pkcs8) => Self::from_pkcs8(&pkcs8).ok_or(IdentityError::Damaged { path }),
            None => Err(IdentityError::Missing { path }),
        }
    }

    /// The public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Signs `message`, which says itself what the signature is for.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// The key pair as TLS takes it.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// A secret that is the same in every run of the node: with it a run that
    /// follows a crash can end the connections of the run before.
    pub(crate) fn reset_secret(&self) -> [u8; 32] {
        self.reset_secret
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let id = NodeId(pair.public_key().as_ref().try_into().ok()?);
        let signing_key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).ok()?;
        let shown = CertificateDer::from(id.to_spki());
        let key = Arc::new(CertifiedKey::new(vec![shown], signing_key));
        Some(Self {
            id,
            reset_secret: blake3::derive_key(RESET_CONTEXT, pkcs8),
            key,
            pair: Arc::new(pair),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id.short())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_made_identity_is_the_one_loaded_later() {
        let directory = tempfile::tempdir().unwrap();
        let made = Identity::create(directory.path()).unwrap();
        let loaded = Identity::load(directory.path()).unwrap();
        assert_eq!(made.id(), loaded.id());
    }

    #[test]
    fn an_identity_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let made = Identity::create(directory.path()).unwrap();
        let error = Identity::create(directory.path()).unwrap_err();
        assert!(matches!(
            error,
            IdentityError::File(PrivateFileError::Exists { .. })
        ));
        assert_eq!(Identity::load(directory.path()).unwrap().id(), made.id());
    }

    #[test]
    fn a_missing_loose_or_damaged_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let load = || Identity::load(directory.path());
        assert!(matches!(load(), Err(IdentityError::Missing { .. })));

        Identity::create(directory.path()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = load().unwrap_err();
        assert!(matches!(error, IdentityError::File(_)), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(load(), Err(IdentityError::Damaged { .. })));
        }
    }

    #[test]
    fn a_flipped_bit_in_the_key_never_gives_another_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let id = Identity::create(directory.path()).unwrap().id();
        let whole = std::fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            if let Ok(loaded) = Identity::load(directory.path()) {
                assert_eq!(loaded.id(), id, "byte {position}");
            }
        }
    }

    #[test]
    fn ids_are_64_hexadecimal_digits() {
        let id = NodeId([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        for text in ["ab".repeat(32), "AB".repeat(32), format!(" {id}\n")] {
            assert_eq!(text.parse(), Ok(id));
        }
        for text in ["", "ab", &"ab".repeat(33), &"zz".repeat(32)] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_ed25519_key_is_an_id() {
        let id = NodeId([7; 32]);
        assert_eq!(NodeId::from_spki(&id.to_spki()), Some(id));
        let mut other_algorithm = id.to_spki();
        other_algorithm[8] ^= 1;
        assert_eq!(NodeId::from_spki(&other_algorithm), None);
        assert_eq!(NodeId::from_spki(&id.to_spki()[..43]), None);
        assert_eq!(NodeId::from_spki(&[]), None);
    }
}
