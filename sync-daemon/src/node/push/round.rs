//! What is to be sent to one peer now, derived anew each time.

use std::{collections::BTreeSet, sync::Arc};

use sync_core::{
    Action, Change, ContentId, Entry, Generation, Manifest, Position, RelPath, Root,
    limits::PATCHED_BYTES_MIN, plan, section::SmallContent, wire::View,
};

use super::{
    super::{
        audit::{self, Ahead, Audit},
        error::SessionError,
        publisher::Published,
    },
    Pusher,
};
use crate::pauses::Held;

/// Contents up to this many bytes in all are sent without asking whether the
/// passive has them: a round trip costs more.
const UNASKED_BYTES_MAX: u64 = 256 << 10;
/// Of these, bytes that the passive could take as patches: it is asked earlier,
/// because a patch saves nearly all of them.
const UNASKED_PATCHABLE_BYTES_MAX: u64 = 64 << 10;

/// One round's work.
pub(super) struct Round {
    pub(super) target: Published,
    pub(super) base: Manifest,
    pub(super) changes: Arc<Vec<Change>>,
    /// The last request to heal that this round carries out.
    pub(super) heal: u64,
    /// The state published, of which `target` may leave a part out.
    pub(super) published: Root,
    /// What was paused when this was derived.
    pub(super) held: Held,
    /// What the peer asked to have again and this round sends.
    pub(super) mend: Arc<BTreeSet<RelPath>>,
}

impl Round {
    /// Whether the number belongs to another state already, of which the peer was
    /// sent all but a part that was paused.
    pub(super) fn reuses(&self, stands_at: Generation) -> bool {
        let moves = self.base.root() != self.target.position.root;
        moves && self.target.position.generation <= stands_at
    }
}

impl Pusher {
    /// Derives what is to be sent, drift on the peer included where that was
    /// asked for.
    pub(super) async fn round(
        &self,
        target: Published,
        base: Manifest,
        look: Option<Ahead>,
    ) -> Result<Round, SessionError> {
        let mut changes = plan::changes_between(&target.manifest, &base);
        let known = self.peer_tree();
        let heals = known.heal_wanted > known.heal_done;
        let held = self.shared.pauses.of(&self.tree.name);
        // One command's work for one tenant sends nothing else. A daemon sends the
        // rest all the same.
        let only = known.heal_only.filter(|_| heals);
        let alone = only.as_ref().filter(|_| !self.shared.sends_unasked());
        let (published, count) = (target.position.root, changes.len());
        changes.retain(|change| {
            !held.owns(&change.path) && alone.is_none_or(|tenant| tenant.owns(&change.path))
        });
        let target = match changes.len() == count {
            true => target,
            false => without_the_rest(target, &base, &changes),
        };
        if heals {
            let disk = self.look(look).await?.walk(&base).await?;
            let is_meant = |path: &RelPath| {
                !held.owns(path) && only.as_ref().is_none_or(|tenant| tenant.owns(path))
            };
            add_healing(&mut changes, &target.manifest, &base, &disk, is_meant);
        }
        let mend: BTreeSet<RelPath> = known
            .mend
            .iter()
            .filter(|path| !held.owns(path))
            .cloned()
            .collect();
        add_paths(&mut changes, &target.manifest, &mend);
        Ok(Round {
            target,
            base,
            changes: Arc::new(changes),
            heal: known.heal_wanted,
            published,
            held,
            mend: Arc::new(mend),
        })
    }

    /// Looks at the peer's disk.
    async fn look(&self, ahead: Option<Ahead>) -> Result<Audit, SessionError> {
        let fresh = match ahead {
            Some(ahead) => ahead.fresh().await,
            None => None,
        };
        match fresh {
            Some(audit) => Ok(audit),
            None => audit::open(&self.connection, &self.tree.name, View::Disk, |_, _| {}).await,
        }
    }
}

/// The published state with only these changes to what the peer has.
fn without_the_rest(target: Published, base: &Manifest, changes: &[Change]) -> Published {
    let manifest = plan::apply_changes(base, changes);
    Published {
        position: Position {
            root: manifest.root(),
            ..target.position
        },
        manifest,
        ..target
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
    let many =
        bytes > UNASKED_BYTES_MAX || patchable_bytes(round, contents) > UNASKED_PATCHABLE_BYTES_MAX;
    if known || many { 0 } else { contents.len() }
}

/// Bytes of contents that may travel as patches of what the peer has.
fn patchable_bytes(round: &Round, contents: &[SmallContent]) -> u64 {
    let large = contents
        .iter()
        .filter(|content| content.length >= PATCHED_BYTES_MIN);
    large
        .filter(|content| {
            let path = &round.changes[content.position as usize].path;
            round.base.file(path).is_some()
        })
        .map(|content| content.length)
        .sum()
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
    is_meant: impl Fn(&RelPath) -> bool,
) {
    let unreadable = disk.unreadable.iter().map(|(path, _)| path);
    // What stands where nothing belongs is reported and left alone.
    let named = disk
        .touched
        .iter()
        .chain(unreadable)
        .filter(|path| matches!(target.get(path), Some(Entry::File(_))));
    let differing = base.diff(&disk.manifest).into_iter().map(|it| it.path);
    let drifted: BTreeSet<RelPath> = differing.chain(named.cloned()).collect();
    let meant = drifted.into_iter().filter(is_meant).collect();
    add_paths(changes, target, &meant);
}

/// Adds a change for each of `paths` that has none: it becomes what it should be.
fn add_paths(changes: &mut Vec<Change>, target: &Manifest, paths: &BTreeSet<RelPath>) {
    if paths.is_empty() {
        return;
    }
    let listed: BTreeSet<RelPath> = changes.iter().map(|change| change.path.clone()).collect();
    for path in paths.difference(&listed) {
        let action = target.get(path).map_or(Action::Delete, Action::Put);
        changes.push(Change {
            path: path.clone(),
            action,
        });
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
}
