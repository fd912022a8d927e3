//! The flags of `config` and the commands below it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Set up an active-passive pair of API Managers from one description
///
/// `init` writes a description; `generate` makes everything from it; `apply`
/// patches one node's home; `check` says what is done, missing or wrong.
#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  apim-sync config init --home /opt/wso2am-2.6.0
  apim-sync config generate --out ./setup"
)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    Init(Init),
    Generate(Generate),
    Apply(Apply),
    Check(Check),
    Passive(Passive),
    Promote(Promote),
    ImportRsync(ImportRsync),
}

/// The description.
#[derive(Args, Debug)]
pub(crate) struct SetupArg {
    /// The description of the pair
    #[arg(
        long,
        value_name = "FILE",
        default_value = "setup.toml",
        env = "APIM_SYNC_SETUP"
    )]
    pub(crate) setup: PathBuf,
}

/// One node and its home.
#[derive(Args, Debug)]
pub(crate) struct HomeArgs {
    /// The node, as the description names it
    #[arg(long, value_name = "NAME")]
    pub(crate) node: String,
    /// Its APIM_HOME
    #[arg(long, value_name = "DIR")]
    pub(crate) home: PathBuf,
}

/// Write a commented description of the pair
///
/// Detects what it can from an APIM_HOME: the release and which trees are in
/// use. Refuses to overwrite.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config init --home /opt/wso2am-2.6.0
  apim-sync config init --api-manager 2.6.0 --active-host 10.0.0.1 \\
      --passive-host 10.0.0.2 --load-balancer-host api.example.org")]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    /// An APIM_HOME to look at
    #[arg(long, value_name = "DIR", conflicts_with = "api_manager")]
    pub(crate) home: Option<PathBuf>,
    /// The release, where no home can be looked at
    #[arg(long, value_name = "VERSION")]
    pub(crate) api_manager: Option<String>,
    /// Where the active node is
    #[arg(long, value_name = "HOST")]
    pub(crate) active_host: Option<String>,
    /// Where the passive node is
    #[arg(long, value_name = "HOST")]
    pub(crate) passive_host: Option<String>,
    /// The name that clients use
    #[arg(long, value_name = "HOST")]
    pub(crate) load_balancer_host: Option<String>,
    /// The database server
    #[arg(long, value_name = "HOST")]
    pub(crate) database_host: Option<String>,
}

/// Make everything that the pair needs
///
/// Writes OUT/NODE (laid out as an APIM_HOME), OUT/database, OUT/nginx,
/// OUT/hosts and OUT/CHECKLIST.md: all of it, or nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config generate --out ./setup
  apim-sync config generate --home /opt/wso2am-2.6.0 --out ./setup")]
pub(crate) struct Generate {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    /// Where to write; made if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Patch the files of this APIM_HOME; without, snippets are written
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Replace files that are there and differ
    #[arg(long)]
    pub(crate) force: bool,
}

/// Patch one node's home
///
/// Only values change: comments, order, indentation and line ends stay. All of
/// it, or nothing; a second time nothing changes. The first time each file is
/// copied aside.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config apply --node apim-1 --home /opt/wso2am-2.6.0 -n
  apim-sync config apply --node apim-1 --home /opt/wso2am-2.6.0")]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    /// Show a unified diff and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Where the files are copied to first (default: below the node's state_dir)
    #[arg(long, value_name = "DIR")]
    pub(crate) backup_dir: Option<PathBuf>,
}

/// Say what is done, missing or wrong in a home, or in both
///
/// Exits with 3 when there are findings. With both homes it also compares them:
/// what has to be equal is, what has to differ differs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config check --node apim-1 --home /opt/wso2am-2.6.0
  apim-sync config check --home-a /mnt/apim-1 --home-p /mnt/apim-2 --json")]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    /// The node, as the description names it
    #[arg(
        long,
        value_name = "NAME",
        requires = "home",
        required_unless_present = "home_a"
    )]
    pub(crate) node: Option<String>,
    /// Its APIM_HOME
    #[arg(long, value_name = "DIR", requires = "node")]
    pub(crate) home: Option<PathBuf>,
    /// The active's APIM_HOME
    #[arg(long, value_name = "DIR", requires = "home_p", conflicts_with = "node")]
    pub(crate) home_a: Option<PathBuf>,
    /// The passive's APIM_HOME
    #[arg(long, value_name = "DIR", requires = "home_a")]
    pub(crate) home_p: Option<PathBuf>,
}

/// Make the passive's home: a copy of the active's with its own values
///
/// Leaves out what belongs to one node: repository/database, logs, tmp.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config passive --from /opt/wso2am-2.6.0 --to ./apim-2-home
  apim-sync config passive --from /opt/wso2am-2.6.0 --to /mnt/apim-2/wso2am-2.6.0 -P")]
pub(crate) struct Passive {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    /// The active's APIM_HOME
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Where to make the copy; it must be empty or absent
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

/// Let a home and the description follow a promotion
///
/// Both publishers deploy to the active's gateway: rewrites that one place of
/// the home, and `active` in the description. Run it on both nodes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config promote --node apim-2 --home /opt/wso2am-2.6.0 -n
  apim-sync config promote --node apim-2 --home /opt/wso2am-2.6.0")]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) setup: SetupArg,
    /// The node that is active now
    #[arg(long, value_name = "NAME")]
    pub(crate) node: String,
    /// The APIM_HOME on this machine, whichever node it is
    #[arg(long, value_name = "DIR")]
    pub(crate) home: PathBuf,
    /// Show a unified diff and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Read an rsync script and its workers list, and write what replaces them
///
/// Writes OUT/NODE/apim-sync.toml for the manager and each worker, and says
/// which faults of the old way are left behind. Changes nothing else.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync config import-rsync --workers workers-list.txt \\
      --script rsync-for-carbon-depsync.sh --out ./nodes
  apim-sync config import-rsync --workers workers-list.txt \\
      --script rsync-for-carbon-depsync.sh --out ./nodes --home-directory /home/ubuntu")]
pub(crate) struct ImportRsync {
    /// The list of workers
    #[arg(long, value_name = "FILE")]
    pub(crate) workers: PathBuf,
    /// The script that cron runs
    #[arg(long, value_name = "FILE")]
    pub(crate) script: PathBuf,
    /// Where to write; made if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What `~` means to the user whose cron runs the script
    #[arg(long, value_name = "DIR")]
    pub(crate) home_directory: Option<String>,
    /// Replace files that are there and differ
    #[arg(long)]
    pub(crate) force: bool,
}
