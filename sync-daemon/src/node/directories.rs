//! Which directories of a manifest need a watch.

use sync_core::{Manifest, RelPath, manifest::Record};

/// All of them.
pub(super) fn directories(manifest: &Manifest) -> Vec<RelPath> {
    let directories = manifest.iter().filter(|it| it.is_directory());
    directories.map(Record::path).collect()
}
