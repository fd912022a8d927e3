//! rsync, to its own daemon (plain TCP) and over ssh (what WSO2's script does).
//! Neither is durable; only ssh encrypts.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use sync_tests::wait::{self, DEADLINE};

use super::Daemon;
use crate::{
    meter::{Meter, Resident, unmeasured},
    race::Racer,
    sample::End,
    stage::Stage,
};

/// The contestants' names in tables.
pub(crate) const DAEMON: &str = "rsync daemon";
pub(crate) const SSH: &str = "rsync ssh";

/// Free in a network namespace that is ours alone.
const DAEMON_PORT: u16 = 8730;
const SSH_PORT: u16 = 8722;

/// How a file gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Daemon,
    Ssh,
}

/// Fills an empty target.
pub(crate) fn filling<'a>(name: &str, way: Way, options: &'a [&'a str]) -> Racer<'a, Stage> {
    whole(name, way, options)
        .after(move |stage| stage.empty_target(way))
        .checked(move |stage| stage.check_target(way))
}

/// Looks at everything, and copies what differs.
pub(crate) fn whole<'a>(name: &str, way: Way, options: &'a [&'a str]) -> Racer<'a, Stage> {
    Racer::new(name, move |stage: &mut Stage, meter: &mut Meter| {
        let command = stage.rsync.whole(way, options, stage.source());
        meter.run(End::Sender, command).map(drop)
    })
    .with(move |stage| vec![stage.rsync.resident(way)])
}

/// An rsync daemon and an ssh daemon with one target directory each.
pub(crate) struct Rsync {
    home: PathBuf,
    host: String,
    daemon: Daemon,
    sshd: Daemon,
}

impl Rsync {
    /// Starts both in `home`, on the loopback interface.
    pub(crate) fn start(home: &Path) -> Result<Self, String> {
        Self::start_at(home, "127.0.0.1")
    }

    /// Starts both in `home`, to be reached at `host`.
    pub(crate) fn start_at(home: &Path, host: &str) -> Result<Self, String> {
        for way in [Way::Daemon, Way::Ssh] {
            make(&home.join(way.directory()))?;
        }
        let (daemon, sshd) = (rsync_daemon(home)?, ssh_daemon(home)?);
        let started = Self {
            home: home.to_owned(),
            host: host.to_owned(),
            daemon,
            sshd,
        };
        Ok(started)
    }

    /// Waits until both answer; from where clients run.
    pub(crate) fn wait(&self) {
        for port in [DAEMON_PORT, SSH_PORT] {
            wait::until("the rsync and ssh daemons to listen", DEADLINE, || {
                TcpStream::connect((self.host.as_str(), port))
            });
        }
    }

    /// What is written into.
    pub(crate) fn target(&self, way: Way) -> PathBuf {
        self.home.join(way.directory())
    }

    /// The receiving end's daemon.
    pub(crate) fn resident(&self, way: Way) -> Resident {
        match way {
            Way::Daemon => Resident::receiver(self.daemon.pid()),
            Way::Ssh => Resident::receiver(self.sshd.pid()),
        }
    }

    /// `rsync OPTIONS source/ target/`, not run yet.
    pub(crate) fn whole(&self, way: Way, options: &[&str], source: &Path) -> Command {
        self.below(way, options, source, "")
    }

    /// `rsync OPTIONS source/ target/below`, not run yet.
    pub(crate) fn below(&self, way: Way, options: &[&str], source: &Path, below: &str) -> Command {
        self.command(way, options, &format!("{}/", source.display()), below)
    }

    /// `rsync -a source/path target/path`, not run yet.
    pub(crate) fn named(&self, way: Way, source: &Path, path: &Path) -> Command {
        let from = source.join(path).display().to_string();
        self.command(way, &["-a"], &from, &path.display().to_string())
    }

    /// Brings a target up to date, unmeasured.
    pub(crate) fn copy(&self, way: Way, source: &Path) -> Result<(), String> {
        unmeasured(self.whole(way, &["-a", "--delete"], source)).map(drop)
    }

    fn command(&self, way: Way, options: &[&str], from: &str, to: &str) -> Command {
        let mut command = Command::new("rsync");
        command.args(options);
        if way == Way::Ssh {
            command.arg("-e").arg(self.shell());
        }
        command.arg(from).arg(self.address(way) + to);
        command
    }

    /// Where clients find a target; ends with a slash.
    pub(crate) fn address(&self, way: Way) -> String {
        let host = &self.host;
        match way {
            Way::Daemon => format!("rsync://{host}:{DAEMON_PORT}/target/"),
            Way::Ssh => format!("root@{host}:{}/", self.target(way).display()),
        }
    }

    fn shell(&self) -> String {
        let key = self.home.join("client_key");
        format!(
            "ssh -F none -p {SSH_PORT} -i {} -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            key.display()
        )
    }
}

impl Way {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Daemon => DAEMON,
            Self::Ssh => SSH,
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Daemon => "daemon-target",
            Self::Ssh => "ssh-target",
        }
    }
}

fn rsync_daemon(home: &Path) -> Result<Daemon, String> {
    let config = home.join("rsyncd.conf");
    let text = format!(
        "use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n[target]\npath = {}\nread only = no\n",
        home.join(Way::Daemon.directory()).display()
    );
    write(&config, &text)?;
    let mut command = Command::new("rsync");
    command
        .args([
            "--daemon",
            "--no-detach",
            "--port",
            &DAEMON_PORT.to_string(),
        ])
        .arg(format!("--config={}", config.display()));
    Daemon::start(command, home, "the rsync daemon")
}

/// An ssh daemon with keys that are made for this run and go with it.
fn ssh_daemon(home: &Path) -> Result<Daemon, String> {
    for key in ["host_key", "client_key"] {
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(home.join(key));
        unmeasured(command)?;
    }
    // Where the unprivileged half of sshd is locked up; Debian's service makes it.
    make(Path::new("/run/sshd"))?;
    let config = home.join("sshd_config");
    let at = home.display();
    let text = format!(
        "Port {SSH_PORT}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/client_key.pub\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\n\
         StrictModes no\nPidFile none\n"
    );
    write(&config, &text)?;
    // sshd starts itself again and insists on its absolute path.
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(&config);
    Daemon::start(command, home, "the ssh daemon")
}

fn make(directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory)
        .map_err(|error| format!("making {}: {error}", directory.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}
