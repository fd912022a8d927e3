//! From the keys of `setup.toml` to a [`Setup`]: defaults, bounds, and what must
//! fit together.

use std::path::PathBuf;

use toml::Spanned;

use super::{
    Admin, Database, Engine, LoadBalancer, Node, Setup, Sync, Tree,
    error::{SetupError, nearest},
    file::{FileAdmin, FileDatabase, FileLoadBalancer, FileNode, FileSetup, FileSync},
    is_loopback,
};
use crate::{
    edit::{Edit, apply, line, line_end},
    secret::SecretSource,
    version::Version,
};

type Read<T> = Result<T, SetupError>;

/// The largest offset at which every port is still one.
const OFFSET_MAX: u16 = u16::MAX - 11_111;
/// The engine's UDP port.
const SYNC_PORT: u16 = 7420;
/// What a second engine on the same machine adds: its metrics follow its port.
const SYNC_PORT_STEP: u16 = 10;
const CLUSTER_PORT: u16 = 4000;
const STATE_DIR: &str = "/var/lib/apim-sync";

impl Setup {
    /// Reads a description.
    ///
    /// # Errors
    /// The first line that is not understood, or what does not fit together.
    pub fn parse(text: &str) -> Read<Self> {
        let file: FileSetup =
            toml::from_str(text).map_err(|error| SetupError::of_toml(&error, text))?;
        let setup = Reader { text }.setup(file)?;
        fits_together(&setup)?;
        Ok(setup)
    }
}

/// The description's text with another active node; everything else stays byte
/// for byte.
///
/// # Errors
/// When the text is no TOML.
pub fn text_with_active(text: &str, name: &str) -> Read<String> {
    let document = toml_edit::Document::parse(text).map_err(|error| SetupError::Syntax {
        line: line(text, error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    let quoted = toml::Value::String(name.to_owned()).to_string();
    let present = document
        .as_table()
        .get("active")
        .and_then(toml_edit::Item::span);
    let edit = match present {
        Some(range) => Edit {
            range,
            replacement: quoted,
        },
        // A key outside of tables has to come before the first table.
        None => {
            let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
            Edit {
                range: start..start,
                replacement: format!("active = {quoted}{}", line_end(text, 0)),
            }
        }
    };
    Ok(apply(text, &[edit]))
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn setup(&self, file: FileSetup) -> Read<Setup> {
        let version = self.version(file.version.as_ref())?;
        let home = version.map_or_else(
            || "/opt/wso2am".into(),
            |version| format!("/opt/wso2am-{version}"),
        );
        let (active, passive) = self.nodes(file.nodes, &home, file.active.as_ref())?;
        Ok(Setup {
            version,
            load_balancer: self.load_balancer(&file.load_balancer)?,
            database: self.database(file.database, [&active, &passive])?,
            admin: self.admin(&file.admin)?,
            cluster_domain: self.word(
                "cluster.domain",
                file.cluster.domain.as_ref(),
                "wso2.pub.store.domain",
            )?,
            sync: self.sync(&file.sync)?,
            active,
            passive,
        })
    }

    fn version(&self, text: Option<&Spanned<String>>) -> Read<Option<Version>> {
        let Some(text) = text else {
            return Ok(None);
        };
        let version = text.get_ref().parse::<Version>();
        version
            .map(Some)
            .map_err(|error| self.refused("version", text, error))
    }

    /// The two nodes, the active one first.
    fn nodes(
        &self,
        files: Vec<Spanned<FileNode>>,
        home: &str,
        active: Option<&Spanned<String>>,
    ) -> Read<(Node, Node)> {
        let count = files.len();
        let Ok([first, second]) = <[_; 2]>::try_from(files) else {
            return Err(SetupError::Whole(format!(
                "there are {count} [[node]] tables; an active-passive pair has two"
            )));
        };
        let first = self.node(first.get_ref(), None, home)?;
        let second = self.node(second.get_ref(), Some(&first), home)?;
        match active {
            Some(name) if *name.get_ref() == second.name => Ok((second, first)),
            Some(name) if *name.get_ref() != first.name => {
                let reason = format!(
                    "`{}` is no node; the nodes are {} and {}",
                    name.get_ref(),
                    first.name,
                    second.name
                );
                Err(self.refused("active", name, reason))
            }
            _ => Ok((first, second)),
        }
    }

    fn node(&self, file: &FileNode, first: Option<&Node>, home: &str) -> Read<Node> {
        let host = self.host("node.host", &file.host)?;
        let twin = first
            .filter(|first| first.host == host || (is_loopback(&first.host) && is_loopback(&host)));
        let name = self.node_name(&file.name)?;
        let offset = match &file.offset {
            Some(offset) => *offset.get_ref(),
            None => twin.map_or(0, |twin| twin.offset.saturating_add(1)),
        };
        if offset > OFFSET_MAX {
            return Err(self.refused_at(
                "node.offset",
                file.offset.as_ref().map_or(0, |it| it.span().start),
                format!("{offset} moves ports past 65535; at most {OFFSET_MAX}"),
            ));
        }
        let default_state = match twin {
            Some(_) => format!("{STATE_DIR}-{name}"),
            None => STATE_DIR.to_owned(),
        };
        let default_home = match twin {
            Some(_) => format!("{home}-{name}"),
            None => home.to_owned(),
        };
        let cluster_host = match &file.cluster_host {
            Some(given) => self.host("node.cluster_host", given)?,
            None => host.clone(),
        };
        Ok(Node {
            cluster_host,
            cluster_port: self.port(
                "node.cluster_port",
                file.cluster_port.as_ref(),
                twin.map_or(CLUSTER_PORT, |twin| twin.cluster_port.saturating_add(1)),
            )?,
            sync_port: self.port(
                "node.sync_port",
                file.sync_port.as_ref(),
                twin.map_or(SYNC_PORT, |twin| {
                    twin.sync_port.saturating_add(SYNC_PORT_STEP)
                }),
            )?,
            home: self.path("node.home", file.home.as_ref(), &default_home)?,
            state_dir: self.path("node.state_dir", file.state_dir.as_ref(), &default_state)?,
            name,
            host,
            offset,
        })
    }

    fn load_balancer(&self, file: &FileLoadBalancer) -> Read<LoadBalancer> {
        let host = self.host("load_balancer.host", &file.host)?;
        let certificate = format!("/etc/nginx/ssl/{host}.crt");
        let key = format!("/etc/nginx/ssl/{host}.key");
        Ok(LoadBalancer {
            https_port: self.port("load_balancer.https_port", file.https_port.as_ref(), 443)?,
            http_port: self.port("load_balancer.http_port", file.http_port.as_ref(), 80)?,
            certificate: self.path(
                "load_balancer.certificate",
                file.certificate.as_ref(),
                &certificate,
            )?,
            certificate_key: self.path(
                "load_balancer.certificate_key",
                file.certificate_key.as_ref(),
                &key,
            )?,
            host,
        })
    }

    fn database(&self, file: FileDatabase, nodes: [&Node; 2]) -> Read<Database> {
        let host = self.host("database.host", &file.host)?;
        let clients = match &file.clients {
            Some(clients) => clients
                .iter()
                .map(|client| self.client(client))
                .collect::<Read<Vec<_>>>()?,
            None => default_clients(&host, nodes),
        };
        let character_set = self.name(
            "database.character_set",
            file.character_set.as_ref(),
            "latin1",
        )?;
        Ok(Database {
            engine: self.engine(file.engine.as_ref(), file.engine_version.as_ref())?,
            port: self.port("database.port", file.port.as_ref(), 3306)?,
            user: self.word("database.user", file.user.as_ref(), "apim")?,
            password: self.secret(
                "database",
                file.password_file.as_ref(),
                file.password_env.as_ref(),
            )?,
            api_manager: self.name(
                "database.api_manager",
                file.api_manager.as_ref(),
                "apimgtdb",
            )?,
            user_manager: self.name(
                "database.user_manager",
                file.user_manager.as_ref(),
                "userdb",
            )?,
            registry: self.name("database.registry", file.registry.as_ref(), "regdb")?,
            shared: self.name("database.shared", file.shared.as_ref(), "shareddb")?,
            character_set: (character_set != "server").then_some(character_set),
            clients,
            host,
        })
    }

    fn engine(
        &self,
        name: Option<&Spanned<String>>,
        version: Option<&Spanned<String>>,
    ) -> Read<Engine> {
        match name.map_or("mysql", |name| name.get_ref().as_str()) {
            "mysql" => {}
            "mariadb" => return Ok(Engine::MariaDb),
            other => {
                let near = nearest(other, ["mysql", "mariadb"].into_iter());
                let near = near.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
                let at = name.map_or(0, |name| name.span().start);
                let reason = format!("`{other}` is not supported: `mysql` or `mariadb`{near}");
                return Err(self.refused_at("database.engine", at, reason));
            }
        }
        let Some(version) = version else {
            return Ok(Engine::MySql8);
        };
        let mut numbers = version.get_ref().split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(8..)), _) => Ok(Engine::MySql8),
            (Some(Ok(5)), Some(Ok(7))) => Ok(Engine::MySql57),
            (Some(Ok(5)), Some(Ok(5..=6))) => Ok(Engine::MySql56),
            _ => Err(self.refused(
                "database.engine_version",
                version,
                "it is a version such as `5.7` or `8.0`",
            )),
        }
    }

    fn admin(&self, file: &FileAdmin) -> Read<Admin> {
        Ok(Admin {
            user: self.word("admin.user", file.user.as_ref(), "admin")?,
            password: self.secret(
                "admin",
                file.password_file.as_ref(),
                file.password_env.as_ref(),
            )?,
        })
    }

    fn sync(&self, file: &FileSync) -> Read<Sync> {
        let trees = match &file.trees {
            Some(names) => names
                .iter()
                .map(|name| self.tree(name))
                .collect::<Read<Vec<_>>>()?,
            None => vec![Tree::SynapseConfigs, Tree::ExecutionPlans],
        };
        Ok(Sync {
            trees,
            user: self.word("sync.user", file.user.as_ref(), "wso2")?,
        })
    }

    fn tree(&self, name: &Spanned<String>) -> Read<Tree> {
        let known = Tree::ALL.into_iter();
        known
            .clone()
            .find(|tree| tree.name() == name.get_ref())
            .ok_or_else(|| {
                let names: Vec<_> = known.map(Tree::name).collect();
                let reason = format!("`{}` is not one of {}", name.get_ref(), names.join(", "));
                self.refused("sync.trees", name, reason)
            })
    }

    fn secret(
        &self,
        table: &'static str,
        file: Option<&Spanned<String>>,
        variable: Option<&Spanned<String>>,
    ) -> Read<SecretSource> {
        match (file, variable) {
            (Some(file), None) => Ok(SecretSource::File(file.get_ref().into())),
            (None, Some(name)) => Ok(SecretSource::Variable(name.get_ref().clone())),
            _ => Err(SetupError::Whole(format!(
                "[{table}] needs the password: either `password_file`, a file that holds it, or `password_env`, the variable that does"
            ))),
        }
    }

    /// A host name or address.
    fn host(&self, key: &'static str, text: &Spanned<String>) -> Read<String> {
        let host = text.get_ref();
        let legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
            let reason = format!("`{host}` is no host name or address");
            return Err(self.refused(key, text, reason));
        }
        if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
            let reason = format!("`{host}` is no address; a port has a key of its own");
            return Err(self.refused(key, text, reason));
        }
        Ok(host.clone())
    }

    /// A host that the database lets in; `%` stands for any.
    fn client(&self, text: &Spanned<String>) -> Read<String> {
        if text.get_ref().contains('%') && !text.get_ref().contains(['\'', '\\']) {
            return Ok(text.get_ref().clone());
        }
        self.host("database.clients", text)
    }

    /// A name that the engine takes too.
    fn node_name(&self, text: &Spanned<String>) -> Read<String> {
        let name = text.get_ref();
        if name.starts_with(['.', '-']) || name.contains('@') {
            let reason = format!(
                "`{name}` has to be letters, digits and `.-_`, not starting with `.` or `-`"
            );
            return Err(self.refused("node.name", text, reason));
        }
        self.word("node.name", Some(text), "")
    }

    /// A text without blanks, quotes and control characters.
    fn word(
        &self,
        key: &'static str,
        text: Option<&Spanned<String>>,
        default: &str,
    ) -> Read<String> {
        let Some(text) = text else {
            return Ok(default.to_owned());
        };
        let legal = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_' | '@');
        let word = text.get_ref();
        if word.is_empty() || word.len() > 64 || !word.chars().all(legal) {
            let reason = format!("`{word}` has to be letters, digits and `.-_@`, 64 at most");
            return Err(self.refused(key, text, reason));
        }
        Ok(word.clone())
    }

    /// A name that needs no quotes in SQL.
    fn name(
        &self,
        key: &'static str,
        text: Option<&Spanned<String>>,
        default: &str,
    ) -> Read<String> {
        match text {
            Some(text) if text.get_ref().contains(['.', '-', '@']) => {
                Err(self.refused(key, text, "it has to be letters, digits and `_`"))
            }
            text => self.word(key, text, default),
        }
    }

    /// A port; 0 is none.
    fn port(&self, key: &'static str, given: Option<&Spanned<u16>>, default: u16) -> Read<u16> {
        match given {
            Some(given) if *given.get_ref() == 0 => Err(self.refused(key, given, "0 is no port")),
            Some(given) => Ok(*given.get_ref()),
            None => Ok(default),
        }
    }

    fn path(
        &self,
        key: &'static str,
        text: Option<&Spanned<String>>,
        default: &str,
    ) -> Read<PathBuf> {
        let Some(text) = text else {
            return Ok(default.into());
        };
        let path = PathBuf::from(text.get_ref());
        if !path.is_absolute() || text.get_ref().contains(['\n', '\r', '"']) {
            let reason = format!("`{}` is no absolute path", text.get_ref());
            return Err(self.refused(key, text, reason));
        }
        let untidy = text
            .get_ref()
            .split('/')
            .any(|part| matches!(part, "." | ".."));
        if untidy {
            let reason = format!("`{}` has `.` or `..` in it", text.get_ref());
            return Err(self.refused(key, text, reason));
        }
        Ok(path)
    }

    fn refused<T>(
        &self,
        key: &'static str,
        value: &Spanned<T>,
        reason: impl ToString,
    ) -> SetupError {
        self.refused_at(key, value.span().start, reason)
    }

    fn refused_at(&self, key: &'static str, at: usize, reason: impl ToString) -> SetupError {
        SetupError::Value {
            line: line(self.text, at),
            key,
            reason: reason.to_string(),
        }
    }
}

/// Where the nodes connect from: their hosts, or loopback where the database is
/// reached that way.
fn default_clients(host: &str, nodes: [&Node; 2]) -> Vec<String> {
    let mut clients: Vec<String> = Vec::new();
    let mut add = |client: &str| {
        if !clients.iter().any(|known| known == client) {
            clients.push(client.to_owned());
        }
    };
    nodes.iter().for_each(|node| add(&node.host));
    if is_loopback(host) {
        add("localhost");
        add("127.0.0.1");
    }
    clients
}

/// What no single key can say.
fn fits_together(setup: &Setup) -> Read<()> {
    let [a, b] = setup.nodes();
    let whole = |reason: String| Err(SetupError::Whole(reason));
    if a.name == b.name {
        return whole(format!("both nodes are named `{}`", a.name));
    }
    if setup.is_one_machine() {
        if a.offset == b.offset {
            return whole(format!(
                "both nodes are on one machine with the offset {}: one of them needs another `offset`",
                a.offset
            ));
        }
        if a.sync_port == b.sync_port {
            return whole(format!(
                "both nodes are on one machine with `sync_port = {}`",
                a.sync_port
            ));
        }
        if a.state_dir == b.state_dir || a.home == b.home {
            return whole(
                "both nodes are on one machine and share a `home` or a `state_dir`".into(),
            );
        }
    } else if is_loopback(&setup.database.host) {
        return whole(format!(
            "the database at `{}` would be another one on each node: `database.host` has to be an address that both reach",
            setup.database.host
        ));
    }
    if (&a.cluster_host, a.cluster_port) == (&b.cluster_host, b.cluster_port) {
        return whole(format!(
            "both nodes are the member {}:{} of the cluster: one of them needs another `cluster_port`",
            a.cluster_host, a.cluster_port
        ));
    }
    Ok(())
}
