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
  apim-sync history
  apim-sync history default/api/pizza.xml --limit 5 --json")]
pub(crate) struct History {
    /// Only what changed this path of a tree, or something below it
    pub(crate) path: Option<String>,
    /// Only this tree
    #[arg(long, value_name = "NAME")]
    pub(crate) tree: Option<String>,
    /// At most so many generations of each tree
    #[arg(long, value_name = "N", default_value_t = sync_daemon::history::LIMIT_DEFAULT)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}
