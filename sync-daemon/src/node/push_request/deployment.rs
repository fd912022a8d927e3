//! `push --wait=deployed`: after everything was applied, each passive is asked what
//! its hot deployer made of it.

use std::time::Duration;

use sync_core::wire::VERSION_OF_REPORTS;
use tokio::sync::mpsc::Sender;

use super::{Goal, Tally, tell};
use crate::{
    events::{Event, PathText, RejectedReport},
    failure::{Failure, FailureKind},
    node::{
        Shared,
        deployed::{self, Rejected},
        error::SessionError,
        peers::Peer,
    },
    transport::Connection,
};

/// How long a passive may be away meanwhile: it is being restarted.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Waits until every passive has had its deployer's interval, and tells what was
/// rejected.
pub(super) async fn wait_for(
    shared: &Shared,
    goals: &[Goal],
    tallies: &mut [Tally],
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let (mut rejected, mut failed) = (0, None);
    for (goal, tally) in goals.iter().zip(tallies) {
        let waiting = format!(
            "{} is applied on `{}`; waiting for its deployer",
            goal.tree, goal.peer_name
        );
        tell(events, Event::notice(waiting)).await;
        match goal.deployed(shared).await {
            Ok(found) => {
                tally.deployed = Some(found.in_all == 0);
                rejected += found.in_all;
                goal.tell_rejected(&found, events).await;
            }
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match (failed, rejected) {
        (Some(failure), _) => Err(failure),
        (None, 0) => Ok(()),
        (None, paths) => Err(was_rejected(paths)),
    }
}

fn was_rejected(paths: u64) -> Failure {
    let paths = if paths == 1 {
        "1 path was".to_owned()
    } else {
        format!("{paths} paths were")
    };
    Failure::new(
        FailureKind::Rejected,
        format!("pushing: everything was applied, but {paths} rejected by the deployer"),
    )
    .hint("the passive server's log says why; correct the artifact on the active and push again")
}

impl Goal {
    /// What the deployer made of it, once that is known.
    async fn deployed(&self, shared: &Shared) -> Result<Rejected, Failure> {
        let mut lost = None;
        loop {
            let connection = self.connection(shared, lost.as_ref()).await?;
            match deployed::ask(&connection, &self.tree).await {
                Ok(rejected) => return Ok(rejected),
                // A passive that was restarted watches once more from its start.
                Err(SessionError::Stream(_)) => lost = Some(connection),
                Err(error) => return Err(error.failure(&self.asking())),
            }
        }
    }

    /// A connection to a peer that can be asked, other than the one that was `lost`.
    async fn connection(
        &self,
        shared: &Shared,
        lost: Option<&Connection>,
    ) -> Result<Connection, Failure> {
        let found = shared.peers.wait(AWAY_MAX, |peers| {
            let peer = peers.get(&self.peer)?;
            let connection = peer.connection()?;
            let is_lost = lost.is_some_and(|lost| lost.is(connection));
            (!is_lost).then(|| self.speaks(peer).map(|()| connection.clone()))
        });
        found.await.unwrap_or_else(|| Err(self.is_away()))
    }

    fn speaks(&self, peer: &Peer) -> Result<(), Failure> {
        let greeting = peer.greeting.as_ref();
        let version = greeting.map_or(0, |theirs| theirs.hello.version);
        if version >= VERSION_OF_REPORTS {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Protocol,
            format!(
                "{}: everything was applied, but `{}` speaks protocol version {version}, in which it cannot tell",
                self.asking(), self.peer_name
            ),
        )
        .hint("upgrade that node, or wait for less: `apim-sync push --wait=applied`"))
    }

    fn is_away(&self) -> Failure {
        Failure::new(
            FailureKind::Unreachable,
            format!(
                "{}: everything was applied, then the peer was away for {} s",
                self.asking(),
                AWAY_MAX.as_secs()
            ),
        )
        .hint("`apim-sync status` names what its deployer rejects when it is back")
    }

    fn asking(&self) -> String {
        let (tree, peer) = (&self.tree, &self.peer_name);
        format!("asking `{peer}` what its deployer made of {tree}")
    }

    async fn tell_rejected(&self, rejected: &Rejected, events: &Sender<Event>) {
        for path in &rejected.paths {
            let report = RejectedReport {
                tree: self.tree.to_string(),
                peer: self.peer_name.clone(),
                path: PathText::from(path),
            };
            tell(events, Event::Rejected(report)).await;
        }
        let more = rejected.in_all.saturating_sub(rejected.paths.len() as u64);
        if more > 0 {
            let text = format!("{more} more paths were rejected and are not listed");
            tell(events, Event::notice(text)).await;
        }
    }
}
