//! Which directories of a manifest need a watch.

use sync_core::{Entry, Manifest, RelPath};

/// All of them.
pub(super) fn directories(manifest: &Manifest) -> Vec<RelPath> {
    let directories = manifest.iter().filter(|(_, entry)| entry.is_directory());
    directories.map(|(path, _)| path.clone()).collect()
}

/// Those at and below the directories among `paths`. Costs the whole manifest,
/// but only where there is a directory among them.
pub(super) fn directories_below(manifest: &Manifest, paths: &[RelPath]) -> Vec<RelPath> {
    let is_directory = |path: &&RelPath| manifest.get(path).is_some_and(Entry::is_directory);
    let above: Vec<&RelPath> = paths.iter().filter(is_directory).collect();
    if above.is_empty() {
        return Vec::new();
    }
    let mut below = directories(manifest);
    below.retain(|path| above.iter().any(|above| path.starts_with(above)));
    below
}
