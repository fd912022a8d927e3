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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apim_config::{
        generate::engine::engine_config,
        import,
        setup::{Known, Setup, template},
    };
    use sync_core::guard::Guard;
    use sync_daemon::config::{Config, WatchConfig};

    /// The same with every commented key in force.
    fn uncommented(text: &str) -> String {
        let bare = |line: &str| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") => key.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(|line| bare(line) + "\n").collect()
    }

    #[test]
    fn the_engine_takes_the_configuration_that_is_generated() {
        let setup = Setup::parse(&template(&Known::default())).unwrap();
        for view in setup.views() {
            let text = engine_config(view);
            for text in [uncommented(&text), text] {
                let config = Config::from_text(&text, Path::new("c.toml")).unwrap();
                assert_eq!(config.node.name.as_str(), view.node.name);
                assert_eq!(config.watch, WatchConfig::default());
                assert_eq!(config.guard, Guard::default());
                assert_eq!(config.trees.len(), setup.sync.trees.len());
            }
        }
    }

    #[test]
    fn the_engine_takes_the_configuration_that_is_imported() {
        let script = "rsync -a --delete /opt/am/repository/deployment/server/ $x\n";
        let script = format!("for x in `cat workers-list.txt`\ndo\n{script}done\n");
        let import = import::read(
            "am@10.0.0.2:/opt/am/repository/deployment/server\n",
            &script,
            None,
        );
        let import = import.unwrap();
        for (index, node) in import.nodes.iter().enumerate() {
            let config = Config::from_text(&import.engine_config(index), Path::new("c.toml"));
            assert_eq!(config.unwrap().node.name.as_str(), node.name);
        }
    }
}
