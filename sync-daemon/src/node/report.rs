//! What a push did, for those who asked for it.

use sync_core::{
    Action, Change, Manifest, TreeName,
    plan::{self, Summary},
};

/// One generation that a peer applied.
#[derive(Clone, Debug)]
pub(super) struct PushReport {
    pub(super) peer: String,
    pub(super) tree: TreeName,
    pub(super) changes: Vec<Reported>,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// One path of it.
#[derive(Clone, Debug)]
pub(super) struct Reported {
    pub(super) summary: Summary,
    pub(super) itemized: String,
    pub(super) is_directory: bool,
    pub(super) sent_bytes: u64,
}

/// The paths of `changes` as people read them; `sent` says how many content
/// bytes travelled for a path.
pub(super) fn describe(
    base: &Manifest,
    changes: &[Change],
    sent: impl Fn(&Change) -> u64,
) -> Vec<Reported> {
    let by_path: std::collections::BTreeMap<_, _> = changes
        .iter()
        .map(|change| (&change.path, change))
        .collect();
    plan::summarise(base, changes)
        .into_iter()
        .filter_map(|summary| {
            let change = by_path.get(&summary.path)?;
            Some(Reported {
                itemized: plan::itemize(change, base.get(&change.path).as_ref()),
                is_directory: is_directory(base, change),
                sent_bytes: sent(change),
                summary,
            })
        })
        .collect()
}

fn is_directory(base: &Manifest, change: &Change) -> bool {
    match &change.action {
        Action::Put(entry) => entry.is_directory(),
        Action::Delete => base.has_directory(&change.path),
    }
}
