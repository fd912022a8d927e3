//! Which API Manager a home is, and what follows from it.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A release of API Manager, as far as its configuration files depend on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    major: u8,
    minor: u8,
    patch: u8,
}

/// How a release is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// 2.0 to 2.6: many XML and properties files.
    Files,
    /// 3.0 to 3.2: `deployment.toml`, from which the server writes the rest.
    DeploymentToml,
}

/// The releases that are known, by major and minor number.
const KNOWN: [(u8, u8); 8] = [
    (2, 0),
    (2, 1),
    (2, 2),
    (2, 5),
    (2, 6),
    (3, 0),
    (3, 1),
    (3, 2),
];

/// The Carbon kernel of each release (`carbon.kernel.version` of product-apim).
const KERNELS: [(&str, u8, u8); 8] = [
    ("4.4.7", 2, 0),
    ("4.4.11", 2, 1),
    ("4.4.26", 2, 2),
    ("4.4.32", 2, 5),
    ("4.4.35", 2, 6),
    ("4.5.1", 3, 0),
    ("4.6.0", 3, 1),
    ("4.6.0", 3, 2),
];

/// What still applies from 4.0 on, where nothing is generated.
pub const STATEMENT_FOR_4: &str = "\
from API Manager 4.0 on, gateway artifacts are in the database: the server fetches them at its start and removes files that are not in its \
skip_list, so `synapse-configs` must not be synchronised, and this tool writes no configuration for it. What remains in files and is worth \
synchronising: `repository/deployment/server/userstores` if there are secondary user stores, `repository/tenants` for those of tenants, and \
`repository/deployment/server/executionplans` if policies are made by hand";

/// Why a text is not a release that this crate configures.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VersionError {
    /// Not three numbers.
    #[error("`{0}` is not a version such as `2.6.0`")]
    Malformed(String),
    /// A release with another way of working.
    #[error("API Manager {0}: {STATEMENT_FOR_4}")]
    InDatabase(String),
    /// Older, newer or never released.
    #[error(
        "API Manager {0} is not known here; known are 2.0, 2.1, 2.2, 2.5, 2.6, 3.0, 3.1 and 3.2"
    )]
    Unknown(String),
}

impl Version {
    /// How it is configured.
    #[must_use]
    pub fn layout(self) -> Layout {
        if self.major == 2 {
            Layout::Files
        } else {
            Layout::DeploymentToml
        }
    }

    /// Whether two texts name the same files: patch releases do.
    #[must_use]
    pub fn same_line(self, other: Self) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }

    /// 2.5 and 2.6: throttle decisions on two streams, `whiteListedHostNames`.
    #[must_use]
    pub fn has_second_stream(self) -> bool {
        self.major == 2 && self.minor >= 5
    }

    /// From 2.2 on the gateway's receivers stand under `TrafficManager`, before
    /// under `DataPublisher`.
    #[must_use]
    pub fn has_traffic_manager(self) -> bool {
        (self.major, self.minor) >= (2, 2)
    }

    /// What stock data sources of the release say: false from 2.0 to 2.5.
    #[must_use]
    pub fn default_auto_commit(self) -> bool {
        (self.major, self.minor) >= (2, 6)
    }

    /// The release that `WSO2 API Manager v2.6.0` names; `None` where the line is
    /// about something else.
    #[must_use]
    pub fn of_product(line: &str) -> Option<Result<Self, VersionError>> {
        let named = line.trim().strip_prefix("WSO2 API Manager v")?;
        Some(named.parse())
    }

    /// The releases that were built on the kernel that `WSO2 Carbon Framework
    /// v4.4.35` names; `None` where the line is about something else, nothing
    /// where the kernel is not known.
    #[must_use]
    pub fn of_kernel(line: &str) -> Option<Vec<Self>> {
        let named = line.trim().strip_prefix("WSO2 Carbon Framework v")?;
        let built = |(kernel, _, _): &&(&str, u8, u8)| {
            named
                .strip_prefix(kernel)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let releases = KERNELS.iter().filter(built);
        Some(
            releases
                .map(|&(_, major, minor)| Self {
                    major,
                    minor,
                    patch: 0,
                })
                .collect(),
        )
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.trim();
        let malformed = || VersionError::Malformed(text.to_owned());
        let mut numbers = text.splitn(4, '.').map(str::parse::<u8>);
        let major = numbers.next().and_then(Result::ok).ok_or_else(malformed)?;
        let minor = numbers.next().and_then(Result::ok).ok_or_else(malformed)?;
        let patch = match numbers.next() {
            Some(patch) => patch.map_err(|_| malformed())?,
            None => 0,
        };
        if major == 4 {
            return Err(VersionError::InDatabase(text.to_owned()));
        }
        if !KNOWN.contains(&(major, minor)) {
            return Err(VersionError::Unknown(text.to_owned()));
        }
        Ok(Self {
            major,
            minor,
            patch,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_known_by_its_name_and_by_its_kernel() {
        let version = Version::of_product("WSO2 API Manager v2.6.0\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(version.to_string(), "2.6.0");
        assert!(version.default_auto_commit() && version.has_second_stream());
        let updated = Version::of_product("WSO2 API Manager v2.1.0.37")
            .unwrap()
            .unwrap();
        assert!(updated.same_line("2.1.3".parse().unwrap()));
        assert!(Version::of_product("WSO2 Enterprise Integrator v6.1.1").is_none());
        let built = |line| Version::of_kernel(line).unwrap();
        assert_eq!(built("WSO2 Carbon Framework v4.4.35"), [version]);
        assert_eq!(built("WSO2 Carbon Framework v4.6.0").len(), 2);
        assert_eq!(built("WSO2 Carbon Framework v4.4.3"), []);
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_reason() {
        let refusal = |text: &str| text.parse::<Version>().unwrap_err().to_string();
        assert!(refusal("2.4.0").contains("not known"));
        assert!(refusal("5.0.0").contains("known are 2.0"));
        assert!(refusal("4.2.0").contains("userstores"));
        assert!(refusal("two").contains("not a version"));
    }
}
