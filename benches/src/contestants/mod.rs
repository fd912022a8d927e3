//! The rivals, each driven as its manual says, and the product beside them.

pub(crate) mod apim_sync;
pub(crate) mod casync;
pub(crate) mod copier;
pub(crate) mod ffsync;
pub(crate) mod live;
pub(crate) mod rsync;
pub(crate) mod sparsync;
pub(crate) mod syncthing;
pub(crate) mod unison;

use std::{
    fs::File,
    net::{ToSocketAddrs, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sync_tests::wait::{self, DEADLINE};

use crate::{meter::unmeasured, process::children, stage::Stage};

/// Between two looks at a daemon that ends.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a server has taken its UDP port.
pub(crate) fn until_listening(what: &str, address: impl ToSocketAddrs) {
    wait::until(&format!("{what} to listen"), DEADLINE, || {
        wait::ensure(UdpSocket::bind(&address).is_err(), "its port is free")
    });
}

/// A copy of the stage's source below `home`, for who writes into what it reads.
pub(crate) fn own_source(stage: &Stage, home: &Path) -> Result<PathBuf, String> {
    let source = home.join("source");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(stage.source()).arg(&source);
    unmeasured(copy)?;
    Ok(source)
}

/// A daemon that ends with this value, and what it started.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts a daemon that logs to a file in `home`.
    pub(crate) fn start(mut command: Command, home: &Path, what: &str) -> Result<Self, String> {
        let log = home.join("daemons.log");
        let log = File::options().append(true).create(true).open(&log);
        let log = log.map_err(|error| format!("opening the log of {what}: {error}"))?;
        let output = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(output).stderr(log);
        let child = command.spawn();
        child
            .map(Self)
            .map_err(|error| format!("starting {what}: {error}; is it installed?"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(&mut self, deadline: Duration) -> Result<(), String> {
        let fail = |error: String| format!("stopping a daemon: {error}");
        kill_process(Pid::from_child(&self.0), Signal::TERM)
            .map_err(|error| fail(error.to_string()))?;
        let start = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if start.elapsed() < deadline => thread::sleep(LOOK),
                Ok(None) => return Err(fail("it goes on".to_owned())),
                Err(error) => return Err(fail(error.to_string())),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Best effort: they may have ended. Syncthing is two processes, and the second
        // would go on alone, on the processor and the wire of the next workload.
        let started = children(self.pid());
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
        let started = started
            .into_iter()
            .filter_map(|pid| i32::try_from(pid).ok());
        for child in started.filter_map(Pid::from_raw) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_daemon_started_ends_with_it() {
        let home = tempfile::tempdir().unwrap();
        let pid_file = home.path().join("pid");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $! > pid.new; mv pid.new pid; wait"]);
        command.current_dir(home.path());
        let daemon = Daemon::start(command, home.path(), "a shell").unwrap();
        let mut child = String::new();
        wait::until("the child to run", DEADLINE, || -> Result<(), String> {
            child = fs::read_to_string(&pid_file).map_err(|error| error.to_string())?;
            Ok(())
        });
        drop(daemon);
        let state = format!("/proc/{}/stat", child.trim());
        wait::until("the child to be gone", DEADLINE, || {
            let gone = fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z "));
            wait::ensure(gone, "it runs")
        });
    }
}
