//! One connection with one peer, from the hello to its end.
//!
//! Both sides greet, then every stream is one conversation. The active pushes
//! its trees; the passive receives; either may look into the other's trees.

use std::sync::Arc;

use sync_core::{
    TreeName,
    fence::Verdict,
    wire::{
        Claim, Hello, Opening, Refusal, VERSION_OF_CLAIMS, VERSION_OF_SPANS, VERSION_OF_STEPS, View,
    },
};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{
    Shared,
    audit::{self, Looks},
    deployed,
    error::{SessionError, describe},
    fencing::Greeting,
    fetch, handover, news, patch,
    peers::Link,
    push::{Assembly, Pusher},
    recall, receive, trace, witness,
};
use crate::{
    failure::Failure,
    identity::NodeId,
    pairing,
    transport::{Connection, Stream},
};

/// Greets as the side that dialled; `meanwhile` is what to ask along with that.
pub(super) async fn greet(
    shared: &Shared,
    connection: &Connection,
    meanwhile: impl FnOnce(&Connection),
) -> Result<Greeting, SessionError> {
    let said = connection
        .say_hello(shared.hello(), &shared.claim())
        .await?;
    meanwhile(connection);
    let (hello, claim) = connection.hear_hello(said).await?;
    if let Some(refusal) = hello.refused {
        return Err(SessionError::Refused(refusal));
    }
    let theirs = shared.greeting(hello, claim)?;
    if let Some(refusal) = shared.objection(&theirs) {
        return Err(SessionError::Refused(refusal));
    }
    let peer = connection.peer();
    shared.carry_out(shared.meet(peer, &theirs), peer, &theirs)?;
    Ok(theirs)
}

/// Answers the greeting of the side that dialled.
pub(super) async fn answer_greeting(
    shared: &Shared,
    connection: &Connection,
) -> Result<Greeting, SessionError> {
    let mut stream = connection.accept_stream().await?;
    let hello = match stream.receive::<Opening>().await? {
        Opening::Hello(theirs) => theirs,
        Opening::Join(request) => {
            // A peer that joined before and did not hear the answer.
            let (id, ip) = (connection.peer(), connection.remote_address().ip());
            let answered =
                pairing::answer_request(&request, id, ip, &mut stream, &shared.inviter).await;
            return Err(SessionError::protocol(match answered {
                Ok(_) => "it only came to pair again".to_owned(),
                Err(error) => error.to_string(),
            }));
        }
        _ => return Err(SessionError::protocol("the first message was no hello")),
    };
    let claim = match hello.version >= VERSION_OF_CLAIMS {
        true => Some(stream.receive::<Claim>().await?),
        false => None,
    };
    let theirs = shared.greeting(hello, claim)?;
    let (peer, refused) = (connection.peer(), shared.objection(&theirs));
    if let Some(refusal) = refused {
        reply(shared, &mut stream, &theirs, Some(refusal.clone())).await?;
        stream.delivered().await?;
        return Err(SessionError::Refused(refusal));
    }
    let verdict = shared.meet(peer, &theirs);
    // What is taken up is on the disk before the other hears of it; whoever gives
    // way says first what it was.
    if verdict == Verdict::Follow {
        shared.carry_out(verdict, peer, &theirs)?;
        reply(shared, &mut stream, &theirs, None).await?;
    } else {
        reply(shared, &mut stream, &theirs, None).await?;
        if matches!(verdict, Verdict::StepDown | Verdict::Halt) {
            // Undelivered, the other finds out with its next attempt.
            let _ = stream.delivered().await;
        }
        shared.carry_out(verdict, peer, &theirs)?;
    }
    Ok(theirs)
}

async fn reply(
    shared: &Shared,
    stream: &mut Stream,
    theirs: &Greeting,
    refused: Option<Refusal>,
) -> Result<(), SessionError> {
    let (ours, claim) = (shared.hello(), shared.claim());
    stream.feed(&Hello { refused, ..ours }).await?;
    if theirs.hello.version >= VERSION_OF_CLAIMS {
        stream.feed(&claim).await?;
    }
    stream.flush().await?;
    stream.finish().await?;
    Ok(())
}

/// Runs a greeted connection until it ends, and says why it did. Pushes begin with
/// the `looks` into the peer's trees that were asked for ahead.
pub(super) async fn run(
    shared: &Arc<Shared>,
    peer: NodeId,
    connection: Connection,
    theirs: Greeting,
    looks: Looks,
) -> SessionError {
    let name = shared.peer_name(&peer);
    info!(peer = %name, address = %connection.remote_address(), "connected");
    shared.peers.update(&peer, |known| {
        known.link = Link::Connected(connection.clone());
        known.greeting = Some(theirs.clone());
    });
    let mut tasks = JoinSet::new();
    let mut conversations = Conversations::new(shared, peer, &connection, &theirs);
    // What the peer asked along with its greeting is heard before it is sent anything.
    conversations.accept_waiting().await;
    match shared.meet(peer, &theirs) {
        Verdict::Lead => {
            start_pushers(shared, peer, &connection, (&theirs, looks), &mut tasks);
        }
        Verdict::Follow => news::start(shared, &connection, &theirs, &mut tasks),
        _ => {}
    }
    if theirs.hello.version >= VERSION_OF_CLAIMS {
        let (shared, connection) = (Arc::clone(shared), connection.clone());
        tasks.spawn(async move { match witness::keep_telling(&shared, connection).await {} });
    }
    let error = conversations.serve(&mut tasks).await;
    connection.close(super::network::ending(&error));
    shared.peers.update(&peer, |known| {
        let ours = known.connection().is_some_and(|held| held.is(&connection));
        if ours {
            known.link = Link::Unreachable(error.failure(&format!("the connection to `{name}`")));
        }
    });
    info!(peer = %name, "disconnected: {error}");
    error
}

fn start_pushers(
    shared: &Arc<Shared>,
    peer: NodeId,
    connection: &Connection,
    (theirs, mut looks): (&Greeting, Looks),
    tasks: &mut JoinSet<SessionError>,
) {
    let name = shared.peer_name(&peer);
    let knows_spans = theirs.hello.version >= VERSION_OF_SPANS;
    let takes_steps = theirs.hello.version >= VERSION_OF_STEPS;
    let theirs = &theirs.hello.trees;
    let assembly = Arc::new(Assembly::new(shared, peer, theirs, knows_spans));
    for tree in shared.active.values().cloned() {
        let Some(status) = theirs.iter().find(|status| status.name == tree.name) else {
            let refusal = Refusal::UnknownTree(tree.name.clone());
            warn!(peer = %name, "{}", describe(&refusal));
            shared
                .peers
                .update_tree(&peer, &tree.name, |known| known.refusal = Some(refusal));
            continue;
        };
        // Where the peer stands now, it has just said.
        let mut last = None;
        shared.peers.update_tree(&peer, &tree.name, |known| {
            last = known.base.take();
            known.mend = Arc::default();
        });
        let pusher = Pusher {
            shared: Arc::clone(shared),
            peer,
            peer_name: name.clone(),
            connection: connection.clone(),
            tree,
            last,
            takes_steps,
            assembly: Arc::clone(&assembly),
        };
        let look = looks.remove(&status.name);
        tasks.spawn(pusher.run(status.clone(), look));
    }
}

/// The streams that the peer opens, each a conversation.
struct Conversations<'a> {
    shared: &'a Arc<Shared>,
    peer: NodeId,
    connection: &'a Connection,
    theirs: &'a Greeting,
    running: JoinSet<Result<(), SessionError>>,
}

impl<'a> Conversations<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        peer: NodeId,
        connection: &'a Connection,
        theirs: &'a Greeting,
    ) -> Self {
        Self {
            shared,
            peer,
            connection,
            theirs,
            running: JoinSet::new(),
        }
    }

    /// Begins those that have been opened already, and gives each a turn.
    async fn accept_waiting(&mut self) {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.connection.accept_stream() => accepted,
                () = std::future::ready(()) => break,
            };
            match accepted {
                Ok(stream) => self.begin(stream),
                Err(_) => break, // found again by `serve`
            }
        }
        tokio::task::yield_now().await;
    }

    fn begin(&mut self, stream: Stream) {
        let (shared, connection) = (Arc::clone(self.shared), self.connection.clone());
        let (peer, theirs) = (self.peer, self.theirs.clone());
        self.running
            .spawn(async move { converse(&shared, peer, &connection, &theirs, stream).await });
    }

    /// Goes on until the connection, a pusher or a reporter ends.
    async fn serve(mut self, tasks: &mut JoinSet<SessionError>) -> SessionError {
        loop {
            tokio::select! {
                stream = self.connection.accept_stream() => match stream {
                    Ok(stream) => self.begin(stream),
                    Err(error) => return error.into(),
                },
                Some(ended) = tasks.join_next() => {
                    return ended.unwrap_or_else(|panic| SessionError::Local(panicked(&panic)));
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error @ (SessionError::Malformed(_) | SessionError::Protocol(_)))) => return error,
                    Ok(Err(error)) => debug!("a conversation ended early: {error}"),
                    Err(panic) => return SessionError::Local(panicked(&panic)),
                },
            }
        }
    }
}

pub(super) fn panicked(panic: &tokio::task::JoinError) -> Failure {
    Failure::new(
        crate::failure::FailureKind::Failed,
        format!("a task of the session failed: {panic}"),
    )
    .hint("this is a defect of apim-sync: please report it with the daemon's log")
}

async fn converse(
    shared: &Arc<Shared>,
    peer: NodeId,
    connection: &Connection,
    theirs: &Greeting,
    mut stream: Stream,
) -> Result<(), SessionError> {
    match stream.receive::<Opening>().await? {
        Opening::Generation(offer) => {
            let from = receive::From {
                peer,
                connection,
                theirs,
            };
            receive::generation(shared, from, stream, offer, None).await
        }
        Opening::Spanned { offer, span } => {
            let from = receive::From {
                peer,
                connection,
                theirs,
            };
            receive::generation(shared, from, stream, offer, Some(span)).await
        }
        Opening::Fetch { tree, content } => fetch::serve(shared, stream, &tree, content).await,
        Opening::Patch { tree } => patch::serve(shared, stream, &tree).await,
        Opening::Audit { tree, view } => show(shared, stream, &tree, view).await,
        Opening::Catchup { tree } => super::catchup::serve(shared, peer, stream, &tree).await,
        Opening::Witness { tip } => witness::serve(shared, peer, stream, tip).await,
        Opening::Trace { tree, path } => trace::serve(shared, stream, tree, path).await,
        Opening::Recall {
            tree,
            contents,
            only_ask,
        } => recall::serve(shared, stream, &tree, contents, only_ask).await,
        Opening::Handover => handover::serve(shared, peer, theirs, stream).await,
        Opening::Report(report) => news::take(shared, peer, theirs, report),
        Opening::Mend { tree, paths } => news::mend(shared, peer, theirs, &tree, paths),
        Opening::Deployed { tree } => deployed::serve(shared, stream, &tree).await,
        Opening::Hello(_) | Opening::Join(_) => Err(SessionError::protocol(
            "a greeting in the middle of a session",
        )),
    }
}

/// Makes the picture asked for and serves it.
async fn show(
    shared: &Arc<Shared>,
    mut stream: Stream,
    tree: &TreeName,
    view: View,
) -> Result<(), SessionError> {
    let picture = {
        let (progress, mut seen) = tokio::sync::watch::channel((0, 0));
        let picture = super::picture::of(shared, tree, view, progress);
        tokio::pin!(picture);
        loop {
            tokio::select! {
                picture = &mut picture => break picture?,
                () = super::picture::tick(&mut seen) => {
                    let (files, bytes) = *seen.borrow_and_update();
                    stream.send(&sync_core::wire::AuditAnswer::Progress { files, bytes }).await?;
                }
            }
        }
    };
    match picture {
        Ok(shown) => audit::serve(stream, shown).await,
        Err(refusal) => audit::refuse(stream, refusal).await,
    }
}
