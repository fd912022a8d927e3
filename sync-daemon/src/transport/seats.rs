//! How many connections one caller may hold at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::identity::NodeId;

/// Connections that one peer may have dialled: its daemon, a reconnect before
/// the old connection is known to be dead, and a few one-shot commands.
const PEER_SEATS: usize = 8;
/// Callers without a pinned key, all of them together.
const STRANGER_SEATS: usize = 4;

/// Who takes a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Guest {
    Stranger,
    Peer(NodeId),
}

impl Guest {
    fn seats(self) -> usize {
        match self {
            Self::Stranger => STRANGER_SEATS,
            Self::Peer(_) => PEER_SEATS,
        }
    }
}

/// The seats taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<BTreeMap<Guest, usize>>>);

impl Seats {
    /// A seat for `guest`, unless it has all of its seats.
    pub(super) fn take(&self, guest: Guest) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(guest).or_default();
        if *count == guest.seats() {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat {
            seats: self.clone(),
            guest,
        })
    }

    fn leave(&self, guest: Guest) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&guest) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&guest);
            }
        }
    }
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    guest: Guest,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.leave(self.guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_so_many_seats_and_gets_them_back() {
        let seats = Seats::default();
        let one = Guest::Peer(NodeId([1; 32]));
        let mut held: Vec<_> = (0..PEER_SEATS).map(|_| seats.take(one)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(seats.take(one).is_none());
        assert!(seats.take(Guest::Peer(NodeId([2; 32]))).is_some());
        assert!(seats.take(Guest::Stranger).is_some());
        held.pop();
        assert!(seats.take(one).is_some());
        held.clear();
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
