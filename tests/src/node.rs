//! One node: its files, its commands, its daemon.

use std::{
    fs::{self, File},
    io::{self, Read},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    binary, network,
    outcome::Outcome,
    wait::{self, DEADLINE},
};

/// The name of the one tree that most tests synchronise.
pub const TREE: &str = "synapse-configs";

/// Which way changes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The source.
    Active,
    /// The follower.
    Passive,
}

impl Role {
    /// As the command line spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// What a test may want different from the defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[[tree]] preset`.
    pub preset: &'static str,
    /// `[watch] settle_ms`.
    pub settle_ms: i64,
    /// `[watch] delete_hold_ms`: low, where the hold is not the subject.
    pub delete_hold_ms: i64,
    /// `[guard] max_delete`.
    pub max_delete: &'static str,
    /// `[[tree]] exclude`.
    pub exclude: Vec<String>,
    /// `[[tree]] deploy_interval_s`, where not the default.
    pub deploy_interval_s: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            preset: "synapse",
            settle_ms: 50,
            delete_hold_ms: 300,
            max_delete: "20%",
            exclude: vec!["*.back".into()],
            deploy_interval_s: None,
        }
    }
}

/// Everything of one node, below one directory.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its role at `init`.
    pub role: Role,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
    /// The tree it synchronises.
    pub tree: PathBuf,
    /// Where it listens.
    pub address: String,
    /// Its id, as `init` printed it.
    pub id: String,
    log: PathBuf,
    /// The network namespace it runs in, if not the test's.
    host: Option<String>,
    /// What its commands and its daemon find in their environment.
    environment: Vec<(String, String)>,
    daemon: Option<Child>,
}

impl Node {
    /// Runs `init` for a node whose files live in `home`.
    ///
    /// # Panics
    /// When `init` does not do what its contract says.
    #[must_use]
    pub fn init(home: &Path, name: &str, role: Role, settings: &Settings) -> Self {
        Self::init_at(home, name, role, settings, free_address())
    }

    /// The same for a node that listens at `address`.
    ///
    /// # Panics
    /// When `init` does not do what its contract says.
    #[must_use]
    pub fn init_at(
        home: &Path,
        name: &str,
        role: Role,
        settings: &Settings,
        address: String,
    ) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            role,
            config: home.join("etc/config.toml"),
            state: home.join("state"),
            tree: home.join(TREE),
            address,
            id: String::new(),
            log: home.join("daemon.log"),
            host: None,
            environment: Vec::new(),
            daemon: None,
        };
        fs::create_dir_all(&node.tree).expect("the home can be written");
        node.id = node.initialise();
        node.configure(settings);
        node
    }

    /// Takes over a node whose configuration is there already, as `config
    /// generate` writes it: makes its key and state, and nothing else.
    ///
    /// # Panics
    /// When the configuration lacks what it is read for, or `init` fails.
    #[must_use]
    pub fn of_config(config: &Path, role: Role) -> Self {
        let text = fs::read_to_string(config).expect("the configuration is there");
        let table: toml::Table = text.parse().expect("the configuration is TOML");
        let node = |key: &str| table["node"][key].as_str().expect("a text").to_owned();
        let path = |tree: &toml::Value| tree["path"].as_str().map(PathBuf::from);
        let mut made = Self {
            name: node("name"),
            role,
            config: config.to_owned(),
            state: node("state_dir").into(),
            tree: path(&table["tree"][0]).expect("a tree has a path"),
            address: node("advertise"),
            id: String::new(),
            log: config.with_file_name("daemon.log"),
            host: None,
            environment: Vec::new(),
            daemon: None,
        };
        let outcome = made.run(&["init", "--keep-config", "--role", role.name()]);
        made.id = id(&outcome.exits(0));
        made
    }

    fn initialise(&self) -> String {
        let mut command = self.command(&["init", "--name", &self.name]);
        command
            .args(["--role", self.role.name(), "--listen", &self.address])
            .arg("--tree")
            .arg(format!("{TREE}={}", self.tree.display()))
            .arg("--state-dir")
            .arg(&self.state);
        id(&finish(command).exits(0))
    }

    fn configure(&self, settings: &Settings) {
        self.edit_config(|config| {
            set(config, "watch", "settle_ms", settings.settle_ms);
            set(config, "watch", "delete_hold_ms", settings.delete_hold_ms);
            set(config, "guard", "max_delete", settings.max_delete);
            let trees = config["tree"].as_array_mut().expect("`init` writes trees");
            let tree = trees[0].as_table_mut().expect("a tree is a table");
            tree.insert("preset".into(), settings.preset.into());
            tree.insert("exclude".into(), settings.exclude.clone().into());
            if let Some(seconds) = settings.deploy_interval_s {
                tree.insert("deploy_interval_s".into(), seconds.into());
            }
        });
    }

    /// Changes the configuration file. Comments are lost: tests do not read them.
    ///
    /// # Panics
    /// When the file is not TOML.
    pub fn edit_config(&self, edit: impl FnOnce(&mut toml::Table)) {
        let text = fs::read_to_string(&self.config).expect("`init` wrote the configuration");
        let mut config: toml::Table = text.parse().expect("the configuration is TOML");
        edit(&mut config);
        fs::write(&self.config, config.to_string()).expect("the configuration can be written");
    }

    /// Pins `other`, to be dialled where it listens.
    pub fn trust(&self, other: &Self) {
        let arguments = ["trust", "add", &other.name, "--id", &other.id];
        let address = ["--address", &other.address];
        self.run(&[&arguments[..], &address[..]].concat()).exits(0);
    }

    /// Runs its commands and its daemon on a host of a [`network::Network`].
    pub fn move_to(&mut self, host: &str) {
        self.host = Some(host.to_owned());
    }

    /// Lets its commands and its daemon find a variable in their environment.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The binary with this node's configuration and `arguments`, not run yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let binary = binary::apim_sync();
        let mut command = match &self.host {
            Some(host) => network::inside(host, &binary.to_string_lossy()),
            None => Command::new(binary),
        };
        command.arg("-C").arg(&self.config).args(arguments);
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null());
        command
    }

    /// Runs one command of this node to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.command(arguments))
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Panics
    /// When it ends instead, or does not answer in time.
    pub fn start(&mut self) {
        self.spawn();
        wait::until("the daemon to answer `status`", DEADLINE, || {
            if let Some(status) = self.exited() {
                panic!(
                    "the daemon of {} ended: {status}\n{}",
                    self.name,
                    self.log()
                );
            }
            let outcome = self.run(&["status", "--json"]);
            wait::ensure(outcome.code == Some(0), outcome.stderr)
        });
    }

    /// Starts the daemon and does not wait.
    ///
    /// # Panics
    /// When one runs already, or it cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "{} runs already", self.name);
        let log = File::options().append(true).create(true).open(&self.log);
        let log = log.expect("the log can be written");
        let mut command = self.command(&["daemon", "-v"]);
        command.stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("the binary starts"));
    }

    /// Kills the daemon as `kill -9` does.
    ///
    /// # Panics
    /// When none runs.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon to kill");
        daemon.kill().expect("our own child can be killed");
        daemon.wait().expect("our own child can be waited for");
    }

    /// Asks the daemon to end, with SIGTERM, and waits.
    ///
    /// # Panics
    /// When none runs, or it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = wait::until("the daemon to end", DEADLINE, || {
            self.exited().ok_or("it still runs")
        });
        self.daemon = None;
        status
    }

    /// Sends a signal to the daemon.
    ///
    /// # Panics
    /// When none runs.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our own child takes signals");
    }

    /// Whether a daemon was started and not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn pid(&self) -> Pid {
        let daemon = self.daemon.as_ref().expect("a running daemon");
        Pid::from_child(daemon)
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        let daemon = self.daemon.as_mut()?;
        daemon.try_wait().expect("our own child can be asked")
    }

    /// The object of `status --json`, whether the daemon runs or not.
    #[must_use]
    pub fn status(&self) -> Value {
        let outcome = self.run(&["status", "--json"]);
        assert!(
            matches!(outcome.code, Some(0 | 7)),
            "status of {}: {outcome:?}",
            self.name
        );
        outcome.message("status")
    }

    /// Waits until `condition` holds for the status.
    pub fn until_status<T>(&self, what: &str, condition: impl Fn(&Value) -> Option<T>) -> T {
        wait::until(what, DEADLINE, || {
            let status = self.status();
            condition(&status).ok_or_else(|| format!("{} says {status}", self.name))
        })
    }

    /// Everything the daemon wrote, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        // No log yet: no daemon was started.
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The names in a directory of this tree's work directory; none if absent.
    #[must_use]
    pub fn work(&self, directory: &str) -> Vec<String> {
        let path = self.state.join("trees").join(TREE).join(directory);
        fs::read_dir(path).map_or_else(
            |_| Vec::new(),
            |listing| {
                let names = listing.flatten().map(|item| item.file_name());
                names
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect()
            },
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // Best effort: the test is over, whatever the daemon does.
            let _ = daemon.kill().and_then(|()| daemon.wait().map(drop));
        }
    }
}

/// The node's id, as `init` prints it.
fn id(outcome: &Outcome) -> String {
    let mut lines = outcome.stdout.lines();
    let id = lines.find_map(|line| line.strip_prefix("id: "));
    id.expect("`init` prints `id: <node id>`").trim().to_owned()
}

/// Runs a command to its end, or kills it at the deadline.
///
/// # Panics
/// When it cannot be started or does not end.
#[must_use]
pub fn finish(mut command: Command) -> Outcome {
    let shown = shown(&command);
    let output = output(&mut command).unwrap_or_else(|error| panic!("{shown}: {error}"));
    Outcome::new(shown, &output)
}

/// Takes all output, and kills a child that takes longer than any command may.
fn output(command: &mut Command) -> io::Result<process::Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if end.recv_timeout(COMMAND_DEADLINE) == Err(RecvTimeoutError::Timeout) {
            // Fails if it has just ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output();
    drop(ended);
    watchdog.join().expect("waiting does not panic");
    output
}

/// More than any command of these tests takes on a loaded machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);

fn shown(command: &Command) -> String {
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    format!("apim-sync {}", words.join(" "))
}

fn set(config: &mut toml::Table, table: &str, key: &str, value: impl Into<toml::Value>) {
    let entry = config
        .entry(table)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let table = entry.as_table_mut().expect("a section is a table");
    table.insert(key.into(), value.into());
}

/// A loopback address whose UDP port is free. Ports are taken below the range
/// from which the kernel gives ports to clients, each process from its own part,
/// so that nobody takes the port before the daemon does.
#[must_use]
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let part = u16::try_from(process::id() % 1000).unwrap_or(0) * 12;
    loop {
        let port = 20_000 + part + NEXT.fetch_add(1, Ordering::Relaxed) % 12;
        let address = format!("127.0.0.1:{port}");
        if UdpSocket::bind(&address).is_ok() {
            return address;
        }
    }
}
