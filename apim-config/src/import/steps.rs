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
    steps.extend(import.nodes.iter().map(init));
    steps.push(format!(
        "Let UDP port {} through the firewalls between {} and the others.",
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

fn init(node: &Node) -> String {
    let host = node
        .host
        .as_ref()
        .map_or_else(String::new, |host| format!(" ({host})"));
    format!(
        "On {name}{host}: put {name}/apim-sync.toml at /etc/apim-sync/config.toml, make `{state}` for the user that runs the server, and as \
         that user `apim-sync init --keep-config --role {role}`; `apim-sync status` refuses a bad file with its line.",
        name = node.name,
        state = node.state_dir,
        role = node.role.name(),
    )
}

fn ports(import: &Import) -> String {
    let mut ports: Vec<u16> = import.nodes.iter().map(|it| it.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
