//! Who carries a request out: the daemon of this node, or this process.

use std::{future::Future, time::Duration};

use sync_daemon::{
    config::Config,
    control::{self, Request},
    events::Event,
    failure::{Failure, FailureKind},
    trust::{Peer, TrustError, TrustStore, Trusted},
};

use crate::{engine, error::Stop, render::quantity};

/// Has the daemon do `request`, or does it here where none runs.
pub(crate) async fn ask(
    config: &Config,
    request: Request,
    on_event: impl FnMut(Event),
) -> Result<(), Stop> {
    match control::connect(&config.node.state_dir).await? {
        Some(daemon) => daemon.call(&request, on_event).await?,
        None => engine::one_shot(config, request, on_event).await?,
    }
    Ok(())
}

/// Has the daemon do `request`; whether one runs.
pub(crate) async fn ask_daemon(
    config: &Config,
    request: Request,
    on_event: impl FnMut(Event),
) -> Result<bool, Failure> {
    match control::connect(&config.node.state_dir).await? {
        Some(daemon) => daemon.call(&request, on_event).await.map(|()| true),
        None => Ok(false),
    }
}

/// Whom this node trusts: by its state and by its configuration.
pub(crate) fn trusted(config: &Config) -> Result<Trusted, TrustError> {
    let store = TrustStore::load(&config.node.state_dir)?;
    Trusted::new(store, config.peers.clone())
}

/// Gives `work` up after `timeout`; says whom it was waiting for.
pub(crate) async fn within(
    timeout: Option<Duration>,
    doing: &str,
    config: &Config,
    work: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    let Some(timeout) = timeout else {
        return work.await;
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Stop::Failure(gave_up(
            timeout,
            doing,
            &trusted(config)?.peers(),
        ))),
    }
}

fn gave_up(timeout: Duration, doing: &str, peers: &[Peer]) -> Failure {
    let after = quantity::seconds(timeout.as_secs_f64());
    let named: Vec<_> = peers
        .iter()
        .map(|peer| match &peer.address {
            Some(address) => format!("{} at {address}", peer.name),
            None => peer.name.to_string(),
        })
        .collect();
    let whom = if named.is_empty() {
        String::new()
    } else {
        format!(" (with {})", named.join(", "))
    };
    Failure::new(
        FailureKind::Unreachable,
        format!("{doing}{whom}: not finished after {after}"),
    )
    .hint("`apim-sync status` here and on the peer, or a longer `--timeout`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_up_names_the_peers_and_their_addresses() {
        let peer = Peer {
            name: "apim-2".parse().unwrap(),
            id: "ab".repeat(32).parse().unwrap(),
            address: Some("10.0.0.2:7420".parse().unwrap()),
        };
        let failure = gave_up(Duration::from_secs(2), "pushing", &[peer]);
        assert_eq!(
            failure.message,
            "pushing (with apim-2 at 10.0.0.2:7420): not finished after 2.00 s"
        );
        assert_eq!(failure.kind, FailureKind::Unreachable);
    }
}
