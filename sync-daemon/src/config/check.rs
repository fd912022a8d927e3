//! What values may be, one by one and together.

use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use sync_core::{
    Preset, TreeName,
    drift::Policy,
    exclude::{RuleError, Rules},
    guard::Guard,
    limits::{PEERS_MAX, TREES_MAX},
};

use toml::Spanned;

use super::{
    Config, ConfigError, DEPLOY_INTERVAL_S_DEFAULT, Listen, NodeConfig, STATE_DIR_DEFAULT,
    TreeConfig, WatchConfig,
    file::{FileGuard, FileMetrics, FileNode, FilePeer, FileTree, FileWatch},
    history::history,
    hooks, lease,
    source::{Given, Source},
};
use crate::{
    identity::NodeIdError,
    transport::{Address, AddressError},
    trust::{NodeName, NodeNameError, Peer},
};

/// Longest `settle_ms`: beyond a minute edits no longer flow.
const SETTLE_MS_MAX: u64 = 60_000;
/// Longest `delete_hold_ms`: serving for hours what is gone is a mistake.
const DELETE_HOLD_MS_MAX: u64 = 3_600_000;
/// Longest `rescan_s`: the rescan is what bounds staleness.
const RESCAN_S_MAX: u64 = 86_400;

/// Longest `deploy_interval_s`: nobody waits longer to hear what became of a push.
const DEPLOY_INTERVAL_S_MAX: u64 = 3_600;

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

pub(super) fn config(source: &Source<'_>) -> Result<Config> {
    let file = source.parse()?;
    let node = node(source, file.node)?;
    let drift = source.text_or_none("drift.policy", file.drift.policy)?;
    let defaults = TreeDefaults {
        state_dir: &node.state_dir,
        drift: optional(drift, policy)?.unwrap_or_default(),
    };
    Ok(Config {
        trees: trees(source, &defaults, file.trees)?,
        peers: peers(source, &node.name, file.peers)?,
        watch: watch(source, file.watch)?,
        guard: guard(source, file.guard)?,
        metrics: metrics(source, file.metrics)?,
        hooks: hooks::check(source, file.hooks)?,
        lease: lease::check(source, file.lease)?,
        history: history(source, file.history)?,
        node,
    })
}

fn node(source: &Source<'_>, file: FileNode) -> Result<NodeConfig> {
    let state_dir = source.text_or_none("node.state_dir", file.state_dir)?;
    let listen = source.text_or_none("node.listen", file.listen)?;
    let advertise = source.text_or_none("node.advertise", file.advertise)?;
    Ok(NodeConfig {
        name: node_name(&source.text("node.name", file.name)?)?,
        listen: optional(listen, listened)?,
        advertise: optional(advertise, dialled)?,
        state_dir: optional(state_dir, absolute)?.unwrap_or_else(|| STATE_DIR_DEFAULT.into()),
    })
}

fn metrics(source: &Source<'_>, file: FileMetrics) -> Result<Option<Listen>> {
    optional(
        source.text_or_none("metrics.listen", file.listen)?,
        listened,
    )
}

/// What holds for every tree that says nothing else.
struct TreeDefaults<'a> {
    state_dir: &'a Path,
    drift: Policy,
}

fn trees(
    source: &Source<'_>,
    defaults: &TreeDefaults<'_>,
    files: Vec<FileTree>,
) -> Result<Vec<TreeConfig>> {
    if files.is_empty() {
        return Err(source.refused("tree", "there is no [[tree]]: nothing to synchronise"));
    }
    if files.len() > TREES_MAX {
        return Err(source.refused("tree", format!("more than {TREES_MAX} trees")));
    }
    let mut trees: Vec<TreeConfig> = Vec::with_capacity(files.len());
    for file in files {
        let tree = tree(source, defaults, &trees, file)?;
        trees.push(tree);
    }
    for tree in &trees {
        check_work_dir(source, tree, &trees)?;
    }
    Ok(trees)
}

fn tree(
    source: &Source<'_>,
    defaults: &TreeDefaults<'_>,
    before: &[TreeConfig],
    file: FileTree,
) -> Result<TreeConfig> {
    let name = source.in_file("tree.name", file.name);
    let path = source.in_file("tree.path", file.path);
    let preset = match file.preset {
        Some(value) => preset(&source.in_file("tree.preset", value))?,
        None => Preset::default(),
    };
    let tree = TreeConfig {
        name: TreeName::new(&name.value).map_err(|error| name.refused(error))?,
        path: absolute(&path)?,
        preset,
        rules: rules(source, file.include, file.exclude)?,
        work_dir: match file.work_dir {
            Some(value) => Some(absolute(&source.in_file("tree.work_dir", value))?),
            None => None,
        },
        deploy_interval: deploy_interval(source, preset, file.deploy_interval_s)?,
        drift: match file.drift {
            Some(value) => policy(&source.in_file("tree.drift", value))?,
            None => defaults.drift,
        },
    };
    if before.iter().any(|other| other.name == tree.name) {
        return Err(name.refused(format!("another tree is named `{}` already", tree.name)));
    }
    check_apart(&path, &tree, defaults.state_dir, before)?;
    Ok(tree)
}

fn deploy_interval(
    source: &Source<'_>,
    preset: Preset,
    seconds: Option<Spanned<u64>>,
) -> Result<Option<Duration>> {
    let given = seconds.map(|value| source.in_file("tree.deploy_interval_s", value));
    if let (Preset::Plain, Some(given)) = (preset, &given) {
        return Err(given.refused("no deployer reads a tree of the preset `plain`"));
    }
    let seconds = within(given, DEPLOY_INTERVAL_S_DEFAULT, 1..=DEPLOY_INTERVAL_S_MAX)?;
    Ok((preset == Preset::Synapse).then_some(Duration::from_secs(seconds)))
}

/// A tree shares no directory with another tree or with the state.
fn check_apart(
    path: &Given<String>,
    tree: &TreeConfig,
    state_dir: &Path,
    before: &[TreeConfig],
) -> Result<()> {
    for other in before {
        if other.path == tree.path {
            return Err(path.refused(format!("tree `{}` has the same path", other.name)));
        }
        if overlap(&other.path, &tree.path) {
            let other = format!("tree `{}` ({})", other.name, other.path.display());
            return Err(path.refused(format!("one of this and {other} lies inside the other")));
        }
    }
    if overlap(state_dir, &tree.path) {
        let state_dir = state_dir.display();
        return Err(path.refused(format!(
            "one of this and the state directory ({state_dir}) lies inside the other"
        )));
    }
    Ok(())
}

/// A work directory lies in no tree, where the deployer might look, and
/// belongs to one tree only.
fn check_work_dir(source: &Source<'_>, tree: &TreeConfig, trees: &[TreeConfig]) -> Result<()> {
    let Some(work_dir) = &tree.work_dir else {
        return Ok(());
    };
    for other in trees {
        if overlap(work_dir, &other.path) {
            let reason = format!("`{}` overlaps tree `{}`", work_dir.display(), other.name);
            return Err(source.refused("tree.work_dir", reason));
        }
        let shared = other.work_dir.as_ref() == Some(work_dir);
        if shared && other.name != tree.name {
            let reason = format!(
                "trees `{}` and `{}` share `{}`",
                tree.name,
                other.name,
                work_dir.display()
            );
            return Err(source.refused("tree.work_dir", reason));
        }
    }
    Ok(())
}

fn peers(source: &Source<'_>, node: &NodeName, files: Vec<FilePeer>) -> Result<Vec<Peer>> {
    if files.len() > PEERS_MAX {
        return Err(source.refused("peer", format!("more than {PEERS_MAX} peers")));
    }
    let mut peers: Vec<Peer> = Vec::with_capacity(files.len());
    for file in files {
        let peer = peer(source, node, &peers, file)?;
        peers.push(peer);
    }
    Ok(peers)
}

fn peer(source: &Source<'_>, node: &NodeName, before: &[Peer], file: FilePeer) -> Result<Peer> {
    let name = source.in_file("peer.name", file.name);
    let id = source.in_file("peer.id", file.id);
    let address = file
        .address
        .map(|value| source.in_file("peer.address", value));
    let peer = Peer {
        name: node_name(&name)?,
        address: optional(address, dialled)?,
        id: id
            .value
            .parse()
            .map_err(|error: NodeIdError| id.refused(error))?,
    };
    if peer.name == *node {
        return Err(name.refused(format!("`{node}` is this node itself")));
    }
    if before.iter().any(|other| other.name == peer.name) {
        return Err(name.refused(format!("another peer is named `{}` already", peer.name)));
    }
    if let Some(other) = before.iter().find(|other| other.id == peer.id) {
        return Err(id.refused(format!("peer `{}` has the same id", other.name)));
    }
    Ok(peer)
}

fn watch(source: &Source<'_>, file: FileWatch) -> Result<WatchConfig> {
    let default = WatchConfig::default();
    let settle_ms = source.number("watch.settle_ms", file.settle_ms)?;
    let delete_hold_ms = source.number("watch.delete_hold_ms", file.delete_hold_ms)?;
    let rescan_s = source.number("watch.rescan_s", file.rescan_s)?;
    Ok(WatchConfig {
        settle_ms: within(settle_ms, default.settle_ms, 0..=SETTLE_MS_MAX)?,
        delete_hold_ms: within(
            delete_hold_ms,
            default.delete_hold_ms,
            0..=DELETE_HOLD_MS_MAX,
        )?,
        rescan_s: within(rescan_s, default.rescan_s, 1..=RESCAN_S_MAX)?,
    })
}

fn guard(source: &Source<'_>, file: FileGuard) -> Result<Guard> {
    let default = Guard::default();
    let max_delete = match source.text_or_none("guard.max_delete", file.max_delete)? {
        Some(given) => given.value.parse().map_err(|error| given.refused(error))?,
        None => default.max_delete,
    };
    let min_files = source.number("guard.min_files", file.min_files)?;
    Ok(Guard {
        max_delete,
        min_files: within(min_files, default.min_files, 0..=u64::MAX)?,
    })
}

pub(super) fn optional<T>(
    given: Option<Given<String>>,
    check: fn(&Given<String>) -> Result<T>,
) -> Result<Option<T>> {
    given.as_ref().map(check).transpose()
}

pub(super) fn within(
    given: Option<Given<u64>>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64> {
    let Some(given) = given else {
        return Ok(default);
    };
    if range.contains(&given.value) {
        return Ok(given.value);
    }
    let (low, high) = range.into_inner();
    Err(given.refused(format!("{} is not within {low} to {high}", given.value)))
}

fn listened(given: &Given<String>) -> Result<Listen> {
    let parsed = given.value.parse();
    parsed.map_err(|error: AddressError| given.refused(error))
}

fn dialled(given: &Given<String>) -> Result<Address> {
    let parsed = given.value.parse();
    parsed.map_err(|error: AddressError| given.refused(error))
}

fn node_name(given: &Given<String>) -> Result<NodeName> {
    let parsed = given.value.parse();
    parsed.map_err(|error: NodeNameError| given.refused(error))
}

fn preset(given: &Given<String>) -> Result<Preset> {
    let found = Preset::ALL.into_iter().find(|it| it.name() == given.value);
    found.ok_or_else(|| {
        let value = sync_core::path::escape(given.value.as_bytes());
        given.refused(format!(
            "`{value}` is none of `synapse`, `tenants` and `plain`"
        ))
    })
}

fn policy(given: &Given<String>) -> Result<Policy> {
    let found = Policy::ALL.into_iter().find(|it| it.name() == given.value);
    found.ok_or_else(|| {
        let value = sync_core::path::escape(given.value.as_bytes());
        given.refused(format!("`{value}` is none of `alert`, `heal` and `hold`"))
    })
}

fn rules(
    source: &Source<'_>,
    include: Vec<Spanned<String>>,
    exclude: Vec<Spanned<String>>,
) -> Result<Rules> {
    let mut rules = Rules::new();
    for value in include {
        let given = source.in_file("tree.include", value);
        let added = rules.include(given.value.as_bytes());
        added.map_err(|error: RuleError| given.refused(error))?;
    }
    for value in exclude {
        let given = source.in_file("tree.exclude", value);
        let added = rules.exclude(given.value.as_bytes());
        added.map_err(|error: RuleError| given.refused(error))?;
    }
    Ok(rules)
}

/// An absolute path without `.` and `..`, so that two spellings of one
/// directory compare equal.
pub(super) fn absolute(given: &Given<String>) -> Result<PathBuf> {
    let path = Path::new(&given.value);
    let value = sync_core::path::escape(given.value.as_bytes());
    if !path.is_absolute() {
        return Err(given.refused(format!("`{value}` is not an absolute path")));
    }
    if path.components().any(|it| it == Component::ParentDir) {
        return Err(given.refused(format!("`{value}` holds `..`")));
    }
    Ok(path.components().collect())
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}
