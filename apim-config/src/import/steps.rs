//! From the old way to the new one, in an order in which nothing is lost.

use super::{Import, Node, Role};

/// The steps; whoever prints them numbers them.
pub(super) fn of(import: &Import) -> Vec<String> {
    let active = &import.nodes[0];
    let passives: Vec<&Node> = import
        .nodes
        .iter()
        .filter(|it| it.role == Role::Passive)
        .collect();
    let mut steps = vec![
        format!(
            "FIRST, on {}, as the user whose job it is: stop and remove the cron job (`crontab -e`, /etc/cron.d). Then wait until \
             `pgrep -a rsync` shows none. Two writers would undo each other's work.",
            active.name
        ),
        "Look at every CHECK, WRITE and ADD in the imported configurations, and at the notes."
            .into(),
    ];
    steps.extend(import.nodes.iter().map(|node| init(import, node)));
    steps.push(format!(
        "On each node put its imported apim-sync.toml in the place of the file that init wrote; `apim-sync status` refuses a bad one with its line. Let UDP \
         port {} through the firewalls between {} and the others.",
        ports(import),
        active.name
    ));
    for passive in &passives {
        steps.push(format!(
            "Pair: `apim-sync invite` on {}, then `apim-sync join TOKEN` on {}.",
            active.name, passive.name
        ));
    }
    steps.push(format!("Start `apim-sync daemon` on {}.", active.name));
    for passive in &passives {
        steps.push(format!(
            "On {}: `apim-sync verify` names what differs and changes nothing. Files that only {} has are yours to save.",
            passive.name, passive.name
        ));
        steps.push(format!(
            "On {0}: `apim-sync bootstrap`. It refuses a tree that differs: after you have looked, `apim-sync bootstrap --confirm {0}` \
             replaces it and keeps what it replaces aside. Then start `apim-sync daemon`.",
            passive.name
        ));
    }
    steps.push(format!(
        "On {}: `apim-sync verify` exits 0: the same, byte for byte.",
        active.name
    ));
    steps.push(
        "Take down the old way: the script, its lock directory, its log, and its SSH key from authorized_keys on every node.".into(),
    );
    steps
}

fn init(import: &Import, node: &Node) -> String {
    let trees: Vec<String> = import
        .trees
        .iter()
        .map(|it| {
            format!(
                " --tree {}",
                argument(&format!("{}={}", it.tree.name(), node.tree_path(it.tree)))
            )
        })
        .collect();
    let host = node
        .host
        .as_ref()
        .map_or_else(String::new, |host| format!(" ({host})"));
    format!(
        "On {}{host}, as the user that runs the server: `apim-sync init --name {} --role {} --listen {} --state-dir {}{}`.",
        node.name,
        node.name,
        node.role.name(),
        node.listen(import),
        node.state_dir,
        trees.concat()
    )
}

fn ports(import: &Import) -> String {
    let mut ports: Vec<u16> = import.nodes.iter().map(|it| it.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

/// A word that a shell takes as it is.
fn argument(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-=:@~".contains(char);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let shown: String = text.chars().filter(|it| !it.is_control()).collect();
    format!("'{}'", shown.replace('\'', "'\\''"))
}
