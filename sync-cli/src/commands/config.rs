//! `config`: the active-passive setup. What it contains is decided in
//! `apim-config`; here files are read, shown and written.

use super::Context;
use crate::{args::config::ConfigCommand, error::Outcome};

mod apply;
mod backup;
mod check;
mod copy;
mod description;
mod files;
mod generate;
mod home;
mod import_rsync;
mod init;
mod passive;
mod promote;

/// Runs one of them.
pub(super) fn run(context: &Context, command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Init(args) => init::run(context, &args),
        ConfigCommand::Generate(args) => generate::run(context, &args),
        ConfigCommand::Apply(args) => apply::run(context, &args),
        ConfigCommand::Check(args) => check::run(context, &args),
        ConfigCommand::Passive(args) => passive::run(context, &args),
        ConfigCommand::Promote(args) => promote::run(context, &args),
        ConfigCommand::ImportRsync(args) => import_rsync::run(context, &args),
    }
}
