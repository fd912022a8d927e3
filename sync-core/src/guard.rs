//! The deletion guard: no generation deletes a tree by accident.
//!
//! Both nodes judge every generation before anything is deleted. What to do
//! with a halted plan, and whether an operator released it, is the caller's.

use std::{collections::BTreeMap, fmt, str::FromStr};

use thiserror::Error;

use crate::{
    content::ContentId,
    entry::Entry,
    generation::{Action, Change, TreeName},
    manifest::{Manifest, Root},
    path::RelPath,
    wire::PlanId,
};

/// How many files one generation may delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxDelete {
    /// This share of the tree's files, 0 to 100.
    Percent(u8),
    /// This many files.
    Files(u64),
}

/// Why text is not a [`MaxDelete`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a limit for deletions: write a number of files (`50`) or a share of all files (`20%`)", crate::path::escape(.0.as_bytes()))]
pub struct MaxDeleteError(String);

impl FromStr for MaxDelete {
    type Err = MaxDeleteError;

    fn from_str(text: &str) -> Result<Self, MaxDeleteError> {
        let wrong = || MaxDeleteError(text.to_owned());
        // `parse` would also take a leading `+`.
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(wrong());
        }
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Files).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Files(files) => write!(f, "{files}"),
        }
    }
}

/// The limits of one tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// More deletions than this halt a plan.
    pub max_delete: MaxDelete,
    /// Fewer deletions than this are never too large a share of a small tree.
    pub min_files: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_delete: MaxDelete::Percent(20),
            min_files: 5,
        }
    }
}

/// What the guard says to a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Delete nothing until an operator releases the plan.
    Halt {
        /// What `release` takes.
        plan: PlanId,
        /// Files that would be deleted.
        deletions: u64,
        /// Files in the tree before.
        files: u64,
        /// Which rule halts it.
        reason: HaltReason,
    },
}

/// Why a plan is halted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HaltReason {
    /// No file would be left.
    Emptied,
    /// More deletions than allowed.
    TooMany(MaxDelete),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emptied => f.write_str("no file would be left"),
            Self::TooMany(max) => write!(f, "more deletions than the limit of {max}"),
        }
    }
}

impl Guard {
    /// Judges `changes` to `agreed`.
    ///
    /// Files and links count, directories do not. A file whose content is put
    /// elsewhere in the same generation has moved and is not deleted.
    #[must_use]
    pub fn judge(&self, agreed: &Manifest, changes: &[Change], tree: &TreeName) -> Verdict {
        let files = agreed.totals().files;
        let tally = Tally::of(agreed, changes);
        let Some(reason) = self.reason(files, &tally) else {
            return Verdict::Pass;
        };
        Verdict::Halt {
            plan: plan_id(tree, agreed.root(), tally.deleted),
            deletions: tally.net_deletions,
            files,
            reason,
        }
    }

    fn reason(&self, files: u64, tally: &Tally<'_>) -> Option<HaltReason> {
        let left = files.saturating_sub(tally.deleted.len() as u64) + tally.created;
        if files > 0 && left == 0 {
            return Some(HaltReason::Emptied);
        }
        let deletions = tally.net_deletions;
        let exceeds = match self.max_delete {
            MaxDelete::Files(max) => deletions > max,
            MaxDelete::Percent(percent) => {
                let share = u128::from(deletions) * 100 > u128::from(files) * u128::from(percent);
                share && deletions >= self.min_files
            }
        };
        exceeds.then_some(HaltReason::TooMany(self.max_delete))
    }
}

/// What a change list does to a tree's files.
struct Tally<'a> {
    /// Paths that hold a file before and none after.
    deleted: Vec<&'a RelPath>,
    /// Paths that hold a file after and none before.
    created: u64,
    /// Deletions of contents that are not put elsewhere.
    net_deletions: u64,
}

impl<'a> Tally<'a> {
    fn of(agreed: &Manifest, changes: &'a [Change]) -> Self {
        let mut deleted = Vec::new();
        let mut created = 0;
        let (mut lost, mut put) = (Counts::new(), Counts::new());
        for Change { path, action } in changes {
            let old = file_at(agreed.get(path));
            let new = match action {
                Action::Put(entry) => file_at(Some(entry)),
                Action::Delete => None,
            };
            match (&old, &new) {
                (Some(_), None) => deleted.push(path),
                (None, Some(_)) => created += 1,
                _ => {}
            }
            if let (Some(old), None) = (&old, &new) {
                *lost.entry(old.clone()).or_default() += 1;
            }
            if let Some(new) = new.filter(|new| old.as_ref() != Some(new)) {
                *put.entry(new).or_default() += 1;
            }
        }
        let net = lost
            .iter()
            .map(|(what, count)| count - put.get(what).copied().unwrap_or(0).min(*count));
        Self {
            deleted,
            created,
            net_deletions: net.sum(),
        }
    }
}

type Counts = BTreeMap<Substance, u64>;

/// What makes a file or link the same under another name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Substance {
    Content(ContentId),
    Target(Box<[u8]>),
}

fn file_at(entry: Option<&Entry>) -> Option<Substance> {
    match entry? {
        Entry::Directory { .. } => None,
        Entry::File(file) => Some(Substance::Content(file.content)),
        Entry::Symlink { target } => Some(Substance::Target(target.clone())),
    }
}

/// The same for the same tree, base and deletions, whatever else changes.
fn plan_id(tree: &TreeName, base: Root, mut deleted: Vec<&RelPath>) -> PlanId {
    deleted.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 halted plan");
    let mut update = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    update(tree.as_str().as_bytes());
    update(&base.0);
    for path in deleted {
        update(path.as_bytes());
    }
    let hash = hasher.finalize();
    let (id, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    PlanId(*id)
}
