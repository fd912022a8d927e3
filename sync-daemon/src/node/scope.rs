//! What part of a node's trees a request means: all, one tree, or one tenant.

use sync_core::{Tenant, TreeName};

use super::{Shared, push_request::unknown_tree};
use crate::failure::{Failure, FailureKind};

/// A part of the trees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// One tree.
    Tree(TreeName),
    /// One tenant of a tree of tenants.
    Tenant(TreeName, Tenant),
}

impl Scope {
    /// What `--tree` and `--tenant` say. A tenant without a tree is one of the only
    /// tree that has tenants.
    pub(super) fn of(
        shared: &Shared,
        tree: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<Self, Failure> {
        let named = tree
            .map(|name| {
                let mut trees = shared.config.trees.iter();
                let found = trees.find(|tree| tree.name.as_str() == name);
                found.ok_or_else(|| unknown_tree(shared, name))
            })
            .transpose()?;
        match (named, tenant) {
            (None, None) => Ok(Self::All),
            (Some(tree), None) => Ok(Self::Tree(tree.name.clone())),
            (named, Some(tenant)) => {
                let tree = match named {
                    Some(tree) if tree.preset.has_tenants() => tree.name.clone(),
                    Some(tree) => {
                        return Err(without_tenants(&format!("tree `{}` has no", tree.name)));
                    }
                    None => only_tree_of_tenants(shared)?,
                };
                Ok(Self::Tenant(tree, parse(tenant)?))
            }
        }
    }

    /// The trees that are meant, wholly or in part.
    pub(super) fn trees(&self, shared: &Shared) -> Vec<TreeName> {
        match self {
            Self::All => {
                let all = shared.config.trees.iter();
                all.map(|tree| tree.name.clone()).collect()
            }
            Self::Tree(tree) | Self::Tenant(tree, _) => vec![tree.clone()],
        }
    }

    /// The one tree that is meant, wholly or in part, if it is one.
    pub(super) fn tree(&self) -> Option<&TreeName> {
        match self {
            Self::All => None,
            Self::Tree(tree) | Self::Tenant(tree, _) => Some(tree),
        }
    }

    /// The one tenant that is meant, if it is one.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Tenant(_, tenant) => Some(tenant),
            Self::All | Self::Tree(_) => None,
        }
    }
}

fn only_tree_of_tenants(shared: &Shared) -> Result<TreeName, Failure> {
    let trees = shared.config.trees.iter();
    let with_tenants: Vec<_> = trees
        .filter(|tree| tree.preset.has_tenants())
        .map(|tree| &tree.name)
        .collect();
    match with_tenants[..] {
        [tree] => Ok(tree.clone()),
        [] => Err(without_tenants("no tree of this node has")),
        _ => {
            let names: Vec<_> = with_tenants.iter().map(|name| name.as_str()).collect();
            let message = "several trees have tenants: which one is meant?";
            Err(Failure::new(FailureKind::Usage, message)
                .hint(format!("`--tree NAME` with one of: {}", names.join(", "))))
        }
    }
}

fn without_tenants(what: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{what} tenants")).hint(
        "a `[[tree]]` whose top directories are tenants says `preset = \"tenants\"`, on both nodes",
    )
}

fn parse(tenant: &str) -> Result<Tenant, Failure> {
    Tenant::new(tenant.as_bytes()).ok_or_else(|| {
        let shown = sync_core::path::escape(tenant.as_bytes());
        Failure::new(
            FailureKind::Usage,
            format!("`{shown}` cannot be the name of a tenant's directory"),
        )
        .hint("`apim-sync status --json` lists the tenants")
    })
}
