//! What is to be sent to one peer now, derived anew each time.

use std::{collections::BTreeSet, sync::Arc};

use sync_core::{
    Action, Change, ContentId, Entry, Manifest, RelPath, plan, section::SmallContent, wire::View,
};

use super::{
    super::{audit, error::SessionError, publisher::Published},
    Pusher,
};

/// Contents up to this many bytes in all are sent without asking whether the
/// passive has them: a round trip costs more.
const UNASKED_BYTES_MAX: u64 = 256 << 10;

/// One round's work.
pub(super) struct Round {
    pub(super) target: Published,
    pub(super) base: Manifest,
    pub(super) changes: Arc<Vec<Change>>,
    /// The last request to heal that this round carries out.
    pub(super) heal: u64,
}

impl Pusher {
    /// Derives what is to be sent, drift on the peer included where that was
    /// asked for.
    pub(super) async fn round(
        &self,
        target: Published,
        base: Manifest,
    ) -> Result<Round, SessionError> {
        let mut changes = plan::changes_between(&target.manifest, &base);
        let known = self.peer_tree();
        if known.heal_wanted > known.heal_done {
            let audit =
                audit::open(&self.connection, &self.tree.name, View::Disk, |_, _| {}).await?;
            let disk = audit.walk(&base).await?;
            add_healing(&mut changes, &target.manifest, &base, &disk);
        }
        Ok(Round {
            target,
            base,
            changes: Arc::new(changes),
            heal: known.heal_wanted,
        })
    }
}

/// How many of the small contents go along unasked: all of them towards an empty
/// tree, else those of a small edit. Where the passive may have contents (many
/// of them, or a rename or a change of mode among them), it is asked first.
pub(super) fn unasked(round: &Round, contents: &[SmallContent]) -> usize {
    let bytes: u64 = contents.iter().map(|content| content.length).sum();
    if round.base.totals().files == 0 {
        return contents.len();
    }
    let held: BTreeSet<ContentId> = round
        .changes
        .iter()
        .filter_map(|change| base_content(&round.base, change))
        .collect();
    let known = contents.iter().any(|content| held.contains(&content.id));
    if known || bytes > UNASKED_BYTES_MAX {
        0
    } else {
        contents.len()
    }
}

/// The content that the peer has at the path of a change.
fn base_content(base: &Manifest, change: &Change) -> Option<ContentId> {
    Some(base.file(&change.path)?.content)
}

/// Adds changes for paths where the peer's disk is neither what it should
/// become nor already in the list. Times and what cannot be read are not in a
/// manifest: where these are wrong is named beside it.
fn add_healing(
    changes: &mut Vec<Change>,
    target: &Manifest,
    base: &Manifest,
    disk: &audit::Picture,
) {
    let listed: BTreeSet<RelPath> = changes.iter().map(|change| change.path.clone()).collect();
    let unreadable = disk.unreadable.iter().map(|(path, _)| path);
    // What stands where nothing belongs is reported and left alone.
    let named = disk
        .touched
        .iter()
        .chain(unreadable)
        .filter(|path| matches!(target.get(path), Some(Entry::File(_))));
    let differing = base.diff(&disk.manifest).into_iter().map(|it| it.path);
    let drifted: BTreeSet<RelPath> = differing.chain(named.cloned()).collect();
    for path in drifted.difference(&listed) {
        let action = target.get(path).map_or(Action::Delete, Action::Put);
        changes.push(Change {
            path: path.clone(),
            action,
        });
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
}
