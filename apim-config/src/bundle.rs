//! Everything a description leads to, as files to write.

use std::path::PathBuf;

use thiserror::Error;

use crate::{
    finding::Refusal,
    generate::{
        checklist::{checklist, config_path},
        engine, firewall, hosts, nginx, sql, systemd,
    },
    home::{Home, HomeError},
    plan::plan,
    secret::Secrets,
    setup::{Setup, View},
    skeleton::skeleton,
    version::Version,
};

/// A file to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Relative to the output directory.
    pub path: String,
    /// What it holds.
    pub content: Vec<u8>,
    /// Whether it holds a password, and so is for its owner only.
    pub secret: bool,
}

/// What to generate from.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The description.
    pub setup: &'a Setup,
    /// What its files need and nobody is shown.
    pub secrets: &'a Secrets,
    /// A home to patch; snippets are written without.
    pub home: Option<&'a Home>,
    /// Which database scripts there are.
    pub scripts: sql::Scripts,
    /// The home whose scripts are run, as the scripts name it.
    pub scripts_home: PathBuf,
}

/// Why nothing is generated.
#[derive(Debug, Error)]
pub enum BundleError {
    /// Neither the description nor a home says which release it is.
    #[error(
        "neither the description (`version`) nor a home says which release of API Manager it is"
    )]
    NoVersion,
    /// The home is of no known release.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file of the home is damaged.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
    /// No script for the database.
    #[error(transparent)]
    Sql(#[from] sql::SqlError),
}

fn list(refusals: &[Refusal]) -> String {
    let lines: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
    lines.join("; ")
}

/// Generates everything, or nothing.
///
/// # Errors
/// When the release is not known or a file of the home is damaged.
pub fn bundle(sources: &Sources<'_>) -> Result<Vec<Output>, BundleError> {
    let Sources { setup, secrets, .. } = *sources;
    let version = match sources.home {
        Some(home) => home.version(setup.version)?,
        None => setup.version.ok_or(BundleError::NoVersion)?,
    };
    let mut outputs = Vec::new();
    for view in setup.views() {
        outputs.extend(home_files(sources, view, version)?);
        outputs.extend(engine_files(view));
    }
    let layout = version.layout();
    let mut databases = open(
        "database/01-databases.sql",
        sql::databases(setup, layout, &secrets.database),
    );
    databases.secret = true;
    outputs.push(databases);
    let mut of_scripts = setup.clone();
    of_scripts.active.home.clone_from(&sources.scripts_home);
    outputs.push(open(
        "database/02-tables.sql",
        sql::tables(&of_scripts, layout, &sources.scripts)?,
    ));
    outputs.push(open("nginx/nginx.conf", nginx::nginx_conf(setup, layout)));
    outputs.push(open("hosts", hosts::hosts(setup)));
    let patched = sources.home.is_some();
    outputs.push(open("CHECKLIST.md", checklist(setup, version, patched)));
    Ok(outputs)
}

fn open(path: impl Into<String>, content: String) -> Output {
    Output {
        path: path.into(),
        content: content.into_bytes(),
        secret: false,
    }
}

/// The patched and new files of a node's home, or the snippets for them.
fn home_files(
    sources: &Sources<'_>,
    view: View<'_>,
    version: Version,
) -> Result<Vec<Output>, BundleError> {
    let bare = sources.home.is_none().then(|| skeleton(version));
    let home = sources.home.or(bare.as_ref());
    let home = home.ok_or(BundleError::NoVersion)?;
    let plan = plan(home, view, sources.secrets)?;
    if !plan.refusals.is_empty() {
        return Err(BundleError::Refused(plan.refusals));
    }
    let output = |file: crate::plan::FilePlan| {
        let is_snippet = bare.is_some() && file.before.is_some();
        let ending = if is_snippet { ".snippet" } else { "" };
        Output {
            path: format!("{}/{}{ending}", view.node.name, file.path),
            content: file.after,
            secret: file.secret,
        }
    };
    let all = plan.files.into_iter().chain(plan.intact);
    Ok(all.map(output).collect())
}

fn engine_files(view: View<'_>) -> Vec<Output> {
    let name = &view.node.name;
    let unit = systemd::unit(view, config_path(view).as_ref());
    vec![
        open(
            format!("{name}/apim-sync.toml"),
            engine::engine_config(view),
        ),
        open(format!("{name}/systemd/{}", systemd::unit_name(view)), unit),
        open(format!("{name}/firewall.txt"), firewall::firewall(view)),
    ]
}
