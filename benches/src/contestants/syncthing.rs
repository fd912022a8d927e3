//! Two Syncthing nodes that know each other and nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use sync_tests::lockstep;

use super::{Daemon, live::Watcher, own_source};
use crate::{
    meter::unmeasured,
    stage::{Stage, remake},
};

/// Free in a network namespace that is ours alone.
const PORTS: [u16; 2] = [8770, 8771];
/// Longer than the first scan and the first copy take.
const FIRST_COPY: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);

/// A sending and a receiving node.
pub(crate) struct Syncthing {
    source: PathBuf,
    target: PathBuf,
    _nodes: [Daemon; 2],
}

impl Syncthing {
    /// Starts both and waits until the first copy is whole.
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("syncthing")?;
        let source = own_source(stage, &home)?;
        let target = home.join("target");
        for tree in [&source, &target] {
            // The mark without which it takes a folder for unmounted.
            remake(&tree.join(".stfolder"))?;
        }
        let homes = [home.join("sender"), home.join("receiver")];
        let ids = [identity(&homes[0])?, identity(&homes[1])?];
        configure(&homes[0], &ids, PORTS[0], "sendonly", &source)?;
        configure(&homes[1], &ids, PORTS[1], "receiveonly", &target)?;
        let nodes = [node(&homes[0])?, node(&homes[1])?];
        let start = Instant::now();
        while let Err(why) = lockstep::equal(&source, &target) {
            if start.elapsed() > FIRST_COPY {
                return Err(format!("Syncthing's first copy was never whole: {why}"));
            }
            thread::sleep(LOOK);
        }
        Ok(Self {
            source,
            target,
            _nodes: nodes,
        })
    }
}

impl Watcher for Syncthing {
    fn source(&self) -> &Path {
        &self.source
    }

    fn target(&self) -> &Path {
        &self.target
    }
}

/// Makes a node's key; answers its id.
fn identity(home: &Path) -> Result<String, String> {
    let run = |arguments: &[&str]| {
        let mut command = Command::new("syncthing");
        command.args(arguments).arg("--home").arg(home);
        command.env("HOME", home);
        unmeasured(command)
    };
    run(&["generate", "--no-default-folder", "--skip-port-probing"])?;
    Ok(run(&["--device-id"])?.trim().to_owned())
}

fn configure(
    home: &Path,
    ids: &[String; 2],
    port: u16,
    kind: &str,
    tree: &Path,
) -> Result<(), String> {
    let device = |(id, port): (&String, u16)| {
        format!(
            "<device id=\"{id}\" name=\"{port}\" compression=\"metadata\">\
             <address>tcp://127.0.0.1:{port}</address></device>"
        )
    };
    let devices: String = ids.iter().zip(PORTS).map(device).collect();
    let [one, other] = ids;
    let text = format!(
        "<configuration version=\"35\"><folder id=\"tree\" path=\"{}\" type=\"{kind}\" \
         rescanIntervalS=\"3600\" fsWatcherEnabled=\"true\" fsWatcherDelayS=\"10\">\
         <device id=\"{one}\"/><device id=\"{other}\"/></folder>{devices}\
         <gui enabled=\"false\"/><options><listenAddress>tcp://127.0.0.1:{port}</listenAddress>\
         <globalAnnounceEnabled>false</globalAnnounceEnabled>\
         <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled>\
         <natEnabled>false</natEnabled><urAccepted>-1</urAccepted>\
         <crashReportingEnabled>false</crashReportingEnabled>\
         <autoUpgradeIntervalH>0</autoUpgradeIntervalH><startBrowser>false</startBrowser>\
         <setLowPriority>false</setLowPriority></options></configuration>",
        tree.display()
    );
    fs::write(home.join("config.xml"), text)
        .map_err(|error| format!("configuring Syncthing: {error}"))
}

fn node(home: &Path) -> Result<Daemon, String> {
    let mut command = Command::new("syncthing");
    command.args(["--no-browser", "--no-restart", "--home"]);
    command.arg(home).env("HOME", home);
    Daemon::start(command, home, "Syncthing")
}
