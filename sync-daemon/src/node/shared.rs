//! What all tasks of a node share: its configuration, trees, peers and the
//! switches that requests turn.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sync_core::{
    Epoch, Position, Preset, TreeName,
    guard::{Guard, MaxDelete},
    wire::{Hello, PlanId, TreeStatus, VERSION, VERSION_OLDEST},
};
use tokio::{
    sync::{Notify, OnceCell, broadcast, watch},
    time::Instant,
};
use tracing::info;

use super::{
    NodeMode,
    active::ActiveTree,
    hooks::Hooks,
    lease::Lease,
    passive::PassiveTree,
    peers::Peers,
    publisher::{Published, Unsettled},
    releases::Releases,
    report::PushReport,
    scope::Scope,
    spans::Spans,
    tenants::TenantsByTree,
};
use crate::{
    audit_log::{AuditLog, Said, Witnessed},
    config::Config,
    control,
    events::Role,
    failure::{Failure, FailureKind},
    identity::NodeId,
    pairing::Inviter,
    pauses::{Pause, Pauses},
    standing::Standing,
    transport::Endpoint,
    trust::Trusted,
};

/// Generations remembered for requests that are slow to read.
pub(super) const REPORTS_MAX: usize = 256;

/// Halted plans of rollbacks that may be released.
const OFFERED_MAX: usize = 16;

/// Everything a node's tasks have in common.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) mode: NodeMode,
    pub(super) id: NodeId,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) trusted: Trusted,
    pub(super) peers: Peers,
    pub(super) tenants: TenantsByTree,
    pub(super) active: BTreeMap<TreeName, ActiveTree>,
    pub(super) passive: BTreeMap<TreeName, PassiveTree>,
    pub(super) reports: broadcast::Sender<PushReport>,
    pub(super) releases: Arc<Releases>,
    /// Lets strangers join by invitation.
    pub(super) inviter: Inviter,
    pub(super) hooks: Arc<Hooks>,
    pub(super) audit: AuditLog,
    /// What was seen of the peers' audit logs, by id; read when it is first asked for.
    pub(super) witnessed: OnceCell<Mutex<Witnessed>>,
    /// The states that the audit log has.
    audited: Mutex<BTreeMap<TreeName, Position>>,
    /// One rollback at a time.
    pub(super) rolling_back: tokio::sync::Mutex<()>,
    /// Plans that were halted before anything was sent, and may be released.
    offered: Mutex<VecDeque<PlanId>>,
    pub(super) lease: Arc<Lease>,
    /// The peer that takes over and is sent everything for that.
    pub(super) handing_to: watch::Sender<Option<NodeId>>,
    /// Where the configuration came from, to read it again.
    pub(super) config_file: Option<PathBuf>,
    /// Wakes the dialler before its backoff has passed.
    pub(super) dial_now: Notify,
    pub(super) standing: Mutex<Standing>,
    /// Why the standing is no longer the one that everything was opened for.
    pub(super) stint_over: watch::Sender<Option<String>>,
    /// Nothing more is sent while a peer takes over.
    yielding: watch::Sender<bool>,
    /// What is not sent for now.
    pub(super) pauses: Arc<Pauses>,
    /// The trees of this active in which something was touched and is not published.
    pub(super) unsettled: Unsettled,
    /// Generations of several trees that this passive is taking in.
    pub(super) spans: Spans,
    /// `push --max-delete`, while that request runs.
    max_delete: Mutex<Option<MaxDelete>>,
}

/// What [`Shared::new`] needs.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) mode: NodeMode,
    pub(super) config_file: Option<PathBuf>,
    pub(super) inviter: Inviter,
    pub(super) hooks: Arc<Hooks>,
    pub(super) lease: Arc<Lease>,
    pub(super) audit: AuditLog,
    pub(super) id: NodeId,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) trusted: Trusted,
    pub(super) active: BTreeMap<TreeName, ActiveTree>,
    pub(super) passive: BTreeMap<TreeName, PassiveTree>,
    pub(super) releases: Arc<Releases>,
    pub(super) pauses: Arc<Pauses>,
    pub(super) unsettled: Unsettled,
    pub(super) standing: Standing,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            mode: parts.mode,
            tenants: TenantsByTree::new(&parts.config),
            config: parts.config,
            endpoint: parts.endpoint,
            trusted: parts.trusted,
            peers: Peers::new(),
            active: parts.active,
            passive: parts.passive,
            reports: broadcast::Sender::new(REPORTS_MAX),
            releases: parts.releases,
            inviter: parts.inviter,
            hooks: parts.hooks,
            audit: parts.audit,
            witnessed: OnceCell::new(),
            audited: Mutex::default(),
            rolling_back: tokio::sync::Mutex::new(()),
            offered: Mutex::default(),
            lease: parts.lease,
            handing_to: watch::Sender::new(None),
            config_file: parts.config_file,
            dial_now: Notify::new(),
            standing: Mutex::new(parts.standing),
            stint_over: watch::Sender::new(None),
            yielding: watch::Sender::new(false),
            pauses: parts.pauses,
            unsettled: parts.unsettled,
            spans: Spans::default(),
            max_delete: Mutex::new(None),
        }
    }

    /// Whether what changed goes out by itself. A one-shot node sends only for a
    /// push that asks: a dry run or a verify must change nothing.
    pub(super) fn sends_unasked(&self) -> bool {
        self.mode == NodeMode::Daemon
    }

    pub(super) fn is_active(&self) -> bool {
        self.standing().role == Role::Active
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.standing().epoch()
    }

    /// This node's greeting.
    pub(super) fn hello(&self) -> Hello {
        let trees = self
            .passive
            .values()
            .map(PassiveTree::tree_status)
            .chain(self.active.values().map(active_status))
            .collect();
        Hello {
            version_oldest: VERSION_OLDEST,
            version: VERSION,
            node: self.config.node.name.to_string(),
            active: self.is_active(),
            epoch: self.epoch(),
            trees,
            refused: None,
        }
    }

    pub(super) fn active_tree(&self, name: &TreeName) -> Option<ActiveTree> {
        self.active.get(name).cloned()
    }

    pub(super) fn passive_tree(&self, name: &TreeName) -> Option<PassiveTree> {
        self.passive.get(name).cloned()
    }

    /// Puts a state into the audit log, once.
    fn audit_published(&self, published: &Published) {
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let position = published.position;
        if audited.insert(published.tree.clone(), position) != Some(position) {
            self.audit.say(Said::Published {
                tree: published.tree.to_string(),
                generation: position.generation.0,
                root: position.root.to_string(),
            });
        }
    }

    /// Notes for every peer that there is a newer state.
    pub(super) fn note_published(&self, published: &Published) {
        self.audit_published(published);
        let root = published.position.root;
        let changed = self.tenants.changed(&published.tree, &published.manifest);
        let now = Instant::now();
        self.peers.edit(|peers| {
            for peer in peers.values_mut() {
                let tree = peer.trees.entry(published.tree.clone()).or_default();
                let has_it = tree.base.as_ref().is_some_and(|base| base.root() == root);
                if has_it {
                    tree.behind_since = None;
                    tree.tenants_behind.clear();
                } else {
                    tree.behind_since.get_or_insert(now);
                    for tenant in &changed {
                        tree.tenants_behind.entry(tenant.clone()).or_insert(now);
                    }
                }
            }
        });
    }

    /// What people call a peer here.
    pub(super) fn peer_name(&self, id: &NodeId) -> String {
        self.trusted
            .find(id)
            .map_or_else(|| id.short(), |peer| peer.name.as_str().to_owned())
    }

    /// The rules that a tree obeys.
    pub(super) fn preset(&self, tree: &TreeName) -> Preset {
        let mut trees = self.config.trees.iter();
        trees
            .find(|known| known.name == *tree)
            .map_or_else(Preset::default, |known| known.preset)
    }

    /// The guard in force.
    pub(super) fn guard(&self) -> Guard {
        let configured = self.configured_guard();
        let asked = *self
            .max_delete
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asked.map_or(configured, |max_delete| Guard {
            max_delete,
            min_files: 0,
        })
    }

    /// The guard of the configuration.
    pub(super) fn configured_guard(&self) -> Guard {
        self.config.guard
    }

    /// Puts `limit` in place of the configured one until the result is dropped.
    pub(super) fn limit_deletions(&self, limit: MaxDelete) -> DeletionLimit<'_> {
        *self
            .max_delete
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(limit);
        DeletionLimit(self)
    }

    /// Whether nothing of a tree may be sent now.
    pub(super) fn is_held(&self, tree: &TreeName) -> bool {
        *self.yielding.borrow() || self.pauses.of(tree).all
    }

    /// Has one peer brought up to date, drift on it included.
    pub(super) fn want_everything_sent(&self, peer: &NodeId) {
        for tree in self.active.keys() {
            self.peers
                .update_tree(peer, tree, |known| _ = known.want_healing(None));
        }
    }

    /// Sends nothing more until the result is dropped.
    pub(super) fn give_way(&self) -> GivingWay<'_> {
        self.yielding.send_replace(true);
        GivingWay(self)
    }

    /// Stops sending a part of the trees, for a time or until resumed.
    pub(super) fn pause(&self, pausing: &control::Pause) -> Result<(), Failure> {
        let pause = self.pause_of("pausing", &pausing.part, pausing.seconds)?;
        self.pauses.add(pause.clone())?;
        self.peers.touch();
        info!(what = pause.what(), "sending is paused");
        Ok(())
    }

    /// Sends a part of the trees again, or, where none is named, everything.
    pub(super) fn resume(&self, part: &control::Part) -> Result<(), Failure> {
        let pause = self.pause_of("resuming", part, None)?;
        if part.is_all() {
            self.pauses.clear()?;
        } else if !self.pauses.remove(&pause)? {
            let message = format!("resuming {}: no pause is of just that", pause.what());
            return Err(Failure::new(FailureKind::Usage, message)
                .hint("`apim-sync status` lists what is paused; `apim-sync resume` ends all"));
        }
        self.peers.touch();
        info!(what = pause.what(), "sending goes on");
        Ok(())
    }

    fn pause_of(
        &self,
        doing: &str,
        part: &control::Part,
        seconds: Option<u64>,
    ) -> Result<Pause, Failure> {
        if !self.is_active() {
            return Err(self.needs_active(doing));
        }
        let scope = Scope::of(self, part.tree.as_deref(), part.tenant.as_deref())?;
        let period = seconds.map(Duration::from_secs);
        Ok(Pause::new(scope.tree(), scope.tenant(), period))
    }

    /// Why not everything of this node's trees is sent now, if a person said so.
    pub(super) fn any_pause(&self) -> Option<String> {
        let pause = self.pauses.in_force().into_iter().next()?;
        Some(format!("sending of {} is paused", pause.what()))
    }

    /// Approves a halted plan.
    pub(super) fn release(&self, plan: &str) -> Result<(), Failure> {
        let id: PlanId = plan.parse().map_err(|error| {
            Failure::new(
                FailureKind::Usage,
                format!(
                    "releasing `{}`: {error}",
                    sync_core::path::escape(plan.as_bytes())
                ),
            )
            .hint("`apim-sync status` shows the halted plans and their ids")
        })?;
        if self.mode == NodeMode::Daemon && !self.is_halted(id) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("releasing {id}: no such plan is halted"),
            )
            .hint("`apim-sync status` shows the halted plans and their ids"));
        }
        self.releases.add(id)?;
        self.audit.say_and_sync(Said::Released {
            plan: id.to_string(),
        });
        self.peers.edit(|peers| {
            for tree in peers.values_mut().flat_map(|peer| peer.trees.values_mut()) {
                tree.halt.take_if(|halt| halt.plan == id);
            }
        });
        info!(plan = %id, "released");
        Ok(())
    }

    /// Lets an operator release a plan that was halted before anything was sent.
    pub(super) fn offer_release(&self, plan: PlanId) {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.retain(|known| *known != plan);
        offered.push_back(plan);
        if offered.len() > OFFERED_MAX {
            offered.pop_front();
        }
    }

    fn is_halted(&self, plan: PlanId) -> bool {
        let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        if offered.contains(&plan) {
            return true;
        }
        drop(offered);
        let id = plan.to_string();
        super::status::of(self)
            .guard
            .plans
            .iter()
            .any(|halted| halted.plan == id)
    }

    pub(super) fn needs_active(&self, doing: &str) -> Failure {
        Failure::new(
            FailureKind::Role,
            format!("{doing}: node `{}` is passive", self.config.node.name),
        )
        .hint("run the command on the active node")
    }

    pub(super) fn report(&self, report: PushReport) {
        // Nobody listening is the ordinary case.
        let _ = self.reports.send(report);
    }

    /// Saves what every tree has observed.
    pub(super) async fn save(&self, mode: NodeMode) -> Result<(), Failure> {
        let mut result = Ok(());
        for tree in self.active.values() {
            result = result.and(tree.save().await);
        }
        for tree in self.passive.values() {
            result = result.and(tree.save(mode).await);
        }
        result
    }
}

/// Lets sending go on when dropped.
pub(super) struct GivingWay<'a>(&'a Shared);

impl Drop for GivingWay<'_> {
    fn drop(&mut self) {
        self.0.yielding.send_replace(false);
        self.0.peers.touch();
    }
}

/// Takes `push --max-delete` back when dropped.
pub(super) struct DeletionLimit<'a>(&'a Shared);

impl Drop for DeletionLimit<'_> {
    fn drop(&mut self) {
        *self
            .0
            .max_delete
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn active_status(tree: &ActiveTree) -> TreeStatus {
    let published = tree.published.borrow();
    TreeStatus {
        name: tree.name.clone(),
        position: published.position,
        entries: published.manifest.totals().entries,
        staged: 0,
    }
}
