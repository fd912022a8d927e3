//! `config generate`: everything that the pair needs, into one directory.

use std::{fs, io, path::Path};

use apim_config::{
    bundle::{BundleError, Output, Sources, bundle},
    generate::sql::Scripts,
};
use serde::Serialize;
use sync_daemon::{
    events::SCHEMA,
    failure::{Failure, FailureKind},
};

use super::{
    Context, description,
    files::{NewFile, write_all},
    home,
};
use crate::{
    args::config::Generate,
    error::Outcome,
    terminal::{Line, Paint},
};

/// A file that was written as a line of JSON.
#[derive(Serialize)]
struct FileLine<'a> {
    message_type: &'static str,
    schema: u32,
    path: &'a str,
    secret: bool,
}

pub(super) fn run(context: &Context, args: &Generate) -> Outcome {
    let setup = description::setup(context, &args.setup.setup)?;
    let secrets = description::secrets(context, &setup, &args.setup.setup)?;
    let home = args.home.as_deref().map(home::read).transpose()?;
    let scripts = scripts(context, args.home.as_deref());
    // The scripts are run where the home is now, if one is given.
    let given = args.home.as_deref().map(home::absolute).transpose()?;
    let scripts_home = given.unwrap_or_else(|| setup.active.home.clone());
    let sources = Sources {
        setup: &setup,
        secrets: &secrets,
        home: home.as_ref(),
        scripts,
        scripts_home,
    };
    let outputs = bundle(&sources).map_err(|error| failed(&error))?;
    write(&args.out, &outputs, args.force)?;
    tell(context, &args.out, &outputs);
    Ok(())
}

/// Which database scripts there are. A home without any is not a whole pack:
/// those of its release are then named.
fn scripts(context: &Context, home: Option<&Path>) -> Scripts {
    let Some(home) = home else {
        return Scripts::unknown();
    };
    let exists = |script: &str| home.join(script).is_file();
    if Scripts::CANDIDATES.into_iter().any(exists) {
        return Scripts::of_home(exists);
    }
    let line = format!(
        "`{}` has no dbscripts: database/02-tables.sql names those of the release's pack",
        home.display()
    );
    context.terminal.complain(&Line::new(line));
    Scripts::unknown()
}

fn failed(error: &BundleError) -> Failure {
    let kind = match error {
        BundleError::Refused(_) => FailureKind::Failed,
        _ => FailureKind::Usage,
    };
    let hint = match error {
        BundleError::NoVersion => "`version = \"2.6.0\"` in the description, or `--home DIR`",
        _ => "correct it and run the command again; nothing was written",
    };
    Failure::caused_by(kind, "generating", error).hint(hint)
}

/// Writes all outputs below `out`, or none. A file that is there already must say
/// the same, or be given up with `--force`.
pub(super) fn write(out: &Path, outputs: &[Output], force: bool) -> Result<(), Failure> {
    let mut files = Vec::new();
    let mut differing = Vec::new();
    for output in outputs {
        let path = out.join(&output.path);
        let before = match fs::read(&path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let doing = format!("reading `{}`", path.display());
                return Err(Failure::caused_by(FailureKind::Failed, doing, &error)
                    .hint("name an empty directory with `--out DIR`"));
            }
        };
        let same = before.as_ref() == Some(&output.content);
        let open = output.secret && same && home::others_read(&path).is_ok_and(|open| open);
        if same && !open {
            continue;
        }
        if before.is_some() && !same {
            differing.push(output.path.as_str());
        }
        files.push(NewFile {
            path,
            before,
            content: output.content.clone(),
            secret: output.secret,
        });
    }
    if !differing.is_empty() && !force {
        let message = format!(
            "writing into `{}`: these files are there and differ: {}",
            out.display(),
            differing.join(", ")
        );
        return Err(Failure::new(FailureKind::Failed, message)
            .hint("name another directory with `--out`, or replace them with `--force`"));
    }
    write_all(&files)
}

fn tell(context: &Context, out: &Path, outputs: &[Output]) {
    let terminal = &context.terminal;
    for output in outputs {
        if terminal.json() {
            terminal.answer_json(&FileLine {
                message_type: "file",
                schema: SCHEMA,
                path: &output.path,
                secret: output.secret,
            });
            continue;
        }
        let line = Line::new(&output.path);
        let line = if output.secret {
            line.paint(Paint::Dim, "  (holds a password: for its owner only)")
        } else {
            line
        };
        terminal.answer(&line);
    }
    let next = format!("next: read `{}`", out.join("CHECKLIST.md").display());
    terminal.note(&Line::new(next));
}
