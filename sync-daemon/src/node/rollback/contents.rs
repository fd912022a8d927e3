//! Where the contents of an earlier generation are: in the tree under any name, in
//! this node's archive, in the archives of its peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sync_core::{ContentId, FileEntry, Manifest, RelPath, wire::VERSION_OF_CLAIMS};
use sync_fs::source::Staging;
use tokio::task::spawn_blocking;

use super::Request;
use crate::{
    events::Event,
    failure::{Failure, FailureKind},
    node::{contacts::Contacts, push_request::tell, recall},
    transport::Connection,
};

/// Paths named whose contents are gone.
const NAMED_MAX: usize = 20;

/// Whether every content can be had; changes nothing.
pub(super) async fn find(request: &Request<'_>, needed: &[FileEntry]) -> Result<(), Failure> {
    let mut missing = here(request, needed, false).await?;
    let peers = Peers::of(request, &missing).await;
    for (name, connection) in &peers.reached {
        let wanted: Vec<ContentId> = missing.iter().copied().collect();
        let asked = recall::which(connection, &request.tree.name, &wanted).await;
        let there = asked.map_err(|error| error.failure(&request.asking(name)))?;
        missing.retain(|id| !there.contains(id));
    }
    peers.tell_gone(request, &missing).await
}

/// Brings every content into the staging directory, or says which are gone. Nothing
/// of the tree was changed then.
pub(super) async fn gather(request: &Request<'_>, needed: &[FileEntry]) -> Result<(), Failure> {
    let mut missing = here(request, needed, true).await?;
    let peers = Peers::of(request, &missing).await;
    let staging = Arc::new(staging(request).await?);
    for (name, connection) in &peers.reached {
        let wanted: Vec<ContentId> = missing.iter().copied().collect();
        let brought = recall::bring(connection, &request.tree.name, &wanted, &staging).await;
        let came = brought.map_err(|error| error.failure(&request.asking(name)))?;
        missing.retain(|id| !came.contains(id));
    }
    peers.tell_gone(request, &missing).await
}

/// What this node does not have; what it has is staged, if that is wanted.
async fn here(
    request: &Request<'_>,
    needed: &[FileEntry],
    stage: bool,
) -> Result<BTreeSet<ContentId>, Failure> {
    let mut wanted: BTreeSet<ContentId> = needed.iter().map(|file| file.content).collect();
    if stage {
        let generation = request.generation;
        let prepared = request
            .tree
            .thread
            .run(move |tree| tree.source.prepare_rollback(generation));
        let prepared = prepared.await.map_err(|error| request.caused_by(&error))?;
        let staged = prepared.map_err(|error| request.caused_by(&error))?;
        wanted.retain(|id| !staged.contains(id));
    }
    let staging = staging(request).await?;
    let manifest = request.tree.published.borrow().manifest.clone();
    let looking = spawn_blocking(move || {
        let in_tree = paths_of(&manifest, &wanted);
        let mut missing = BTreeSet::new();
        for id in wanted {
            let path = in_tree.get(&id);
            let found = match (stage, path) {
                (true, Some(path)) if staging.take_from_tree(id, path)? => true,
                (true, _) => staging.take_archived(id)?,
                (false, path) => path.is_some() || staging.is_archived(&id)?,
            };
            if !found {
                missing.insert(id);
            }
        }
        Ok::<_, sync_fs::DiskError>(missing)
    });
    let looked = looking.await.map_err(|error| request.caused_by(&error))?;
    looked.map_err(|error| request.caused_by(&error))
}

/// A path of the tree for each content that is there under any name.
fn paths_of(manifest: &Manifest, wanted: &BTreeSet<ContentId>) -> BTreeMap<ContentId, RelPath> {
    let mut paths = BTreeMap::new();
    if wanted.is_empty() {
        return paths;
    }
    for record in manifest.iter() {
        if let Some(file) = record.entry().as_file()
            && wanted.contains(&file.content)
        {
            paths.entry(file.content).or_insert_with(|| record.path());
        }
    }
    paths
}

async fn staging(request: &Request<'_>) -> Result<Staging, Failure> {
    let config = &request.shared.config;
    let tree = config.tree(request.tree.name.as_str());
    let tree = tree.ok_or_else(|| request.failed("the tree is not configured"))?;
    let (root, work_dir) = (tree.path.clone(), config.work_dir(tree));
    let opening = spawn_blocking(move || Staging::open(&root, &work_dir));
    let opened = opening.await.map_err(|error| request.caused_by(&error))?;
    opened.map_err(|error| request.caused_by(&error))
}

/// The peers that were asked.
struct Peers {
    reached: Vec<(String, Connection)>,
    unreached: Vec<(String, Failure)>,
    /// Sessions that live as long as this.
    _contacts: Option<Contacts>,
}

impl Peers {
    /// Asks only where something is missing.
    async fn of(request: &Request<'_>, missing: &BTreeSet<ContentId>) -> Self {
        let mut peers = Self {
            reached: Vec::new(),
            unreached: Vec::new(),
            _contacts: None,
        };
        if missing.is_empty() {
            return peers;
        }
        let contacts = Contacts::ask(request.shared).await;
        for peer in &contacts.peers {
            match &peer.answer {
                Ok((connection, greeting)) if greeting.hello.version >= VERSION_OF_CLAIMS => {
                    peers.reached.push((peer.name.clone(), connection.clone()));
                }
                Ok(_) => {}
                Err(failure) => peers.unreached.push((peer.name.clone(), failure.clone())),
            }
        }
        peers._contacts = Some(contacts);
        peers
    }

    /// Names what nobody has; nothing to do where all was found.
    async fn tell_gone(
        &self,
        request: &Request<'_>,
        missing: &BTreeSet<ContentId>,
    ) -> Result<(), Failure> {
        if missing.is_empty() {
            return Ok(());
        }
        let paths = request.paths_with(missing).await?;
        for path in paths.iter().take(NAMED_MAX) {
            let text = format!("the content that `{path}` had then is gone");
            tell(request.events, Event::notice(text)).await;
        }
        let (doing, count) = (&request.doing, missing.len());
        if let Some((name, failure)) = self.unreached.first() {
            let message = format!(
                "{doing}: nothing was changed: {count} contents are not here, and `{name}` cannot be asked ({})",
                failure.message
            );
            return Err(Failure::new(FailureKind::Unreachable, message).hint(
                "the passive keeps what generations replaced: start its daemon, then run this again",
            ));
        }
        let message = format!(
            "{doing}: nothing was changed: {count} contents are on no node any more; see `[history] bytes`"
        );
        Err(Failure::new(FailureKind::Failed, message)
            .hint("choose a later generation from `apim-sync history`, or what is left with --only PREFIX"))
    }
}

impl Request<'_> {
    fn asking(&self, peer: &str) -> String {
        format!("{}: asking `{peer}` for contents", self.doing)
    }

    /// The paths that had these contents in the generation that is wanted.
    async fn paths_with(&self, contents: &BTreeSet<ContentId>) -> Result<Vec<RelPath>, Failure> {
        let plan = self.plan().await?;
        let paths = plan
            .changes
            .into_iter()
            .filter_map(|change| match change.action {
                sync_core::Action::Put(entry) => {
                    let file = entry.as_file()?;
                    contents.contains(&file.content).then_some(change.path)
                }
                sync_core::Action::Delete => None,
            });
        Ok(paths.collect())
    }
}
