//! The TOML file as it is written: which keys there are and where they stand.
//! What the values mean is checked elsewhere.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) node: FileNode,
    #[serde(default, rename = "tree")]
    pub(super) trees: Vec<FileTree>,
    #[serde(default, rename = "peer")]
    pub(super) peers: Vec<FilePeer>,
    #[serde(default)]
    pub(super) watch: FileWatch,
    #[serde(default)]
    pub(super) guard: FileGuard,
    #[serde(default)]
    pub(super) drift: FileDrift,
    #[serde(default)]
    pub(super) metrics: FileMetrics,
    #[serde(default)]
    pub(super) hooks: FileHooks,
    pub(super) lease: Option<FileLease>,
    #[serde(default)]
    pub(super) history: FileHistory,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNode {
    pub(super) name: Spanned<String>,
    pub(super) listen: Option<Spanned<String>>,
    pub(super) advertise: Option<Spanned<String>>,
    pub(super) state_dir: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTree {
    pub(super) name: Spanned<String>,
    pub(super) path: Spanned<String>,
    pub(super) preset: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) exclude: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    pub(super) work_dir: Option<Spanned<String>>,
    pub(super) deploy_interval_s: Option<Spanned<u64>>,
    pub(super) drift: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePeer {
    pub(super) name: Spanned<String>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) id: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWatch {
    pub(super) settle_ms: Option<Spanned<u64>>,
    pub(super) delete_hold_ms: Option<Spanned<u64>>,
    pub(super) rescan_s: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileGuard {
    pub(super) max_delete: Option<Spanned<String>>,
    pub(super) min_files: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileHistory {
    pub(super) generations: Option<Spanned<u64>>,
    pub(super) bytes: Option<Spanned<FileBytes>>,
}

/// A size: a number of bytes, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum FileBytes {
    Number(u64),
    Text(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDrift {
    pub(super) policy: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMetrics {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileHooks {
    pub(super) on_promote: Option<Spanned<Vec<String>>>,
    pub(super) on_demote: Option<Spanned<Vec<String>>>,
    pub(super) on_generation: Option<Spanned<Vec<String>>>,
    pub(super) on_halt: Option<Spanned<Vec<String>>>,
    pub(super) on_drift: Option<Spanned<Vec<String>>>,
    pub(super) deadline_s: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLease {
    pub(super) endpoints: Spanned<Vec<String>>,
    pub(super) key: Spanned<String>,
    pub(super) ttl_s: Option<Spanned<u64>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) certificate_file: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
}
