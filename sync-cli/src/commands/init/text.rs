//! The text of a new configuration: every key, commented where it is optional.

use std::{fmt::Write as _, path::PathBuf};

use sync_core::{Preset, TreeName, drift::Policy, guard::Guard};
use sync_daemon::config::{
    ArchiveLimits, DEPLOY_INTERVAL_S_DEFAULT, HooksConfig, Listen, WatchConfig,
};

/// What a new node's configuration says.
#[derive(Debug)]
pub(crate) struct NewNode {
    pub(crate) name: String,
    pub(crate) listen: Listen,
    pub(crate) state_dir: PathBuf,
    pub(crate) trees: Vec<NewTree>,
}

/// One tree of it.
#[derive(Debug)]
pub(crate) struct NewTree {
    pub(crate) name: TreeName,
    pub(crate) path: PathBuf,
    pub(crate) preset: Preset,
    pub(crate) work_dir: Option<PathBuf>,
}

/// The whole file.
pub(super) fn config(node: &NewNode) -> String {
    let mut text = head(node);
    for new in &node.trees {
        text.push_str(&tree(new));
    }
    text.push_str(&tail());
    text
}

fn head(node: &NewNode) -> String {
    let name = quoted(&node.name);
    let listen = quoted(&node.listen.to_string());
    let state_dir = quoted(&node.state_dir.to_string_lossy());
    format!(
        "\
# apim-sync: configuration of one node. The role (active or passive) is not here:
# it is part of the node's state. Check changes with `apim-sync status`; a
# running daemon takes them up when it is restarted.

[node]
name = {name}
# Where peers reach this node (UDP).
listen = {listen}
# The address that invitations carry, where it is not the one above.
# advertise = \"apim-1.example.org:7420\"
# The node's key, its state and, below trees/, a work directory for each tree.
state_dir = {state_dir}
"
    )
}

fn tree(tree: &NewTree) -> String {
    let mut text = format!(
        "
[[tree]]
# The same name on both nodes.
name = {}
path = {}
# `synapse`: WSO2's hot deployer reads it; `tenants`: so it does, and each directory
# at the top is a tenant's; `plain`: any other directory.
preset = {}
# rsync patterns of paths that are left out, and of exceptions from them.
exclude = [\"*.back\"]
# include = []
",
        quoted(tree.name.as_str()),
        quoted(&tree.path.to_string_lossy()),
        quoted(tree.preset.name()),
    );
    if tree.preset == Preset::Synapse {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# How often the server looks for changes (its DeploymentUpdateInterval).\n# deploy_interval_s = {DEPLOY_INTERVAL_S_DEFAULT}"
        );
    }
    let _ = match &tree.work_dir {
        Some(path) => writeln!(
            text,
            "# The state directory is on another file system than the tree.\nwork_dir = {}",
            quoted(&path.to_string_lossy())
        ),
        None => writeln!(
            text,
            "# Needed where the state directory is on another file system.\n# work_dir = {}",
            quoted(&format!("{}.work", tree.path.to_string_lossy()))
        ),
    };
    text
}

fn tail() -> String {
    let watch = WatchConfig::default();
    let guard = Guard::default();
    let history = ArchiveLimits::default();
    let hooks = HooksConfig::default();
    format!(
        "
# Peers are pinned with `apim-sync invite` and `join`, or `apim-sync trust add`;
# or here:
# [[peer]]
# name = \"apim-2\"
# address = \"192.168.10.2:7420\"
# id = \"...\"

[watch]
# How long a file must be quiet before it is sent.
# settle_ms = {}
# How long a deletion is held: the publisher deletes and saves again.
# delete_hold_ms = {}
# How often everything is looked at, whatever the kernel reported.
# rescan_s = {}

[guard]
# More deletions than this in one go wait for `apim-sync release`: files, or a
# share of all files. Up to min_files are always let through.
# max_delete = \"{}\"
# min_files = {}

[history]
# How many generations are remembered, and how many bytes of the contents that
# they replaced: on a passive these cost no write. 0: none.
# generations = {}
# bytes = \"{}MiB\"

[drift]
# What a passive does about what somebody changed in its trees: `alert` tells it, and
# the path's next change replaces it; `heal` has it replaced within seconds; `hold`
# takes nothing that would replace it until `apim-sync release`. What is replaced is
# kept aside. A tree may have a policy of its own, its key `drift`.
# policy = \"{}\"

[metrics]
# Prometheus metrics, /healthz and a status page, over plain HTTP.
# listen = \"127.0.0.1:7421\"

[hooks]
# Programs that are run when something happens, with their arguments, without a
# shell: absolute paths. Each gets one JSON object on standard input.
# on_promote = [\"/usr/local/bin/became-active\"]
# on_demote = [\"/usr/local/bin/became-passive\"]
# on_halt = [\"/usr/bin/mail\", \"-s\", \"apim-sync has halted\", \"root\"]
# on_drift = [\"/usr/bin/logger\", \"-t\", \"apim-sync\"]
# on_generation = [\"/usr/bin/logger\", \"-t\", \"apim-sync\"]
# How long each may take before it is killed.
# deadline_s = {}
",
        watch.settle_ms,
        watch.delete_hold_ms,
        watch.rescan_s,
        guard.max_delete,
        guard.min_files,
        history.generations,
        history.bytes >> 20,
        Policy::default().name(),
        hooks.deadline.as_secs()
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sync_daemon::config::Config;

    use super::*;

    #[test]
    fn what_init_writes_is_what_load_reads() {
        let node = NewNode {
            name: "apim-1".into(),
            listen: "0.0.0.0:7420".parse().unwrap(),
            state_dir: "/var/lib/apim-sync".into(),
            trees: vec![
                NewTree {
                    name: TreeName::new("a").unwrap(),
                    path: "/opt/with \"quotes\" and \\".into(),
                    preset: Preset::Synapse,
                    work_dir: None,
                },
                NewTree {
                    name: TreeName::new("b").unwrap(),
                    path: "/srv/b".into(),
                    preset: Preset::Plain,
                    work_dir: Some("/srv/.apim-sync-b".into()),
                },
            ],
        };
        let read = Config::from_text(&config(&node), Path::new("c.toml")).unwrap();
        assert_eq!(read.node.name.as_str(), "apim-1");
        assert_eq!(read.trees[0].path, node.trees[0].path);
        assert_eq!(read.trees[0].work_dir, None);
        assert_eq!(read.trees[1].preset, Preset::Plain);
        assert_eq!(read.trees[1].work_dir, node.trees[1].work_dir);
        assert_eq!(read.watch, WatchConfig::default());
        assert_eq!(read.guard, Guard::default());
    }

    #[test]
    fn every_commented_key_is_legal_when_its_comment_sign_goes() {
        let uncommented: String = tail()
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|it| it.contains(" = "))
                    .unwrap_or(line)
            })
            .filter(|line| {
                !line.starts_with('#')
                    && !line.contains("id = ")
                    && !line.contains("name = ")
                    && !line.contains("address = ")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let text =
            format!("[node]\nname = \"a\"\n[[tree]]\nname = \"t\"\npath = \"/t\"\n{uncommented}");
        assert!(text.contains("\nrescan_s"), "{text}");
        Config::from_text(&text, Path::new("c.toml")).unwrap();
    }
}
