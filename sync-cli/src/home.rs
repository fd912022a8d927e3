//! Finding an API Manager and the trees of it that are worth synchronising.
//!
//! Looks, and changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sync_core::Preset;

/// An API Manager's home directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    /// `WSO2 API Manager v2.6.0`, as the product says itself.
    pub(crate) product: Option<String>,
}

/// A tree that an API Manager's hot deployer reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HomeTree {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) preset: Preset,
    /// Whether it is to be synchronised, and why or why not.
    pub(crate) taken: bool,
    pub(crate) reason: &'static str,
}

/// What makes a directory an API Manager's home.
const MARK: &str = "repository/deployment/server";
/// Where the product's name is; where it is missing, that of its kernel.
const VERSION_FILES: [&str; 2] = ["bin/version.txt", "bin/wso2carbon-version.txt"];
/// Bytes of a version file that are read: it has a line or two.
const VERSION_BYTES_MAX: usize = 4096;

impl Home {
    /// The home at `path`, if there is one.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        path.join(MARK).is_dir().then(|| Self {
            path: path.to_owned(),
            product: product(path),
        })
    }

    /// Every home in the usual places: $CARBON_HOME, this directory and those
    /// above it, /opt.
    pub(crate) fn find() -> Vec<Self> {
        let carbon = std::env::var_os("CARBON_HOME").map(PathBuf::from);
        let here = std::env::current_dir().ok();
        let above = here
            .iter()
            .flat_map(|it| it.ancestors().map(Path::to_owned));
        let named = carbon.into_iter().chain(above);
        if let Some(home) = named.filter_map(|path| Self::at(&path)).next() {
            return vec![home];
        }
        let mut found: Vec<_> = children(Path::new("/opt"))
            .filter_map(|path| Self::at(&path))
            .collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// The trees of this home, taken or not.
    pub(crate) fn trees(&self) -> Vec<HomeTree> {
        let server = self.path.join(MARK);
        let tree = |name, path: PathBuf, taken, reason| HomeTree {
            name,
            path,
            preset: match name {
                "tenants" => Preset::Tenants,
                _ => Preset::Synapse,
            },
            taken,
            reason,
        };
        let userstores = server.join("userstores");
        let tenants = self.path.join("repository/tenants");
        let stores = is_filled(&userstores);
        let multi_tenant = is_filled(&tenants);
        vec![
            tree(
                "synapse-configs",
                server.join("synapse-configs"),
                true,
                "APIs, sequences, endpoints",
            ),
            tree(
                "executionplans",
                server.join("executionplans"),
                true,
                "throttling policies",
            ),
            tree(
                "userstores",
                userstores,
                stores,
                if stores {
                    "secondary user stores"
                } else {
                    "it is empty: no secondary user stores"
                },
            ),
            tree(
                "tenants",
                tenants,
                multi_tenant,
                if multi_tenant {
                    "artifacts of tenants"
                } else {
                    "it is empty: no tenants"
                },
            ),
        ]
    }
}

fn product(home: &Path) -> Option<String> {
    VERSION_FILES.into_iter().find_map(|file| {
        let bytes = fs::read(home.join(file)).ok()?;
        let head = &bytes[..bytes.len().min(VERSION_BYTES_MAX)];
        let text = String::from_utf8_lossy(head).into_owned();
        let line = text.lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    })
}

fn is_filled(directory: &Path) -> bool {
    children(directory).next().is_some()
}

/// What is in `directory`; nothing where it cannot be read.
fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let listing = fs::read_dir(directory).into_iter().flatten();
    listing.flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trees_worth_synchronising_are_the_filled_ones() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Home::at(directory.path()), None);
        for path in [
            "repository/deployment/server/synapse-configs",
            "bin",
            "repository/tenants/1",
        ] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let texts = [
            "WSO2 API Manager v2.6.0\n",
            "WSO2 Carbon Framework v4.4.35\n",
        ];
        for (file, text) in VERSION_FILES.iter().zip(texts) {
            fs::write(directory.path().join(file), text).unwrap();
        }
        let home = Home::at(directory.path()).unwrap();
        assert_eq!(home.product.as_deref(), Some("WSO2 API Manager v2.6.0"));
        let taken: Vec<_> = home
            .trees()
            .into_iter()
            .filter(|it| it.taken)
            .map(|it| it.name)
            .collect();
        assert_eq!(taken, ["synapse-configs", "executionplans", "tenants"]);
        let presets = home.trees().into_iter().map(|it| (it.name, it.preset));
        let of_tenants: Vec<_> = presets
            .filter(|(_, preset)| preset.has_tenants())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(of_tenants, ["tenants"]);
    }
}
