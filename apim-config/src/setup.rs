//! The description of an active-passive pair: what cannot be derived, said once.
//!
//! [`Setup::parse`] reads `setup.toml`; everything that can be derived has a
//! default, so that a first description is a dozen lines.

use std::{net::IpAddr, path::PathBuf};

use crate::{secret::SecretSource, version::Version};

pub use self::{
    error::SetupError,
    read::text_with_active,
    template::{Known, template},
};

mod error;
mod file;
mod read;
mod template;
#[cfg(test)]
mod tests;

/// A pair of all-in-one nodes and what stands around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The release, where it is said; a home says it too.
    pub version: Option<Version>,
    /// What publishes, and where the gateway is published to.
    pub active: Node,
    /// What takes over.
    pub passive: Node,
    /// What clients see.
    pub load_balancer: LoadBalancer,
    /// The database that both nodes share.
    pub database: Database,
    /// The product's administrator.
    pub admin: Admin,
    /// The domain of the Hazelcast cluster.
    pub cluster_domain: String,
    /// What is synchronised, and as whom.
    pub sync: Sync,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name, for people and for the engine.
    pub name: String,
    /// Where the other node and the load balancer reach it.
    pub host: String,
    /// What is added to the product's ports.
    pub offset: u16,
    /// Its `APIM_HOME`.
    pub home: PathBuf,
    /// Where the other member of the cluster reaches it.
    pub cluster_host: String,
    /// The port of the cluster, which the offset does not move.
    pub cluster_port: u16,
    /// The UDP port of the engine.
    pub sync_port: u16,
    /// Where the engine keeps its key and state.
    pub state_dir: PathBuf,
}

/// What clients see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadBalancer {
    /// Its host name.
    pub host: String,
    /// Its port for HTTPS.
    pub https_port: u16,
    /// Its port for HTTP.
    pub http_port: u16,
    /// The certificate chain, as nginx reads it.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub certificate_key: PathBuf,
}

/// Which server, and so which driver, URL and scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// MySQL before 5.7.
    MySql56,
    /// MySQL 5.7.
    MySql57,
    /// MySQL 8.0 and later.
    MySql8,
    /// MariaDB 10.2 and later.
    MariaDb,
}

/// The shared database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Which server it is.
    pub engine: Engine,
    /// Where both nodes reach it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user of both nodes.
    pub user: String,
    /// That user's password.
    pub password: SecretSource,
    /// The schema of the API Manager.
    pub api_manager: String,
    /// The schema of users (2.x).
    pub user_manager: String,
    /// The schema of the registry (2.x).
    pub registry: String,
    /// The schema of users and registry (3.x).
    pub shared: String,
    /// The character set of new schemas; `None` leaves the server's.
    pub character_set: Option<String>,
    /// Hosts that the nodes connect from.
    pub clients: Vec<String>,
}

/// The product's administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretSource,
}

/// What the engine does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sync {
    /// The trees, by name.
    pub trees: Vec<Tree>,
    /// The user that runs the product and the engine.
    pub user: String,
}

/// A tree that the hot deployer reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    /// APIs, sequences, endpoints.
    SynapseConfigs,
    /// Throttling policies.
    ExecutionPlans,
    /// Secondary user stores.
    UserStores,
    /// Artifacts of tenants.
    Tenants,
}

/// A setup as one node sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'s> {
    /// The whole.
    pub setup: &'s Setup,
    /// The node itself.
    pub node: &'s Node,
    /// The other one.
    pub other: &'s Node,
}

/// A port of the product before the offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Consoles and admin services, HTTPS.
    ServletHttps = 9443,
    /// The same, HTTP.
    ServletHttp = 9763,
    /// API traffic, HTTPS.
    GatewayHttps = 8243,
    /// API traffic, HTTP.
    GatewayHttp = 8280,
    /// The message broker, AMQP.
    Broker = 5672,
    /// Throttle events, TCP.
    Receiver = 9611,
    /// Throttle events, authentication.
    ReceiverAuth = 9711,
    /// Key validation, Thrift.
    Thrift = 10397,
}

impl Setup {
    /// Both nodes, the active first.
    #[must_use]
    pub fn nodes(&self) -> [&Node; 2] {
        [&self.active, &self.passive]
    }

    /// Both nodes in an order that a promotion does not change.
    #[must_use]
    pub fn nodes_by_name(&self) -> [&Node; 2] {
        let mut nodes = self.nodes();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// The setup as the node of that name sees it.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<View<'_>> {
        let [active, passive] = self.nodes();
        let (node, other) = match name {
            _ if name == active.name => (active, passive),
            _ if name == passive.name => (passive, active),
            _ => return None,
        };
        Some(View {
            setup: self,
            node,
            other,
        })
    }

    /// Both views, the active's first.
    #[must_use]
    pub fn views(&self) -> [View<'_>; 2] {
        let view = |node, other| View {
            setup: self,
            node,
            other,
        };
        [
            view(&self.active, &self.passive),
            view(&self.passive, &self.active),
        ]
    }

    /// The same pair with the node of that name as the active one.
    #[must_use]
    pub fn with_active(&self, name: &str) -> Self {
        let mut setup = self.clone();
        if setup.passive.name == name {
            std::mem::swap(&mut setup.active, &mut setup.passive);
        }
        setup
    }

    /// Whether both nodes are on one machine, so that their ports must differ.
    #[must_use]
    pub fn is_one_machine(&self) -> bool {
        let [a, b] = self.nodes();
        a.host == b.host || (is_loopback(&a.host) && is_loopback(&b.host))
    }

    /// What works but deserves a second look.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let loopback = |node: &&Node| is_loopback(&node.cluster_host);
        let warning = |node: &Node| {
            format!(
                "node {}: `{}` as its address in the cluster is reached from this machine only; a member on another machine needs \
                 `cluster_host`",
                node.name, node.cluster_host
            )
        };
        self.nodes()
            .into_iter()
            .filter(loopback)
            .map(warning)
            .collect()
    }

    /// Where the publisher of both nodes deploys to: the active's gateway.
    #[must_use]
    pub fn gateway_authority(&self) -> String {
        self.active.authority(Port::ServletHttps)
    }
}

impl View<'_> {
    /// Whether this node publishes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.node.name == self.setup.active.name
    }
}

impl Node {
    /// A port of the product on this node.
    #[must_use]
    pub fn port(&self, port: Port) -> u16 {
        port as u16 + self.offset
    }

    /// `host:port`, the host in brackets where it is an IPv6 address.
    #[must_use]
    pub fn authority(&self, port: Port) -> String {
        authority(&self.host, self.port(port))
    }
}

impl LoadBalancer {
    /// `host`, and the port unless it is HTTPS' own.
    #[must_use]
    pub fn https_authority(&self) -> String {
        let whole = authority(&self.host, self.https_port);
        match whole.strip_suffix(":443") {
            Some(host) if self.https_port == 443 => host.to_owned(),
            _ => whole,
        }
    }
}

impl Database {
    /// The address of a schema, without properties.
    #[must_use]
    pub fn jdbc_address(&self, schema: &str) -> String {
        let scheme = match self.engine {
            Engine::MariaDb => "mariadb",
            _ => "mysql",
        };
        format!(
            "jdbc:{scheme}://{}/{schema}",
            authority(&self.host, self.port)
        )
    }

    /// The JDBC URL of a schema. MySQL 8 hands its public key over only on
    /// request, and without TLS the driver needs it to send the password.
    #[must_use]
    pub fn jdbc_url(&self, schema: &str) -> String {
        let more = match self.engine {
            Engine::MySql8 => "&allowPublicKeyRetrieval=true",
            _ => "",
        };
        let address = self.jdbc_address(schema);
        format!("{address}?autoReconnect=true&useSSL=false{more}")
    }

    /// The driver's class.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self.engine {
            Engine::MySql56 | Engine::MySql57 => "com.mysql.jdbc.Driver",
            Engine::MySql8 => "com.mysql.cj.jdbc.Driver",
            Engine::MariaDb => "org.mariadb.jdbc.Driver",
        }
    }

    /// Whether the database is on the machine of a node, or on loopback.
    #[must_use]
    pub fn is_on(&self, nodes: [&Node; 2]) -> bool {
        is_loopback(&self.host) || nodes.iter().any(|node| node.host == self.host)
    }
}

impl Tree {
    /// Every tree, in the order they are offered.
    pub const ALL: [Self; 4] = [
        Self::SynapseConfigs,
        Self::ExecutionPlans,
        Self::UserStores,
        Self::Tenants,
    ];

    /// Its name, the same on both nodes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SynapseConfigs => "synapse-configs",
            Self::ExecutionPlans => "executionplans",
            Self::UserStores => "userstores",
            Self::Tenants => "tenants",
        }
    }

    /// Where it is in an `APIM_HOME`.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::SynapseConfigs => "repository/deployment/server/synapse-configs",
            Self::ExecutionPlans => "repository/deployment/server/executionplans",
            Self::UserStores => "repository/deployment/server/userstores",
            Self::Tenants => "repository/tenants",
        }
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Whether a host is this machine and no other.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
