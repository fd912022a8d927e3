//! Open invitations of this node, kept as hashes of their secrets in
//! `invitations.toml`, so that the file is worth nothing to a thief.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use blake3::Hash;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::token::Token;
use crate::{
    failure::{Failure, FailureKind},
    identity::NodeId,
    private_file::{self, Kept, PrivateFileError},
    transport::Address,
};

/// The file's name in the state directory.
const FILE_NAME: &str = "invitations.toml";
/// What people who open the file read first.
const FILE_HEADER: &str = "\
# Open invitations of this node: hashes of their secrets, never the secrets.
# Written by `apim-sync invite`; deleting the file calls all of them back.
";
/// Keeps the hashes of secrets apart from all other hashes.
const HASH_CONTEXT: &str = "apim-sync 2026-11 invitation secret";
/// Open invitations at once: nobody pairs more nodes in a quarter of an hour.
const INVITATIONS_MAX: usize = 16;
/// Wrong secrets after which every open invitation is called back. Nobody
/// guesses 256 bits; whoever tries should not go on.
const FAILURES_MAX: u32 = 5;
/// An invitation is for now.
const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why there is no such invitation.
#[derive(Debug, Error)]
pub enum InvitationError {
    /// The file cannot be read or written.
    #[error("cannot use the list of invitations")]
    File(#[from] PrivateFileError),
    /// The file does not say what it should.
    #[error("cannot understand {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No open invitation has this secret.
    #[error("the invitation is unknown, used, expired or called back")]
    Unknown,
    /// Enough for now.
    #[error("there are {INVITATIONS_MAX} open invitations")]
    TooMany,
    /// Such a time to live makes no sense.
    #[error("an invitation lives for one second to seven days")]
    Ttl,
    /// The operating system gave no randomness.
    #[error("cannot make an invitation: the operating system gives no random numbers")]
    Random,
}

impl From<InvitationError> for Failure {
    fn from(error: InvitationError) -> Self {
        let (kind, hint) = match &error {
            InvitationError::File(error) => (FailureKind::Failed, error.hint()),
            InvitationError::Malformed { path, .. } => (
                FailureKind::Failed,
                format!("delete {} to call all invitations back", path.display()),
            ),
            InvitationError::Unknown => (
                FailureKind::Trust,
                "make one with `apim-sync invite`".into(),
            ),
            InvitationError::TooMany => (
                FailureKind::Failed,
                "wait until one is used or expires".into(),
            ),
            InvitationError::Ttl => (FailureKind::Usage, "`--ttl 15m` is usual".into()),
            InvitationError::Random => (FailureKind::Failed, "see `dmesg`".into()),
        };
        Self::caused_by(kind, "inviting", &error).hint(hint)
    }
}

/// One open invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    /// Hexadecimal hash of the secret.
    hash: String,
    /// Seconds since 1970 after which it counts no more.
    expires: u64,
    /// Wrong secrets seen while it was open.
    #[serde(default)]
    failures: u32,
}

impl Invitation {
    fn is_open(&self, now: SystemTime) -> bool {
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(self.expires));
        self.failures < FAILURES_MAX && expires.is_some_and(|expires| now < expires)
    }

    /// In constant time: [`struct@Hash`] compares like that.
    fn matches(&self, hash: &Hash) -> bool {
        Hash::from_hex(&self.hash).is_ok_and(|own| own == *hash)
    }
}

/// The form of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvitationFile {
    #[serde(default)]
    invitation: Vec<Invitation>,
}

/// The invitations of a node. Clones share one list.
#[derive(Debug, Clone)]
pub struct Invitations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state_dir: PathBuf,
    clock: fn() -> SystemTime,
    open: Mutex<Vec<Invitation>>,
}

impl Invitations {
    /// Reads the invitations kept in `state_dir`.
    ///
    /// # Errors
    /// When the file cannot be read or understood, or others could have read it.
    pub fn load(state_dir: &Path) -> Result<Self, InvitationError> {
        Self::load_at(state_dir, SystemTime::now)
    }

    pub(super) fn load_at(
        state_dir: &Path,
        clock: fn() -> SystemTime,
    ) -> Result<Self, InvitationError> {
        let open = read(&state_dir.join(FILE_NAME))?;
        Ok(Self(Arc::new(Shared {
            state_dir: state_dir.into(),
            clock,
            open: Mutex::new(open),
        })))
    }

    /// Invites whoever gets the token within `ttl`.
    ///
    /// # Errors
    /// When there are too many open ones, or the file cannot be written.
    pub fn create(
        &self,
        address: Address,
        inviter: NodeId,
        ttl: Duration,
    ) -> Result<Token, InvitationError> {
        let since_1970 = (self.0.clock)().duration_since(UNIX_EPOCH);
        let (Ok(now), 1..=u64::MAX) = (since_1970, ttl.as_secs()) else {
            return Err(InvitationError::Ttl);
        };
        if ttl > TTL_MAX {
            return Err(InvitationError::Ttl);
        }
        let token = Token::new(address, inviter).ok_or(InvitationError::Random)?;
        let invitation = Invitation {
            hash: hash(&token.secret).to_hex().to_string(),
            expires: (now + ttl).as_secs(),
            failures: 0,
        };
        self.change(|open| {
            if open.len() >= INVITATIONS_MAX {
                return Err(InvitationError::TooMany);
            }
            open.push(invitation);
            Ok(())
        })?;
        Ok(token)
    }

    /// Whether any invitation can be redeemed now.
    #[must_use]
    pub fn any_open(&self) -> bool {
        let now = (self.0.clock)();
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|invitation| invitation.is_open(now))
    }

    /// Uses the invitation with this secret up. A wrong secret counts against
    /// all open ones.
    ///
    /// # Errors
    /// When no open invitation has it, or the file cannot be written.
    pub fn redeem(&self, secret: &[u8; 32]) -> Result<(), InvitationError> {
        let hash = hash(secret);
        let known = self.change(|open| {
            let before = open.len();
            open.retain(|invitation| !invitation.matches(&hash));
            let known = open.len() < before;
            if !known {
                open.iter_mut()
                    .for_each(|invitation| invitation.failures += 1);
            }
            Ok(known)
        })?;
        if known {
            Ok(())
        } else {
            Err(InvitationError::Unknown)
        }
    }

    /// Takes up what another process changed in the file.
    ///
    /// # Errors
    /// As [`Invitations::load`]; what was known before stays.
    pub fn reload(&self) -> Result<(), InvitationError> {
        let read = read(&self.0.state_dir.join(FILE_NAME))?;
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Changes the list as it is on the disk now, without those that are over.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Invitation>) -> Result<T, InvitationError>,
    ) -> Result<T, InvitationError> {
        let path = self.0.state_dir.join(FILE_NAME);
        let now = (self.0.clock)();
        let mut shared = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = private_file::lock(&self.0.state_dir)?;
        let mut open = read(&path)?;
        open.retain(|invitation| invitation.is_open(now));
        let outcome = change(&mut open)?;
        open.retain(|invitation| invitation.is_open(now));
        write(&path, &open)?;
        *shared = open;
        Ok(outcome)
    }
}

fn hash(secret: &[u8; 32]) -> Hash {
    Hash::from_bytes(blake3::derive_key(HASH_CONTEXT, secret))
}

fn read(path: &Path) -> Result<Vec<Invitation>, InvitationError> {
    let bytes = private_file::read(path, Kept::Secret)?.unwrap_or_default();
    let file: InvitationFile =
        toml::from_slice(&bytes).map_err(|source| InvitationError::Malformed {
            path: path.into(),
            source: Box::new(source),
        })?;
    Ok(file.invitation)
}

fn write(path: &Path, open: &[Invitation]) -> Result<(), InvitationError> {
    let file = InvitationFile {
        invitation: open.to_vec(),
    };
    let text = toml::to_string(&file).expect("hashes and numbers are plain TOML");
    private_file::replace(path, format!("{FILE_HEADER}\n{text}").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_800_000_000) };
    }

    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.get())
    }

    fn pass(seconds: u64) {
        NOW.set(NOW.get() + seconds);
    }

    const QUARTER: Duration = Duration::from_secs(900);

    fn invite(invitations: &Invitations) -> Result<Token, InvitationError> {
        let address = "192.168.10.2:7420".parse().unwrap();
        invitations.create(address, NodeId([1; 32]), QUARTER)
    }

    #[test]
    fn an_invitation_is_redeemed_once() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        assert!(!invitations.any_open());
        let token = invite(&invitations).unwrap();
        assert!(invitations.any_open());
        invitations.redeem(&token.secret).unwrap();
        assert!(!invitations.any_open());
        let again = invitations.redeem(&token.secret);
        assert!(matches!(again, Err(InvitationError::Unknown)));
    }

    #[test]
    fn an_invitation_survives_a_restart_without_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        let token = invite(&invitations).unwrap();
        let text = std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap();
        assert!(!text.contains(&data_encoding::HEXLOWER.encode(&token.secret)));
        let again = Invitations::load_at(directory.path(), clock).unwrap();
        assert!(again.any_open());
        again.redeem(&token.secret).unwrap();
        // The first process takes up that it is used.
        let used = invitations.redeem(&token.secret);
        assert!(matches!(used, Err(InvitationError::Unknown)));
    }

    #[test]
    fn an_expired_invitation_is_worth_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        let token = invite(&invitations).unwrap();
        pass(899);
        assert!(invitations.any_open());
        pass(1);
        assert!(!invitations.any_open());
        let late = invitations.redeem(&token.secret);
        assert!(matches!(late, Err(InvitationError::Unknown)));
    }

    #[test]
    fn five_wrong_secrets_call_every_invitation_back() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        let token = invite(&invitations).unwrap();
        for _ in 0..4 {
            assert!(invitations.redeem(&[0; 32]).is_err());
            assert!(invitations.any_open());
        }
        assert!(invitations.redeem(&[0; 32]).is_err());
        assert!(!invitations.any_open());
        assert!(invitations.redeem(&token.secret).is_err());
    }

    #[test]
    fn four_wrong_secrets_leave_the_right_one_good() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        let token = invite(&invitations).unwrap();
        for _ in 0..4 {
            assert!(invitations.redeem(&[0; 32]).is_err());
        }
        invitations.redeem(&token.secret).unwrap();
    }

    #[test]
    fn sixteen_invitations_are_enough_until_some_expire() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        for _ in 0..INVITATIONS_MAX {
            invite(&invitations).unwrap();
        }
        let error = invite(&invitations).unwrap_err();
        assert!(matches!(error, InvitationError::TooMany), "{error}");
        pass(900);
        invite(&invitations).unwrap();
        assert_eq!(read(&directory.path().join(FILE_NAME)).unwrap().len(), 1);
    }

    #[test]
    fn an_invitation_lives_for_a_second_to_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let invitations = Invitations::load_at(directory.path(), clock).unwrap();
        let table = [(0, false), (1, true), (604_800, true), (604_801, false)];
        for (seconds, allowed) in table {
            let address = "192.168.10.2:7420".parse().unwrap();
            let ttl = Duration::from_secs(seconds);
            let made = invitations.create(address, NodeId([1; 32]), ttl);
            assert_eq!(made.is_ok(), allowed, "{seconds}");
        }
    }
}
