//! Which directories of a manifest need a watch.

use sync_core::{Manifest, RelPath, manifest::Record};

/// All of them.
pub(super) fn directories(manifest: &Manifest) -> Vec<RelPath> {
    let directories = manifest.iter().filter(|it| it.is_directory());
    directories.map(Record::path).collect()
}

/// Those at and below the directories among `paths`. Costs the whole manifest,
/// but only where there is a directory among them.
pub(super) fn directories_below(manifest: &Manifest, paths: &[RelPath]) -> Vec<RelPath> {
    let above: Vec<&RelPath> = paths
        .iter()
        .filter(|path| manifest.has_directory(path))
        .collect();
    if above.is_empty() {
        return Vec::new();
    }
    let mut below = directories(manifest);
    below.retain(|path| above.iter().any(|above| path.starts_with(above)));
    below
}
