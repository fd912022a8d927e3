//! Who may be the active: the fence between nodes of different epochs.
//!
//! An epoch's number orders promotions, but two nodes promoted out of each
//! other's sight may take the same number, or different ones without either
//! knowing of the other. So every promotion has an identity beside its number,
//! and a node remembers its [`Lineage`]: the promotion in force and those it
//! continues. A node gives way to a lineage that has its own promotion among
//! those it continues, and to no other. [`judge`] is the whole table of what
//! follows; carrying it out is left to the node.

use std::fmt;

use bincode::{Decode, Encode};
use thiserror::Error;

use crate::generation::Epoch;

#[cfg(test)]
mod tests;

/// Promotions that a lineage remembers. An active that was away for more of
/// them is not recognised, and takes a person to decide.
pub const LINEAGE_MAX: usize = 64;

/// One promotion. Two of the same epoch are different ones unless all is equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct Promotion {
    /// The epoch that it began.
    pub epoch: Epoch,
    /// The key of the node that became active; zeros where nobody was promoted:
    /// the epoch with which nodes are made.
    pub node: [u8; 32],
    /// A random number: a node whose state directory was restored may be promoted
    /// to an epoch a second time.
    pub nonce: u64,
}

impl Promotion {
    /// The beginning of `epoch` without a promotion.
    #[must_use]
    pub fn without_node(epoch: Epoch) -> Self {
        Self {
            epoch,
            node: [0; 32],
            nonce: 0,
        }
    }

    /// Whether the node with this key may be active under it.
    #[must_use]
    pub fn admits(&self, node: &[u8; 32]) -> bool {
        self.node == [0; 32] || self.node == *node
    }
}

/// The promotion in force, after those that it continues: whoever made it knew
/// them, and decided that what they led to goes on here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lineage(Vec<Promotion>);

/// Why promotions are no lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineageError {
    /// There are none, or too many.
    #[error("a lineage has 1 to {LINEAGE_MAX} promotions, not {0}")]
    Count(usize),
    /// They are out of order, or the last is not of the highest epoch.
    #[error("the promotions of a lineage are in order, and only the last has the highest epoch")]
    Order,
}

impl Lineage {
    /// The lineage of nodes that were made in `epoch`.
    #[must_use]
    pub fn first(epoch: Epoch) -> Self {
        Self(vec![Promotion::without_node(epoch)])
    }

    /// Checks `promotions`, the one in force last.
    ///
    /// # Errors
    /// When they break the rule of the type.
    pub fn new(promotions: Vec<Promotion>) -> Result<Self, LineageError> {
        if promotions.is_empty() || promotions.len() > LINEAGE_MAX {
            return Err(LineageError::Count(promotions.len()));
        }
        let ordered = promotions.is_sorted_by(|a, b| a < b);
        let highest = match promotions.as_slice() {
            [.., before, last] => before.epoch < last.epoch,
            _ => true,
        };
        if ordered && highest {
            Ok(Self(promotions))
        } else {
            Err(LineageError::Order)
        }
    }

    /// The promotions, the one in force last.
    #[must_use]
    pub fn promotions(&self) -> &[Promotion] {
        &self.0
    }

    /// The promotion in force.
    ///
    /// # Panics
    /// Never: there is one.
    #[must_use]
    pub fn current(&self) -> Promotion {
        *self.0.last().expect("a lineage is not empty")
    }

    /// The epoch in force.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.current().epoch
    }

    /// Whether `promotion` is in force or continued.
    #[must_use]
    pub fn contains(&self, promotion: &Promotion) -> bool {
        self.0.contains(promotion)
    }

    /// The lineage after a promotion of `node`, which knew this lineage and those
    /// of `others`: in the next epoch after all of theirs.
    #[must_use]
    pub fn promote<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self>,
        node: [u8; 32],
        nonce: u64,
    ) -> Self {
        let known = others.into_iter().flat_map(|other| &other.0);
        let mut promotions: Vec<Promotion> = self.0.iter().chain(known).copied().collect();
        promotions.sort_unstable();
        promotions.dedup();
        let highest = promotions.last().map_or(Epoch(0), |last| last.epoch);
        promotions.push(Promotion {
            epoch: Epoch(highest.0.saturating_add(1)),
            node,
            nonce,
        });
        promotions.drain(..promotions.len().saturating_sub(LINEAGE_MAX));
        Self(promotions)
    }

    /// What a node that only says its epoch is taken to stand in: nodes of the
    /// first protocol version cannot be promoted, so they know no promotion that
    /// this lineage does not.
    #[must_use]
    pub fn of_epoch(&self, epoch: Epoch) -> Self {
        if epoch > self.epoch() {
            let mut promotions = self.0.clone();
            promotions.push(Promotion::without_node(epoch));
            promotions.drain(..promotions.len().saturating_sub(LINEAGE_MAX));
            return Self(promotions);
        }
        let until = self.0.iter().position(|known| known.epoch == epoch);
        until.map_or_else(
            || Self::first(epoch),
            |at| Self(self.0[..=at].to_vec()).last_alone(),
        )
    }

    /// Drops what has the epoch of the last promotion beside it.
    fn last_alone(mut self) -> Self {
        let last = self.current();
        self.0.retain(|it| it.epoch < last.epoch || *it == last);
        self
    }
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.epoch)
    }
}

/// What a node is to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stance<'a> {
    /// Its key.
    pub node: [u8; 32],
    /// Whether it is active.
    pub active: bool,
    /// Whether it has found another active and does nothing until a person has
    /// decided.
    pub halted: bool,
    /// Its lineage.
    pub lineage: &'a Lineage,
}

/// How another lineage relates to one's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinship {
    /// The same promotion is in force.
    Same,
    /// Theirs continues ours: ours is over.
    TheirsContinues,
    /// Ours continues theirs: theirs is over.
    OursContinues,
    /// Neither knew the other's promotion.
    Diverged,
}

impl Kinship {
    /// How `theirs` relates to `ours`.
    #[must_use]
    pub fn of(ours: &Lineage, theirs: &Lineage) -> Self {
        let (our, their) = (ours.current(), theirs.current());
        if our == their {
            return Self::Same;
        }
        match (theirs.contains(&our), ours.contains(&their)) {
            (true, _) => Self::TheirsContinues,
            (false, true) => Self::OursContinues,
            (false, false) => Self::Diverged,
        }
    }
}

/// What a node does about another that it met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send to it.
    Lead,
    /// Take from it, and take up its lineage first.
    Follow,
    /// Nothing is sent or taken; either may look.
    Look,
    /// It claims to be active and is not: nothing of it is taken.
    Refuse,
    /// Turn passive: its lineage continues ours.
    StepDown,
    /// Both were promoted without knowing of each other: send and take nothing
    /// from anybody until a person has decided.
    Halt,
}

/// What `ours` does about `theirs`.
#[must_use]
pub fn judge(ours: &Stance<'_>, theirs: &Stance<'_>) -> Verdict {
    let kinship = Kinship::of(ours.lineage, theirs.lineage);
    match (ours.active, theirs.active) {
        (false, false) => Verdict::Look,
        (false, true) if theirs.halted => Verdict::Look,
        (false, true) => match kinship {
            Kinship::Same | Kinship::TheirsContinues
                if theirs.lineage.current().admits(&theirs.node) =>
            {
                Verdict::Follow
            }
            _ => Verdict::Refuse,
        },
        (true, _) if kinship == Kinship::TheirsContinues => Verdict::StepDown,
        (true, _) if ours.halted => Verdict::Look,
        (true, false) => match kinship {
            Kinship::Diverged => Verdict::Halt,
            _ => Verdict::Lead,
        },
        (true, true) => match kinship {
            // It will step down as soon as it knows.
            Kinship::OursContinues => Verdict::Look,
            _ => Verdict::Halt,
        },
    }
}
