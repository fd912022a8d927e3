//! The deletion guard: no generation deletes a tree by accident.
//!
//! Both nodes judge every generation before anything is deleted. What to do
//! with a halted plan, and whether an operator released it, is the caller's.

mod tenants;

use std::{collections::BTreeMap, fmt, str::FromStr};

use thiserror::Error;

use crate::{
    content::ContentId,
    entry::Entry,
    generation::{Action, Change, TreeName},
    manifest::{Manifest, Root},
    path::RelPath,
    preset::Preset,
    tenant::Tenant,
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Delete nothing until an operator releases the plan.
    Halt {
        /// What `release` takes.
        plan: PlanId,
        /// The tenant whose files would go, where the tree as a whole passes.
        tenant: Option<Tenant>,
        /// Files that would be deleted, of the tenant or the tree.
        deletions: u64,
        /// Files in the tenant or the tree before.
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
    /// elsewhere in the same generation has moved and is not deleted. In a tree
    /// of tenants each tenant is judged as a tree of its own too: tenants have
    /// many contents in common, and one that is emptied may be small against the
    /// whole.
    #[must_use]
    pub fn judge(
        &self,
        agreed: &Manifest,
        changes: &[Change],
        tree: &TreeName,
        preset: Preset,
    ) -> Verdict {
        let tally = Tally::of(agreed, changes);
        let files = agreed.totals().files;
        let whole = self.reason(files, &tally).map(|reason| Halted {
            tenant: None,
            deletions: tally.net_deletions,
            files,
            reason,
        });
        let halted = whole.or_else(|| match preset.has_tenants() && !tally.deleted.is_empty() {
            true => tenants::halted(self, agreed, changes),
            false => None,
        });
        let Some(halted) = halted else {
            return Verdict::Pass;
        };
        Verdict::Halt {
            plan: plan_id(tree, agreed.root(), tally.deleted),
            tenant: halted.tenant,
            deletions: halted.deletions,
            files: halted.files,
            reason: halted.reason,
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

/// What is wrong with a plan.
struct Halted {
    tenant: Option<Tenant>,
    deletions: u64,
    files: u64,
    reason: HaltReason,
}

/// What a change list does to the files of a tree or a tenant.
struct Tally<'a> {
    /// Paths that hold a file before and none after.
    deleted: Vec<&'a RelPath>,
    /// Paths that hold a file after and none before.
    created: u64,
    /// Deletions of contents that are not put elsewhere.
    net_deletions: u64,
}

impl<'a> Tally<'a> {
    fn of(
        agreed: &Manifest,
        changes: impl IntoIterator<Item = &'a Change, IntoIter: Clone>,
    ) -> Self {
        let changes = changes.into_iter();
        let mut deleted = Vec::new();
        let mut created = 0;
        let mut lost = Counts::new();
        for Change { path, action } in changes.clone() {
            let old = file_at(agreed.get(path).as_ref());
            match (old, new_file(action).is_some()) {
                (Some(old), false) => {
                    deleted.push(path);
                    *lost.entry(old).or_default() += 1;
                }
                (None, true) => created += 1,
                _ => {}
            }
        }
        Self {
            deleted,
            created,
            net_deletions: net_losses(agreed, lost, changes),
        }
    }
}

/// How many of the files that are lost are not put elsewhere. Most generations
/// lose none, or few of what they put.
fn net_losses<'a>(
    agreed: &Manifest,
    mut lost: Counts,
    changes: impl Iterator<Item = &'a Change>,
) -> u64 {
    if lost.is_empty() {
        return 0;
    }
    for Change { path, action } in changes {
        let Some(new) = new_file(action) else {
            continue;
        };
        if let Some(count) = lost.get_mut(&new).filter(|count| **count > 0)
            && file_at(agreed.get(path).as_ref()).as_ref() != Some(&new)
        {
            *count -= 1;
        }
    }
    lost.into_values().sum()
}

/// The file or link that an action puts.
fn new_file(action: &Action) -> Option<Substance> {
    match action {
        Action::Put(entry) => file_at(Some(entry)),
        Action::Delete => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{changes, tree, tree_name};

    fn judge_synapse(guard: &Guard, agreed: &Manifest, list: &str) -> Verdict {
        guard.judge(agreed, &changes(list), &tree_name(), Preset::Synapse)
    }

    /// A tree of ten files, and changes to it.
    fn judge(max_delete: &str, change_list: &str) -> String {
        let ten: String = (0..10).map(|n| format!("api/{n}.xml v{n}\n")).collect();
        let guard = Guard {
            max_delete: max_delete.parse().unwrap(),
            ..Guard::default()
        };
        match judge_synapse(&guard, &tree(&ten), change_list) {
            Verdict::Pass => "pass".into(),
            Verdict::Halt {
                deletions,
                files,
                reason,
                ..
            } => format!("halt {deletions}/{files}: {reason}"),
        }
    }

    fn delete(paths: impl IntoIterator<Item = u32>) -> String {
        paths
            .into_iter()
            .map(|n| format!("- api/{n}.xml\n"))
            .collect()
    }

    #[test]
    fn deletions_within_the_limit_pass_and_others_halt() {
        let cases = [
            ("20%", delete(0..2), "pass"),
            ("20%", delete(0..4), "pass"), // fewer than five are never a large share
            (
                "20%",
                delete(0..5),
                "halt 5/10: more deletions than the limit of 20%",
            ),
            ("50%", delete(0..5), "pass"),
            (
                "50%",
                delete(0..6),
                "halt 6/10: more deletions than the limit of 50%",
            ),
            (
                "0%",
                delete(0..5),
                "halt 5/10: more deletions than the limit of 0%",
            ),
            ("6", delete(0..6), "pass"),
            (
                "6",
                delete(0..7),
                "halt 7/10: more deletions than the limit of 6",
            ),
            (
                "0",
                delete(0..1),
                "halt 1/10: more deletions than the limit of 0",
            ),
            ("100%", delete(0..9), "pass"),
        ];
        for (max, list, expected) in cases {
            assert_eq!(judge(max, &list), expected, "{max}: {list}");
        }
    }

    #[test]
    fn an_emptied_tree_halts_whatever_the_numbers() {
        let emptied = "halt 10/10: no file would be left";
        assert_eq!(judge("100%", &delete(0..10)), emptied);
        assert_eq!(judge("1000", &delete(0..10)), emptied);
        assert_eq!(judge("1000", &(delete(0..10) + "- api/")), emptied);
        assert_eq!(judge("1000", &(delete(0..10) + "+ new.xml x")), "pass");
    }

    #[test]
    fn a_moved_file_is_not_deleted() {
        let moves: String = (0..9)
            .map(|n| format!("- api/{n}.xml\n+ new/{n}.xml v{n}\n"))
            .collect();
        assert_eq!(judge("20%", &format!("+ new/\n{moves}")), "pass");
        // One content put excuses one deletion, and a put that changes nothing none.
        let guard = |list: &str| {
            let same = tree("a same\nb same\nc same\nd same\ne same\nf same\ng kept");
            judge_synapse(&Guard::default(), &same, list)
        };
        let list = "- a\n- b\n- c\n- d\n- e\n- f\n+ n same";
        assert_ne!(guard(list), Verdict::Pass);
        assert_ne!(guard("- a\n- b\n- c\n- d\n- e\n+ f same"), Verdict::Pass);
    }

    #[test]
    fn a_file_that_becomes_a_directory_is_deleted_and_a_directory_is_not_a_file() {
        let strict = Guard {
            max_delete: MaxDelete::Files(0),
            min_files: 0,
        };
        let judge = |list| judge_synapse(&strict, &tree("a x\nb/\nc y"), list);
        assert_ne!(judge("+ a/"), Verdict::Pass);
        assert_eq!(judge("- b/"), Verdict::Pass);
        assert_eq!(judge("+ a -> c"), Verdict::Pass);
        assert_eq!(judge("- never-there"), Verdict::Pass);
    }

    #[test]
    fn a_plan_keeps_its_id_while_other_files_change() {
        let ten: String = (0..10).map(|n| format!("{n} v{n}\n")).collect();
        let guard = Guard::default();
        let id = |tree_text: &str, list: &str| match judge_synapse(&guard, &tree(tree_text), list) {
            Verdict::Halt { plan, .. } => plan,
            Verdict::Pass => panic!("passed: {list}"),
        };
        let list = "- 1\n- 2\n- 3\n- 4\n- 5";
        let plan = id(&ten, list);
        assert_eq!(id(&ten, "- 5\n- 4\n+ 9 new\n- 3\n- 2\n- 1"), plan);
        assert_ne!(id(&ten, "- 1\n- 2\n- 3\n- 4\n- 6"), plan);
        assert_ne!(id(&format!("{ten}other x"), list), plan);
        assert_eq!(plan.to_string().parse(), Ok(plan));
        for wrong in ["", "12", "+123456789abcdef", "zz23456789abcdef"] {
            assert!(wrong.parse::<PlanId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_read_as_written() {
        for text in ["0", "50", "20%", "100%"] {
            assert_eq!(text.parse::<MaxDelete>().unwrap().to_string(), text);
        }
        for text in ["", "%", "101%", "-1", "+1", "1.5%", " 5", "many"] {
            assert!(text.parse::<MaxDelete>().is_err(), "{text}");
        }
    }
}
