//! The engine's configuration of one node.

use super::{Import, ImportedTree, Node, Place, Role};
use crate::setup::authority;

/// The whole file.
pub(super) fn of(import: &Import, node: &Node) -> String {
    let mut text = head(import, node);
    for tree in &import.trees {
        text.push_str(&table(import, node, tree));
    }
    text.push_str(&format!(
        "\n[metrics]\n# Prometheus metrics, /healthz and a status page, on this machine only.\nlisten = \"127.0.0.1:{}\"\n",
        node.port + 1
    ));
    text
}

fn head(import: &Import, node: &Node) -> String {
    let listen = quoted(&node.listen(import));
    let advertise = advertise(node);
    let others = match node.role {
        Role::Active => {
            let passives = import.nodes.iter().filter(|it| it.role == Role::Passive);
            passives
                .map(|it| it.name.clone())
                .collect::<Vec<_>>()
                .join(", ")
        }
        Role::Passive => "apim-1".into(),
    };
    format!(
        "\
# apim-sync: node {name}, imported from an rsync script ({role}).
# `apim-sync -C FILE init --keep-config --role {role}` makes the node's key and
# state once.
# Pair with {others}: `apim-sync invite` on the one node, `apim-sync join TOKEN`
# on the other. No key or password stands here.
{place}
[node]
name = {quoted_name}
listen = {listen}
{advertise}state_dir = {state_dir}
",
        name = node.name,
        role = node.role.name(),
        place = place(node),
        quoted_name = quoted(&node.name),
        state_dir = quoted(&node.state_dir),
    )
}

impl Node {
    /// Where it listens: on every interface, of both families where one of the
    /// nodes has an IPv6 address.
    pub(super) fn listen(&self, import: &Import) -> String {
        let is_v6 = |node: &Node| node.host.as_ref().is_some_and(|it| it.contains(':'));
        let any = match import.nodes.iter().any(is_v6) {
            true => "::",
            false => "0.0.0.0",
        };
        authority(any, self.port)
    }
}

/// The address that invitations carry. One with a zone means something on the
/// machine that wrote it only.
fn advertise(node: &Node) -> String {
    match node.host.as_ref().filter(|it| !it.contains('%')) {
        Some(host) => format!(
            "# What invitations say: the address that the script used.\nadvertise = {}\n",
            quoted(&authority(host, node.port))
        ),
        None => format!(
            "# What invitations say, where they say a wrong address: no script names this one.\n\
             # advertise = \"HOST:{}\"\n",
            node.port
        ),
    }
}

/// What is to be said of the paths.
fn place(node: &Node) -> String {
    let written = one_line(&node.home);
    match &node.place {
        Place::Given(_) => String::new(),
        Place::Assumed(path) => format!(
            "#\n# CHECK: `{written}` was taken for `{}`, in the home directory of the user{}.\n\
             # Is that where this node's API Manager is? Correct every path below if not.\n",
            one_line(path),
            node.user
                .as_ref()
                .map_or_else(String::new, |user| format!(" `{}`", one_line(user))),
        ),
        Place::Unknown => format!(
            "#\n# WRITE ABSOLUTE PATHS: `{written}` is none, and whose home directory it means is\n\
             # not known here. apim-sync refuses this file until the paths below begin with `/`.\n",
        ),
    }
}

fn table(import: &Import, node: &Node, tree: &ImportedTree) -> String {
    let mut text = format!(
        "\n[[tree]]\nname = {}\npath = {}\npreset = \"synapse\"\n",
        quoted(tree.tree.name()),
        quoted(&node.tree_path(tree.tree)),
    );
    for file in &import.pattern_files {
        let file = one_line(file);
        text.push_str(&format!(
            "# ADD the patterns in `{file}`: the script left out what they match.\n"
        ));
    }
    if !tree.include.is_empty() {
        text.push_str(&format!("include = {}\n", list(&tree.include)));
    }
    text.push_str(&format!(
        "exclude = {}\n# On the file system of the tree, outside of it.\nwork_dir = {}\n",
        list(&tree.exclude),
        quoted(&node.work_dir(tree.tree)),
    ));
    text
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|it| quoted(it)).collect();
    format!("[{}]", texts.join(", "))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A text that stays in its comment.
fn one_line(text: &str) -> String {
    let legal = |char: char| if char.is_control() { '?' } else { char };
    text.chars().map(legal).collect()
}
