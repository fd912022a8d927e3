//! Each tenant of a tree judged as a tree of its own.

use std::collections::BTreeMap;

use super::{Guard, HaltReason, Halted, Tally};
use crate::{generation::Change, manifest::Manifest, tenant::Tenant};

/// What one tenant loses, and how many of its files were counted so far.
struct Loser<'a> {
    tally: Tally<'a>,
    files: u64,
}

/// The first tenant of which too much would go.
pub(super) fn halted(guard: &Guard, agreed: &Manifest, changes: &[Change]) -> Option<Halted> {
    let mut losers = losers(agreed, changes);
    let mut passed = 0;
    for record in agreed.iter().filter(|record| !record.is_directory()) {
        let of = Tenant::name_in(record.path_bytes());
        let Some(loser) = of.and_then(|name| losers.get_mut(name)) else {
            continue;
        };
        let before = loser.passes(guard);
        loser.files += 1;
        passed += usize::from(!before && loser.passes(guard));
        // More files only speak for a tenant: most often a few are looked at.
        if passed == losers.len() {
            return None;
        }
    }
    losers.into_iter().find_map(|(name, loser)| {
        let reason = guard.reason(loser.files, &loser.tally)?;
        Some(Halted {
            tenant: Tenant::new(name),
            deletions: match reason {
                HaltReason::Emptied => loser.tally.deleted.len() as u64,
                HaltReason::TooMany(_) => loser.tally.net_deletions,
            },
            files: loser.files,
            reason,
        })
    })
}

fn losers<'a>(agreed: &Manifest, changes: &'a [Change]) -> BTreeMap<&'a [u8], Loser<'a>> {
    let mut by_tenant: BTreeMap<&[u8], Vec<&Change>> = BTreeMap::new();
    for change in changes {
        if let Some(name) = Tenant::name_in(change.path.as_bytes()) {
            by_tenant.entry(name).or_default().push(change);
        }
    }
    by_tenant
        .into_iter()
        .map(|(name, changes)| (name, Tally::of(agreed, changes)))
        .filter(|(_, tally)| !tally.deleted.is_empty())
        .map(|(name, tally)| (name, Loser { tally, files: 0 }))
        .collect()
}

impl Loser<'_> {
    /// Whether the files counted so far are enough, however many more there are.
    fn passes(&self, guard: &Guard) -> bool {
        let deleted = self.tally.deleted.len() as u64;
        let some_left = self.files + self.tally.created > deleted;
        some_left && guard.reason(self.files, &self.tally).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::sample::{changes, tree, tree_name};

    /// A hundred files of tenant 1 and four of tenant 7, some with the same contents.
    fn judge(list: &str) -> String {
        let large: String = (0..100).map(|n| format!("1/api/{n}.xml v{n}\n")).collect();
        let small: String = (0..4).map(|n| format!("7/api/{n}.xml v{n}\n")).collect();
        let agreed = tree(&format!("{large}{small}readme x\n8/api/"));
        let judge = |preset| {
            let guard = Guard::default();
            guard.judge(&agreed, &changes(list), &tree_name(), preset)
        };
        assert_eq!(judge(Preset::Synapse), Verdict::Pass, "{list}");
        match judge(Preset::Tenants) {
            Verdict::Pass => "pass".into(),
            Verdict::Halt {
                tenant,
                deletions,
                files,
                reason,
                ..
            } => format!(
                "{} {deletions}/{files}: {reason}",
                tenant.map_or("-".into(), |tenant| tenant.to_string())
            ),
        }
    }

    fn delete(tenant: u32, paths: impl IntoIterator<Item = u32>) -> String {
        let line = |n| format!("- {tenant}/api/{n}.xml\n");
        paths.into_iter().map(line).collect()
    }

    #[test]
    fn a_tenant_that_is_emptied_halts_however_small_it_is() {
        assert_eq!(judge(&delete(7, 0..3)), "pass");
        assert_eq!(judge(&delete(7, 0..4)), "7 4/4: no file would be left");
        let replaced = delete(7, 0..4) + "+ 7/api/new.xml x";
        assert_eq!(judge(&replaced), "pass");
        // What the same contents are worth elsewhere does not help tenant 7.
        let moved: String = (0..4).map(|n| format!("+ 9/api/{n}.xml v{n}\n")).collect();
        let moved = delete(7, 0..4) + "+ 9/\n+ 9/api/\n" + &moved;
        assert_eq!(judge(&moved), "7 4/4: no file would be left");
    }

    #[test]
    fn what_is_of_no_tenant_is_guarded_with_the_whole_tree() {
        assert_eq!(judge("- readme"), "pass");
        assert_eq!(judge("- 8/api"), "pass");
        assert_eq!(judge("+ 9/\n+ 9/api/\n+ 9/api/a.xml x"), "pass");
    }

    #[test]
    fn the_share_is_that_of_the_tenant() {
        let seven: String = (0..20).map(|n| format!("7/api/{n}.xml v{n}\n")).collect();
        let rest: String = (0..100).map(|n| format!("1/api/{n}.xml w{n}\n")).collect();
        let agreed = tree(&(seven + &rest));
        let judge = |list: &str| {
            let guard = Guard::default();
            guard.judge(&agreed, &changes(list), &tree_name(), Preset::Tenants)
        };
        assert_eq!(judge(&delete(7, 0..4)), Verdict::Pass);
        assert_eq!(judge(&delete(1, 0..20)), Verdict::Pass);
        let Verdict::Halt {
            tenant,
            deletions,
            files,
            ..
        } = judge(&delete(7, 0..5))
        else {
            panic!("five of twenty files of a tenant passed");
        };
        let tenant = tenant.unwrap().to_string();
        assert_eq!((tenant.as_str(), deletions, files), ("7", 5, 20));
    }
}
