//! Flags of the commands that change the role of a node, or tell what that would
//! mean.

use clap::Args;

use super::TimeoutArg;

/// Show what either side has done since the last agreed state
///
/// For each path on which the nodes differ: which of them changed it, and how.
/// Lists what was kept aside, too. Exits with 3 when they differ.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync diff
  apim-sync diff default/api --json")]
pub(crate) struct Diff {
    /// Only this path of a tree, and what is below it
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Tell what would be lost if the roles changed now
///
/// Exits with 0 and one line, or with 3 and the list of what would be lost, or
/// why that is not known. On either node.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync ready
  apim-sync ready --json")]
pub(crate) struct Ready {
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}

/// Make this passive node the active
///
/// The active sends what it has not sent yet and turns passive; then this node
/// becomes active. An active that cannot be reached turns passive when it is
/// back, and keeps aside what only it has. With or without a daemon on this node.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync promote -n             # what would be done?
  apim-sync promote --confirm apim-2   # decide a conflict for this node")]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) change: RoleChange,
}

/// Make this active node a passive
///
/// A peer gets everything first. Nobody is active until `promote` on a peer.
/// Refused while no peer could take over, unless --confirm repeats this node's
/// name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  apim-sync demote -n
  apim-sync demote --confirm apim-1    # although no peer can take over")]
pub(crate) struct Demote {
    #[command(flatten)]
    pub(crate) change: RoleChange,
}

/// What both changes of role take.
#[derive(Args, Debug)]
pub(crate) struct RoleChange {
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// This node's name: accept what stands in the way
    #[arg(long, value_name = "NODE")]
    pub(crate) confirm: Option<String>,
    #[command(flatten)]
    pub(crate) timeout: TimeoutArg,
}
