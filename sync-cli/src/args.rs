//! The command line: names, flags, help. What a command does is its own
//! module's concern, in `commands`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub(crate) mod config;
mod filter;
mod history;
mod role;
mod values;

pub(crate) use filter::FilterArgs;
pub(crate) use history::{History, Rollback, Trace};
pub(crate) use role::{Demote, Diff, Promote, Ready, RoleChange};
pub(crate) use values::TreeArg;

/// Where the configuration is unless `-C` or `$APIM_SYNC_CONFIG` says otherwise.
pub(crate) const CONFIG_DEFAULT: &str = "/etc/apim-sync/config.toml";

/// Keeps the artifact trees of a passive WSO2 API Manager node the same as the
/// active node's.
#[derive(Parser, Debug)]
#[command(
    name = "apim-sync",
    version,
    propagate_version = true,
    args_override_self = true,
    after_help = "\
Examples:
  apim-sync demo                  See it work: two nodes on this machine
  apim-sync status --watch        What this node and its peers are doing

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 differences found, 4 partial,
5 safety halt, 6 role or epoch conflict, 7 peer or daemon unreachable, 8 trust,
9 rejected by the deployer, 10 protocol mismatch, 11 locked by another instance."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The node's configuration file
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "FILE",
        env = "APIM_SYNC_CONFIG",
        default_value = CONFIG_DEFAULT
    )]
    pub(crate) config: PathBuf,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what was asked for, and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print JSON lines, each with `message_type` and `schema`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colour the output (auto: on a terminal, unless $NO_COLOR is set)
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Never ask; fail where an answer would be needed
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Show progress although standard error is not a terminal
    #[arg(short = 'P', long, global = true)]
    pub(crate) progress: bool,
    /// Print totals at the end: files, bytes, rates
    #[arg(long, global = true)]
    pub(crate) stats: bool,
}

/// When to colour.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Init(Init),
    Trust(Trust),
    Invite(Invite),
    Join(Join),
    Daemon(Daemon),
    Bootstrap(Bootstrap),
    Push(Push),
    Verify(Verify),
    Status(Status),
    Pause(Pause),
    Resume(Resume),
    Release(Release),
    Diff(Diff),
    Ready(Ready),
    History(History),
    Rollback(Rollback),
    Trace(Trace),
    Promote(Promote),
    Demote(Demote),
    Config(config::Config),
    Demo(Demo),
    Completions(Completions),
    Man(Man),
}

/// Make this node's identity and a commented configuration
///
/// Writes the configuration to the place that -C names, makes the node's key
/// and state, and prints `id: <node id>`. Refuses to overwrite either. Without
/// --tree it looks for an API Manager: at --apim-home, $CARBON_HOME, the current
/// directory and above, then /opt.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync init --name apim-1 --role active --apim-home /opt/wso2am-2.6.0
  apim-sync -C ./node.toml init --name apim-2 --role passive --state-dir ./state \\
      --tree synapse-configs=/opt/wso2am-2.6.0/repository/deployment/server/synapse-configs")]
pub(crate) struct Init {
    /// The node's name, for people
    #[arg(long, value_parser = values::node_name, required_unless_present = "keep_config")]
    pub(crate) name: Option<String>,
    /// Whether its trees are the source or follow it
    #[arg(long)]
    pub(crate) role: RoleArg,
    /// A tree to synchronise; the same NAME on both nodes
    #[arg(long = "tree", value_name = "NAME=PATH", conflicts_with = "apim_home")]
    pub(crate) trees: Vec<TreeArg>,
    /// The rules the trees of --tree obey; the same on both nodes
    #[arg(long, default_value = "synapse", requires = "trees")]
    pub(crate) preset: PresetArg,
    /// Synchronise the artifact trees of the API Manager in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) apim_home: Option<PathBuf>,
    /// UDP address to listen on
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "0.0.0.0:7420",
        env = "APIM_SYNC_LISTEN"
    )]
    pub(crate) listen: String,
    /// The configuration is there already, from `config generate`: make only the
    /// key and the state that it names, wherever --listen and --state-dir point
    #[arg(long, conflicts_with_all = ["name", "trees", "apim_home"])]
    pub(crate) keep_config: bool,
    /// Where the node keeps its key, state and journal
    #[arg(long, value_name = "DIR", default_value = sync_daemon::config::STATE_DIR_DEFAULT, env = "APIM_SYNC_STATE_DIR")]
    pub(crate) state_dir: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RoleArg {
    Active,
    Passive,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PresetArg {
    /// WSO2's hot deployer reads it: dependency order, well-formed XML only
    Synapse,
    /// `repository/tenants`: the same for each tenant's directory in it
    Tenants,
    /// Any other directory
    Plain,
}

/// Pin peers by hand: add, list, remove
///
/// A node talks to nobody whose id it has not pinned. A running daemon takes
/// changes up at once.
#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  apim-sync trust add apim-2 --id ID --address 192.168.10.2:7420
  apim-sync trust list"
)]
pub(crate) struct Trust {
    #[command(subcommand)]
    pub(crate) command: TrustCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TrustCommand {
    /// Pin a peer's id
    #[command(after_help = "\
Examples:
  apim-sync trust add apim-2 --id ID --address 192.168.10.2:7420
  apim-sync trust add apim-2 --id ID        # it dials this node")]
    Add {
        /// What to call the peer
        #[arg(value_parser = values::node_name)]
        name: String,
        /// Its id, as `init` printed it there
        #[arg(long)]
        id: String,
        /// Where to dial it; without, it dials this node
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Show the pinned peers
    #[command(after_help = "\
Examples:
  apim-sync trust list
  apim-sync trust list --json")]
    List,
    /// Unpin a peer; live connections to it are cut
    #[command(after_help = "\
Examples:
  apim-sync trust remove apim-2
  apim-sync -C ./node.toml trust remove apim-2")]
    Remove {
        /// The peer's name
        name: String,
    },
}

/// Make a one-time token with which another node pairs with this one
///
/// Prints the token on standard output: one line to paste into `join` on the
/// other node. It carries this node's address and id and a one-time secret.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync invite
  apim-sync invite --ttl 1h --address apim-1.example.org:7420")]
pub(crate) struct Invite {
    /// How long the token is good
    #[arg(long, value_parser = values::duration, default_value = "15m")]
    pub(crate) ttl: Duration,
    /// Where the other node reaches this one, if not at the configured address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
}

/// Pair with the node that made TOKEN
///
/// Afterwards each node has pinned the other's id.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync join TOKEN
  apim-sync join - < token.txt")]
pub(crate) struct Join {
    /// The token, or `-` to read it from standard input
    pub(crate) token: String,
}

/// Run the node in the foreground
///
/// On the active: watches, and pushes every settled change to every peer. On a
/// passive: receives, applies, watches for drift. The role comes from the
/// node's state. Logs to standard error; SIGTERM stops cleanly, SIGHUP reloads.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync daemon
  apim-sync -C ./node.toml daemon -v")]
pub(crate) struct Daemon {}

/// Fill this passive node from the active, then exit
///
/// Works with or without a daemon on this node. A tree that is not empty and
/// differs is refused unless --confirm repeats this node's name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync bootstrap
  apim-sync bootstrap --from apim-1 --tree synapse-configs --confirm apim-2")]
pub(crate) struct Bootstrap {
    /// The peer to fill from, where there are several
    #[arg(long, value_name = "PEER")]
    pub(crate) from: Option<String>,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// This node's name: replace what is there
    #[arg(long, value_name = "NODE")]
    pub(crate) confirm: Option<String>,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Send everything that differs to the passive, now
///
/// With a daemon running it is a flush and a barrier; without one the command
/// does the work itself.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync push -n -i             # what would change?
  apim-sync push --wait=deployed   # exit 9: the passive's deployer rejected something")]
pub(crate) struct Push {
    /// Show what would change and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// List each change with rsync's eleven columns
    #[arg(short = 'i', long)]
    pub(crate) itemize_changes: bool,
    /// What to wait for; `--wait` alone means `applied`
    #[arg(
        long,
        value_name = "LEVEL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "applied",
        default_missing_value = "applied"
    )]
    pub(crate) wait: WaitArg,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// Only this tenant, of the tree whose top directories are tenants
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Halt above this many deletions, in files or per cent of all
    #[arg(long, value_name = "N|N%", value_parser = values::max_delete, env = "APIM_SYNC_MAX_DELETE")]
    pub(crate) max_delete: Option<String>,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitArg {
    /// Everything is on its way
    None,
    /// It survives power loss on the passive
    Durable,
    /// Every name on the passive shows it
    Applied,
    /// The passive's hot deployer took it; exit 9 where it rejected something
    Deployed,
}

/// Compare both sides; changes nothing
///
/// Reads and hashes every byte on both nodes. Exits with 3 when they differ.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync verify --quick --json
  apim-sync verify --tenant 7      # of the tree whose top directories are tenants")]
pub(crate) struct Verify {
    /// Only this peer
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// Only this tenant, of the tree whose top directories are tenants
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Put the result into this node's audit log, signed, and say where
    #[arg(long)]
    pub(crate) sign: bool,
    /// Compare roots; unchanged files are not read again
    #[arg(long)]
    pub(crate) quick: bool,
    /// One line a path: `=` same, `+` missing on the passive, `-` only there, `*` differs, `!` unreadable
    #[arg(long)]
    pub(crate) combined: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Show role, peers, lag, pending work, drift, guard
///
/// Exits with 7 when this node's daemon does not run; what the disk knows is
/// still shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync status --watch
  apim-sync status --nagios        # 0 OK, 1 WARN, 2 CRIT, 3 UNKNOWN")]
pub(crate) struct Status {
    /// Show it again every second, until interrupted
    #[arg(long, conflicts_with = "nagios")]
    pub(crate) watch: bool,
    /// One line and an exit code for Nagios
    #[arg(long, conflicts_with = "json")]
    pub(crate) nagios: bool,
    /// Only `active` or `passive`, for cluster managers; exits with 6 in a conflict of roles
    #[arg(long, conflicts_with_all = ["watch", "nagios", "json"])]
    pub(crate) role: bool,
}

/// Hold sending
///
/// Changes are still watched and are sent after `resume`. A pause outlives a
/// restart of the daemon. One of a tree or a tenant lets everything else go on.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync pause --for 30m
  apim-sync pause --tenant 7       # until `apim-sync resume`")]
pub(crate) struct Pause {
    /// Go on by itself after this long
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    pub(crate) period: Option<Duration>,
    #[command(flatten)]
    pub(crate) part: PartArgs,
}

/// A part of the trees.
#[derive(Args, Debug)]
pub(crate) struct PartArgs {
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// Only this tenant, of the tree whose top directories are tenants
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
}

/// Send again after `pause`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync resume                 # whatever was paused
  apim-sync resume --tenant 7")]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) part: PartArgs,
}

/// Approve a plan that the deletion guard halted
///
/// `status` shows the halted plans. The approval is for exactly these
/// deletions: if the plan changes it halts again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync status                 # shows the plan's id
  apim-sync release 0123456789abcdef")]
pub(crate) struct Release {
    /// The plan's id: sixteen hexadecimal digits
    #[arg(value_parser = values::plan)]
    pub(crate) plan: String,
}

/// Show the main job on this machine: two nodes, real artifacts, a verify
///
/// Makes an active and a passive node in a temporary directory, joined over
/// QUIC on loopback, and lets edits flow between them. Leaves nothing behind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync demo
  apim-sync demo --dir ./demo      # keeps the two trees and configurations")]
pub(crate) struct Demo {
    /// Work in this directory, which must be empty or absent, and keep it
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Print the completion script of a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync completions bash > /etc/bash_completion.d/apim-sync
  apim-sync completions zsh > ~/.zfunc/_apim-sync")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write one page a command
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync man | man -l -
  apim-sync man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write `apim-sync.1` and a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The deadline of a one-shot command.
#[derive(Args, Debug)]
pub(crate) struct TimeoutArg {
    /// Give up after this long (exit code 7)
    #[arg(long, value_name = "TIME", value_parser = values::duration, env = "APIM_SYNC_TIMEOUT")]
    pub(crate) timeout: Option<Duration>,
}
