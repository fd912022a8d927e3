//! `verify`: compare this node's trees with a peer's; change nothing.
//!
//! Both sides read their own disk at the same time; then the tries are walked.
//! «Missing» and «extra» always speak of the passive, whichever side asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use sync_core::{
    Difference, Entry, Manifest, RelPath, Tenant, TreeName, exclude::Rules, manifest::Record,
    tenant, wire::View,
};
use tokio::{
    sync::{mpsc::Sender, watch},
    time::Instant,
};

use super::{
    Shared,
    audit::{self, Picture, Shown},
    error::SessionError,
    network,
    peers::Peer,
    picture,
    push_request::tell,
    scope::Scope,
};
use crate::{
    audit_log::Said,
    control::{FilterRule, Verify},
    events::{
        DifferenceKind, DifferenceReport, Event, LastVerify, PathText, Progress, SameReport,
        Summary, Unit, VerifySummary,
    },
    failure::{Failure, FailureKind},
    identity::NodeId,
    transport::Connection,
};

/// One tree with one peer.
struct Comparison<'a> {
    shared: &'a Shared,
    peer: NodeId,
    tree: TreeName,
    /// The one tenant of the tree that counts, if it is only one.
    tenant: Option<&'a Tenant>,
    peer_name: String,
    options: &'a Verify,
    rules: &'a Rules,
}

/// What one comparison found.
struct Found {
    local: Shown,
    peer: Picture,
    differences: Vec<DifferenceReport>,
}

/// Runs one verify.
pub(super) async fn run(
    shared: &Arc<Shared>,
    options: Verify,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let scope = Scope::of(shared, options.tree.as_deref(), options.tenant.as_deref())?;
    let peers = peers(shared, options.peer.as_deref())?;
    let rules = rules(&options.filter)?;
    let mut total = 0;
    for (id, peer) in &peers {
        let doing = format!("verifying with `{}`", peer.name);
        let connection = connection(shared, id, peer, &doing).await?;
        let mut differences = 0;
        for tree in scope.trees(shared) {
            let comparison = Comparison {
                shared,
                peer: *id,
                tree,
                tenant: scope.tenant(),
                peer_name: peer.name.clone(),
                options: &options,
                rules: &rules,
            };
            differences += comparison.run(&connection, events).await?;
        }
        if scope.tenant().is_none() {
            let last = verified_now(differences);
            shared
                .peers
                .update(id, |known| known.last_verify = Some(last));
        }
        total += differences;
    }
    if total == 0 {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Differences, format!("verifying: {total} differences found"))
        .hint("`apim-sync push` on the active brings the passive back in line; what it replaces is kept aside"))
}

fn verified_now(differences: u64) -> LastVerify {
    let unix_seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| age.as_secs());
    LastVerify {
        unix_seconds,
        differences,
    }
}

/// The peers a request means: those of the other role, as far as is known.
pub(super) fn peers(shared: &Shared, name: Option<&str>) -> Result<Vec<(NodeId, Peer)>, Failure> {
    let all = shared.peers.snapshot();
    let known: Vec<String> = all.values().map(|peer| peer.name.clone()).collect();
    if known.is_empty() {
        return Err(Failure::new(FailureKind::Usage, "no peer is trusted").hint(
            "pair the nodes: `apim-sync invite` on one and `apim-sync join TOKEN` on the other",
        ));
    }
    let wanted: Vec<_> = all
        .into_iter()
        .filter(|(_, peer)| name.is_none_or(|name| peer.name == name))
        .collect();
    match name {
        Some(name) if wanted.is_empty() => {
            let name = sync_core::path::escape(name.as_bytes());
            Err(Failure::new(
                FailureKind::Usage,
                format!("no trusted peer is called `{name}`"),
            )
            .hint(format!("trusted peers: {}", known.join(", "))))
        }
        _ => Ok(wanted),
    }
}

fn rules(filter: &[FilterRule]) -> Result<Rules, Failure> {
    let mut rules = Rules::new();
    let parsed = filter.iter().try_for_each(|rule| match rule {
        FilterRule::Include(pattern) => rules.include(pattern.as_bytes()),
        FilterRule::Exclude(pattern) => rules.exclude(pattern.as_bytes()),
        FilterRule::ExcludeLines(text) => rules.exclude_lines(text.as_bytes()),
    });
    parsed.map_err(|error| {
        Failure::caused_by(FailureKind::Usage, "reading the filter rules", &error)
    })?;
    Ok(rules)
}

/// The live connection to a peer, or a new one for this request.
pub(super) async fn connection(
    shared: &Shared,
    id: &NodeId,
    peer: &Peer,
    doing: &str,
) -> Result<Connection, Failure> {
    if let Some(connection) = shared.peers.peer(id).as_ref().and_then(Peer::connection) {
        return Ok(connection.clone());
    }
    let Some(address) = &peer.address else {
        return Err(Failure::new(
            FailureKind::Unreachable,
            format!("{doing}: it is not connected, and its address is not known here"),
        )
        .hint(format!(
            "`apim-sync trust add {} --id {id} --address HOST:PORT`, or run this on the other node",
            peer.name
        )));
    };
    let (connection, _) = network::connect(shared, *id, address, |_| ())
        .await
        .map_err(|error| error.failure(doing))?;
    Ok(connection)
}

impl Comparison<'_> {
    /// Tells what differs; gives the number of differences.
    async fn run(&self, connection: &Connection, events: &Sender<Event>) -> Result<u64, Failure> {
        let begun = Instant::now();
        let doing = format!("verifying {} with `{}`", self.tree, self.peer_name);
        let found = self
            .compare(connection, events)
            .await
            .map_err(|error| error.failure(&doing))?;
        self.expect_tenant(&found, &doing)?;
        self.note_tenants(&found);
        let count = found.differences.len() as u64;
        if self.options.combined {
            self.tell_same(&found, events).await;
        }
        for difference in found.differences {
            tell(events, Event::Difference(difference)).await;
        }
        let (local, root_peer) = match self.tenant {
            Some(tenant) => (
                tenant::part(&found.local.manifest, tenant),
                tenant::part(&found.peer.manifest, tenant).root(),
            ),
            None => (found.local.manifest, found.peer.root),
        };
        let totals = local.totals();
        let summary = VerifySummary {
            tree: self.tree.to_string(),
            tenant: self.tenant.map(ToString::to_string),
            peer: self.peer_name.clone(),
            files: totals.files,
            bytes: totals.bytes,
            differences: count,
            root_local: local.root().to_string(),
            root_peer: root_peer.to_string(),
            seconds: begun.elapsed().as_secs_f64(),
            in_sync: count == 0,
            evidence: None,
        };
        let summary = self.sign(summary).await?;
        tell(events, Event::Summary(Summary::Verify(summary))).await;
        Ok(count)
    }

    /// Puts the result into the audit log, if that was asked for.
    async fn sign(&self, summary: VerifySummary) -> Result<VerifySummary, Failure> {
        if !self.options.sign {
            return Ok(summary);
        }
        let said = Said::Verified {
            tree: summary.tree.clone(),
            tenant: summary.tenant.clone(),
            peer: self.peer.to_string(),
            deep: !self.options.quick,
            files: summary.files,
            bytes: summary.bytes,
            differences: summary.differences,
            root_local: summary.root_local.clone(),
            root_peer: summary.root_peer.clone(),
        };
        let signed = self.shared.audit.say_durably(said).await;
        let evidence = signed.map_err(|error| {
            let doing = format!("signing what was found in {}", self.tree);
            Failure::caused_by(FailureKind::Failed, doing, &error)
                .hint("check the free space and the owner of the state directory, then restart the daemon")
        })?;
        Ok(VerifySummary {
            evidence: Some(evidence),
            ..summary
        })
    }

    async fn compare(
        &self,
        connection: &Connection,
        events: &Sender<Event>,
    ) -> Result<Found, SessionError> {
        let (local, remote) = self.views();
        let (progress, seen) = watch::channel((0, 0));
        let remote = audit::open(connection, &self.tree, remote, |_, _| {});
        let local = picture::of(self.shared, &self.tree, local, progress);
        let both = async { tokio::try_join!(remote, local) };
        let (audit, local) = self.with_progress(both, seen, events).await?;
        let local = local.map_err(SessionError::Refused)?;
        let peer = audit.walk(&local.manifest).await?;
        let differences = self.differences(&local, &peer);
        Ok(Found {
            local,
            peer,
            differences,
        })
    }

    /// Which pictures are compared: every byte of both disks; or quickly, what the
    /// active has published and what the passive's disk is known to hold.
    fn views(&self) -> (View, View) {
        match (self.options.quick, self.shared.is_active()) {
            (false, _) => (View::Deep, View::Deep),
            (true, true) => (View::Agreed, View::Disk),
            (true, false) => (View::Disk, View::Agreed),
        }
    }

    async fn with_progress<R>(
        &self,
        work: impl Future<Output = R>,
        mut seen: watch::Receiver<picture::Read>,
        events: &Sender<Event>,
    ) -> R {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = picture::tick(&mut seen) => {
                    let (done, bytes) = *seen.borrow_and_update();
                    let task = format!("reading {}", self.tree);
                    tell(events, Event::Progress(Progress { task, done, total: None, unit: Unit::Files, bytes })).await;
                }
            }
        }
    }

    fn differences(&self, local: &Shown, peer: &Picture) -> Vec<DifferenceReport> {
        let we_are_active = self.shared.is_active();
        let has_tenants = self.shared.preset(&self.tree).has_tenants();
        let (active, passive) = if we_are_active {
            (&local.manifest, &peer.manifest)
        } else {
            (&peer.manifest, &local.manifest)
        };
        let mut found: BTreeMap<RelPath, (DifferenceKind, String)> = BTreeMap::new();
        for difference in active.diff(passive) {
            let (kind, detail) = classify(&difference);
            found.insert(difference.path, (kind, detail));
        }
        let touched = if we_are_active {
            &peer.touched
        } else {
            &local.touched
        };
        for path in touched {
            let detail = "modification time changed on the passive".to_owned();
            found
                .entry(path.clone())
                .or_insert((DifferenceKind::Metadata, detail));
        }
        for (unreadable, side) in [
            (&local.unreadable, "here"),
            (&peer.unreadable, "on the peer"),
        ] {
            for (path, reason) in unreadable {
                let detail = format!("unreadable {side}: {}", super::error::printable(reason));
                found.insert(path.clone(), (DifferenceKind::Unreadable, detail));
            }
        }
        let included = found.into_iter().filter(|(path, _)| {
            let is_directory = [active, passive]
                .iter()
                .any(|side| side.has_directory(path));
            self.includes(path, is_directory)
        });
        included
            .map(|(path, (kind, detail))| DifferenceReport {
                tree: self.tree.to_string(),
                tenant: has_tenants.then(|| Tenant::of(&path).to_string()),
                peer: self.peer_name.clone(),
                path: PathText::from(&path),
                kind,
                detail,
            })
            .collect()
    }

    fn includes(&self, path: &RelPath, is_directory: bool) -> bool {
        self.tenant.is_none_or(|tenant| tenant.owns(path))
            && !self.rules.matches(path, is_directory)
    }

    /// A tenant that neither side has is a mistake in the name.
    fn expect_tenant(&self, found: &Found, doing: &str) -> Result<(), Failure> {
        let Some(tenant) = self.tenant else {
            return Ok(());
        };
        let sides = [&found.local.manifest, &found.peer.manifest];
        if sides
            .iter()
            .any(|side| side.has_directory(tenant.directory()))
        {
            return Ok(());
        }
        let message = format!("{doing}: neither side has a tenant `{tenant}`");
        Err(Failure::new(FailureKind::Usage, message)
            .hint("`apim-sync status --json` lists the tenants"))
    }

    /// Notes for each tenant compared what was found.
    fn note_tenants(&self, found: &Found) {
        if !self.shared.preset(&self.tree).has_tenants() {
            return;
        }
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let named = found
            .differences
            .iter()
            .filter_map(|it| it.tenant.as_deref());
        named.for_each(|tenant| *counts.entry(tenant).or_default() += 1);
        let sides = [&found.local.manifest, &found.peer.manifest];
        let directories = sides.into_iter().flat_map(Manifest::iter);
        let tenants: BTreeSet<Tenant> = directories
            .filter(|record| record.is_directory())
            .filter_map(|record| Tenant::new(record.path_bytes()))
            .collect();
        let compared = tenants
            .into_iter()
            .filter(|tenant| self.tenant.is_none_or(|only| only == tenant))
            .map(|tenant| {
                let differences = counts.get(tenant.to_string().as_str());
                let verified = verified_now(differences.copied().unwrap_or(0));
                (tenant, verified)
            });
        self.shared
            .peers
            .update_tree(&self.peer, &self.tree, |known| {
                known.tenants_verified.extend(compared);
            });
    }

    async fn tell_same(&self, found: &Found, events: &Sender<Event>) {
        let different: std::collections::BTreeSet<&str> = found
            .differences
            .iter()
            .map(|difference| difference.path.path.as_str())
            .collect();
        let mut same: Vec<RelPath> = files(&found.local.manifest)
            .filter(|path| {
                self.includes(path, false) && !different.contains(path.escaped().as_str())
            })
            .collect();
        same.sort();
        for path in same {
            let (tree, peer) = (self.tree.to_string(), self.peer_name.clone());
            tell(
                events,
                Event::Same(SameReport {
                    tree,
                    peer,
                    path: PathText::from(&path),
                }),
            )
            .await;
        }
    }
}

fn files(manifest: &Manifest) -> impl Iterator<Item = RelPath> {
    manifest
        .iter()
        .filter(|record| !record.is_directory())
        .map(Record::path)
}

/// `ours` is the active's entry, `theirs` the passive's.
fn classify(difference: &Difference) -> (DifferenceKind, String) {
    match (&difference.ours, &difference.theirs) {
        (Some(_), None) => (DifferenceKind::Missing, "not on the passive".to_owned()),
        (None, _) => (DifferenceKind::Extra, "only on the passive".to_owned()),
        (Some(Entry::File(active)), Some(Entry::File(passive)))
            if active.content == passive.content =>
        {
            (
                DifferenceKind::Metadata,
                modes(active.mode.bits(), passive.mode.bits()),
            )
        }
        (Some(Entry::Directory { mode: active }), Some(Entry::Directory { mode: passive })) => (
            DifferenceKind::Metadata,
            modes(active.bits(), passive.bits()),
        ),
        (Some(Entry::File(active)), Some(Entry::File(passive))) => (
            DifferenceKind::Content,
            format!(
                "{} bytes on the active, {} on the passive, different contents",
                active.length, passive.length
            ),
        ),
        (Some(active), Some(passive)) => (
            DifferenceKind::Content,
            format!(
                "{} on the active, {} on the passive",
                kind(active),
                kind(passive)
            ),
        ),
    }
}

fn modes(active: u32, passive: u32) -> String {
    format!("mode {active:04o} on the active, {passive:04o} on the passive")
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Directory { .. } => "a directory",
        Entry::File(_) => "a file",
        Entry::Symlink { .. } => "a symbolic link",
    }
}
