//! What `/etc/hosts` of both nodes needs for the database.

use std::net::IpAddr;

use crate::setup::{Setup, is_loopback};

/// The name that WSO2's guide gives the database.
pub const DATABASE_NAME: &str = "carbondb.mysql-wso2.com";

/// `hosts`: the line for `/etc/hosts` of both nodes. Only a database on a server
/// of its own that is described by its address needs one; else the file says
/// why there is nothing to add.
#[must_use]
pub fn hosts(setup: &Setup) -> String {
    let host = &setup.database.host;
    if setup.database.is_on(setup.nodes()) {
        return nothing(&on_a_node(setup));
    }
    if host.parse::<IpAddr>().is_ok() {
        return format!(
            "\
# For /etc/hosts of both nodes: the name of the database server in WSO2's guide.
# The data sources name the address itself, so nothing waits for this line.
{host} {DATABASE_NAME}
"
        );
    }
    nothing(&format!(
        "\
# The database is described by a name, and the data sources use it. Both nodes
# have to find its address: `getent hosts {host}`
# If the name server does not know it, add a line `ADDRESS {host}`."
    ))
}

fn on_a_node(setup: &Setup) -> String {
    let host = &setup.database.host;
    if is_loopback(host) || setup.is_one_machine() {
        return "# The database is on the machine of the nodes.".to_owned();
    }
    let [active, passive] = setup.nodes();
    let node = if active.host == *host {
        active
    } else {
        passive
    };
    format!(
        "# The database is on the machine of node {}; the data sources of both nodes\n# use its address, {host}.",
        node.name
    )
}

fn nothing(why: &str) -> String {
    format!("# For /etc/hosts of both nodes: nothing.\n{why}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_of(database: &str) -> String {
        let text = format!(
            "[[node]]\nname = \"a\"\nhost = \"10.0.0.1\"\n[[node]]\nname = \"b\"\nhost = \"10.0.0.2\"\n\
             [load_balancer]\nhost = \"lb\"\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"{database}\"\npassword_env = \"D\"\n"
        );
        hosts(&Setup::parse(&text).unwrap())
    }

    #[test]
    fn only_a_server_known_by_its_address_needs_a_line() {
        let lines = |host: &str| -> Vec<String> {
            let text = hosts_of(host);
            let lines = text.lines().filter(|it| !it.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(lines("10.0.0.5"), ["10.0.0.5 carbondb.mysql-wso2.com"]);
        assert_eq!(lines("fd00::5"), ["fd00::5 carbondb.mysql-wso2.com"]);
        assert!(lines("10.0.0.2").is_empty() && lines("db.example.org").is_empty());
        assert!(hosts_of("10.0.0.2").contains("node b"));
        assert!(hosts_of("db.example.org").contains("getent hosts db.example.org"));
    }
}
