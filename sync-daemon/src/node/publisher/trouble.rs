//! When nothing on the disk may be believed: the tree's directory is gone, or
//! another one stands in its place.

use sync_core::{TreeName, wire::PlanId};
use sync_fs::{Root, root::Identity, scan::ScanError, source::SourceProblem};
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{PROBLEM_RETRY, Running};
use crate::{
    failure::{Failure, FailureKind},
    tree_thread::Stopped,
};

/// Why a look gave nothing.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// The scan failed.
    #[error(transparent)]
    Scan(ScanError),
    /// The root may not be believed.
    #[error(transparent)]
    Root(SourceProblem),
    /// Another directory stands there; an operator may release it.
    #[error("another directory stands in its place")]
    Replaced(PlanId, #[source] SourceProblem),
}

impl Running {
    /// Whether the root may be believed. A replaced one may when an operator
    /// released it; an empty one is left to the deletion guard, which halts.
    pub(super) async fn check_root(&mut self) -> Result<Result<(), Trouble>, Stopped> {
        let name = self.publisher.name.clone();
        let path = self.publisher.root.clone();
        let releases = std::sync::Arc::clone(&self.publisher.releases);
        self.publisher
            .thread
            .run(move |tree| match tree.source.check_root() {
                Ok(()) | Err(SourceProblem::Empty { .. }) => Ok(()),
                Err(problem @ SourceProblem::Replaced { .. }) => {
                    let Ok(identity) = Root::open(&path).map(|root| root.identity()) else {
                        return Err(Trouble::Root(problem));
                    };
                    let Ok(identity) = identity else { return Err(Trouble::Root(problem)) };
                    let plan = plan_of(&name, identity);
                    if releases.contains(plan) && tree.source.confirm_root().is_ok() {
                        info!(tree = %name, "the new directory was released: it is the tree from now on");
                        return Ok(());
                    }
                    Err(Trouble::Replaced(plan, problem))
                }
                Err(problem) => Err(Trouble::Root(problem)),
            })
            .await
    }

    /// Nothing is taken from the tree until it can be looked at again.
    pub(super) async fn trouble(&mut self, trouble: Trouble) {
        let plan = match &trouble {
            Trouble::Replaced(plan, _) => Some(*plan),
            _ => None,
        };
        let failure = failure(&self.publisher.name, &trouble, plan);
        let known = self.publisher.published.borrow().problem.clone();
        if known.as_ref() != Some(&failure) {
            warn!("{failure}");
            self.publisher.published.send_modify(|published| {
                published.problem = Some(failure);
                published.replaced = plan;
            });
            self.tell();
        }
        self.watch = None;
        self.next_rescan = Instant::now() + PROBLEM_RETRY;
    }

    pub(super) fn recovered(&mut self) {
        let name = &self.publisher.name;
        self.publisher.published.send_if_modified(|published| {
            published.replaced = None;
            let had = published.problem.take().is_some();
            if had {
                info!(tree = %name, "the tree can be looked at again");
            }
            had
        });
    }
}

/// What `release` takes to accept the directory that stands there now.
fn plan_of(tree: &TreeName, identity: Identity) -> PlanId {
    let mut hasher = blake3::Hasher::new_derive_key("apim-sync 1 replaced root");
    hasher.update(&identity.file_system.to_le_bytes());
    hasher.update(&identity.inode.to_le_bytes());
    hasher.update(tree.as_str().as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    PlanId(id)
}

fn failure(tree: &TreeName, trouble: &Trouble, plan: Option<PlanId>) -> Failure {
    let failure = Failure::caused_by(FailureKind::Halted, format!("reading {tree}"), trouble);
    match plan {
        Some(plan) => failure.hint(format!(
            "nothing is changed on the passive; mount the right file system, or if the new directory is \
             meant: `apim-sync release {plan}`"
        )),
        None => failure.hint("nothing is changed on the passive; bring the directory back (is its file system mounted?)"),
    }
}
