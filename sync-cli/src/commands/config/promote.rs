//! `config promote`: a home and the description follow a promotion.

use std::path::Path;

use apim_config::{
    plan::{Plan, gateway_plan},
    setup::{Setup, text_with_active},
};
use sync_daemon::failure::{Failure, FailureKind};

use super::{
    Context,
    apply::{files, show},
    backup, description,
    files::{NewFile, write_all},
    home,
};
use crate::{
    args::config::Promote,
    error::Outcome,
    terminal::{Line, Paint},
};

pub(super) fn run(context: &Context, args: &Promote) -> Outcome {
    let file = &args.setup.setup;
    let text = description::text(file)?;
    let setup = description::parse(file, &text)?;
    description::view(&setup, &args.node)?;
    let promoted = setup.with_active(&args.node);
    let [view, _] = promoted.views();
    let root = &home::absolute(&args.home)?;
    let home = home::read(root)?;
    let plan = gateway_plan(&home, view).map_err(|error| home::refused(root, &error))?;
    home::refuse(root, &plan)?;
    let described = new_description(file, &text, &args.node)?;
    if !args.dry_run {
        keep_originals(context, &setup, root, &plan);
        let mut all = files(root, &plan.files);
        all.extend(described.clone());
        write_all(&all)?;
    }
    show(context, &plan.files, args.dry_run);
    tell(context, args, (plan.files.len(), described.is_some()));
    Ok(())
}

/// Copies what changes as `apply` does. A promotion does not fail for want of it:
/// the node that is promoted may be short of space, and has no time.
fn keep_originals(context: &Context, setup: &Setup, root: &Path, plan: &Plan) {
    let mut nodes = setup.nodes().into_iter();
    let owner = nodes.find(|node| node.home == root);
    let state = &owner.unwrap_or(&setup.active).state_dir;
    let place = backup::place(state, plan.version, root);
    match backup::keep(&place, root, &plan.files) {
        Ok(0) => {}
        Ok(_) => {
            let line = format!("what was there before is in `{}`", place.display());
            context.terminal.note(&Line::new(line));
        }
        Err(failure) => {
            let warning = format!(
                ": {}; the promotion goes on without the copy",
                failure.message
            );
            let line = Line::painted(Paint::Yellow, "warning").text(warning);
            context.terminal.complain(&line);
        }
    }
}

/// The description with the other node as the active one, if it changes.
fn new_description(file: &Path, text: &str, node: &str) -> Result<Option<NewFile>, Failure> {
    let after = text_with_active(text, node).map_err(|error| {
        let doing = format!("changing the description `{}`", file.display());
        Failure::caused_by(FailureKind::Usage, doing, &error)
    })?;
    Ok((after != text).then(|| NewFile {
        path: file.to_owned(),
        before: Some(text.as_bytes().to_vec()),
        content: after.into_bytes(),
        secret: false,
    }))
}

fn tell(context: &Context, args: &Promote, (files, described): (usize, bool)) {
    let would = if args.dry_run { "would name" } else { "names" };
    let terminal = &context.terminal;
    let node = args.node.as_str();
    let home = if files > 0 {
        format!(
            "{} {would} {node}'s gateway now; restart its server for it to count",
            args.home.display()
        )
    } else {
        format!("{} names {node}'s gateway already", args.home.display())
    };
    terminal.note(&Line::new(home));
    if described {
        let line = format!("{} {would} {node} as active", args.setup.setup.display());
        terminal.note(&Line::new(line));
    }
    if !args.dry_run && (files > 0 || described) {
        let next = ": the same command on the other node, and `apim-sync config generate` for the load balancer, whose primary is still the old one";
        terminal.note(&Line::painted(Paint::Bold, "next").text(next));
    }
}
