//! `config apply`: patch one node's home.

use std::path::Path;

use apim_config::plan::{FilePlan, Plan, plan};
use serde::Serialize;
use sync_daemon::events::SCHEMA;

use super::{
    Context, backup, description,
    files::{NewFile, sweep, write_all},
    home,
};
use crate::{
    args::config::Apply,
    error::Outcome,
    terminal::{Line, Paint},
};

/// A file that was, or would be, changed, as a line of JSON.
#[derive(Serialize)]
struct FileLine<'a> {
    message_type: &'static str,
    schema: u32,
    path: &'a str,
    action: &'static str,
    secret: bool,
    dry_run: bool,
    diff: String,
}

pub(super) fn run(context: &Context, args: &Apply) -> Outcome {
    let setup = description::setup(context, &args.setup.setup)?;
    let view = description::view(&setup, &args.home.node)?;
    let secrets = description::secrets(context, &setup, &args.setup.setup)?;
    let root = home::absolute(&args.home.home)?;
    let home = home::read(&root)?;
    let plan = plan(&home, view, &secrets).map_err(|error| home::refused(&root, &error))?;
    home::refuse(&root, &plan)?;
    if !args.dry_run {
        sweep(&files(&root, &plan.intact))?;
    }
    if args.dry_run || plan.files.is_empty() {
        show(context, &plan.files, args.dry_run);
        tell_end(context, &args.home.node, &plan, args.dry_run);
        return Ok(());
    }
    let backups = args.backup_dir.as_ref().unwrap_or(&view.node.state_dir);
    let place = backup::place(backups, plan.version, &root);
    let copied = backup::keep(&place, &root, &plan.files)?;
    write_all(&files(&root, &plan.files))?;
    show(context, &plan.files, false);
    if copied > 0 {
        let line = format!("what was there before is in `{}`", place.display());
        context.terminal.note(&Line::new(line));
    }
    tell_end(context, &args.home.node, &plan, false);
    Ok(())
}

/// Shows every file that changes: as a diff where nothing is done yet.
pub(super) fn show(context: &Context, files: &[FilePlan], dry_run: bool) {
    let terminal = &context.terminal;
    for file in files {
        let action = if file.before.is_some() {
            "update"
        } else {
            "create"
        };
        if terminal.json() {
            terminal.answer_json(&FileLine {
                message_type: "file",
                schema: SCHEMA,
                path: &file.path,
                action,
                secret: file.secret,
                dry_run,
                diff: file.diff(),
            });
        } else if dry_run {
            terminal.answer_raw(&file.diff());
        } else {
            terminal.answer(&Line::new(format!("{action} {}", file.path)));
        }
    }
}

/// The plan's files, to be written below a home.
pub(super) fn files(root: &Path, files: &[FilePlan]) -> Vec<NewFile> {
    let new = |file: &FilePlan| NewFile {
        path: root.join(&file.path),
        before: file.before.clone(),
        content: file.after.clone(),
        secret: file.secret,
    };
    files.iter().map(new).collect()
}

fn tell_end(context: &Context, node: &str, plan: &Plan, dry_run: bool) {
    let count = plan.files.len();
    let files = if count == 1 { "file" } else { "files" };
    let end = match (count, dry_run) {
        (0, _) => " is as the description says: nothing to change".to_owned(),
        (_, true) => format!(": {count} {files} would change"),
        (_, false) => format!(": {count} {files} changed; restart its server for them to count"),
    };
    context
        .terminal
        .note(&Line::painted(Paint::Bold, node).text(end));
    if count > 0 && !dry_run {
        let next = format!("next: `apim-sync config check --node {node} --home ...`");
        context.terminal.note(&Line::new(next));
    }
}
