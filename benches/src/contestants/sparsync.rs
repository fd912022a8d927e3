//! sparsync: QUIC and BLAKE3, a server and a push.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Daemon,
    copier::{Copier, Run},
    until_listening,
};
use crate::{
    meter::{Resident, unmeasured},
    sample::End,
    stage::{Stage, remake},
};

/// Free in a network namespace that is ours alone.
const ADDRESS: &str = "127.0.0.1:8750";

/// A server that writes into one directory.
pub(crate) struct Sparsync {
    home: PathBuf,
    target: PathBuf,
    /// None while it is started again.
    server: Option<Daemon>,
}

impl Sparsync {
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("sparsync")?;
        let target = home.join("target");
        remake(&target)?;
        let mut keys = Command::new("sparsync");
        keys.arg("gen-cert")
            .arg("--cert")
            .arg(home.join("cert.pem"))
            .arg("--key")
            .arg(home.join("key.pem"));
        unmeasured(keys)?;
        let server = Some(serve(&home, &target)?);
        Ok(Self {
            home,
            target,
            server,
        })
    }
}

fn serve(home: &Path, target: &Path) -> Result<Daemon, String> {
    let mut command = Command::new("sparsync");
    command
        .args(["serve", "--bind", ADDRESS, "--preserve-metadata"])
        .arg("--destination")
        .arg(target)
        .arg("--cert")
        .arg(home.join("cert.pem"))
        .arg("--key")
        .arg(home.join("key.pem"));
    let server = Daemon::start(command, home, "sparsync's server")?;
    until_listening("sparsync's server", ADDRESS);
    Ok(server)
}

impl Copier for Sparsync {
    fn target(&self) -> &Path {
        &self.target
    }

    fn forget(&mut self) -> Result<(), String> {
        // It remembers in memory what it wrote.
        self.server = None;
        remake(&self.target)?;
        self.server = Some(serve(&self.home, &self.target)?);
        Ok(())
    }

    fn residents(&self) -> Vec<Resident> {
        let pid = self.server.as_ref().map(Daemon::pid);
        pid.map(Resident::receiver).into_iter().collect()
    }

    fn copy(&mut self, source: &Path, run: Run<'_>) -> Result<(), String> {
        let mut command = Command::new("sparsync");
        command
            .args(["push", "--server", ADDRESS, "--server-name", "localhost"])
            .arg("--ca")
            .arg(self.home.join("cert.pem"))
            .arg("--source")
            .arg(source);
        run(End::Sender, command)
    }
}
