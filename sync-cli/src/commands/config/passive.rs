//! `config passive`: the passive's home as a copy of the active's.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use apim_config::plan::plan;
use sync_daemon::failure::{Failure, FailureKind};

use super::{
    Context,
    apply::files,
    copy, description,
    files::{check_below, write_all},
    home,
};
use crate::{
    args::config::Passive,
    error::Outcome,
    terminal::{Line, Paint},
};

pub(super) fn run(context: &Context, args: &Passive) -> Outcome {
    let setup = description::setup(context, &args.setup.setup)?;
    let secrets = description::secrets(context, &setup, &args.setup.setup)?;
    let [_, view] = setup.views();
    refuse_filled(&args.to)?;
    let home = home::read(&args.from)?;
    let plan = plan(&home, view, &secrets).map_err(|error| home::refused(&args.from, &error))?;
    home::refuse(&args.from, &plan)?;
    let partial = copy::partial_of(&args.to)?;
    let touched = plan.files.iter().chain(&plan.intact);
    let own: Vec<PathBuf> = touched.map(|file| file.path.clone().into()).collect();
    let copied = copy::tree((&args.from, &partial), &own, |progress| {
        context.terminal.progress(&progress);
    })
    .and_then(|copied| {
        let new = files(&partial, &plan.files);
        check_below(&partial, &new)?;
        write_all(&new)?;
        copy::take_place(&partial, &args.to)?;
        Ok(copied)
    });
    context.terminal.clear_progress();
    let copied = copied.inspect_err(|_| {
        // What is left of an unfinished copy is ours; the failure is told.
        let _ = fs::remove_dir_all(&partial);
    })?;
    let line = format!(
        " is the home of {}: {} files, {} bytes; {} of them with its own values",
        view.node.name,
        copied.files,
        copied.bytes,
        plan.files.len()
    );
    let terminal = &context.terminal;
    let to = args.to.display().to_string();
    terminal.answer(&Line::painted(Paint::Bold, to).text(line));
    let left = copy::LEFT_OUT.join(", ");
    terminal.note(&Line::new(format!(
        "left out, as they belong to one node: {left}"
    )));
    let next =
        "next: take repository/database from the pack, `unzip PACK.zip '*/repository/database/*'`";
    terminal.note(&Line::new(next));
    Ok(())
}

/// A directory with something in it is somebody's.
fn refuse_filled(to: &Path) -> Result<(), Failure> {
    let filled = match fs::read_dir(to) {
        Ok(mut listing) => listing.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            let doing = format!("looking at `{}`", to.display());
            return Err(Failure::caused_by(FailureKind::Failed, doing, &error));
        }
    };
    if !filled {
        return Ok(());
    }
    let message = format!("`{}` is not empty: nothing is copied over it", to.display());
    Err(Failure::new(FailureKind::Failed, message)
        .hint("name an empty or absent directory with `--to`"))
}
