//! Flags of the commands that look into the past of a tree, or go back to it.

use clap::Args;

use super::TimeoutArg;

/// List the generations of this node's trees: who, when, what
///
/// Newest first, with the paths each changed, and what was kept aside. On either
/// node, with or without a daemon: times are by this node's clock.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync history default/api/pizza.xml --limit 5
  apim-sync history --check        # 3: the audit log is not as it was written")]
pub(crate) struct History {
    /// Only what changed this path of a tree, or something below it
    pub(crate) path: Option<String>,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// Check the node's audit log instead: every record signed, in its order, none
    /// missing; and, of a running daemon, whether the peers have seen the same
    #[arg(long, conflicts_with_all = ["path", "tree", "limit"])]
    pub(crate) check: bool,
    /// At most so many generations of each tree
    #[arg(long, value_name = "N", default_value_t = sync_daemon::history::LIMIT_DEFAULT)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Make the content of an earlier generation a new generation
///
/// On the active. The tree gets the content that it had then, its deployer sees the
/// change, and the passives get it like any other, through the same guard. What was
/// edited at the same time is kept aside. Contents that are gone are named before
/// anything changes. Cut off, the same command goes on.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync rollback 41 -n         # what would change?
  apim-sync rollback 41 --only default/api/pizza.xml")]
pub(crate) struct Rollback {
    /// The generation, as `history` numbers it
    pub(crate) generation: u64,
    /// The tree, where there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// Only this path of the tree, and what is below it
    #[arg(long, value_name = "PREFIX")]
    pub(crate) only: Option<String>,
    /// Only this tenant, of the tree whose top directories are tenants
    #[arg(long, value_name = "TENANT", conflicts_with = "only")]
    pub(crate) tenant: Option<String>,
    /// Show what would change and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// List each change with rsync's eleven columns
    #[arg(short = 'i', long)]
    pub(crate) itemize_changes: bool,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Tell the life of one file on both nodes
///
/// Of the last generations that touched it: seen, settled, published, sent, received,
/// durable, applied, deployed; each by the clock of the node that noted it. A peer
/// that is away is left out, which is told.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync trace default/api/pizza.xml
  apim-sync trace default/api/pizza.xml --json")]
pub(crate) struct Trace {
    /// The path, as it is below the tree
    pub(crate) path: String,
    /// Only of this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}
