//! The text of a new `setup.toml`: every key, commented where it is optional.

use crate::version::Version;

/// What is known before anybody has written a description.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The release, from a home.
    pub version: Option<Version>,
    /// The home of the active node.
    pub home: Option<String>,
    /// Where the first node is.
    pub active_host: Option<String>,
    /// Where the second node is.
    pub passive_host: Option<String>,
    /// The load balancer.
    pub load_balancer_host: Option<String>,
    /// The database server.
    pub database_host: Option<String>,
    /// Which trees have something in them.
    pub trees: Vec<&'static str>,
}

/// The whole file.
#[must_use]
pub fn template(known: &Known) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let or = |given: &Option<String>, default: &str| quoted(given.as_deref().unwrap_or(default));
    let version = known.version.map_or_else(
        || "# version = \"2.6.0\"".to_owned(),
        |version| format!("version = \"{version}\""),
    );
    let home = known.home.as_deref().map_or_else(
        || "# home = \"/opt/wso2am-2.6.0\"".to_owned(),
        |home| format!("home = {}", quoted(home)),
    );
    let active_host = or(&known.active_host, "192.168.10.1");
    let passive_host = or(&known.passive_host, "192.168.10.2");
    let load_balancer = or(&known.load_balancer_host, "api.example.org");
    let database = or(&known.database_host, "192.168.10.5");
    let trees = if known.trees.is_empty() {
        "# trees = [\"synapse-configs\", \"executionplans\"]".to_owned()
    } else {
        let names: Vec<_> = known.trees.iter().map(|name| quoted(name)).collect();
        format!("trees = [{}]", names.join(", "))
    };
    format!(
        "\
# An active-passive pair of WSO2 API Manager: all that has to be said by hand.
# `apim-sync config generate --setup FILE --out DIR` writes the rest. What is
# commented out shows its default.

# The release: 2.0, 2.1, 2.2, 2.5, 2.6, 3.0, 3.1 or 3.2. A home says it too.
{version}
# Which node is active; `apim-sync config promote` changes it.
active = \"apim-1\"

[[node]]
name = \"apim-1\"
# Where the other node and the load balancer reach it.
host = {active_host}
{home}
# Added to every port but the cluster's; two nodes on one machine: 0 and 1.
# offset = 0
# The address in the Hazelcast cluster; 4001 for a second node on one machine.
# cluster_host = {active_host}
# cluster_port = 4000
# The UDP port of apim-sync, and where it keeps its key and state.
# sync_port = 7420
# state_dir = \"/var/lib/apim-sync\"

[[node]]
name = \"apim-2\"
host = {passive_host}
{home}

[load_balancer]
# The name that clients use.
host = {load_balancer}
# https_port = 443
# http_port = 80
# certificate = \"/etc/nginx/ssl/HOST.crt\"
# certificate_key = \"/etc/nginx/ssl/HOST.key\"

[database]
# The server that both nodes share.
host = {database}
# mysql or mariadb
engine = \"mysql\"
# Decides about driver and scripts: 5.6, 5.7, 8.0 (MySQL only).
engine_version = \"8.0\"
# port = 3306
# user = \"apim\"
# A file with the password on its first line (relative to this one), or a
# variable that holds it.
password_file = \"database-password\"
# password_env = \"APIM_DATABASE_PASSWORD\"
# Schemas: of the API Manager, of users and of the registry (2.x), or of both
# (3.x).
# api_manager = \"apimgtdb\"
# user_manager = \"userdb\"
# registry = \"regdb\"
# shared = \"shareddb\"
# The scripts' keys are too long for utf8mb4; \"server\" leaves it to the server.
# character_set = \"latin1\"
# Where the nodes connect from, as the server sees them; default: their hosts.
# clients = [{active_host}, {passive_host}]

[admin]
# user = \"admin\"
password_file = \"admin-password\"
# password_env = \"APIM_ADMIN_PASSWORD\"

[cluster]
# domain = \"wso2.pub.store.domain\"

[sync]
# Of synapse-configs, executionplans, userstores and tenants.
{trees}
# The user that runs the server and apim-sync.
# user = \"wso2\"
"
    )
}
