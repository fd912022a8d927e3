//! `setup.toml` as it is written: which keys there are and where they stand.

use serde::Deserialize;
use toml::Spanned;

type Text = Option<Spanned<String>>;
type Number = Option<Spanned<u16>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSetup {
    pub(super) version: Text,
    pub(super) active: Text,
    #[serde(default, rename = "node")]
    pub(super) nodes: Vec<Spanned<FileNode>>,
    pub(super) load_balancer: FileLoadBalancer,
    pub(super) database: FileDatabase,
    pub(super) admin: FileAdmin,
    #[serde(default)]
    pub(super) cluster: FileCluster,
    #[serde(default)]
    pub(super) sync: FileSync,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNode {
    pub(super) name: Spanned<String>,
    pub(super) host: Spanned<String>,
    pub(super) offset: Number,
    pub(super) home: Text,
    pub(super) cluster_host: Text,
    pub(super) cluster_port: Number,
    pub(super) sync_port: Number,
    pub(super) state_dir: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLoadBalancer {
    pub(super) host: Spanned<String>,
    pub(super) https_port: Number,
    pub(super) http_port: Number,
    pub(super) certificate: Text,
    pub(super) certificate_key: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDatabase {
    pub(super) engine: Text,
    pub(super) engine_version: Text,
    pub(super) host: Spanned<String>,
    pub(super) port: Number,
    pub(super) user: Text,
    pub(super) password_file: Text,
    pub(super) password_env: Text,
    pub(super) api_manager: Text,
    pub(super) user_manager: Text,
    pub(super) registry: Text,
    pub(super) shared: Text,
    pub(super) character_set: Text,
    pub(super) clients: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAdmin {
    pub(super) user: Text,
    pub(super) password_file: Text,
    pub(super) password_env: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCluster {
    pub(super) domain: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSync {
    pub(super) trees: Option<Vec<Spanned<String>>>,
    pub(super) user: Text,
}
