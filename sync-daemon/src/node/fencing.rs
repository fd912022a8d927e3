//! What this node does about the standing of another: carries out what
//! [`sync_core::fence`] decides, on the disk first.
//!
//! A stint is the time of a node in one standing. A change that its trees and
//! sessions were not opened for ends the stint; the node then opens again (see
//! [`stints`](super::stints)).

use std::sync::PoisonError;

use sync_core::{
    fence::{Kinship, Lineage, Stance, Verdict, judge},
    wire::{Claim, Hello, Refusal, VERSION, VERSION_OF_CLAIMS, VERSION_OLDEST},
};
use tracing::{error, info, warn};

use super::{Shared, error::SessionError};
use crate::{
    audit_log::Said,
    events::Role,
    failure::{Failure, FailureKind},
    identity::NodeId,
    standing::{Rival, Standing},
};

/// Trees in one hello.
const HELLO_TREES_MAX: usize = sync_core::limits::TREES_MAX;

/// What a peer said of itself.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) hello: Hello,
    pub(super) claim: Claim,
}

impl Greeting {
    /// What the peer is.
    pub(super) fn stance(&self, peer: NodeId) -> Stance<'_> {
        Stance {
            node: peer.0,
            active: self.hello.active,
            halted: self.claim.halted,
            lineage: &self.claim.lineage,
        }
    }

    /// Whether the peer is active and at work.
    pub(super) fn leads(&self) -> bool {
        self.hello.active && !self.claim.halted
    }
}

impl Shared {
    /// What this node is now.
    pub(super) fn standing(&self) -> Standing {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.clone()
    }

    /// Whether this node is active and no conflict keeps it from working.
    pub(super) fn leads(&self) -> bool {
        let standing = self.standing();
        standing.role == Role::Active && standing.rival.is_none()
    }

    /// What entitles this node to its role.
    pub(super) fn claim(&self) -> Claim {
        let standing = self.standing();
        Claim {
            halted: standing.rival.is_some(),
            lineage: standing.lineage,
        }
    }

    /// A greeting as it counts: with the claim that a node of the first version
    /// makes by its epoch alone.
    pub(super) fn greeting(
        &self,
        hello: Hello,
        claim: Option<Claim>,
    ) -> Result<Greeting, SessionError> {
        let claim = claim.unwrap_or_else(|| Claim {
            lineage: self.standing().lineage.of_epoch(hello.epoch),
            halted: false,
        });
        if claim.lineage.epoch() != hello.epoch {
            return Err(SessionError::protocol("a claim to another epoch"));
        }
        Ok(Greeting { hello, claim })
    }

    /// What this node has against talking to the peer at all.
    pub(super) fn objection(&self, theirs: &Greeting) -> Option<Refusal> {
        let hello = &theirs.hello;
        if hello.version < VERSION_OLDEST || hello.version_oldest > VERSION {
            return Some(Refusal::Version {
                oldest: VERSION_OLDEST,
                newest: VERSION,
            });
        }
        if hello.trees.len() > HELLO_TREES_MAX {
            return Some(Refusal::Protocol("too many trees".to_owned()));
        }
        if hello.version >= VERSION_OF_CLAIMS || !hello.active {
            return None;
        }
        // Only these words does a node of the first version understand.
        let ours = self.standing();
        if hello.epoch < ours.epoch() {
            return Some(Refusal::Epoch(ours.epoch()));
        }
        (ours.role == Role::Active && hello.epoch == ours.epoch())
            .then_some(Refusal::Role { active: true })
    }

    /// What follows from a greeting.
    pub(super) fn meet(&self, peer: NodeId, theirs: &Greeting) -> Verdict {
        let ours = self.standing();
        let stance = Stance {
            node: self.id.0,
            active: ours.role == Role::Active,
            halted: ours.rival.is_some(),
            lineage: &ours.lineage,
        };
        judge(&stance, &theirs.stance(peer))
    }

    /// Carries out what follows from a greeting, on the disk first. A session
    /// goes on after [`Verdict::Lead`], [`Verdict::Follow`] and looks after the
    /// others that are no error.
    pub(super) fn carry_out(
        &self,
        verdict: Verdict,
        peer: NodeId,
        theirs: &Greeting,
    ) -> Result<(), SessionError> {
        match verdict {
            Verdict::Follow => self.take_up(&theirs.claim.lineage),
            Verdict::Lead | Verdict::Look => Ok(()),
            Verdict::Refuse => {
                let (name, epoch) = (self.peer_name(&peer), theirs.hello.epoch);
                warn!(peer = %name, %epoch, "it was active in an epoch that is over; nothing is taken from it");
                Ok(())
            }
            Verdict::StepDown => {
                self.step_down(&theirs.claim.lineage, &self.peer_name(&peer))?;
                Err(SessionError::Local(self.over()))
            }
            Verdict::Halt => {
                self.halt(peer, theirs)?;
                Err(SessionError::Local(self.over()))
            }
        }
    }

    /// As a passive: takes up a lineage that continues ours.
    pub(super) fn take_up(&self, lineage: &Lineage) -> Result<(), SessionError> {
        let mut standing = self.standing();
        if standing.lineage == *lineage {
            return Ok(());
        }
        standing.lineage = lineage.clone();
        self.record(standing).map_err(SessionError::Local)?;
        info!("epoch {}", lineage.epoch());
        Ok(())
    }

    /// As an active whose time is over: turns passive.
    pub(super) fn step_down(&self, lineage: &Lineage, peer: &str) -> Result<(), SessionError> {
        let (ours, epoch) = (self.standing().epoch(), lineage.epoch());
        let stepped = Standing {
            role: Role::Passive,
            lineage: lineage.clone(),
            rival: None,
        };
        self.record(stepped).map_err(SessionError::Local)?;
        warn!(
            "turned passive: epoch {ours} is over since epoch {epoch}, says `{peer}`; \
             what only this node has is kept aside when it is replaced"
        );
        self.end_stint(format!(
            "this node was active in epoch {ours} and has turned passive: `{peer}` knows of epoch {epoch}"
        ));
        Ok(())
    }

    fn halt(&self, peer: NodeId, theirs: &Greeting) -> Result<(), SessionError> {
        let name = self.peer_name(&peer);
        let halted = Standing {
            rival: Some(Rival {
                name: name.clone(),
                node: peer,
                lineage: theirs.claim.lineage.clone(),
            }),
            ..self.standing()
        };
        let conflict = conflict(&halted, self.config.node.name.as_str());
        self.record(halted).map_err(SessionError::Local)?;
        if let Some(conflict) = conflict {
            error!("{}", conflict.message);
            self.end_stint(conflict.message);
        }
        Ok(())
    }

    /// Keeps a changed standing, on the disk first.
    pub(super) fn record(&self, new: Standing) -> Result<(), Failure> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let promoted = NodeId(new.lineage.current().node);
        let active = (promoted != self.id && new.lineage != standing.lineage)
            .then(|| self.peer_name(&promoted));
        self.hooks.announce(&standing, &new, active);
        new.store(&self.config.node.state_dir).map_err(|failed| {
            let doing = format!("recording that this node is {}", new.role.name());
            let failure = Failure::caused_by(FailureKind::Failed, doing, &failed)
                .hint("check the free space and the owner of the state directory");
            error!("{failure}");
            failure
        })?;
        *standing = new;
        drop(standing);
        self.audit_standing();
        Ok(())
    }

    /// Puts what this node is into the audit log.
    pub(super) fn audit_standing(&self) {
        let standing = self.standing();
        self.audit.say_and_sync(match &standing.rival {
            Some(rival) => Said::Conflict {
                peer: rival.name.clone(),
                peer_epoch: rival.lineage.epoch().0,
            },
            None => Said::Standing {
                role: standing.role.name().to_owned(),
                epoch: standing.epoch().0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                trusts: self.trusted_ids(),
            },
        });
    }

    /// The standing is no longer the one that everything was opened for.
    pub(super) fn end_stint(&self, why: String) {
        self.stint_over.send_replace(Some(why));
    }

    /// Waits until the stint is over; then every request of it has failed so.
    pub(super) async fn stint_ended(&self) -> Failure {
        let mut over = self.stint_over.subscribe();
        // The sender lives as long as this call borrows it.
        let _ = over.wait_for(Option::is_some).await;
        self.over()
    }

    fn over(&self) -> Failure {
        let why = self.stint_over.borrow().clone();
        let message = why.unwrap_or_else(|| "this node changes its role".to_owned());
        Failure::new(FailureKind::Role, message)
            .hint("`apim-sync status` on both nodes shows their roles and epochs")
    }

    /// Why `doing` needs a person's decision first, if so.
    pub(super) fn refuse_conflict(&self, doing: &str) -> Result<(), Failure> {
        match conflict(&self.standing(), self.config.node.name.as_str()) {
            Some(conflict) => Err(Failure {
                message: format!("{doing}: {}", conflict.message),
                ..conflict
            }),
            None => Ok(()),
        }
    }

    /// Whether a generation of that peer may be taken: it is the active that this
    /// node follows, in the epoch in force.
    pub(super) fn admit(
        &self,
        peer: NodeId,
        theirs: &Greeting,
        epoch: sync_core::Epoch,
    ) -> Result<(), Refusal> {
        let ours = self.standing();
        if ours.role == Role::Active {
            return Err(Refusal::Role { active: true });
        }
        let same = Kinship::of(&ours.lineage, &theirs.claim.lineage) == Kinship::Same;
        let follows = self.meet(peer, theirs) == Verdict::Follow;
        if same && follows && epoch == ours.epoch() {
            Ok(())
        } else {
            Err(Refusal::Epoch(ours.epoch()))
        }
    }
}

/// The conflict of a standing in words.
pub(super) fn conflict(standing: &Standing, own_name: &str) -> Option<Failure> {
    let rival = standing.rival.as_ref()?;
    let (name, theirs, ours) = (&rival.name, rival.lineage.epoch(), standing.epoch());
    let message = format!(
        "halted: two nodes were made active without knowing of each other (this one in epoch {ours}, \
         as `{name}` knows another in epoch {theirs}); neither sends or takes anything"
    );
    Some(Failure::new(FailureKind::Role, message).hint(format!(
        "`apim-sync diff` shows what either side has; then, on the node that shall win: \
         `apim-sync promote --confirm NODE` with its own name (here `{own_name}`); the other's files are kept aside there"
    )))
}
