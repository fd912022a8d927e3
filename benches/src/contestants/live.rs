//! Rivals that watch by themselves: lsyncd and Syncthing, with the delays that
//! they have unless told otherwise.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Daemon, own_source, syncthing::Syncthing};
use crate::{
    contestants::rsync::Way,
    options::Options,
    race::{Racer, race},
    sample::Series,
    seclusion::Wire,
    stage::{Stage, edit},
    workloads::until_visible,
};

/// A watcher of its own copy of the source.
pub(crate) trait Watcher {
    /// What it watches.
    fn source(&self) -> &Path;
    /// What it writes into.
    fn target(&self) -> &Path;
}

type Start = fn(&Stage) -> Result<Box<dyn Watcher>, String>;

/// From a save to the copy, one rival after the other.
pub(crate) fn all(options: &Options, stage: &mut Stage) -> Vec<Series> {
    const ALL: [(&str, Start); 2] = [
        ("lsyncd", |stage| Ok(Box::new(Lsyncd::start(stage)?))),
        ("Syncthing", |stage| Ok(Box::new(Syncthing::start(stage)?))),
    ];
    let mut series = Vec::new();
    for (name, start) in ALL {
        match start(stage) {
            Ok(watcher) => {
                let racers = vec![seen(name, watcher)];
                series.extend(race(Wire::Loopback, options.rounds(3), stage, racers));
            }
            Err(why) => series.push(Series::failed(name, why)),
        }
    }
    series
}

fn seen(name: &str, watcher: Box<dyn Watcher>) -> Racer<'static, Stage> {
    // Other numbers than the stage's own edits, which the copies have.
    let mut edits = 1_000_000;
    Racer::new(name, move |stage: &mut Stage, meter| {
        edits += 1;
        let api = &stage.apis()[edits * 7 % stage.apis().len()];
        let path = edit(watcher.source(), api, edits)?;
        meter.restart_clock();
        until_visible(&path, watcher.source(), watcher.target())?;
        meter.stop_clock();
        Ok(())
    })
}

/// lsyncd, which starts rsync to rsync's daemon after 15 seconds.
struct Lsyncd {
    source: PathBuf,
    target: PathBuf,
    _daemon: Daemon,
}

impl Lsyncd {
    fn start(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("lsyncd")?;
        let source = own_source(stage, &home)?;
        let config = home.join("lsyncd.lua");
        let text = format!(
            "settings {{ nodaemon = true }}\n\
             sync {{ default.rsync, source = \"{}\", target = \"{}\" }}\n",
            source.display(),
            stage.rsync.address(Way::Daemon)
        );
        fs::write(&config, text).map_err(|error| format!("configuring lsyncd: {error}"))?;
        let mut command = Command::new("lsyncd");
        command.arg(&config);
        Ok(Self {
            source,
            target: stage.rsync.target(Way::Daemon),
            _daemon: Daemon::start(command, &home, "lsyncd")?,
        })
    }
}

impl Watcher for Lsyncd {
    fn source(&self) -> &Path {
        &self.source
    }

    fn target(&self) -> &Path {
        &self.target
    }
}
