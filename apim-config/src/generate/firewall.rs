//! What a node's firewall has to let in.

use std::net::IpAddr;

use crate::setup::{Node, Port, View};

/// `<node>/firewall.txt`: the one rule that `apim-sync` needs, as commands of
/// three firewalls, and the ports of the servers around it as a table.
///
/// Text for people: which firewall there is, and what it lets in already, is
/// seen on the node only.
#[must_use]
pub fn firewall(view: View<'_>) -> String {
    let mut text = format!(
        "What the firewall of node {} ({}) has to let in.\n\n",
        view.node.name, view.node.host
    );
    text.push_str(&engine_rule(view));
    text.push_str(&table(view));
    text
}

fn engine_rule(view: View<'_>) -> String {
    let View { setup, node, other } = view;
    if setup.is_one_machine() {
        return format!(
            "\
apim-sync: nothing. Both nodes are on this machine and reach each other by
itself (UDP {} and {}); firewalls let loopback traffic pass.

",
            node.sync_port, other.sync_port
        );
    }
    let port = node.sync_port;
    let (from, note) = source(other);
    let (nft, rich) = match other.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => ("ip6", "ipv6"),
        _ => ("ip", "ipv4"),
    };
    format!(
        "\
apim-sync: UDP {port} from node {name} ({host}), one of:
{note}
    nft add rule inet filter input {nft} saddr {from} udp dport {port} accept

    firewall-cmd --permanent --add-rich-rule='rule family=\"{rich}\" source address=\"{from}\" port port=\"{port}\" protocol=\"udp\" accept'
    firewall-cmd --reload

    ufw allow proto udp from {from} to any port {port}

nft: table and chain are those of most distributions (`nft list ruleset`); the
rule has to come before one that drops, and to be written to /etc/nftables.conf
to outlast a restart.

",
        name = other.name,
        host = other.host
    )
}

/// How the other node stands in a rule, which wants its address.
fn source(other: &Node) -> (String, String) {
    if other.host.parse::<IpAddr>().is_ok() {
        return (other.host.clone(), String::new());
    }
    let note = format!(
        "(ADDRESS is what `getent hosts {}` says: rules hold addresses.)\n",
        other.host
    );
    ("ADDRESS".to_owned(), note)
}

/// One line of the table.
struct Row {
    port: u16,
    from: String,
    what: &'static str,
}

fn table(view: View<'_>) -> String {
    let rows = rows(view);
    let width = rows.iter().map(|row| row.from.len()).max().unwrap_or(0);
    let mut text = "API Manager: TCP\n\n".to_owned();
    for Row { port, from, what } in rows {
        text.push_str(&format!("    {port:>5}  from {from:<width$}  {what}\n"));
    }
    let local = view.node.port(Port::Thrift);
    text.push_str(&format!(
        "    {local:>5}  {:<width$}  key validation (Thrift): this node only, never let in\n",
        "",
        width = width + "from ".len()
    ));
    text.push_str(&database(view));
    text
}

/// What comes from elsewhere: on one machine, only what the load balancer asks
/// for.
fn rows(view: View<'_>) -> Vec<Row> {
    let View { setup, node, other } = view;
    let balancer = "the load balancer".to_owned();
    let peer = format!("{} ({})", other.name, other.host);
    let alone = setup.is_one_machine();
    let both = if alone {
        balancer.clone()
    } else {
        format!("{peer}, {balancer}")
    };
    let row = |port: u16, from: &String, what| Row {
        port,
        from: from.clone(),
        what,
    };
    let product = |port, from, what| row(node.port(port), from, what);
    let mut rows = vec![
        product(Port::ServletHttps, &both, "consoles and services"),
        product(Port::GatewayHttps, &balancer, "API traffic, HTTPS"),
        product(Port::GatewayHttp, &balancer, "API traffic, HTTP"),
    ];
    if alone {
        return rows;
    }
    rows.extend([
        product(Port::Broker, &peer, "throttle decisions (AMQP)"),
        product(Port::Receiver, &peer, "throttle events"),
        product(Port::ReceiverAuth, &peer, "throttle events, authentication"),
        row(
            node.cluster_port,
            &peer,
            "the cluster (Hazelcast), not moved by the offset",
        ),
    ]);
    if setup.database.host == node.host {
        rows.push(row(
            setup.database.port,
            &peer,
            "the database, which is on this node",
        ));
    }
    rows
}

/// The rule that is needed elsewhere.
fn database(view: View<'_>) -> String {
    let database = &view.setup.database;
    let [active, passive] = view.setup.nodes();
    if database.is_on([active, passive]) {
        return String::new();
    }
    let from = if active.host == passive.host {
        active.host.clone()
    } else {
        format!("{} and {}", active.host, passive.host)
    };
    format!(
        "\nOn the database server {}: TCP {} from {from}.\n",
        database.host, database.port
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    fn text(other: &str, database: &str) -> String {
        let text = format!(
            "[[node]]\nname = \"apim-1\"\nhost = \"10.0.0.1\"\noffset = 2\n\
             [[node]]\nname = \"apim-2\"\nhost = \"{other}\"\n\
             [load_balancer]\nhost = \"lb\"\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"{database}\"\npassword_env = \"D\"\n"
        );
        let setup = Setup::parse(&text).unwrap();
        firewall(setup.view("apim-1").unwrap())
    }

    #[test]
    fn the_engine_needs_one_rule_in_each_firewall_s_words() {
        let text = text("10.0.0.2", "10.0.0.5");
        assert!(text.contains("ip saddr 10.0.0.2 udp dport 7420 accept"));
        assert!(text.contains("source address=\"10.0.0.2\" port port=\"7420\" protocol=\"udp\""));
        assert!(text.contains("ufw allow proto udp from 10.0.0.2 to any port 7420"));
    }

    #[test]
    fn ports_are_those_of_this_node_and_the_cluster_s_is_not_moved() {
        let text = text("10.0.0.2", "10.0.0.5");
        for port in [
            "9445", "8245", "8282", "5674", "9613", "9713", "4000", "10399",
        ] {
            assert!(text.contains(&format!(" {port}  ")), "{port}: {text}");
        }
        assert!(text.contains("On the database server 10.0.0.5: TCP 3306 from 10.0.0.1 and"));
    }

    #[test]
    fn the_database_s_port_is_opened_on_the_node_that_has_it() {
        assert!(text("10.0.0.2", "10.0.0.1").contains(" 3306  from apim-2"));
        assert!(!text("10.0.0.2", "10.0.0.2").contains("3306"));
    }

    #[test]
    fn a_name_is_no_address_and_one_machine_needs_no_rule() {
        let named = text("apim-2.example.org", "10.0.0.5");
        assert!(named.contains("getent hosts apim-2.example.org"));
        assert!(named.contains("saddr ADDRESS udp"));
        assert!(text("fd00::2", "10.0.0.5").contains("ip6 saddr fd00::2"));
        let one = text("10.0.0.1", "10.0.0.5");
        assert!(one.contains("apim-sync: nothing.") && !one.contains("from apim-2"));
        assert!(one.contains("TCP 3306 from 10.0.0.1.\n"), "{one}");
    }
}
