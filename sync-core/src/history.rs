//! What a node remembers of the generations it took part in: which paths changed,
//! from what to what, where that came from, and when each step was done.
//!
//! A record has the entries before and after, so the way back can be computed:
//! [`manifest_at`] undoes records one by one, and the roots prove each step. The
//! bytes of a log of records are in [`log`]; where they are kept, and the contents
//! that go with them, belongs to sync-fs.

use bincode::{Decode, Encode};
use thiserror::Error;

use crate::{
    entry::Entry,
    generation::{Generation, Position},
    manifest::{Manifest, Root},
    path::RelPath,
};

pub mod log;
#[cfg(test)]
mod tests;

/// Paths that one record names. A generation that changed more keeps their number
/// only, and nothing leads back beyond it.
pub const CHANGES_LISTED_MAX: usize = 20_000;
/// Bytes in a name from where a generation came.
const NAME_BYTES_MAX: usize = 255;

/// Where a generation came from.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Origin {
    /// This node found it when it began to look at the tree.
    Start,
    /// This node saw the tree change.
    Watch,
    /// This node took the tree back to this generation.
    Rollback(Generation),
    /// This peer, the active then, sent it.
    Peer(String),
    /// The journal had it when this node started, after an interruption.
    Journal,
}

impl Origin {
    /// A peer of this name, which is cut where it is too long.
    #[must_use]
    pub fn peer(name: &str) -> Self {
        let end = name.floor_char_boundary(NAME_BYTES_MAX);
        Self::Peer(name[..end].to_owned())
    }
}

/// What is done to a generation on its way from an edit to the peer's deployer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub enum Step {
    /// The first event that belongs to it.
    Seen,
    /// No more events: its files are looked at.
    Settled,
    /// It has its number.
    Published,
    /// It begins to go to a peer.
    Sent,
    /// It begins to come in.
    Received,
    /// It survives power loss.
    Durable,
    /// Every name shows it.
    Applied,
    /// The hot deployer took it.
    Deployed,
    /// The hot deployer refused some of it.
    Rejected,
}

impl Step {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Settled => "settled",
            Self::Published => "published",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Durable => "durable",
            Self::Applied => "applied",
            Self::Deployed => "deployed",
            Self::Rejected => "rejected",
        }
    }
}

/// When a step was done, by the clock of the node that keeps the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Time {
    /// Which step.
    pub step: Step,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// One path of a generation.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PathChange {
    /// Where.
    pub path: RelPath,
    /// What was agreed there before.
    pub before: Option<Entry>,
    /// What is agreed there since.
    pub after: Option<Entry>,
}

/// What a change amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// A path that was not there.
    Created,
    /// Another content, or another kind of entry.
    Updated,
    /// A path that went.
    Deleted,
    /// The mode only.
    Metadata,
    /// Nothing that was agreed: the disk was made to have it again.
    Healed,
}

impl PathChange {
    /// What it amounts to.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, None) => ChangeKind::Healed,
            (None, Some(_)) => ChangeKind::Created,
            (Some(_), None) => ChangeKind::Deleted,
            (Some(before), Some(after)) if before.same_identity(after) => ChangeKind::Healed,
            (Some(Entry::File(before)), Some(Entry::File(after)))
                if before.content == after.content =>
            {
                ChangeKind::Metadata
            }
            (Some(Entry::Directory { .. }), Some(Entry::Directory { .. })) => ChangeKind::Metadata,
            _ => ChangeKind::Updated,
        }
    }
}

/// How many paths of each kind a generation changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Counts {
    /// Paths that were not there.
    pub created: u64,
    /// Paths with another content or kind.
    pub updated: u64,
    /// Paths that went.
    pub deleted: u64,
    /// Paths with another mode.
    pub metadata: u64,
    /// Paths that were put right on the disk.
    pub healed: u64,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.deleted + self.metadata + self.healed
    }

    fn add(&mut self, kind: ChangeKind) {
        match kind {
            ChangeKind::Created => self.created += 1,
            ChangeKind::Updated => self.updated += 1,
            ChangeKind::Deleted => self.deleted += 1,
            ChangeKind::Metadata => self.metadata += 1,
            ChangeKind::Healed => self.healed += 1,
        }
    }
}

/// One generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenerationRecord {
    /// The state it led to.
    pub position: Position,
    /// The root it started from.
    pub base: Root,
    /// Where it came from.
    pub origin: Origin,
    /// When what was done to it.
    pub times: Vec<Time>,
    /// How many paths it changed.
    pub counts: Counts,
    /// The paths: all of them, or of too many none.
    pub changes: Vec<PathChange>,
}

impl GenerationRecord {
    /// A generation that led from `base` to `position`.
    #[must_use]
    pub fn new(
        position: Position,
        base: Root,
        origin: Origin,
        changes: impl IntoIterator<Item = PathChange>,
    ) -> Self {
        let mut record = Self::unlisted(position, base, origin, Counts::default());
        for change in changes {
            record.counts.add(change.kind());
            if record.changes.len() <= CHANGES_LISTED_MAX {
                record.changes.push(change);
            }
        }
        if record.changes.len() > CHANGES_LISTED_MAX {
            record.changes = Vec::new();
        }
        record
    }

    /// The same, of which only the number of changes is known.
    #[must_use]
    pub fn unlisted(position: Position, base: Root, origin: Origin, counts: Counts) -> Self {
        Self {
            position,
            base,
            origin,
            times: Vec::new(),
            counts,
            changes: Vec::new(),
        }
    }

    /// Whether every path is named.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.changes.len() as u64 == self.counts.total()
    }

    /// When the generation came to be, or else the earliest that is known of it.
    #[must_use]
    pub fn made_at_ms(&self) -> Option<u64> {
        let published = self.times.iter().find(|time| time.step == Step::Published);
        let first = || self.times.iter().map(|time| time.at_ms).min();
        published.map(|time| time.at_ms).or_else(first)
    }
}

/// What became of a generation later on.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct LaterSteps {
    /// The generation.
    pub generation: Generation,
    /// Its root: numbers are given twice where a node lost some.
    pub root: Root,
    /// The peer it went to; none on the node that took it in.
    pub peer: Option<String>,
    /// When what was done to it.
    pub times: Vec<Time>,
}

/// One record of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A generation.
    Generation(GenerationRecord),
    /// What was done to one that is recorded already.
    Later(LaterSteps),
}

/// Why the state of a generation cannot be told any more.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotKept {
    /// It is not among the records that lead to where the tree stands.
    #[error("generation {wanted} is not in the history; the oldest that is kept is {oldest}")]
    Unknown {
        /// What was asked for.
        wanted: Generation,
        /// The oldest one that can be had.
        oldest: Generation,
    },
    /// Too much changed after it.
    #[error(
        "generation {wanted} cannot be told any more: generation {at} changed {paths} paths, more than are listed; the oldest that is kept is {at}"
    )]
    Cut {
        /// What was asked for.
        wanted: Generation,
        /// The generation that is not listed.
        at: Generation,
        /// How many paths it changed.
        paths: u64,
    },
}

/// The tree as it was at `wanted`: `current` with every later record undone.
/// `records` are oldest first; those that lead elsewhere do not count.
///
/// # Errors
/// Where no unbroken way leads there.
pub fn manifest_at(
    current: &Manifest,
    records: &[GenerationRecord],
    wanted: Generation,
) -> Result<(Manifest, Position), NotKept> {
    let mut manifest = current.clone();
    let mut root = manifest.root();
    let mut oldest = None;
    for record in records.iter().rev() {
        if record.position.root != root {
            continue;
        }
        let generation = record.position.generation;
        if generation == wanted {
            return Ok((manifest, record.position));
        }
        oldest = Some(generation);
        if record.base == root {
            continue;
        }
        let is_known = || records.iter().any(|it| it.position.generation == wanted);
        if !record.is_whole() && is_known() {
            return Err(NotKept::Cut {
                wanted,
                at: generation,
                paths: record.counts.total(),
            });
        }
        if !record.is_whole() {
            break;
        }
        undo(&mut manifest, record);
        root = manifest.root();
        if root != record.base {
            break; // a record that does not say what happened leads nowhere
        }
    }
    Err(NotKept::Unknown {
        wanted,
        oldest: oldest.unwrap_or_default(),
    })
}

/// `manifest` after every record that leads on from it, oldest first.
#[must_use]
pub fn carried_on(mut manifest: Manifest, records: &[GenerationRecord]) -> Manifest {
    let mut root = manifest.root();
    for record in records {
        if record.base != root || record.base == record.position.root || !record.is_whole() {
            continue;
        }
        let mut next = manifest.clone();
        for change in &record.changes {
            match &change.after {
                Some(after) => drop(next.insert(change.path.clone(), after.clone())),
                None => drop(next.remove(&change.path)),
            }
        }
        if next.root() == record.position.root {
            (root, manifest) = (next.root(), next);
        }
    }
    manifest
}

fn undo(manifest: &mut Manifest, record: &GenerationRecord) {
    for change in &record.changes {
        match &change.before {
            Some(before) => drop(manifest.insert(change.path.clone(), before.clone())),
            None => drop(manifest.remove(&change.path)),
        }
    }
}
