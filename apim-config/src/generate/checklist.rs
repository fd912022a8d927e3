//! `CHECKLIST.md`: what is left for a person to do, in order.

use std::fmt::Write as _;

use crate::{
    generate::{sql, systemd},
    setup::{Engine, Node, Port, Setup, View},
    version::{Layout, Version},
};

/// The whole file.
#[must_use]
pub fn checklist(setup: &Setup, version: Version, patched: bool) -> String {
    let [active, passive] = setup.nodes();
    let mut list = List::default();
    list.add(&software(setup));
    list.add(&keystore());
    list.add(&databases(setup, version));
    list.add(&active_home(setup, version, patched));
    list.add(&passive_home(setup));
    list.add(&check(setup));
    list.add(&load_balancer(setup));
    list.add(&engines(setup));
    list.add(&start(setup));
    let mut text = format!(
        "# Active {} and passive {}: what is left to do\n\nAPI Manager {version}. Node {} is at {}, node {} at {}. Work through the steps in order; each says how to see that it is done.\n\n",
        active.name, passive.name, active.name, active.host, passive.name, passive.host
    );
    for warning in setup.warnings() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "> **Look again:** {warning}.\n");
    }
    text.push_str(&list.0);
    text.push_str(&ports(setup));
    text.push_str(&failover(setup, version));
    text
}

/// Numbered steps.
#[derive(Default)]
struct List(String, usize);

impl List {
    /// Adds a step: a title, then its text.
    fn add(&mut self, step: &str) {
        self.1 += 1;
        let (title, body) = step.split_once('\n').unwrap_or((step, ""));
        let _ = writeln!(self.0, "## {}. {title}\n\n{}\n", self.1, body.trim_end());
    }
}

fn software(setup: &Setup) -> String {
    let driver = match setup.database.engine {
        Engine::MySql56 | Engine::MySql57 => "`mysql-connector-java-5.1.*.jar`",
        Engine::MySql8 => "`mysql-connector-j-8.*.jar` (there is no `-bin` any more)",
        Engine::MariaDb => "`mariadb-java-client-*.jar`",
    };
    let hosts = if setup.database.is_on(setup.nodes()) {
        "`hosts` has nothing for `/etc/hosts`: the database is on a node."
    } else {
        "Add the line of `hosts` to `/etc/hosts` on both nodes."
    };
    let [active, passive] = setup.nodes();
    format!(
        "Software\n\
         - Java and the API Manager pack on {} (`{}`); the passive's is a copy of it, see below.\n\
         - The JDBC driver {driver} in `repository/components/lib` of both homes.\n\
         - `apim-sync` in `/usr/local/bin` on both nodes.\n\
         - {hosts}\n\
         - The firewall of each node: `{}/firewall.txt` and `{}/firewall.txt`.\n",
        active.name,
        active.home.display(),
        active.name,
        passive.name,
    )
}

fn keystore() -> String {
    "Keystore\n\
     The keystore that ships, `repository/resources/security/wso2carbon.jks`, is the same in every copy of the product: everybody has its \
     private key. Replace it before the first start, and put the SAME keystore and truststore on both nodes:\n\n\
     ```sh\n\
     keytool -genkeypair -alias wso2carbon -keyalg RSA -keysize 2048 -validity 825 -keystore wso2carbon.jks   # CN = the load balancer's name\n\
     keytool -exportcert -alias wso2carbon -keystore wso2carbon.jks -file node.crt\n\
     keytool -importcert -alias gateway -keystore client-truststore.jks -file node.crt\n\
     ```\n\n\
     Its password stands in `carbon.xml`, `catalina-server.xml`, `axis2.xml` and others: `grep -rl wso2carbon repository/conf` finds them. \
     `apim-sync config check` warns while the stock one is in place.\n"
        .to_owned()
}

fn databases(setup: &Setup, version: Version) -> String {
    let client = sql::client(&setup.database);
    let schemas = if version.layout() == Layout::Files {
        "three schemas"
    } else {
        "two schemas"
    };
    format!(
        "Database\n\
         Creates {schemas} and the user of both nodes; the second script creates the tables and is run once. Where the home is not on this \
         machine, copy its `dbscripts` to the path that the script names.\n\n\
         ```sh\n\
         {client} < database/01-databases.sql\n\
         {client} < database/02-tables.sql\n\
         rm database/01-databases.sql    # it holds the password\n\
         ```\n\n\
         Never start a server with `-Dsetup` against these schemas: it may drop and create tables that hold the other node's data.\n"
    )
}

fn active_home(setup: &Setup, version: Version, patched: bool) -> String {
    let node = &setup.active;
    let files = if patched {
        format!(
            "`{}/repository` holds the patched files, if you prefer to look at them first or to copy them.",
            node.name
        )
    } else {
        format!(
            "`{}/repository` holds snippets (`*.snippet`) and new files, for a home that cannot be patched from here.",
            node.name
        )
    };
    let admin = match version.layout() {
        Layout::Files => "user-mgt.xml",
        Layout::DeploymentToml => "deployment.toml",
    };
    format!(
        "The active's home\n\
         ```sh\n\
         apim-sync config apply --setup setup.toml --node {0} --home {1} -n   # what would change\n\
         apim-sync config apply --setup setup.toml --node {0} --home {1}\n\
         ```\n\n\
         {files} The administrator's password in `{admin}` counts at the first start only: later it is changed in the console, and here.\n",
        node.name,
        node.home.display()
    )
}

fn passive_home(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    format!(
        "The passive's home\n\
         On {}, before its server has ever run, make the copy, and bring it to {}:\n\n\
         ```sh\n\
         apim-sync config passive --setup setup.toml --from {} --to ./{}-home\n\
         ```\n\n\
         `repository/database` is left out: it is each node's own. Take it from the pack that the active was unzipped from, \
         `unzip PACK.zip '*/repository/database/*'`. On {} the home belongs at `{}`, owned by `{}`.\n",
        active.name,
        passive.host,
        active.home.display(),
        passive.name,
        passive.host,
        passive.home.display(),
        setup.sync.user,
    )
}

fn check(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    format!(
        "Check both homes\n\
         ```sh\n\
         apim-sync config check --setup setup.toml --node {} --home {}\n\
         apim-sync config check --setup setup.toml --node {} --home {}\n\
         apim-sync config check --setup setup.toml --home-a ACTIVE_HOME --home-p PASSIVE_HOME   # where both can be read\n\
         ```\n",
        active.name,
        active.home.display(),
        passive.name,
        passive.home.display(),
    )
}

fn load_balancer(setup: &Setup) -> String {
    let front = &setup.load_balancer;
    format!(
        "Load balancer\n\
         `nginx/nginx.conf` is a whole file. The certificate of {} belongs at `{}`, its key at `{}`.\n\n\
         ```sh\n\
         nginx -t -c /path/to/nginx.conf && systemctl reload nginx\n\
         ```\n",
        front.host,
        front.certificate.display(),
        front.certificate_key.display()
    )
}

fn engines(setup: &Setup) -> String {
    let mut text = "Synchronisation\n\
         On each node; a key is made there and never leaves it:\n\n```sh\n"
        .to_owned();
    for view in setup.views() {
        let role = if view.is_active() {
            "active"
        } else {
            "passive"
        };
        let file = config_path(view);
        let _ = writeln!(
            text,
            "# {0}, as root\ninstall -D -m 0644 {0}/apim-sync.toml {file}\ninstall -d -o {user} -m 0700 {state}\nrunuser -u {user} -- apim-sync -C {file} init --keep-config --role {role}\ncp {0}/systemd/{unit} /etc/systemd/system/ && systemctl daemon-reload",
            view.node.name,
            unit = systemd::unit_name(view),
            user = setup.sync.user,
            state = view.node.state_dir.display(),
        );
    }
    let [active, passive] = setup.views();
    let user = &setup.sync.user;
    let _ = write!(
        text,
        "```\n\nThen pair them and fill the passive:\n\n\
         ```sh\n\
         systemctl enable --now {}                                  # on {}\n\
         runuser -u {user} -- apim-sync -C {} invite                 # on {}: prints a token\n\
         runuser -u {user} -- apim-sync -C {} join TOKEN             # on {}\n\
         runuser -u {user} -- apim-sync -C {} bootstrap              # on {}\n\
         systemctl enable --now {}                                  # on {}\n\
         runuser -u {user} -- apim-sync -C {} verify                 # on either: exit 0\n\
         ```\n",
        systemd::unit_name(active),
        active.node.name,
        config_path(active),
        active.node.name,
        config_path(passive),
        passive.node.name,
        config_path(passive),
        passive.node.name,
        systemd::unit_name(passive),
        passive.node.name,
        config_path(active),
    );
    text
}

/// Where a node's configuration of the engine is put.
#[must_use]
pub fn config_path(view: View<'_>) -> String {
    if view.setup.is_one_machine() {
        format!("/etc/apim-sync/{}.toml", view.node.name)
    } else {
        "/etc/apim-sync/config.toml".to_owned()
    }
}

fn start(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    format!(
        "Start the servers\n\
         1. On {}: `sh {}/bin/wso2server.sh start`; wait until `https://{}/carbon` answers.\n\
         2. On {}: `sh {}/bin/wso2server.sh start`. Its `synapse-configs` must have been filled before (step 8): without \
         `synapse-configs/default` the server does not start.\n\
         3. `https://{}/publisher` shows the publisher; an API that is published there is on {} within a second \
         (`apim-sync status`).\n",
        active.name,
        active.home.display(),
        active.authority(Port::ServletHttps),
        passive.name,
        passive.home.display(),
        setup.load_balancer.https_authority(),
        passive.name,
    )
}

fn ports(setup: &Setup) -> String {
    let [active, passive] = setup.nodes();
    let mut text = format!(
        "## Ports\n\n| what | {} | {} |\n|---|---|---|\n",
        active.name, passive.name
    );
    for (what, port) in [
        ("consoles and admin services, HTTPS", Port::ServletHttps),
        ("consoles and admin services, HTTP", Port::ServletHttp),
        ("APIs, HTTPS", Port::GatewayHttps),
        ("APIs, HTTP", Port::GatewayHttp),
        ("message broker", Port::Broker),
        ("throttle events", Port::Receiver),
        ("throttle events, authentication", Port::ReceiverAuth),
        ("key validation", Port::Thrift),
    ] {
        let of = |node: &Node| node.port(port);
        let _ = writeln!(text, "| {what} | {} | {} |", of(active), of(passive));
    }
    let _ = writeln!(
        text,
        "| cluster (Hazelcast; the offset does not move it) | {} | {} |\n| apim-sync, UDP | {} | {} |\n",
        active.cluster_port, passive.cluster_port, active.sync_port, passive.sync_port
    );
    text
}

fn failover(setup: &Setup, version: Version) -> String {
    let [active, passive] = setup.nodes();
    let gateway = match version.layout() {
        Layout::Files => "the `ServerURL` of api-manager.xml",
        Layout::DeploymentToml => "`service_url` of deployment.toml",
    };
    format!(
        "## Failover and return\n\n\
         When {a} stops answering, the load balancer sends everything to {p} within seconds; nothing has to be done for that. Published \
         APIs work there as they did. What is published while {a} is away has to be published to {p}: \n\n\
         1. Keep {a}'s server stopped.\n\
         2. On {p}: `apim-sync promote` for the trees, unless a cluster manager has done it, and `apim-sync config promote --setup setup.toml --node {p} --home {ph}`: {gateway} now names {p}, and `setup.toml` says \
         who is active. Restart {p}'s server for it to count.\n\
         3. When {a} returns, its disk is older than {p}'s: do not start its server before its trees were made the same as {p}'s \
         (`apim-sync verify` exits 0).\n\
         4. On {a}: `apim-sync config promote` with the same `--node {p}`, so that both publish to {p}; `apim-sync config generate` again \
         for the load balancer, whose primary is then {p}.\n\n\
         `[hooks]` in each node's apim-sync.toml, once its comment signs are gone, does what `config promote` does at every change of role.\n",
        a = active.name,
        p = passive.name,
        ph = passive.home.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checklist_is_numbered_and_names_what_was_made() {
        let setup = Setup::parse(&crate::setup::template(&Default::default())).unwrap();
        let text = checklist(&setup, "2.6.0".parse().unwrap(), true);
        for number in 1..=9 {
            assert!(text.contains(&format!("\n## {number}. ")), "{text}");
        }
        for word in [
            "-Dsetup",
            "keystore",
            "| 9443 | 9443 |",
            "nginx -t",
            "promote",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
