//! What each file of a home has to say, place by place: the one list that
//! patching and checking share.

use crate::{
    finding::{Refusal, Row},
    home::{DEPLOYMENT_TOML, Home},
    patch::{Changes, properties::Properties, site_json::SiteJson, toml::Toml, xml::Xml},
    secret::Secrets,
    setup::View,
    version::{Layout, Version},
};

mod api_manager;
mod axis2;
mod brokers;
mod carbon;
mod catalina;
mod data_sources;
mod deployment_toml;
mod libraries;
mod portals;
mod publishers;
mod references;
mod registry;
mod users;

pub(crate) use libraries::{connector, keystore};
pub(crate) use publishers::publishers;
pub(crate) use references::undefined;

/// Whose home it is, and of which release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'s> {
    /// The setup as the node sees it.
    pub view: View<'s>,
    /// The home's release.
    pub version: Version,
    /// What its files need and nobody is shown.
    pub secrets: &'s Secrets,
}

type Patched = Result<(), Refusal>;

/// How a file is read, and what is done to it then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patch {
    Xml(fn(&Xml<'_>, &Context<'_>, &mut Changes) -> Patched),
    Properties(fn(&Properties<'_>, &Context<'_>, &mut Changes) -> Patched),
    SiteJson(fn(&SiteJson<'_>, &Context<'_>, &mut Changes) -> Patched),
    Toml(fn(&Toml<'_>, &Context<'_>, &mut Changes) -> Patched),
}

/// A file that has to be there, or that is made.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Relative to `APIM_HOME`.
    pub(crate) path: String,
    /// The steps that it takes, the first one its own.
    pub(crate) rows: &'static [Row],
    pub(crate) patch: Patch,
    /// What the file is made of where it is absent; `None` where it may not be.
    pub(crate) made: Option<String>,
    /// Whether it holds a password.
    pub(crate) secret: bool,
}

impl Part {
    fn present(rows: &'static [Row], path: &str, patch: Patch) -> Self {
        Self {
            path: path.to_owned(),
            rows,
            patch,
            made: None,
            secret: false,
        }
    }

    fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// The file that says where APIs are published to, with every place of it.
fn gateway_file(version: Version) -> Part {
    match version.layout() {
        Layout::DeploymentToml => {
            let rows = &[Row::DeploymentToml, Row::Gateway];
            let patch = Patch::Toml(deployment_toml::patch);
            Part::present(rows, DEPLOYMENT_TOML, patch).secret()
        }
        Layout::Files => {
            let rows = &[Row::Gateway, Row::Throttling, Row::KeyValidation];
            let patch = Patch::Xml(api_manager::patch);
            Part::present(rows, "repository/conf/api-manager.xml", patch)
        }
    }
}

/// The same file with that one place only.
pub(crate) fn gateway_part(version: Version) -> Part {
    let patch = match version.layout() {
        Layout::DeploymentToml => Patch::Toml(deployment_toml::patch_gateway),
        Layout::Files => Patch::Xml(api_manager::patch_gateway),
    };
    Part {
        patch,
        rows: &[Row::Gateway],
        ..gateway_file(version)
    }
}

/// Every file of a home that has something to say; a refusal where the event
/// publishers cannot be told apart.
pub(crate) fn parts(home: &Home, context: &Context<'_>) -> (Vec<Part>, Option<Refusal>) {
    if context.version.layout() == Layout::DeploymentToml {
        return (vec![gateway_file(context.version)], None);
    }
    let conf =
        |row, path: &str, patch| Part::present(row, &format!("repository/conf/{path}"), patch);
    let mut parts = vec![
        conf(
            &[Row::DataSources],
            "datasources/master-datasources.xml",
            Patch::Xml(data_sources::patch),
        )
        .secret(),
        conf(&[Row::Users], "user-mgt.xml", Patch::Xml(users::patch)).secret(),
        conf(
            &[Row::Registry],
            "registry.xml",
            Patch::Xml(registry::patch),
        ),
        conf(&[Row::Cluster], "axis2/axis2.xml", Patch::Xml(axis2::patch)),
        gateway_file(context.version),
        conf(&[Row::Carbon], "carbon.xml", Patch::Xml(carbon::patch)),
        conf(
            &[Row::Tomcat],
            "tomcat/catalina-server.xml",
            Patch::Xml(catalina::patch),
        ),
        conf(
            &[Row::OwnBroker],
            "jndi.properties",
            Patch::Properties(brokers::own),
        )
        .secret(),
        Part {
            made: Some(brokers::made(context)),
            ..conf(
                &[Row::OtherBroker],
                "jndi2.properties",
                Patch::Properties(brokers::other),
            )
            .secret()
        },
    ];
    parts.extend(portals::parts());
    match publishers(home, context) {
        Ok(publishers) => parts.extend(publishers),
        Err(refusal) => return (parts, Some(refusal)),
    }
    (parts, None)
}
