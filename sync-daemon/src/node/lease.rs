//! The lease that decides which node is active, if one is configured: its holder
//! is promoted, and sends only while its term lasts.
//!
//! What is done about it is decided in [`sync_core::lease`]; the term is on the
//! clock that never jumps and counts suspension. Changes of role go the same way
//! as an operator's: the epoch fences, the lease only chooses.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use sync_core::{
    lease::{Move, RETRY, Situation, term_ends},
    wire::Refusal,
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::{info, warn};

use super::{NodeHandle, NodeMode, Shared, stints::Current};
use crate::{
    config::{Config, LeaseConfig},
    control::{Request, RoleChange},
    etcd::{Etcd, EtcdError, Held, Key},
    events::{LeaseStatus, Role},
    failure::{Failure, FailureKind},
    identity::NodeId,
};

/// How often it is seen that a term has ended: timers stand still in a suspended
/// machine.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a node knows about the lease, over all its stints.
pub(super) struct Lease {
    config: Option<LeaseConfig>,
    own: NodeId,
    mode: NodeMode,
    known: Mutex<Known>,
    /// Whether this node may send.
    may_send: watch::Sender<bool>,
}

#[derive(Default)]
struct Known {
    held: Option<Held>,
    /// Until when this node may send.
    term: Duration,
    /// The node that has it, as it wrote.
    holder: Option<String>,
    /// Why it is not known who has it, or why the holder is not active.
    problem: Option<String>,
    /// It was taken as a passive, to be promoted.
    promoting: bool,
    /// The role, and since when.
    role: Option<(Role, Duration)>,
}

/// Time since the machine started, its suspensions included.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

impl Lease {
    pub(super) fn new(config: &Config, own: NodeId, mode: NodeMode) -> Arc<Self> {
        Arc::new(Self {
            may_send: watch::Sender::new(config.lease.is_none()),
            config: config.lease.clone(),
            own,
            mode,
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node may send now.
    pub(super) fn may_send(&self) -> bool {
        self.config.is_none() || now() < self.known().term
    }

    /// Waits until that may be different.
    pub(super) async fn changed(&self) {
        let mut changes = self.may_send.subscribe();
        // The sender lives as long as this call borrows it.
        let _ = changes.changed().await;
    }

    /// Waits until this node may not send.
    pub(super) async fn lost(&self) {
        let mut changes = self.may_send.subscribe();
        let _ = changes.wait_for(|may_send| !may_send).await;
    }

    /// Keeps what follows from a held lease.
    fn hold(&self, held: Held, asked: Duration) {
        let news = {
            let mut known = self.known();
            let before = known.held.replace(held);
            known.term = known.term.max(term_ends(asked, held.ttl));
            (known.holder, known.problem) = (None, None);
            before.is_none()
        };
        if news {
            info!("this node has the lease");
        }
        self.look();
    }

    /// The lease is not this node's any more.
    fn drop_it(&self, why: &str) {
        {
            let mut known = self.known();
            (known.held, known.term, known.promoting) = (None, Duration::ZERO, false);
        }
        info!("this node does not have the lease any more: {why}");
        self.look();
    }

    fn trouble(&self, error: &EtcdError) {
        let text = error.to_string();
        let news = self.known().problem.replace(text.clone()) != Some(text.clone());
        if news {
            warn!("the lease: {text}");
        }
    }

    /// Tells whoever waits whether this node may send.
    fn look(&self) {
        let may_send = self.may_send();
        let turned = self.may_send.send_if_modified(|told| {
            let turned = *told != may_send;
            *told = may_send;
            turned
        });
        if turned && !may_send {
            warn!("nothing is sent: this node's term has ended");
        }
    }

    /// For the status.
    pub(super) fn status(&self, name: impl Fn(&NodeId) -> String) -> Option<LeaseStatus> {
        let config = self.config.as_ref()?;
        let known = self.known();
        let left = known.term.checked_sub(now());
        let holder = match &known.holder {
            Some(holder) => Some(
                holder
                    .parse()
                    .map_or_else(|_| holder.clone(), |id| name(&id)),
            ),
            // After its term this node does not know either.
            None => left.map(|_| name(&self.own)),
        };
        Some(LeaseStatus {
            key: config.key.clone(),
            held: left.is_some(),
            holder,
            seconds_left: left.map_or(0.0, |left| left.as_secs_f64()),
            detail: known.problem.clone(),
        })
    }

    fn situation(&self, role: Role, fit: bool, ttl: Duration) -> Situation {
        let mut known = self.known();
        let since = match known.role {
            Some((before, since)) if before == role => since,
            _ => now(),
        };
        known.role = Some((role, since));
        let active = role == Role::Active;
        known.promoting &= !active;
        Situation {
            active,
            fit,
            in_role_for: now().saturating_sub(since),
            holds: known.held.is_some(),
            promoting: known.promoting,
            ttl,
        }
    }
}

/// Takes, renews and gives up the lease, and promotes this node when it has it.
pub(super) async fn run(lease: Arc<Lease>, etcd: Etcd, node: NodeHandle) {
    tokio::join!(
        keep(&lease, &etcd, &node),
        watch_term(&lease),
        promote(&lease, &node)
    );
}

/// What the configuration says about the lease, ready to be asked.
pub(super) fn client(config: &Config) -> Result<Option<Etcd>, Failure> {
    let client = config.lease.as_ref().map(Etcd::new).transpose();
    client.map_err(|error| {
        Failure::caused_by(FailureKind::Usage, "reading the files of [lease]", &error)
            .hint("`ca_file`, `certificate_file` and `key_file` are PEM files that this node's user may read")
    })
}

async fn watch_term(lease: &Lease) {
    loop {
        sleep(LOOK_EVERY).await;
        lease.look();
    }
}

async fn keep(lease: &Lease, etcd: &Etcd, node: &NodeHandle) {
    let Some(config) = &lease.config else { return };
    let own = lease.own.to_string();
    loop {
        let current = node.current.borrow().clone();
        // Between two stints a lease is kept, and none is taken.
        let (role, fit) = match &current {
            Current::Open(shared) => (shared.standing().role, is_fit(shared)),
            Current::Changing | Current::Failed(_) => (lease.last_role(), false),
        };
        drop(current);
        let situation = lease.situation(role, fit, config.ttl);
        let next = situation.next();
        let done = make(lease, etcd, &own, next, role).await;
        // One that was taken over from an earlier life is renewed at once.
        if !lease.known().held.is_some_and(|held| held.ttl.is_zero()) {
            sleep(situation.pause(next, done)).await;
        }
    }
}

/// Makes one move; whether the lease is held after it.
async fn make(lease: &Lease, etcd: &Etcd, own: &str, next: Move, role: Role) -> bool {
    let asked = now();
    let held = lease.known().held;
    match (next, held) {
        (Move::Take, _) => match etcd.take(own).await {
            Ok(Key::Ours(held)) => {
                lease.known().promoting = role == Role::Passive;
                lease.hold(held, asked);
                return true;
            }
            Ok(Key::Others(holder)) => {
                let mut known = lease.known();
                (known.holder, known.problem) = (Some(holder), None);
            }
            Err(error) => lease.trouble(&error),
        },
        (Move::Renew, Some(held)) => match etcd.renew(own, held).await {
            Ok(Some(held)) => {
                lease.hold(held, asked);
                return true;
            }
            Ok(None) => lease.drop_it("etcd has ended it"),
            Err(error) => lease.trouble(&error),
        },
        (Move::Release, Some(held)) => {
            lease.drop_it("this node is passive");
            if let Err(error) = etcd.release(held).await {
                lease.trouble(&error);
            }
        }
        (Move::Wait | Move::Renew | Move::Release, _) => {}
    }
    false
}

/// Promotes this node whenever it took the lease as a passive; gives the lease up
/// where that fails.
async fn promote(lease: &Lease, node: &NodeHandle) {
    loop {
        let wanted = lease.known().promoting && lease.may_send();
        if !wanted {
            tokio::select! { () = lease.changed() => {} () = sleep(RETRY) => {} }
            continue;
        }
        let (events, ignored) = mpsc::channel(1);
        drop(ignored);
        let promoting = node.request(Request::Promote(RoleChange::default()), events);
        let outcome = tokio::select! {
            outcome = promoting => outcome,
            () = lease.lost() => Err(Failure::new(FailureKind::Role, "promoting: the lease was lost meanwhile")),
        };
        match outcome {
            Ok(()) => lease.known().promoting = false,
            Err(failure) => {
                warn!("this node has the lease and cannot lead: {failure}");
                let mut known = lease.known();
                known.promoting = false;
                known.problem = Some(failure.message);
                // As if it had just become passive: others are first.
                known.role = Some((Role::Passive, now()));
            }
        }
    }
}

/// Whether a node could lead: every tree was synchronised, and takes what comes.
fn is_fit(shared: &Shared) -> bool {
    shared.standing().rival.is_none()
        && shared.passive.values().all(|tree| {
            let state = tree.state.borrow();
            state.position.generation.0 > 0 && state.problem.is_none()
        })
}

impl Lease {
    fn last_role(&self) -> Role {
        self.known().role.map_or(Role::Passive, |(role, _)| role)
    }

    /// Why this node may not send, if so.
    fn refusal(&self) -> Option<String> {
        let config = self.config.as_ref().filter(|_| !self.may_send())?;
        let key = sync_core::path::escape(config.key.as_bytes());
        Some(match self.mode {
            NodeMode::OneShot { .. } => {
                format!("the lease `{key}` is needed to send, and only a daemon holds it")
            }
            NodeMode::Daemon => match &self.known().problem {
                Some(problem) => format!("this node does not hold the lease `{key}`: {problem}"),
                None => format!("this node does not hold the lease `{key}`"),
            },
        })
    }
}

impl Shared {
    /// Whether a peer may be sent anything as far as the lease decides: one that
    /// takes over asks for it, and has the lease itself.
    pub(super) fn may_send_to(&self, peer: &NodeId) -> bool {
        self.lease.may_send() || *self.handing_to.borrow() == Some(*peer)
    }

    /// Waits until nothing may be sent to a peer any more.
    pub(super) async fn must_stop(&self, peer: &NodeId) {
        loop {
            self.lease.lost().await;
            if !self.may_send_to(peer) {
                return;
            }
            let mut handing_to = self.handing_to.subscribe();
            if self.may_send_to(peer) && handing_to.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Lets this peer be sent everything, whoever has the lease, until the result
    /// is dropped.
    pub(super) fn hand_to(&self, peer: NodeId) -> HandingTo<'_> {
        self.handing_to.send_replace(Some(peer));
        self.peers.touch();
        HandingTo(self)
    }

    /// Why nothing is sent without the lease, if so.
    pub(super) fn without_lease(&self) -> Option<Refusal> {
        self.lease.refusal().map(Refusal::Unable)
    }

    pub(super) fn refuse_without_lease(&self, doing: &str) -> Result<(), Failure> {
        match self.lease.refusal() {
            Some(why) => Err(Failure::new(FailureKind::Role, format!("{doing}: {why}"))
                .hint("`apim-sync status` shows who holds the lease; the holder sends")),
            None => Ok(()),
        }
    }
}

/// Ends the exception when dropped.
pub(super) struct HandingTo<'a>(&'a Shared);

impl Drop for HandingTo<'_> {
    fn drop(&mut self) {
        self.0.handing_to.send_replace(None);
    }
}
