//! Which trees a new node synchronises: those named, or those of an API Manager.

use std::path::{Path, PathBuf};

use sync_core::{Preset, TreeName};
use sync_daemon::{
    config::work_dir_beside,
    failure::{Failure, FailureKind},
};

use super::{Context, absolute, text::NewTree};
use crate::{
    args::{Init, PresetArg},
    home::Home,
    terminal::Line,
};

/// The trees of a new node.
pub(super) fn choose(
    context: &Context,
    args: &Init,
    state_dir: &Path,
) -> Result<Vec<NewTree>, Failure> {
    let trees = if args.trees.is_empty() {
        let home = home(args.apim_home.as_deref())?;
        let home = Home {
            path: absolute(&home.path)?,
            ..home
        };
        of_home(context, &home)?
    } else {
        named(args)?
    };
    Ok(trees
        .into_iter()
        .map(|(name, path, preset)| new_tree(context, name, path, preset, state_dir))
        .collect())
}

type Tree = (TreeName, PathBuf, Preset);

fn new_tree(
    context: &Context,
    name: TreeName,
    path: PathBuf,
    preset: Preset,
    state_dir: &Path,
) -> NewTree {
    tell_if_absent(context, &name, &path);
    let work_dir = work_dir_beside(&path, name.as_str(), state_dir);
    if let Some(work_dir) = &work_dir {
        let line = format!(
            "tree {name} is on another file system than the state: work_dir = {}",
            work_dir.display()
        );
        context.terminal.note(&Line::new(line));
    }
    NewTree {
        name,
        path,
        preset,
        work_dir,
    }
}

/// A tree that is not there is worth a word: its path may be misspelt.
pub(super) fn tell_if_absent(context: &Context, name: &TreeName, path: &Path) {
    if !path.is_dir() {
        let line = format!("tree {name}: {} does not exist yet", path.display());
        context.terminal.complain(&Line::new(line));
    }
}

fn named(args: &Init) -> Result<Vec<Tree>, Failure> {
    let preset = match args.preset {
        PresetArg::Synapse => Preset::Synapse,
        PresetArg::Tenants => Preset::Tenants,
        PresetArg::Plain => Preset::Plain,
    };
    let tree = |tree: &crate::args::TreeArg| {
        let path = absolute(&tree.path)?;
        Ok((tree.name.clone(), path, preset))
    };
    args.trees.iter().map(tree).collect()
}

/// The API Manager that was named, or the only one that is found.
fn home(named: Option<&Path>) -> Result<Home, Failure> {
    if let Some(path) = named {
        return Home::at(path).ok_or_else(|| {
            let path = path.display();
            Failure::new(
                FailureKind::Usage,
                format!("`{path}` is no API Manager: it has no repository/deployment/server"),
            )
            .hint("name the directory that holds `bin` and `repository`, or use `--tree NAME=PATH`")
        });
    }
    let mut found = Home::find();
    match (found.pop(), found.is_empty()) {
        (Some(home), true) => Ok(home),
        (None, _) => Err(Failure::new(
            FailureKind::Usage,
            "found no API Manager at $CARBON_HOME, here or in /opt",
        )
        .hint("`--apim-home DIR`, or `--tree NAME=PATH`")),
        (Some(last), false) => {
            found.push(last);
            let paths: Vec<_> = found
                .iter()
                .map(|it| it.path.display().to_string())
                .collect();
            let message = format!("found several API Managers: {}", paths.join(", "));
            Err(Failure::new(FailureKind::Usage, message).hint("choose one with `--apim-home`"))
        }
    }
}

/// Takes what is worth synchronising, and says of each tree why or why not.
fn of_home(context: &Context, home: &Home) -> Result<Vec<Tree>, Failure> {
    let product = home
        .product
        .as_deref()
        .unwrap_or("API Manager of unknown version");
    let found = format!("found {product} at {}", home.path.display());
    context.terminal.note(&Line::new(found));
    let mut taken = Vec::new();
    for tree in home.trees() {
        let sign = if tree.taken { '+' } else { '-' };
        let line = format!("  {sign} {:<16} {}", tree.name, tree.reason);
        context.terminal.note(&Line::new(line));
        if tree.taken {
            let name = TreeName::new(tree.name)
                .map_err(|error| Failure::new(FailureKind::Failed, error.to_string()))?;
            taken.push((name, tree.path, tree.preset));
        }
    }
    Ok(taken)
}
