//! `completions` and `man`: what is generated from the command line itself.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_mangen::Man as Page;
use sync_daemon::failure::{Failure, FailureKind};

use super::Context;
use crate::{
    args::{Cli, Completions, Man},
    error::Outcome,
};

pub(crate) fn completions(context: &Context, args: &Completions) -> Outcome {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "apim-sync", &mut script);
    context
        .terminal
        .answer_raw(&String::from_utf8_lossy(&script));
    Ok(())
}

pub(crate) fn man(context: &Context, args: &Man) -> Outcome {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            let rendered = Page::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| failed("rendering the manual page".into(), &error))?;
            context.terminal.answer_raw(&String::from_utf8_lossy(&page));
        }
        Some(directory) => {
            write_all(directory).map_err(|error| {
                let doing = format!("writing manual pages into `{}`", directory.display());
                failed(doing, &error).hint("name a directory that can be written with `--dir`")
            })?;
        }
    }
    Ok(())
}

/// A page for the command and for every command below it.
fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}

fn failed(doing: String, error: &io::Error) -> Failure {
    Failure::caused_by(FailureKind::Failed, doing, error)
}
