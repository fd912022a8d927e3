//! The files of an `APIM_HOME` that the setup touches, in memory.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::{
    patch::xml::{Xml, text_of},
    text::Text,
    version::{Layout, Version, VersionError},
};

/// Where a home says which release it is and which kernel it is built on.
const VERSION_FILES: [&str; 2] = ["bin/version.txt", "bin/wso2carbon-version.txt"];
const CARBON: &str = "repository/conf/carbon.xml";
/// What 3.x is configured by, and 2.x does not have.
pub const DEPLOYMENT_TOML: &str = "repository/conf/deployment.toml";

/// Files that are read, wherever they exist.
pub const FILES: [&str; 15] = [
    VERSION_FILES[0],
    VERSION_FILES[1],
    DEPLOYMENT_TOML,
    CARBON,
    "repository/conf/datasources/master-datasources.xml",
    "repository/conf/user-mgt.xml",
    "repository/conf/registry.xml",
    "repository/conf/axis2/axis2.xml",
    "repository/conf/api-manager.xml",
    "repository/conf/jndi.properties",
    "repository/conf/jndi2.properties",
    "repository/conf/tomcat/catalina-server.xml",
    "repository/deployment/server/jaggeryapps/store/site/conf/site.json",
    "repository/deployment/server/jaggeryapps/publisher/site/conf/site.json",
    "repository/deployment/server/jaggeryapps/admin/site/conf/site.json",
];

/// Directories whose files are read, by the ending of their names.
pub const DIRECTORIES: [(&str, &str); 3] = [
    (PUBLISHERS, ".xml"),
    (DATA_SOURCES, "-datasources.xml"),
    ("repository/resources/security", ".jks"),
];
/// Directories whose names are read, but no content.
pub const NAMES: [&str; 2] = [LIBRARIES, SCRIPTS];

/// Data sources: the server reads every `*-datasources.xml` here.
pub const DATA_SOURCES: &str = "repository/conf/datasources";
/// Event publishers, which the server deploys from here.
pub const PUBLISHERS: &str = "repository/deployment/server/eventpublishers";
/// Libraries of the server, the JDBC driver among them.
pub const LIBRARIES: &str = "repository/components/lib";
/// Scripts of the API Manager's schema.
pub const SCRIPTS: &str = "dbscripts/apimgt";

/// An `APIM_HOME` as far as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Home {
    files: BTreeMap<String, Vec<u8>>,
    names: BTreeMap<String, Vec<String>>,
    /// Files that others than their owner can read.
    readable: BTreeSet<String>,
}

/// A place that says which release a home is.
struct Evidence {
    said: String,
    /// One release, or those that a kernel was used for.
    releases: Vec<Version>,
}

/// Why a home is not touched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HomeError {
    /// Nothing says which release it is.
    #[error("neither {} nor {CARBON} says which release of API Manager it is; is it an APIM_HOME?", VERSION_FILES.join(" nor "))]
    NoVersion,
    /// It says so, but the release is not known.
    #[error("{said}: {reason}")]
    Version {
        /// The file and what it says.
        said: String,
        /// Why it is refused.
        reason: VersionError,
    },
    /// Files of two releases.
    #[error("it is a mix of releases: {0}")]
    Mixed(String),
    /// Another release than the description's.
    #[error("it is API Manager {found}, the description says {wanted}")]
    Other {
        /// What the home is.
        found: Version,
        /// What the description says.
        wanted: Version,
    },
}

impl Home {
    /// Adds a file that was read.
    pub fn insert(&mut self, path: impl Into<String>, content: Vec<u8>) {
        self.files.insert(path.into(), content);
    }

    /// Adds the names of the files in a directory.
    pub fn insert_names(&mut self, directory: impl Into<String>, names: Vec<String>) {
        self.names.insert(directory.into(), names);
    }

    /// Notes that others than its owner can read a file.
    pub fn mark_readable(&mut self, path: impl Into<String>) {
        self.readable.insert(path.into());
    }

    /// Whether others than its owner can read a file.
    #[must_use]
    pub fn is_readable(&self, path: &str) -> bool {
        self.readable.contains(path)
    }

    /// The content of a file.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The names of the files in a directory that was listed.
    #[must_use]
    pub fn names(&self, directory: &str) -> &[String] {
        self.names.get(directory).map_or(&[], Vec::as_slice)
    }

    /// The files that were read in a directory.
    pub fn in_directory<'h>(
        &'h self,
        directory: &'h str,
    ) -> impl Iterator<Item = (&'h str, &'h [u8])> {
        let in_it = move |path: &str| {
            path.strip_prefix(directory)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !name.contains('/'))
        };
        self.files
            .iter()
            .filter(move |(path, _)| in_it(path))
            .map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// Which release it is. Everything that says so has to agree.
    ///
    /// # Errors
    /// When nothing says so, or not the same, or it is not known.
    pub fn version(&self, described: Option<Version>) -> Result<Version, HomeError> {
        let evidence = self.evidence()?;
        let exact = evidence.iter().find(|it| it.releases.len() == 1);
        let found = exact.ok_or(HomeError::NoVersion)?.releases[0];
        let agrees = |it: &Evidence| it.releases.iter().any(|release| release.same_line(found));
        if !evidence.iter().all(agrees) {
            let said: Vec<_> = evidence.iter().map(|it| it.said.as_str()).collect();
            return Err(HomeError::Mixed(said.join(", ")));
        }
        self.check_layout(found)?;
        match described {
            Some(wanted) if !found.same_line(wanted) => Err(HomeError::Other { found, wanted }),
            _ => Ok(found),
        }
    }

    /// Everything that says which release it is: the product's name first.
    fn evidence(&self) -> Result<Vec<Evidence>, HomeError> {
        let mut named = Vec::new();
        let mut kernels = Vec::new();
        for (file, line) in self.version_lines() {
            let said = format!("{file} says `{line}`");
            if let Some(releases) = Version::of_kernel(&line) {
                kernels.push(Evidence { said, releases });
            } else if let Some(version) = Version::of_product(&line) {
                let releases = match version {
                    Ok(version) => vec![version],
                    Err(reason) => return Err(HomeError::Version { said, reason }),
                };
                named.push(Evidence { said, releases });
            }
        }
        match self.carbon_says() {
            Some((said, Ok(version))) => named.push(Evidence {
                said,
                releases: vec![version],
            }),
            // What is written there is not always a release; the name decides.
            Some((said, Err(reason))) if named.is_empty() => {
                return Err(HomeError::Version { said, reason });
            }
            _ => {}
        }
        kernels.retain(|it| !it.releases.is_empty());
        named.extend(kernels);
        Ok(named)
    }

    fn version_lines(&self) -> Vec<(&'static str, String)> {
        let lines = |file| {
            let text = String::from_utf8_lossy(self.file(file).unwrap_or_default()).into_owned();
            let lines = text.lines().map(|line| (file, line.trim().to_owned()));
            lines.collect::<Vec<_>>()
        };
        VERSION_FILES.into_iter().flat_map(lines).collect()
    }

    /// `carbon.xml` carries the release too. A damaged one is told about when it
    /// is edited.
    fn carbon_says(&self) -> Option<(String, Result<Version, VersionError>)> {
        let text = Text::of_xml(self.file(CARBON)?).ok()?;
        let xml = Xml::parse(CARBON, &text.text).ok()?;
        let root = xml.root("Server").ok()?;
        let named = text_of(xml.one(root, "Version").ok()?);
        Some((format!("{CARBON} says `{named}`"), named.parse()))
    }

    fn check_layout(&self, version: Version) -> Result<(), HomeError> {
        let has_toml = self.file(DEPLOYMENT_TOML).is_some();
        match version.layout() {
            Layout::Files if has_toml => Err(HomeError::Mixed(format!(
                "it says {version}, but there is a {DEPLOYMENT_TOML}, which came with 3.0"
            ))),
            Layout::DeploymentToml if !has_toml => Err(HomeError::Mixed(format!(
                "it says {version}, but there is no {DEPLOYMENT_TOML}"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(version: &str, carbon: &str) -> Home {
        let mut home = Home::default();
        home.insert(VERSION_FILES[0], version.as_bytes().to_vec());
        let carbon = format!("<Server><Version>{carbon}</Version></Server>");
        home.insert(CARBON, carbon.into_bytes());
        home
    }

    #[test]
    fn a_home_says_which_release_it_is() {
        let version = home("WSO2 API Manager v2.6.0\n", "2.6.0").version(None);
        assert_eq!(version.unwrap().to_string(), "2.6.0");
    }

    #[test]
    fn unknown_and_mixed_homes_are_refused_with_what_was_found() {
        let refusal = |home: &Home| home.version(None).unwrap_err().to_string();
        let mixed = refusal(&home("WSO2 API Manager v2.6.0", "2.1.0"));
        assert!(
            mixed.contains("2.6.0") && mixed.contains("2.1.0"),
            "{mixed}"
        );
        assert!(refusal(&home("WSO2 API Manager v2.3.0", "2.3.0")).contains("not known"));
        let mut kernel = home("WSO2 API Manager v2.6.0", "2.6.0");
        kernel.insert(VERSION_FILES[1], b"WSO2 Carbon Framework v4.4.11".to_vec());
        assert!(refusal(&kernel).contains("v4.4.11"), "{}", refusal(&kernel));
        assert!(refusal(&Home::default()).contains("APIM_HOME"));
        let mut toml = home("WSO2 API Manager v2.6.0", "2.6.0");
        toml.insert(DEPLOYMENT_TOML, Vec::new());
        assert!(refusal(&toml).contains("came with 3.0"));
        let three = home("WSO2 API Manager v3.2.0", "3.2.0");
        assert!(refusal(&three).contains("no repository/conf/deployment.toml"));
        let other = home("WSO2 API Manager v2.6.0", "2.6.0").version("2.1.0".parse().ok());
        assert!(
            other
                .unwrap_err()
                .to_string()
                .contains("the description says 2.1.0")
        );
    }

    #[test]
    fn a_directory_holds_its_own_files_only() {
        let mut home = Home::default();
        for path in ["d/a.xml", "d/e/b.xml", "dd/c.xml"] {
            home.insert(path, Vec::new());
        }
        let found: Vec<_> = home.in_directory("d").map(|(path, _)| path).collect();
        assert_eq!(found, ["d/a.xml"]);
    }
}
