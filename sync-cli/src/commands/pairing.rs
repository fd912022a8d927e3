//! `invite` and `join`: pair two nodes with one pasted line.

use std::io;

use serde::Serialize;
use sync_daemon::{
    config::{Config, Listen},
    events::SCHEMA,
    failure::{Failure, FailureKind},
    identity::Identity,
    pairing::{self, Invitations, Token},
    transport::{Address, advertised},
};

use super::{Context, trust::take_up};
use crate::{
    args::{Invite, Join},
    backend::trusted,
    error::Outcome,
    render::quantity,
    terminal::Line,
};

/// Bytes read from standard input: a token has a few hundred.
const TOKEN_BYTES_MAX: u64 = 4096;

/// A token as a line of JSON.
#[derive(Serialize)]
struct TokenLine {
    message_type: &'static str,
    schema: u32,
    token: String,
    address: String,
    ttl_seconds: u64,
}

pub(crate) async fn invite(context: &Context, args: Invite) -> Outcome {
    let config = context.config()?;
    let state_dir = &config.node.state_dir;
    let identity = Identity::load(state_dir)?;
    let address = invited_to(&config, args.address.as_deref())?;
    let open = Invitations::load(state_dir)?;
    let token = open.create(address.clone(), identity.id(), args.ttl)?;
    if context.terminal.json() {
        context.terminal.answer_json(&TokenLine {
            message_type: "token",
            schema: SCHEMA,
            token: token.to_string(),
            address: address.to_string(),
            ttl_seconds: args.ttl.as_secs(),
        });
    } else {
        context.terminal.answer(&Line::new(token.to_string()));
    }
    let ttl = quantity::seconds(args.ttl.as_secs_f64());
    context.terminal.note(&Line::new(format!(
        "good once, for {ttl}; on the other node: apim-sync join TOKEN (it will dial {address})"
    )));
    if !take_up(context, &config).await? {
        let line = "the daemon of this node does not run: start it, it answers the other node";
        context.terminal.complain(&Line::new(line));
    }
    Ok(())
}

/// The address in the invitation: told, configured, or found out.
fn invited_to(config: &Config, told: Option<&str>) -> Result<Address, Failure> {
    if let Some(told) = told {
        let parsed: Result<Address, _> = told.parse();
        return parsed.map_err(|error| {
            Failure::new(FailureKind::Usage, format!("--address: {error}"))
                .hint("name the address at which the other node reaches this one")
        });
    }
    if let Some(address) = &config.node.advertise {
        return Ok(address.clone());
    }
    let Some(listen) = &config.node.listen else {
        let message = "inviting: the configuration has no `listen` in [node]";
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("add `listen = \"0.0.0.0:7420\"`, or invite from the other node"));
    };
    let found = listen.resolve().map_err(|error| {
        let doing = format!("inviting: resolving `listen` {listen}");
        Failure::caused_by(FailureKind::Usage, doing, &error)
            .hint("name the address with `apim-sync invite --address HOST:PORT`")
    })?;
    Ok(advertised(found)?)
}

pub(crate) async fn join(context: &Context, args: Join) -> Outcome {
    let config = context.config()?;
    let identity = Identity::load(&config.node.state_dir)?;
    let token = token(&args.token)?;
    let trusted = trusted(&config)?;
    let own_port = config.node.listen.as_ref().map_or(0, Listen::port);
    let name = &config.node.name;
    let welcome = pairing::join(&token, &identity, &trusted, name, own_port).await?;
    context.terminal.note(&Line::new(format!(
        "paired with {} at {}: {}",
        welcome.name, welcome.address, welcome.id
    )));
    take_up(context, &config).await?;
    Ok(())
}

fn token(text: &str) -> Result<Token, Failure> {
    if text != "-" {
        return Ok(text.parse::<Token>()?);
    }
    let read = io::read_to_string(io::Read::take(io::stdin(), TOKEN_BYTES_MAX));
    let text = read.map_err(|error| {
        let doing = "reading the invitation from standard input";
        Failure::caused_by(FailureKind::Usage, doing, &error)
            .hint("`apim-sync join TOKEN` takes it as an argument")
    })?;
    Ok(text.parse::<Token>()?)
}
