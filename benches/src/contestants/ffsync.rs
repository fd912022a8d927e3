//! ffsync: QUIC and BLAKE3, two commands that meet. It leaves an index beside
//! each file that it reads, so it gets a copy of the source.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Daemon,
    copier::{Copier, Run},
    own_source, until_listening,
};
use crate::{
    meter::{Resident, unmeasured},
    sample::End,
    stage::{Stage, remake},
};

/// Free in a network namespace that is ours alone.
const PORT: u16 = 8760;

/// Two sides with an identity each.
pub(crate) struct Ffsync {
    home: PathBuf,
    source: PathBuf,
    target: PathBuf,
    receiver: Option<Daemon>,
}

impl Ffsync {
    pub(crate) fn new(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("ffsync")?;
        let (source, target) = (own_source(stage, &home)?, home.join("target"));
        for part in ["sender", "receiver", "target"] {
            remake(&home.join(part))?;
        }
        Ok(Self {
            home,
            source,
            target,
            receiver: None,
        })
    }

    fn command(&self, side: &str) -> Command {
        let mut command = Command::new("ffsync");
        command.env("HOME", self.home.join(side));
        command
    }

    /// A side's identity, as it prints it.
    fn identity(&self, side: &str) -> Result<String, String> {
        let mut command = self.command(side);
        command.arg("fingerprints");
        let output = unmeasured(command)?;
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("this peer: "));
        line.map(str::to_owned)
            .ok_or_else(|| format!("ffsync says no identity: {output}"))
    }
}

impl Copier for Ffsync {
    fn target(&self) -> &Path {
        &self.target
    }

    fn source<'a>(&'a self, _stage: &'a Stage) -> &'a Path {
        &self.source
    }

    fn forget(&mut self) -> Result<(), String> {
        remake(&self.target)
    }

    fn ready(&mut self) -> Result<(), String> {
        self.receiver = None;
        let mut command = self.command("receiver");
        command.arg("receive").arg(&self.target).args([
            &PORT.to_string(),
            "--quic",
            "--trust",
            &self.identity("sender")?,
        ]);
        self.receiver = Some(Daemon::start(command, &self.home, "ffsync's receiver")?);
        until_listening("ffsync's receiver", ("0.0.0.0", PORT));
        Ok(())
    }

    fn residents(&self) -> Vec<Resident> {
        let pid = self.receiver.as_ref().map(Daemon::pid);
        pid.map(Resident::receiver).into_iter().collect()
    }

    fn copy(&mut self, source: &Path, run: Run<'_>) -> Result<(), String> {
        let mut command = self.command("sender");
        command
            .arg("send")
            .arg(source)
            .args([&format!("127.0.0.1:{PORT}"), "--quic", "--trust"])
            .arg(self.identity("receiver")?);
        run(End::Sender, command)
    }

    fn rounds_at_most(&self) -> usize {
        1
    }
}
