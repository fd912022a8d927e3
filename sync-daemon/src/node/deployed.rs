//! «Has the deployer taken it?»: what `push --wait=deployed` asks a passive.

use sync_core::{
    RelPath, TreeName,
    wire::{DeployedAnswer, Opening, PathBudget, REPORT_PATHS_MAX, Refusal},
};
use tokio::time::timeout;

use super::{
    Shared, deploying::rejected, error::SessionError, passive::PassiveTree, working::WORKING_EVERY,
};
use crate::{
    transport::{Connection, Stream},
    tree_thread::Stopped,
};

/// What of a tree the deployer refuses.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The first paths.
    pub(super) paths: Vec<RelPath>,
    /// How many there are in all.
    pub(super) in_all: u64,
}

/// The active's side: waits until the deployer has had its interval for all that
/// the passive has applied.
pub(super) async fn ask(
    connection: &Connection,
    tree: &TreeName,
) -> Result<Rejected, SessionError> {
    let mut stream = connection.open().await?;
    let tree = tree.clone();
    stream.send(&Opening::Deployed { tree }).await?;
    loop {
        match stream.receive::<DeployedAnswer>().await? {
            DeployedAnswer::Working => {}
            DeployedAnswer::Deployed {
                rejected,
                rejected_in_all,
                ..
            } => {
                if rejected.len() > REPORT_PATHS_MAX {
                    return Err(SessionError::protocol("an answer without bounds"));
                }
                return Ok(Rejected {
                    in_all: rejected_in_all.max(rejected.len() as u64),
                    paths: rejected,
                });
            }
            DeployedAnswer::Refused(refusal) => return Err(SessionError::Refused(refusal)),
        }
    }
}

/// The passive's side.
pub(super) async fn serve(
    shared: &Shared,
    mut stream: Stream,
    tree: &TreeName,
) -> Result<(), SessionError> {
    let answer = match shared.passive_tree(tree) {
        None => DeployedAnswer::Refused(Refusal::UnknownTree(tree.clone())),
        Some(tree) if tree.looks.is_none() => {
            let reason = "no daemon watches the deployer there (`apim-sync daemon`)";
            DeployedAnswer::Refused(Refusal::Unable(reason.to_owned()))
        }
        Some(tree) => {
            until_ended(&tree, &mut stream).await?;
            answer(&tree)
        }
    };
    stream.send(&answer).await?;
    stream.finish().await?;
    Ok(())
}

/// Waits for the interval of everything that is applied now; in a tree that no
/// deployer reads there is none.
async fn until_ended(tree: &PassiveTree, stream: &mut Stream) -> Result<(), SessionError> {
    let Some(deploying) = &tree.deploying else {
        return Ok(());
    };
    let begun = deploying.begun();
    let mut changes = tree.state.subscribe();
    loop {
        let ended = changes.wait_for(|state| state.deployed.ended >= begun);
        let ended = async { ended.await.map(drop) };
        match timeout(WORKING_EVERY, ended).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => return Err(Stopped.into()),
            Err(_) => stream.send(&DeployedAnswer::Working).await?,
        }
    }
}

fn answer(tree: &PassiveTree) -> DeployedAnswer {
    let state = tree.state.borrow();
    let rejected = rejected(&state);
    let rejected_in_all = rejected.len() as u64;
    let mut budget = PathBudget::default();
    DeployedAnswer::Deployed {
        generation: state.position.generation,
        rejected: rejected
            .into_iter()
            .take_while(|path| budget.admits(path))
            .collect(),
        rejected_in_all,
    }
}
