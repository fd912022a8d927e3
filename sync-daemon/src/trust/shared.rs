//! The list of trusted peers that a running node shares.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::{
    name::NodeName,
    store::{Peer, TrustError, TrustStore, add_to, check_name_free},
};
use crate::identity::NodeId;

/// The peers a running node trusts: those of the config file and those of the
/// [`TrustStore`]. Clones share one list.
#[derive(Debug, Clone)]
pub struct Trusted(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lists: RwLock<Lists>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Lists {
    store: TrustStore,
    configured: Vec<Peer>,
}

impl Lists {
    /// A configured peer hides a stored one with its key.
    fn all(&self) -> impl Iterator<Item = &Peer> {
        let configured = |id| self.configured.iter().any(|peer| peer.id == id);
        let stored = self.store.list().iter();
        let stored = stored.filter(move |peer| !configured(peer.id));
        self.configured.iter().chain(stored)
    }

    fn check_configured(&self, configured: &[Peer]) -> Result<(), TrustError> {
        let mut peers = self.store.list().to_vec();
        configured
            .iter()
            .try_for_each(|peer| add_to(&mut peers, peer.clone()))
    }
}

impl Trusted {
    /// Shares `store` together with the `configured` peers of the config file.
    ///
    /// # Errors
    /// When two peers have one name.
    pub fn new(store: TrustStore, configured: Vec<Peer>) -> Result<Self, TrustError> {
        let lists = Lists {
            store,
            configured: Vec::new(),
        };
        lists.check_configured(&configured)?;
        Ok(Self(Arc::new(Shared {
            lists: RwLock::new(Lists {
                configured,
                ..lists
            }),
            changes: watch::Sender::new(0),
        })))
    }

    /// Every trusted peer, those of the config file first.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.read(|lists| lists.all().cloned().collect())
    }

    /// The peer with this key, if it is trusted now.
    #[must_use]
    pub fn find(&self, id: &NodeId) -> Option<Peer> {
        self.read(|lists| lists.all().find(|peer| peer.id == *id).cloned())
    }

    /// The peer of this name.
    #[must_use]
    pub fn named(&self, name: &NodeName) -> Option<Peer> {
        self.read(|lists| lists.all().find(|peer| peer.name == *name).cloned())
    }

    /// Whether the key is pinned.
    #[must_use]
    pub fn trusts(&self, id: &NodeId) -> bool {
        self.read(|lists| lists.all().any(|peer| peer.id == *id))
    }

    /// Fails where [`Trusted::add`] would, without changing anything.
    pub(crate) fn check_room_for(&self, peer: &Peer) -> Result<(), TrustError> {
        add_to(&mut self.peers(), peer.clone())
    }

    /// Pins `peer` from now on, on the disk too.
    ///
    /// # Errors
    /// As [`TrustStore::add`].
    pub fn add(&self, peer: Peer) -> Result<(), TrustError> {
        self.change(|lists| {
            check_name_free(&lists.configured, &peer)?;
            lists.store.add(peer)
        })
    }

    /// Unpins the peer called `name`; its live connections are cut.
    ///
    /// # Errors
    /// As [`TrustStore::remove`], and when the config file pins the peer.
    pub fn remove(&self, name: &NodeName) -> Result<Peer, TrustError> {
        self.change(|lists| {
            if lists.configured.iter().any(|peer| peer.name == *name) {
                return Err(TrustError::Configured { name: name.clone() });
            }
            lists.store.remove(name)
        })
    }

    /// Takes up the trust file as it is now and a newly read config file.
    ///
    /// # Errors
    /// When the file cannot be read or two peers have one name; what was
    /// trusted before then still is.
    pub fn reload(&self, configured: Vec<Peer>) -> Result<(), TrustError> {
        self.change(|lists| {
            let store = TrustStore::load(lists.store.state_dir())?;
            let next = Lists {
                store,
                configured: Vec::new(),
            };
            next.check_configured(&configured)?;
            *lists = Lists { configured, ..next };
            Ok(())
        })
    }

    /// Wakes after every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    // A panic while the lock was held cannot leave the lists half changed:
    // they are replaced as a whole.
    fn read<T>(&self, read: impl FnOnce(&Lists) -> T) -> T {
        read(&self.0.lists.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Lists) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        let mut lists = self.0.lists.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut lists)?;
        drop(lists);
        self.0.changes.send_modify(|count| *count += 1);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
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
    fn changes_are_seen_by_every_clone_and_announced() {
        let directory = tempfile::tempdir().unwrap();
        let store = TrustStore::load(directory.path()).unwrap();
        let trusted = Trusted::new(store, vec![peer("configured", 1)]).unwrap();
        let other = trusted.clone();
        let mut changes = other.subscribe();
        assert!(!changes.has_changed().unwrap());

        trusted.add(peer("apim-2", 2)).unwrap();
        assert!(other.trusts(&NodeId([2; 32])));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        trusted.remove(&name("apim-2")).unwrap();
        assert!(!other.trusts(&NodeId([2; 32])));
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn the_config_file_has_the_last_word() {
        let directory = tempfile::tempdir().unwrap();
        let store = TrustStore::load(directory.path()).unwrap();
        let trusted = Trusted::new(store, vec![peer("configured", 1)]).unwrap();
        trusted.add(peer("stored-name", 1)).unwrap();
        assert_eq!(trusted.peers(), [peer("configured", 1)]);
        let error = trusted.remove(&name("configured")).unwrap_err();
        assert!(matches!(error, TrustError::Configured { .. }), "{error}");
        let error = trusted.add(peer("configured", 9)).unwrap_err();
        assert!(matches!(error, TrustError::NameTaken { .. }), "{error}");
        trusted.reload(Vec::new()).unwrap();
        assert_eq!(trusted.peers(), [peer("stored-name", 1)]);
    }
}
