//! `diff`: what either side has done since the last agreed state, and what was
//! kept aside. Changes nothing.

use std::sync::Arc;

use sync_core::{Entry, Manifest, RelPath, TreeName, wire::View};
use tokio::sync::{mpsc::Sender, watch};

use super::{
    Shared, audit,
    contacts::{Contact, Contacts},
    error::SessionError,
    picture,
    push_request::tell,
};
use crate::{
    events::{Event, PathText, SideChange, ThreeWayReport},
    failure::{Failure, FailureKind},
    history,
    transport::Connection,
};

/// Runs one request.
pub(super) async fn run(
    shared: &Arc<Shared>,
    path: Option<&str>,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let below = path.map(history::parse).transpose()?;
    tell_aside(shared, below.clone(), events).await?;
    let wanted = |path: &RelPath| below.as_ref().is_none_or(|it| path.starts_with(it));
    let contacts = Contacts::ask(shared).await;
    if contacts.peers.is_empty() {
        return Err(
            Failure::new(FailureKind::Usage, "comparing: no peer is trusted").hint(
                "pair the nodes: `apim-sync invite` on one and `apim-sync join TOKEN` on the other",
            ),
        );
    }
    let (mut differences, mut unreached) = (0_u64, None);
    for peer in &contacts.peers {
        match &peer.answer {
            Ok((connection, _)) => {
                differences += diff(shared, peer, connection, &wanted, events).await?;
            }
            Err(failure) => unreached = unreached.or(Some(failure.clone())),
        }
    }
    match (differences, unreached) {
        (0, None) => Ok(()),
        (0, Some(failure)) => Err(failure),
        (_, _) => Err(Failure::new(
            FailureKind::Differences,
            format!("comparing: {differences} paths differ"),
        )
        .hint("`apim-sync push` on the active makes the passive the same; what it replaces is kept aside")),
    }
}

async fn tell_aside(
    shared: &Arc<Shared>,
    wanted: Option<RelPath>,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let listing = Arc::clone(shared);
    let listed = tokio::task::spawn_blocking(move || {
        let trees = listing.config.trees.iter();
        let each = trees.map(|tree| history::aside(&listing.config, tree, wanted.as_ref()));
        each.collect::<Result<Vec<_>, _>>()
    });
    let listed = listed.await.map_err(|panic| {
        Failure::caused_by(FailureKind::Failed, "listing what was kept aside", &panic)
            .hint("this is a defect of apim-sync: please report it with the daemon's log")
    })?;
    for event in listed?.into_iter().flatten() {
        tell(events, event).await;
    }
    Ok(())
}

/// Tells what differs from one peer; gives the number of paths.
async fn diff(
    shared: &Arc<Shared>,
    peer: &Contact,
    connection: &Connection,
    wanted: &impl Fn(&RelPath) -> bool,
    events: &Sender<Event>,
) -> Result<u64, Failure> {
    let mut count = 0;
    for tree in shared.config.trees.iter().map(|tree| &tree.name) {
        let doing = format!("comparing {tree} with `{}`", peer.name);
        let sides = sides(shared, tree, peer, connection).await;
        let sides = sides.map_err(|error| error.failure(&doing))?;
        for difference in sides.here.diff(&sides.there) {
            if !wanted(&difference.path) {
                continue;
            }
            let base = sides.base.as_ref().map(|base| base.get(&difference.path));
            let change = |side: &Option<Entry>| change(base.as_ref(), side.as_ref());
            let report = ThreeWayReport {
                tree: tree.to_string(),
                path: PathText::from(&difference.path),
                node: shared.config.node.name.to_string(),
                peer: peer.name.clone(),
                here: change(&difference.ours),
                there: change(&difference.theirs),
            };
            count += 1;
            tell(events, Event::ThreeWay(report)).await;
        }
    }
    Ok(count)
}

/// Both disks, and what was agreed if anybody knows.
struct Sides {
    here: Manifest,
    there: Manifest,
    base: Option<Manifest>,
}

async fn sides(
    shared: &Shared,
    tree: &TreeName,
    peer: &Contact,
    connection: &Connection,
) -> Result<Sides, SessionError> {
    let here = ours(shared, tree, View::Disk).await?;
    let here = here.ok_or_else(|| SessionError::protocol("this node cannot look at its tree"))?;
    let audit = audit::open(connection, tree, View::Disk, |_, _| {}).await?;
    let there = audit.walk(&here).await?.manifest;
    // A passive knows best what was agreed.
    let peer_is_passive = peer.greeting().is_some_and(|it| !it.hello.active);
    let base = if peer_is_passive {
        let theirs = theirs(tree, connection, &here).await?;
        match theirs {
            Some(base) => Some(base),
            None => ours(shared, tree, View::LastAgreed).await?,
        }
    } else {
        match ours(shared, tree, View::LastAgreed).await? {
            Some(base) => Some(base),
            None => theirs(tree, connection, &here).await?,
        }
    };
    Ok(Sides { here, there, base })
}

async fn ours(
    shared: &Shared,
    tree: &TreeName,
    view: View,
) -> Result<Option<Manifest>, SessionError> {
    let (progress, _) = watch::channel((0, 0));
    let shown = picture::of(shared, tree, view, progress).await?;
    Ok(shown.ok().map(|shown| shown.manifest))
}

async fn theirs(
    tree: &TreeName,
    connection: &Connection,
    local: &Manifest,
) -> Result<Option<Manifest>, SessionError> {
    match audit::open(connection, tree, View::LastAgreed, |_, _| {}).await {
        Ok(audit) => Ok(Some(audit.walk(local).await?.manifest)),
        Err(SessionError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a side did since `base`; the outer `None` where that is not known.
fn change(base: Option<&Option<Entry>>, side: Option<&Entry>) -> SideChange {
    let Some(base) = base else {
        return match side {
            Some(_) => SideChange::Present,
            None => SideChange::Absent,
        };
    };
    match (base, side) {
        (None, None) => SideChange::Same,
        (None, Some(_)) => SideChange::Added,
        (Some(_), None) => SideChange::Deleted,
        (Some(base), Some(side)) if base.same_identity(side) => SideChange::Same,
        (Some(Entry::File(base)), Some(Entry::File(side))) if base.content == side.content => {
            SideChange::Metadata
        }
        (Some(Entry::Directory { .. }), Some(Entry::Directory { .. })) => SideChange::Metadata,
        _ => SideChange::Changed,
    }
}

#[cfg(test)]
mod tests {
    use sync_core::{ContentId, FileEntry, Mode, Mtime};

    use super::*;

    fn file(content: u8, mode: u32) -> Entry {
        Entry::File(FileEntry {
            mode: Mode::new(mode),
            mtime: Mtime {
                seconds: 1,
                nanoseconds: 0,
            },
            length: 1,
            content: ContentId([content; 32]),
        })
    }

    #[test]
    fn each_side_is_compared_with_what_was_agreed() {
        let (one, other, closed) = (file(1, 0o644), file(2, 0o644), file(1, 0o600));
        let agreed = Some(one.clone());
        assert_eq!(change(Some(&agreed), Some(&one)), SideChange::Same);
        assert_eq!(change(Some(&agreed), Some(&other)), SideChange::Changed);
        assert_eq!(change(Some(&agreed), Some(&closed)), SideChange::Metadata);
        assert_eq!(change(Some(&agreed), None), SideChange::Deleted);
        assert_eq!(change(Some(&None), Some(&one)), SideChange::Added);
        assert_eq!(change(Some(&None), None), SideChange::Same);
        assert_eq!(change(None, Some(&one)), SideChange::Present);
        assert_eq!(change(None, None), SideChange::Absent);
    }
}
