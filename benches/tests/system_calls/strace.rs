//! Counting the system calls of real processes with `strace`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use sync_tests::{
    Node,
    node::TREE,
    wait::{self, DEADLINE},
};

/// Every call that names a file or works on a descriptor.
const TRACED: &str = "trace=%file,%desc";

/// What a call that opens a directory is marked with.
const DIRECTORY: &str = " O_DIRECTORY";

/// How often each call touched a tree or its work directory.
pub(crate) type Counts = BTreeMap<String, u32>;

/// Whether processes can be traced here; says so where not.
pub(crate) fn is_here() -> bool {
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    let here = probe.is_ok_and(|status| status.success());
    if !here {
        eprintln!("SKIPPED: system calls are not counted: no strace, or no permission to trace");
    }
    here
}

/// Runs one command of `node` to its end and counts.
pub(crate) fn of_command(node: &Node, arguments: &[&str], log: &Path) -> Counts {
    let command = node.command(arguments);
    let status = strace(log)
        .arg("--seccomp-bpf")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    let status = status.expect("strace starts");
    assert!(status.success(), "{arguments:?} under strace: {status}");
    count(node, log)
}

/// A daemon that is watched from its first call to its last.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon of `node`.
    pub(crate) fn start(node: &Node, log: PathBuf) -> Self {
        let command = node.command(&["daemon"]);
        let child = strace(&log)
            // The daemon is our child then, and strace is beside it.
            .args(["-D", "--seccomp-bpf"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("strace starts");
        Self { child, log }
    }

    /// Asks the daemon to end, and counts what it did.
    pub(crate) fn stop(mut self, node: &Node) -> Counts {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .expect("our own child takes signals");
        let status = self.child.wait().expect("our own child can be waited for");
        assert!(status.success(), "the daemon under strace: {status}");
        wait::until("strace to write its last line", DEADLINE, || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            wait::ensure(log.ends_with("+++ exited with 0 +++\n"), "it still runs")
        });
        count(node, &self.log)
    }
}

/// A running daemon that is watched for a while.
pub(crate) struct Attached {
    strace: Child,
    // Open as long as strace may write to it.
    _messages: BufReader<ChildStderr>,
    log: PathBuf,
}

impl Attached {
    /// Begins to watch the daemon of `node`; every later call is counted.
    pub(crate) fn to(node: &Node, log: PathBuf) -> Self {
        let mut strace = strace(&log)
            .args(["-p", &node.pid().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let mut messages = BufReader::new(strace.stderr.take().expect("a pipe"));
        let mut line = String::new();
        messages
            .read_line(&mut line)
            .expect("strace says something");
        assert!(line.contains("attached"), "strace: {line}");
        Self {
            strace,
            _messages: messages,
            log,
        }
    }

    /// Lets the daemon go and counts what it did.
    pub(crate) fn detach(mut self, node: &Node) -> Counts {
        let pid = Pid::from_child(&self.strace);
        kill_process(pid, Signal::INT).expect("our own child takes signals");
        self.strace.wait().expect("our own child");
        count(node, &self.log)
    }
}

/// `strace` that follows threads and shows the path of every descriptor.
fn strace(log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y"]).args(["-s", "0"]);
    command.args(["-e", TRACED]).args(["-e", "signal=none"]);
    command.arg("-o").arg(log);
    command
}

fn count(node: &Node, log: &Path) -> Counts {
    let work = node.state.join("trees").join(TREE);
    let ours = [text(&node.tree), text(&work)];
    let touches = |line: &&str| ours.iter().any(|path| line.contains(path));
    let log = fs::read_to_string(log).expect("strace wrote its log");
    let mut counts = Counts::new();
    for call in log.lines().filter(touches).filter_map(call) {
        *counts.entry(call).or_default() += 1;
    }
    counts
}

fn text(path: &Path) -> &str {
    path.as_os_str().to_str().expect("a plain path")
}

/// The call that a line begins: `1234 openat(3</a>, ...`. None for the second
/// half of one. Opening a directory is a kind of its own.
fn call(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(char::is_whitespace)?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let directory = if rest.contains("O_DIRECTORY") {
        DIRECTORY
    } else {
        ""
    };
    name.bytes()
        .all(is_name)
        .then(|| format!("{name}{directory}"))
}
