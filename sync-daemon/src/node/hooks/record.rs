//! What is kept of the hooks over restarts: the change of role that has not been
//! told yet, and how the last runs ended.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::RoleChange;
use crate::{
    events::{HookRun, HookStatus},
    private_file::{self, Kept},
};

/// The file's name in the state directory.
const FILE_NAME: &str = "hooks.json";

/// The form of the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<RoleChange>,
    #[serde(default)]
    pub(super) runs: Vec<HookRun>,
}

pub(super) fn load(state_dir: &Path) -> io::Result<Saved> {
    let path = state_dir.join(FILE_NAME);
    match private_file::read(&path, Kept::Unchanged).map_err(io::Error::other)? {
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display()))),
        None => Ok(Saved::default()),
    }
}

pub(super) fn store(state_dir: &Path, saved: &Saved) -> io::Result<()> {
    let text = serde_json::to_string_pretty(saved).map_err(io::Error::other)?;
    let path = state_dir.join(FILE_NAME);
    private_file::replace(&path, text.as_bytes()).map_err(io::Error::other)
}

/// The last runs that a node at rest remembers.
pub(crate) fn at_rest(state_dir: &Path) -> Vec<HookStatus> {
    let runs = load(state_dir).unwrap_or_default().runs;
    let status = |last| HookStatus {
        last,
        runs: 0,
        failures: 0,
    };
    runs.into_iter().map(status).collect()
}
