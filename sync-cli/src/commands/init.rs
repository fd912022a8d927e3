//! `init`: a node's identity, state and commented configuration.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{self, Path, PathBuf},
};

use serde::Serialize;
use sync_daemon::{
    config::{Config, Listen},
    events::{Role, SCHEMA},
    failure::{Failure, FailureKind},
    identity::{Identity, NodeId},
    standing::Standing,
    transport::AddressError,
};

pub(super) use self::text::{NewNode, NewTree};
use super::Context;
use crate::{
    args::{Init, RoleArg},
    error::Outcome,
    terminal::{Line, Paint},
};

mod text;
mod trees;

/// A new node as a line of JSON.
#[derive(Serialize)]
struct NodeLine<'a> {
    message_type: &'static str,
    schema: u32,
    node: &'a str,
    id: NodeId,
    role: Role,
    config: String,
    state_dir: String,
}

pub(crate) fn run(context: &Context, args: &Init) -> Outcome {
    let file = absolute(&context.global.config)?;
    let role = match args.role {
        RoleArg::Active => Role::Active,
        RoleArg::Passive => Role::Passive,
    };
    let Some(name) = &args.name else {
        return keep_config(context, &file, role);
    };
    refuse_existing(&file)?;
    let state_dir = absolute(&args.state_dir)?;
    let node = NewNode {
        name: name.clone(),
        listen: listen(&args.listen)?,
        trees: trees::choose(context, args, &state_dir)?,
        state_dir,
    };
    let (id, _) = create(&file, &node, role)?;
    let line = NodeLine {
        message_type: "node",
        schema: SCHEMA,
        node: &node.name,
        id,
        role,
        config: file.display().to_string(),
        state_dir: node.state_dir.display().to_string(),
    };
    tell(context, &line);
    Ok(())
}

/// Makes the key and the state that a configuration names, which is there and
/// stays as it is.
fn keep_config(context: &Context, file: &Path, role: Role) -> Outcome {
    let config = Config::load(file)?;
    for tree in &config.trees {
        trees::tell_if_absent(context, &tree.name, &tree.path);
    }
    let state_dir = &config.node.state_dir;
    let id = make_state(state_dir, role)?;
    let line = NodeLine {
        message_type: "node",
        schema: SCHEMA,
        node: config.node.name.as_str(),
        id,
        role,
        config: file.display().to_string(),
        state_dir: state_dir.display().to_string(),
    };
    tell(context, &line);
    Ok(())
}

fn tell(context: &Context, node: &NodeLine<'_>) {
    let terminal = &context.terminal;
    if terminal.json() {
        terminal.answer_json(node);
        return;
    }
    let role = format!(" is a new {} node", node.role.name());
    terminal.note(&Line::painted(Paint::Bold, node.node).text(role));
    terminal.note(&Line::new(format!("  configuration  {}", node.config)));
    terminal.note(&Line::new(format!("  key and state  {}", node.state_dir)));
    terminal.answer(&Line::new(format!("id: {}", node.id)));
    let next = "next: `apim-sync invite` on one node, `apim-sync join` on the other, then \
                `apim-sync daemon` on both";
    terminal.note(&Line::new(next));
}

fn listen(text: &str) -> Result<Listen, Failure> {
    text.parse().map_err(|error: AddressError| {
        Failure::new(FailureKind::Usage, format!("--listen: {error}"))
            .hint("`--listen 0.0.0.0:7420` listens on every interface")
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path::absolute(path)
        .map(|path| tidy(&path))
        .map_err(|error| {
            let doing = format!("making `{}` absolute", path.display());
            Failure::caused_by(FailureKind::Usage, doing, &error)
        })
}

/// The path without `.` and `..`, as a shell shows it.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            path::Component::ParentDir => {
                tidy.pop();
            }
            component => tidy.push(component),
        }
    }
    tidy
}

fn refuse_existing(file: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    let file = file.display();
    Err(Failure::new(
        FailureKind::Failed,
        format!("making a new node: `{file}` exists already and is not overwritten"),
    )
    .hint(
        "name another file with `-C FILE`; `--keep-config` makes the node that this one describes; `apim-sync status` shows one that is there",
    ))
}

/// Makes the node: its configuration in `file`, its key and state. What is
/// written is checked first, so that a bad flag leaves nothing.
pub(super) fn create(file: &Path, node: &NewNode, role: Role) -> Result<(NodeId, Config), Failure> {
    let text = text::config(node);
    let config = Config::from_text(&text, file)?;
    let id = make(file, &text, &node.state_dir, role)?;
    Ok((id, config))
}

/// Makes the configuration first, as it is what reserves the place; takes it
/// back if the rest cannot be made.
fn make(file: &Path, text: &str, state_dir: &Path, role: Role) -> Result<NodeId, Failure> {
    write_config(file, text).map_err(|error| {
        let doing = format!("writing the configuration `{}`", file.display());
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("run as a user who may write there, or name another file with `-C FILE`")
    })?;
    make_state(state_dir, role).inspect_err(|_| {
        // Best effort: the failure that matters is the one that is returned.
        let _ = fs::remove_file(file);
    })
}

fn write_config(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn make_state(state_dir: &Path, role: Role) -> Result<NodeId, Failure> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(state_dir);
    made.map_err(|error| {
        let doing = format!("making the state directory `{}`", state_dir.display());
        Failure::caused_by(FailureKind::Failed, doing, &error)
            .hint("run as a user who may write there, or name another with `--state-dir`")
    })?;
    let identity = Identity::create(state_dir)?;
    Standing::create(state_dir, role)?;
    Ok(identity.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_dots() {
        assert_eq!(tidy(Path::new("/a/./b/../c/")), Path::new("/a/c"));
        assert_eq!(tidy(Path::new("/../a")), Path::new("/a"));
    }
}
