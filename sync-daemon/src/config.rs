//! The configuration of a node: what the TOML file may say, checked at the door.
//!
//! [`Config::load`] reads the file, lets `APIM_SYNC_*` variables override it,
//! and refuses what cannot work: unknown keys, bad addresses, trees inside each
//! other. Errors name the file, the line and the key. The role and the epoch of
//! a node are state, not configuration; flags belong to the command line.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sync_core::{Preset, TreeName, drift::Policy, exclude::Rules, guard::Guard};
pub use sync_fs::archive::ArchiveLimits;

use crate::{
    transport::Address,
    trust::{NodeName, Peer},
};

mod check;
mod error;
mod file;
mod history;
mod hooks;
mod lease;
mod listen;
mod source;
mod work_dir;

pub use error::{ConfigError, Origin};
pub use hooks::{HookCommand, HooksConfig};
pub use lease::{Endpoint, LeaseConfig, LeaseTls};
pub use listen::Listen;
pub use source::VARIABLES;
pub use work_dir::work_dir_beside;

use source::Source;

/// The UDP port a node listens on unless told otherwise.
pub const PORT_DEFAULT: u16 = 7420;
/// Where a node keeps its state unless told otherwise.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/apim-sync";
/// How often the hot deployer polls unless told otherwise: the product's own
/// `DeploymentUpdateInterval`.
pub const DEPLOY_INTERVAL_S_DEFAULT: u64 = 15;
/// Bytes in a configuration file: hundreds of trees fit, a mistaken path to
/// something huge is refused before it is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node itself.
    pub node: NodeConfig,
    /// Its trees, at least one, with distinct names, none inside another.
    pub trees: Vec<TreeConfig>,
    /// Peers pinned by hand in the file.
    pub peers: Vec<Peer>,
    /// How changes are watched.
    pub watch: WatchConfig,
    /// When deletions halt.
    pub guard: Guard,
    /// Where metrics, health and the status page are served (TCP), if anywhere.
    pub metrics: Option<Listen>,
    /// What is run when something happens.
    pub hooks: HooksConfig,
    /// What decides which node is active, if not a person.
    pub lease: Option<LeaseConfig>,
    /// How much is kept of earlier generations.
    pub history: ArchiveLimits,
}

/// `[node]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// The node's name, for people.
    pub name: NodeName,
    /// Where peers reach this node; a node that does not listen only dials.
    pub listen: Option<Listen>,
    /// What to put in invitations instead of the listening address.
    pub advertise: Option<Address>,
    /// Absolute path of the state directory.
    pub state_dir: PathBuf,
}

/// `[[tree]]`.
#[derive(Clone, Debug)]
pub struct TreeConfig {
    /// The same name on both nodes.
    pub name: TreeName,
    /// Absolute path of the directory.
    pub path: PathBuf,
    /// The rules it obeys.
    pub preset: Preset,
    /// What is left out: `include` patterns are asked before `exclude` ones.
    pub rules: Rules,
    /// Absolute path of the work directory, where it is not in the state
    /// directory because that is on another file system.
    pub work_dir: Option<PathBuf>,
    /// How often the hot deployer polls; none in a tree that no deployer reads.
    pub deploy_interval: Option<Duration>,
    /// What its passive does about what a hand changed there.
    pub drift: Policy,
}

/// `[watch]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchConfig {
    /// How long a path must be quiet before it is read.
    pub settle_ms: u64,
    /// How long a deletion is held before it is believed.
    pub delete_hold_ms: u64,
    /// How often the whole tree is looked at, events or not.
    pub rescan_s: u64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            settle_ms: 50,
            delete_hold_ms: 10_000,
            rescan_s: 300,
        }
    }
}

impl Config {
    /// Reads the file at `path` and the `APIM_SYNC_*` variables.
    ///
    /// # Errors
    /// When the file cannot be read or says something that cannot work.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path).map_err(|source| ConfigError::Read {
            file: path.to_owned(),
            source,
        })?;
        check::config(&Source::with_process_environment(&text, path))
    }

    /// Checks `text` as the content of the file at `path`; no variable
    /// overrides it.
    ///
    /// # Errors
    /// When it says something that cannot work.
    pub fn from_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check::config(&Source::without_environment(text, path))
    }

    /// Where `tree` keeps its journal, staging and snapshot.
    #[must_use]
    pub fn work_dir(&self, tree: &TreeConfig) -> PathBuf {
        let usual = || self.node.state_dir.join("trees").join(tree.name.as_str());
        tree.work_dir.clone().unwrap_or_else(usual)
    }

    /// The tree of this name.
    #[must_use]
    pub fn tree(&self, name: &str) -> Option<&TreeConfig> {
        self.trees.iter().find(|tree| tree.name.as_str() == name)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        let why = format!("it has {length} bytes, more than {FILE_BYTES_MAX}");
        return Err(io::Error::other(why));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
