//! The configuration of `apim-sync` itself on one node.

use super::systemd::BINARY;
use crate::setup::{Node, Tree, View, authority};

/// The directory in an `APIM_HOME` that holds the engine's work directories.
pub const WORK_DIR: &str = ".apim-sync";

/// The description's name in the state directory, where the hooks look for it.
const DESCRIPTION: &str = "setup.toml";

/// `<node>/apim-sync.toml`: what the engine on this node reads.
///
/// A work directory has to be on the mount of its tree, as files reach the tree
/// by rename, and outside what the hot deployer scans. This text is made on
/// some other machine, where mounts cannot be looked at; so it always names one,
/// in a directory of the home that is neither a tree nor above one.
#[must_use]
pub fn engine_config(view: View<'_>) -> String {
    let mut text = head(view);
    for tree in &view.setup.sync.trees {
        text.push_str(&tree_table(view.node, *tree));
    }
    text.push_str(&tail(view.node));
    text.push_str(&hooks(view));
    text
}

/// Where the engine serves metrics: beside its own port, for this machine only.
#[must_use]
pub fn metrics_address(node: &Node) -> String {
    let port = node.sync_port.checked_add(1).unwrap_or(node.sync_port - 1);
    format!("127.0.0.1:{port}")
}

fn head(view: View<'_>) -> String {
    let View { node, other, .. } = view;
    let any = if node.host.contains(':') {
        "::"
    } else {
        "0.0.0.0"
    };
    format!(
        "\
# apim-sync on {node_name}, written by `apim-sync config`.
#
# The node's key and role are not here: `apim-sync -C FILE init --keep-config
# --role {role}` makes both once. Nor is the other node: pin its key with
# `apim-sync invite` on one node and `apim-sync join` on the other, or with
# `apim-sync trust add {other_name} --address {other_address} --id ID`.

[node]
name = {name}
# Where the other node reaches this one (UDP), and what invitations say.
listen = {listen}
advertise = {advertise}
# The node's key and state.
state_dir = {state_dir}
",
        node_name = node.name,
        role = if view.is_active() {
            "active"
        } else {
            "passive"
        },
        other_name = other.name,
        other_address = authority(&other.host, other.sync_port),
        name = quoted(&node.name),
        listen = quoted(&authority(any, node.sync_port)),
        advertise = quoted(&authority(&node.host, node.sync_port)),
        state_dir = quoted(&node.state_dir.to_string_lossy()),
    )
}

fn tree_table(node: &Node, tree: Tree) -> String {
    let path = node.home.join(tree.path());
    let work_dir = node.home.join(WORK_DIR).join(tree.name());
    let (about, preset) = match tree {
        Tree::Tenants => (
            "# The hot deployer reads it: in each directory a tenant's artifacts.",
            "tenants",
        ),
        Tree::SynapseConfigs | Tree::ExecutionPlans | Tree::UserStores => {
            ("# The hot deployer reads it.", "synapse")
        }
    };
    format!(
        "
[[tree]]
name = {}
path = {}
{}
preset = {}
# What the deployer has rejected stays where it is.
exclude = [\"*.back\"]
# On the file system of the tree, and out of the deployer's sight.
work_dir = {}
",
        quoted(tree.name()),
        quoted(&path.to_string_lossy()),
        about,
        quoted(preset),
        quoted(&work_dir.to_string_lossy()),
    )
}

fn tail(node: &Node) -> String {
    format!(
        "
# What is commented out shows its default.
[watch]
# How long a file must be quiet before it is sent.
# settle_ms = 50
# How long a deletion is held: the publisher deletes and saves again.
# delete_hold_ms = 10000
# How often everything is looked at, whatever the kernel reported.
# rescan_s = 300

[guard]
# More deletions than this in one go wait for `apim-sync release`.
# max_delete = \"20%\"
# Up to so many are always let through.
# min_files = 5

[history]
# How many generations are remembered, and how many bytes of the contents that
# they replaced. 0: none.
# generations = 100
# bytes = \"1024MiB\"

[metrics]
# Prometheus metrics, /healthz and a status page, over plain HTTP.
listen = {}
",
        quoted(&metrics_address(node))
    )
}

/// Both publishers deploy to the active's gateway. The description is looked for
/// where the unit lets the engine write, because a promotion changes it too.
fn hooks(view: View<'_>) -> String {
    let description = view.node.state_dir.join(DESCRIPTION);
    let follow = |active: &Node| {
        let words = [
            BINARY,
            "config",
            "promote",
            "--setup",
            &description.to_string_lossy(),
            "--node",
            &active.name,
            "--home",
            &view.node.home.to_string_lossy(),
        ];
        let words: Vec<String> = words.into_iter().map(quoted).collect();
        words.join(", ")
    };
    format!(
        "
[hooks]
# After a change of role this home names the gateway of the node that is active
# then; its server has to be restarted for that to count. The description has to
# be at {} first, owned by the user of the engine.
# on_promote = [{}]
# on_demote = [{}]
# How long a hook may take before it is killed.
# deadline_s = 30
",
        description.display(),
        follow(view.node),
        follow(view.other)
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    fn setup(host: &str, more: &str) -> Setup {
        let text = format!(
            "[[node]]\nname = \"apim-1\"\nhost = \"{host}\"\n{more}\n\
             [[node]]\nname = \"apim-2\"\nhost = \"10.0.0.2\"\n\
             [load_balancer]\nhost = \"lb\"\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"10.0.0.5\"\npassword_env = \"D\"\n\
             [sync]\ntrees = [\"synapse-configs\", \"tenants\"]\n"
        );
        Setup::parse(&text).unwrap()
    }

    fn read(setup: &Setup) -> toml::Table {
        engine_config(setup.view("apim-1").unwrap())
            .parse()
            .unwrap()
    }

    #[test]
    fn the_text_says_the_same_as_the_description() {
        let setup = setup("10.0.0.1", r"home = '/opt/a b\c' # with a blank");
        let read = read(&setup);
        let node = &read["node"];
        assert_eq!(node["name"].as_str(), Some("apim-1"));
        assert_eq!(node["listen"].as_str(), Some("0.0.0.0:7420"));
        assert_eq!(node["advertise"].as_str(), Some("10.0.0.1:7420"));
        assert_eq!(read["metrics"]["listen"].as_str(), Some("127.0.0.1:7421"));
        let trees = read["tree"].as_array().unwrap();
        let text = |tree: usize, key: &str| trees[tree][key].as_str().unwrap().to_owned();
        assert_eq!(trees.len(), 2);
        assert_eq!(text(1, "name"), "tenants");
        assert_eq!(text(1, "path"), r"/opt/a b\c/repository/tenants");
        assert_eq!(text(1, "work_dir"), r"/opt/a b\c/.apim-sync/tenants");
        assert_eq!(text(0, "preset"), "synapse");
        assert_eq!(text(1, "preset"), "tenants");
    }

    #[test]
    fn an_ipv6_node_listens_there_and_the_last_port_has_a_neighbour() {
        let read = read(&setup("fd00::1", "sync_port = 65535"));
        assert_eq!(read["node"]["listen"].as_str(), Some("[::]:65535"));
        assert_eq!(read["node"]["advertise"].as_str(), Some("[fd00::1]:65535"));
        assert_eq!(read["metrics"]["listen"].as_str(), Some("127.0.0.1:65534"));
    }
}
