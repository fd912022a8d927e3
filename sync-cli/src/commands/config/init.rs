//! `config init`: a commented description.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{self, Path},
};

use apim_config::{
    setup::{Known, Setup, Tree, template},
    version::VersionError,
};
use sync_daemon::failure::{Failure, FailureKind};

use super::{Context, home};
use crate::{
    args::config::Init,
    error::Outcome,
    terminal::{Line, Paint},
};

pub(super) fn run(context: &Context, args: &Init) -> Outcome {
    let mut known = Known {
        active_host: args.active_host.clone(),
        passive_host: args.passive_host.clone(),
        load_balancer_host: args.load_balancer_host.clone(),
        database_host: args.database_host.clone(),
        ..Known::default()
    };
    if let Some(root) = &args.home {
        look_at(root, &mut known)?;
    }
    if let Some(version) = &args.api_manager {
        known.version = Some(version.parse().map_err(|error: VersionError| {
            Failure::caused_by(FailureKind::Usage, "--api-manager", &error)
                .hint("the release, such as `2.6.0`; a home says it too: `--home DIR`")
        })?);
    }
    let text = template(&known);
    Setup::parse(&text).map_err(|error| {
        Failure::caused_by(FailureKind::Usage, "describing the pair", &error)
            .hint("correct the host that is named")
    })?;
    let file = &args.setup.setup;
    write_new(file, &text).map_err(|error| {
        let doing = format!("writing the description `{}`", file.display());
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "it is there already and is not overwritten; name another with `--setup FILE`"
            }
            _ => "name another with `--setup FILE`",
        };
        Failure::caused_by(FailureKind::Failed, doing, &error).hint(hint)
    })?;
    let version = known
        .version
        .map_or_else(String::new, |version| format!(" for API Manager {version}"));
    let terminal = &context.terminal;
    let line = Line::painted(Paint::Bold, file.display().to_string());
    terminal.answer(&line.text(format!(" is a new description{version}")));
    let next = "next: say in it where the nodes, the load balancer and the database are, then `apim-sync config generate --out DIR`";
    terminal.note(&Line::new(next));
    Ok(())
}

fn look_at(root: &Path, known: &mut Known) -> Result<(), Failure> {
    let home = home::read(root)?;
    known.version = Some(
        home.version(None)
            .map_err(|error| home::refused(root, &error))?,
    );
    let absolute = path::absolute(root).unwrap_or_else(|_| root.to_owned());
    known.home = Some(absolute.display().to_string());
    let filled = |tree: &Tree| {
        let always = matches!(tree, Tree::SynapseConfigs | Tree::ExecutionPlans);
        let path = root.join(tree.path());
        always || fs::read_dir(path).is_ok_and(|mut listing| listing.next().is_some())
    };
    let trees = Tree::ALL.into_iter().filter(filled);
    known.trees = trees.map(Tree::name).collect();
    Ok(())
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
