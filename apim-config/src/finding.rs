//! What is not as it should be in a home, and where.

use std::fmt;

use thiserror::Error;

/// A step of the setup. The numbers are those of the documentation and never
/// change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Row {
    /// `master-datasources.xml`.
    DataSources = 1,
    /// The JDBC driver in `components/lib`.
    Connector = 4,
    /// `user-mgt.xml`.
    Users = 5,
    /// `registry.xml`.
    Registry = 6,
    /// The keystore.
    Keystore = 7,
    /// `site.json` of the portals.
    Portals = 9,
    /// The cluster in `axis2.xml`.
    Cluster = 10,
    /// Where APIs are published to.
    Gateway = 11,
    /// `jndi2.properties`: the other node's broker.
    OtherBroker = 13,
    /// The event publishers that feed it.
    Publishers = 14,
    /// Offset and host names in `carbon.xml`.
    Carbon = 15,
    /// Proxy ports in `catalina-server.xml`.
    Tomcat = 16,
    /// `jndi.properties`: this node's broker.
    OwnBroker = 17,
    /// Throttle events to both nodes.
    Throttling = 18,
    /// Ports of the key validation.
    KeyValidation = 19,
    /// `deployment.toml` of 3.x.
    DeploymentToml = 21,
}

impl Row {
    /// Its number in the documentation.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// What it is about.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::DataSources => "data sources",
            Self::Connector => "JDBC driver",
            Self::Users => "user store and administrator",
            Self::Registry => "registry mounts",
            Self::Keystore => "keystore",
            Self::Portals => "portals behind the load balancer",
            Self::Cluster => "cluster",
            Self::Gateway => "gateway that is published to",
            Self::OtherBroker => "the other node's broker",
            Self::Publishers => "event publishers",
            Self::Carbon => "port offset and host names",
            Self::Tomcat => "proxy ports",
            Self::OwnBroker => "this node's broker",
            Self::Throttling => "throttle events to both nodes",
            Self::KeyValidation => "key validation ports",
            Self::DeploymentToml => "deployment.toml",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.title())
    }
}

/// How far a place is from what it should be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// It works, but deserves a second look.
    Warning,
    /// It is not there yet.
    Missing,
    /// It is there and says something else.
    Wrong,
    /// The file cannot be understood there, so nothing is changed.
    Damaged,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Damaged => "damaged",
        }
    }
}

/// One place of a home that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The step it belongs to.
    pub row: Row,
    /// How far it is off.
    pub state: State,
    /// The file, relative to `APIM_HOME`.
    pub file: String,
    /// The line, from 1; `None` where the file is absent or has no lines.
    pub line: Option<usize>,
    /// The place in the file: elements, a key.
    pub place: String,
    /// What is there; secrets are masked.
    pub found: Option<String>,
    /// What should be; secrets are masked.
    pub wanted: Option<String>,
    /// What goes wrong otherwise.
    pub why: String,
}

/// Why a file is not edited: the home is then left alone as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}{}: {reason}", place(*line))]
pub struct Refusal {
    /// The file, relative to `APIM_HOME`.
    pub file: String,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub reason: String,
}

fn place(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}
