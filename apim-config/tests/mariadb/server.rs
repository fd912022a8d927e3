//! A MariaDB server of a test's own, and clients of it.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// How long a server may take to answer: a busy machine, not a slow server.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// What a client said.
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    /// Starts a server, if MariaDB is on this machine. New schemas are utf8mb4
    /// there, as on servers of today.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    pub(crate) fn start() -> Option<Self> {
        let [server, install, _] = ["mariadbd", "mariadb-install-db", "mariadb"].map(program);
        let (Some(server), Some(install), Some(_)) = (server, install, program("mariadb")) else {
            println!("SKIPPED: MariaDB is not installed (Debian: mariadb-server)");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        initialise(&install, directory.path());
        let port = free_port();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(server)
            .env("TMPDIR", directory.path())
            .arg("--no-defaults")
            .args(as_root(directory.path()))
            .arg("--bind-address=127.0.0.1")
            .args(["--skip-log-bin", "--skip-name-resolve"])
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .arg("--character-set-server=utf8mb4")
            .arg(format!("--port={port}"))
            .arg(flag("--datadir=", &directory.path().join("data")))
            .arg(flag("--socket=", &directory.path().join("socket")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port,
            directory,
        };
        server.wait();
        Some(server)
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A directory that goes with the server.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the client says when an administrator feeds it a script, called as
    /// the scripts' heads say.
    pub(crate) fn root(&self, script: &str) -> Answer {
        run(self.root_client().arg("--abort-source-on-error"), script)
    }

    /// The same, but the client goes on after errors, as it does for `source` at
    /// its prompt.
    pub(crate) fn root_at_the_prompt(&self, script: &str) -> Answer {
        run(self.root_client().arg("--force"), script)
    }

    fn root_client(&self) -> Command {
        let mut client = client("root");
        client.arg(flag("--socket=", &self.directory.path().join("socket")));
        client
    }

    /// What the client says to a user who connects from an address.
    pub(crate) fn login(&self, from: &str, user: &str, password: &str, script: &str) -> Answer {
        let relay = relay(from.parse().unwrap(), self.port);
        let mut client = client(user);
        client
            .args(["--protocol=tcp", "--host=127.0.0.1", "--skip-ssl"])
            .arg(format!("--port={relay}"))
            .env("MYSQL_PWD", password);
        run(&mut client, script)
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + START_MAX;
        while UnixStream::connect(self.directory.path().join("socket")).is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log"));
                panic!("the server does not answer ({ended:?}): {log:?}");
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing in it is worth a clean end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the server's own tables. A starting server removes whatever looks like a
/// temporary table from its TMPDIR, so each has its own.
fn initialise(install: &Path, directory: &Path) {
    let made = Command::new(install)
        .env("TMPDIR", directory)
        .arg("--no-defaults")
        .args(as_root(directory))
        .arg("--skip-test-db")
        .args([
            "--skip-name-resolve",
            "--auth-root-authentication-method=normal",
        ])
        .arg(flag("--datadir=", &directory.join("data")))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The server refuses to run as root unless it is told to; nobody else may tell.
fn as_root(own: &Path) -> Option<&'static str> {
    let root = fs::metadata(own).unwrap().uid() == 0;
    root.then_some("--user=root")
}

/// Where a program is; servers are not on everybody's path.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.map(|it| it.join(name)).find(|it| it.is_file())
}

fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    [OsStr::new(name), path.as_os_str()].into_iter().collect()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A client in batch mode that prints no column names.
fn client(user: &str) -> Command {
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "--skip-column-names", "--batch"])
        .arg(format!("--user={user}"));
    client
}

fn run(client: &mut Command, script: &str) -> Answer {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that has no use for the rest closes its end.
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    let done = child.wait_with_output().unwrap();
    Answer {
        success: done.status.success(),
        output: String::from_utf8_lossy(&done.stdout).into_owned(),
        errors: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Takes one connection and passes it on to the server from another address of
/// this machine: the client cannot choose the address it comes from.
fn relay(from: Ipv4Addr, to: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = connect(from, to).unwrap();
        let (client_end, server_end) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || pass(client_end, server_end));
        pass(server, client);
    });
    port
}

fn connect(from: Ipv4Addr, to: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, to)).into())?;
    Ok(socket.into())
}

/// Copies until one end closes, then closes the other.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    // Either end may go first; the client's answer is what is looked at.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
