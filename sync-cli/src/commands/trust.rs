//! `trust`: pin peers by hand.

use serde::Serialize;
use sync_daemon::{
    config::Config,
    control::Request,
    events::SCHEMA,
    failure::{Failure, FailureKind},
    identity::{Identity, NodeIdError},
    trust::{NodeName, Peer},
};

use super::Context;
use crate::{
    args::TrustCommand,
    backend::{self, trusted},
    error::Outcome,
    terminal::{Line, Paint, or_dash},
};

pub(crate) async fn run(context: &Context, command: TrustCommand) -> Outcome {
    let config = context.config()?;
    match command {
        TrustCommand::Add { name, id, address } => {
            let peer = parse(&name, &id, address.as_deref())?;
            add(context, &config, peer).await
        }
        TrustCommand::List => list(context, &config),
        TrustCommand::Remove { name } => remove(context, &config, &name).await,
    }
}

fn parse(name: &str, id: &str, address: Option<&str>) -> Result<Peer, Failure> {
    Ok(Peer {
        name: usage(name.parse())?,
        id: id.parse().map_err(|error: NodeIdError| {
            Failure::new(FailureKind::Usage, format!("trusting {name}: {error}"))
                .hint("`apim-sync status --json` on the peer shows its id")
        })?,
        address: address.map(|it| usage(it.parse())).transpose()?,
    })
}

fn usage<T, E: std::error::Error>(parsed: Result<T, E>) -> Result<T, Failure> {
    parsed.map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))
}

async fn add(context: &Context, config: &Config, peer: Peer) -> Outcome {
    let own = Identity::load(&config.node.state_dir)?.id();
    if peer.name == config.node.name || peer.id == own {
        let message = format!("trusting {}: that is this node itself", peer.name);
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("`apim-sync trust add PEER --id ID` with the name and id of the other node")
            .into());
    }
    let shown = format!("{} is trusted: {}", peer.name, peer.id);
    trusted(config)?.add(peer)?;
    context.terminal.note(&Line::new(shown));
    take_up(context, config).await?;
    Ok(())
}

async fn remove(context: &Context, config: &Config, name: &str) -> Outcome {
    let name: NodeName = usage(name.parse())?;
    let peer = trusted(config)?.remove(&name)?;
    let line = format!("{name} is trusted no more: {}", peer.id);
    context.terminal.note(&Line::new(line));
    take_up(context, config).await?;
    Ok(())
}

/// Has a running daemon take the change up at once; whether one runs.
pub(super) async fn take_up(context: &Context, config: &Config) -> Result<bool, Failure> {
    let told = backend::ask_daemon(config, Request::Reload, |_| {}).await;
    told.inspect_err(|_| {
        let line = "the change is kept, but the running daemon did not take it up";
        context.terminal.complain(&Line::new(line));
    })
}

/// A peer as a line of JSON.
#[derive(Serialize)]
struct PeerLine<'a> {
    message_type: &'static str,
    schema: u32,
    #[serde(flatten)]
    peer: &'a Peer,
}

fn list(context: &Context, config: &Config) -> Outcome {
    let peers = trusted(config)?.peers();
    if context.terminal.json() {
        for peer in &peers {
            context.terminal.answer_json(&PeerLine {
                message_type: "peer",
                schema: SCHEMA,
                peer,
            });
        }
        return Ok(());
    }
    if peers.is_empty() {
        let line = "no peer is trusted yet: `apim-sync invite`, or `apim-sync trust add`";
        context.terminal.note(&Line::new(line));
    }
    let width = peers
        .iter()
        .map(|it| it.name.as_str().len())
        .max()
        .unwrap_or(0);
    for peer in &peers {
        let address = peer.address.as_ref().map(ToString::to_string);
        let line = Line::painted(Paint::Bold, format!("{:width$}", peer.name.as_str()))
            .text(format!("  {}  {}", peer.id, or_dash(address.as_deref())));
        context.terminal.answer(&line);
    }
    Ok(())
}
