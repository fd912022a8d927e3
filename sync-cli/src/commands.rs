//! One file a verb: reads its flags, asks a node, shows what comes back.

use sync_daemon::{
    config::Config,
    failure::{Failure, FailureKind},
};

use crate::{
    args::{Command, Global},
    error::Outcome,
    signals::unless_signalled,
    terminal::Terminal,
};

mod bootstrap;
mod config;
mod daemon;
mod demo;
mod diff;
mod history;
mod init;
mod manual;
mod pairing;
mod pause;
mod push;
mod ready;
mod release;
mod role;
mod rollback;
mod status;
mod trace;
mod trust;
mod verify;

/// What every command works with.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) terminal: Terminal,
}

impl Context {
    /// The configuration that `-C` names.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.global.config)?)
    }
}

/// Runs `command`; a signal ends all but the two that end themselves.
pub(crate) async fn run(context: &Context, command: Command) -> Outcome {
    let ends_itself = matches!(command, Command::Daemon(_) | Command::Demo(_));
    let work = dispatch(context, command);
    if ends_itself {
        work.await
    } else {
        unless_signalled(work).await
    }
}

async fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Trust(args) => trust::run(context, args.command).await,
        Command::Invite(args) => pairing::invite(context, args).await,
        Command::Join(args) => pairing::join(context, args).await,
        Command::Daemon(_) => daemon::run(context).await,
        Command::Bootstrap(args) => bootstrap::run(context, args).await,
        Command::Push(args) => push::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Pause(args) => pause::pause(context, args).await,
        Command::Resume(args) => pause::resume(context, args).await,
        Command::Release(args) => release::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Ready(args) => ready::run(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Trace(args) => trace::run(context, args).await,
        Command::Promote(args) => role::promote(context, args.change).await,
        Command::Demote(args) => role::demote(context, args.change).await,
        Command::Config(args) => config::run(context, args.command),
        Command::Demo(args) => demo::run(context, args).await,
        Command::Completions(args) => manual::completions(context, &args),
        Command::Man(args) => manual::man(context, &args),
    }
}

/// Refuses a tree that the configuration does not have.
fn check_tree(config: &Config, name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) if config.tree(name).is_none() => {
            let known: Vec<_> = config.trees.iter().map(|tree| tree.name.as_str()).collect();
            let name = sync_core::path::escape(name.as_bytes());
            let message = format!("there is no tree `{name}` in the configuration");
            Err(Failure::new(FailureKind::Usage, message)
                .hint(format!("one of: {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}
