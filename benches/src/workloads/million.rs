//! W14 and W17: one million files; how much memory a daemon holds, how soon it is
//! ready after a restart, and that it reads no content again.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use sync_tests::{Settings, World, node::Node};

use crate::{
    contestants::Daemon,
    meter::{Memory, Meter, Resident, unmeasured},
    options::Options,
    process,
    row::{Goal, OURS, Row},
    sample::{End, Series, Unit},
    seclusion::Wire,
    stage::disk,
};

const FILES_PER_DIRECTORY: usize = 1_000;
/// A block for each of two copies, an inode, and its place in a journal.
const DISK_BYTES_PER_FILE: u64 = 12 << 10;
const DISK_BYTES_MIN: u64 = 512 << 20;
/// Longer than a first look at a million files takes.
const DEADLINE: Duration = Duration::from_secs(300);
/// After a fill: no file is young. After a start: every thread that only started
/// it has ended.
const SETTLED: Duration = Duration::from_secs(5);

/// Fills both sides once; then each daemon starts again and again.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let files = options.scaled(1_000_000, 1_000);
    let disk = disk(files as u64 * DISK_BYTES_PER_FILE + DISK_BYTES_MIN)?;
    let plain = Settings {
        preset: "plain",
        ..Settings::default()
    };
    let world = World::within(disk.path(), &plain);
    let content_bytes = fill(&world.active.tree, files)?;
    // Files that are as young as the look at them are rightly read again.
    thread::sleep(SETTLED);
    let active = Started::new(&world.active, disk.path())?;
    unmeasured(world.passive.command(&["bootstrap"]))?;
    let passive = Started::new(&world.passive, disk.path())?;
    unmeasured(world.active.command(&["push", "--wait=applied"]))?;
    let root = root(&world.active)?;
    passive.stop()?;
    active.stop()?;
    let nodes = [("active", &world.active), ("passive", &world.passive)];
    let named = |(role, _): (&str, &Node)| Series::new(format!("{OURS} {role}"));
    let (mut memory, mut restart) = (nodes.map(named), nodes.map(named));
    for _ in 0..options.rounds(3) {
        for (place, (_, node)) in nodes.into_iter().enumerate() {
            let started = Started::new(node, disk.path())?;
            let ready = started.until_known(node, &root)?;
            restart[place].values.push(ready.as_secs_f64());
            let resident = started.resident()?;
            memory[place].values.push(resident / count(files));
            started.check_read_little(content_bytes)?;
            started.stop()?;
        }
    }
    let mut memory = Vec::from(memory);
    memory.push(rsync_peak(&world, files)?);
    let work = format!("resident memory a file, {files} files");
    let resident = Row::new("W14", work, Unit::BytesPerFile, memory).goals([Goal::median(250.0)]);
    let work = format!("restart until ready, {files} files; no content is read");
    let ready = Row::new("W17", work, Unit::Seconds, restart.into()).goals([Goal::median(2.0)]);
    Ok(vec![resident, ready])
}

/// Writes files of 0.7 KB in directories of a thousand; answers the bytes.
fn fill(tree: &Path, files: usize) -> Result<u64, String> {
    let write = |number: usize| {
        let directory = tree.join(format!("d{:04}", number / FILES_PER_DIRECTORY));
        if number.is_multiple_of(FILES_PER_DIRECTORY) {
            fs::create_dir(&directory)?;
        }
        let content = format!("<sequence name=\"s{number}\"/>\n").repeat(25);
        fs::write(directory.join(format!("s{number}.xml")), &content)?;
        Ok(content.len() as u64)
    };
    let written: std::io::Result<u64> = (0..files).map(write).sum();
    written.map_err(|error| format!("filling {}: {error}", tree.display()))
}

/// The root of a running node's tree, empty while it is not known.
fn root(node: &Node) -> Result<String, String> {
    let status = unmeasured(node.command(&["status", "--json"]))?;
    let status: serde_json::Value =
        serde_json::from_str(&status).map_err(|error| format!("reading a status: {error}"))?;
    let root = status["trees"][0]["root"].as_str();
    Ok(root.unwrap_or_default().to_owned())
}

/// A daemon that has said it is ready.
struct Started {
    daemon: Daemon,
    start: Instant,
}

impl Started {
    /// Starts it and waits for what it tells systemd.
    fn new(node: &Node, place: &Path) -> Result<Self, String> {
        let socket = place.join("notify.socket");
        let fail = |error| format!("listening at {}: {error}", socket.display());
        let listener = UnixDatagram::bind(&socket).map_err(fail)?;
        listener.set_read_timeout(Some(DEADLINE)).map_err(fail)?;
        let mut command: Command = node.command(&["daemon"]);
        command.env("NOTIFY_SOCKET", &socket);
        let start = Instant::now();
        let daemon = Daemon::start(command, place, "a daemon")?;
        let mut message = [0; 256];
        loop {
            let length = listener
                .recv(&mut message)
                .map_err(|error| format!("waiting for a daemon to be ready: {error}"))?;
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().any(|line| line == "READY=1") {
                break;
            }
        }
        fs::remove_file(&socket).map_err(fail)?;
        Ok(Self { daemon, start })
    }

    /// From the start until it also tells the root of its tree.
    fn until_known(&self, node: &Node, root: &str) -> Result<Duration, String> {
        while self::root(node)? != root {
            if self.start.elapsed() > DEADLINE {
                return Err("a restarted daemon does not find its tree as it was".to_owned());
            }
        }
        Ok(self.start.elapsed())
    }

    /// Ends it as systemd does; what it knows is then on the disk.
    fn stop(mut self) -> Result<(), String> {
        self.daemon.stop(DEADLINE)
    }

    fn resident(&self) -> Result<f64, String> {
        thread::sleep(SETTLED);
        let bytes = process::resident_bytes(self.daemon.pid())?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        Ok(bytes as f64)
    }

    /// Fails when so much was read that contents must have been among it.
    fn check_read_little(&self, content_bytes: u64) -> Result<(), String> {
        let read = process::read_bytes(self.daemon.pid())?;
        if read > content_bytes / 2 {
            return Err(format!(
                "a restarted daemon read {read} bytes, as if it hashed {content_bytes} again"
            ));
        }
        Ok(())
    }
}

/// What rsync's larger process takes to look at both trees.
fn rsync_peak(world: &World, files: usize) -> Result<Series, String> {
    let (from, to) = (&world.active.tree, &world.passive.tree);
    let mut command = Command::new("rsync");
    command
        .args(["-a", "-n"])
        .arg(format!("{}/", from.display()))
        .arg(to);
    let mut meter = Meter::begin(Wire::Loopback, Vec::<Resident>::new(), Memory::Looked)?;
    meter.run(End::Sender, command)?;
    let peak = meter.end()?.peak_bytes.sender;
    let mut series = Series::new("rsync -n, at its peak");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    series.values.push(peak as f64 / count(files));
    Ok(series)
}

#[expect(clippy::cast_precision_loss, reason = "a million files")]
fn count(files: usize) -> f64 {
    files as f64
}
