//! Tenants: the directories at the top of a tree of tenants, one by one.
//!
//! A tree of tenants is one tree, with one journal and one generation number, so
//! that what belongs together travels together. Everything about one tenant is
//! derived from the tree's manifest: [`Tenants`] keeps a manifest of each beside
//! it, at the cost of what changed.

use std::{collections::BTreeMap, fmt};

use crate::{
    manifest::{Manifest, Root, Totals},
    path::RelPath,
};

/// The name of a tenant: that of its directory, which is its number in the product.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tenant(RelPath);

impl Tenant {
    /// The tenant of this name; `None` where no directory can have it.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let path = RelPath::new(name).ok()?;
        (path.depth() == 1).then_some(Self(path))
    }

    /// The tenant that owns `path`: what lies below its directory is its own, and
    /// so is the directory. A file at the top of the tree counts as one too: only
    /// the manifest knows better.
    #[must_use]
    pub fn of(path: &RelPath) -> Self {
        let first = path.components().next().unwrap_or_default();
        Self(RelPath::new(first).expect("a component of a path is a path"))
    }

    /// The name of the tenant below whose directory these bytes of a path lie.
    #[must_use]
    pub fn name_in(path: &[u8]) -> Option<&[u8]> {
        let slash = path.iter().position(|&byte| byte == b'/')?;
        Some(&path[..slash])
    }

    /// Whether `path` is the tenant's directory or lies below it.
    #[must_use]
    pub fn owns(&self, path: &RelPath) -> bool {
        path.starts_with(&self.0)
    }

    /// The tenant's directory.
    #[must_use]
    pub fn directory(&self) -> &RelPath {
        &self.0
    }
}

impl fmt::Display for Tenant {
    /// Escaped, as a path is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.escaped())
    }
}

/// The tenants of a manifest, each with a manifest of its own.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    whole: Manifest,
    parts: BTreeMap<Tenant, Manifest>,
}

impl Tenants {
    /// Takes up what `now` says. Costs what differs from the last time, and all of
    /// it the first time.
    pub fn follow(&mut self, now: &Manifest) {
        if self.whole.is_same(now) {
            return;
        }
        if self.whole.is_empty() {
            self.parts = divide(now);
        } else {
            self.take_differences(now);
        }
        self.whole = now.clone();
    }

    fn take_differences(&mut self, now: &Manifest) {
        for difference in now.diff(&self.whole) {
            let tenant = Tenant::of(&difference.path);
            let Some(below) = below(&difference.path) else {
                match difference.ours.is_some_and(|entry| entry.is_directory()) {
                    true => _ = self.parts.entry(tenant).or_default(),
                    false => _ = self.parts.remove(&tenant),
                }
                continue;
            };
            // The difference of the directory itself, if it goes, may come first.
            match difference.ours {
                Some(entry) => _ = self.parts.entry(tenant).or_default().insert(below, entry),
                None => {
                    if let Some(part) = self.parts.get_mut(&tenant) {
                        part.remove(&below);
                    }
                }
            }
        }
    }

    /// Every tenant with the root and the totals of what is below its directory:
    /// those that a tree of that directory alone would have.
    pub fn each(&self) -> impl Iterator<Item = (&Tenant, Root, Totals)> {
        let parts = self.parts.iter();
        parts.map(|(tenant, part)| (tenant, part.root(), part.totals()))
    }

    /// The manifest of one tenant: what is below its directory.
    #[must_use]
    pub fn part(&self, tenant: &Tenant) -> Option<&Manifest> {
        self.parts.get(tenant)
    }
}

/// What is below the directory of one tenant, as a tree of that directory alone.
#[must_use]
pub fn part(manifest: &Manifest, tenant: &Tenant) -> Manifest {
    let name = tenant.0.as_bytes();
    let own = manifest
        .iter()
        .filter(|record| Tenant::name_in(record.path_bytes()) == Some(name));
    Manifest::from_entries(own.filter_map(|record| {
        let (path, entry) = record.pair();
        Some((below(&path)?, entry))
    }))
}

fn divide(manifest: &Manifest) -> BTreeMap<Tenant, Manifest> {
    let mut lists: BTreeMap<Tenant, Vec<_>> = BTreeMap::new();
    for (path, entry) in manifest.iter().map(|record| record.pair()) {
        match below(&path) {
            Some(below) => lists
                .entry(Tenant::of(&path))
                .or_default()
                .push((below, entry)),
            None if entry.is_directory() => _ = lists.entry(Tenant::of(&path)).or_default(),
            None => {}
        }
    }
    lists
        .into_iter()
        .map(|(tenant, list)| (tenant, Manifest::from_entries(list)))
        .collect()
}

/// A path without the tenant's directory; `None` for the directory itself.
fn below(path: &RelPath) -> Option<RelPath> {
    let name = Tenant::name_in(path.as_bytes())?;
    RelPath::new(&path.as_bytes()[name.len() + 1..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{changes, path, tree};

    fn shown(tenants: &Tenants) -> Vec<(String, Root, u64)> {
        let each = tenants.each();
        each.map(|(tenant, root, totals)| (tenant.to_string(), root, totals.files))
            .collect()
    }

    #[test]
    fn a_tenants_root_is_that_of_its_directory_alone() {
        let whole = tree("7/api/a.xml x\n12/api/b.xml y\n12/s/c.xml z\nreadme r\n9/");
        let mut tenants = Tenants::default();
        tenants.follow(&whole);
        let alone = |text| tree(text).root();
        let expected = vec![
            ("12".to_owned(), alone("api/b.xml y\ns/c.xml z"), 2),
            ("7".to_owned(), alone("api/a.xml x"), 1),
            ("9".to_owned(), Root::empty(), 0),
        ];
        assert_eq!(shown(&tenants), expected);
        let twelve = Tenant::new(b"12").unwrap();
        assert_eq!(part(&whole, &twelve).root(), expected[0].1);
        assert_eq!(tenants.part(&twelve).unwrap().root(), expected[0].1);
    }

    #[test]
    fn what_is_followed_is_what_is_divided_anew() {
        let lists = [
            "+ 7/api/a.xml changed",
            "+ 8/\n+ 8/api/\n+ 8/api/n.xml n",
            "- 12/api/b.xml\n- 12/api\n- 12/s/c.xml\n- 12/s\n- 12",
            "- readme\n+ readme/",
            "- 7/api/a.xml\n- 7/api\n- 7\n+ 7 now-a-file",
        ];
        let mut whole = tree("7/api/a.xml x\n12/api/b.xml y\n12/s/c.xml z\nreadme r");
        let mut followed = Tenants::default();
        followed.follow(&whole);
        for list in lists {
            whole = crate::plan::apply_changes(&whole, &changes(list));
            followed.follow(&whole);
            let mut anew = Tenants::default();
            anew.follow(&whole);
            assert_eq!(shown(&followed), shown(&anew), "{list}");
        }
        followed.follow(&Manifest::new());
        assert_eq!(shown(&followed), []);
    }

    #[test]
    fn a_tenant_owns_its_directory_and_what_is_below() {
        let seven = Tenant::new(b"7").unwrap();
        for (text, owned) in [("7", true), ("7/a", true), ("77/a", false), ("1/7", false)] {
            assert_eq!(seven.owns(&path(text)), owned, "{text}");
        }
        for name in [&b""[..], b"..", b"7/a"] {
            assert_eq!(Tenant::new(name), None);
        }
    }
}
