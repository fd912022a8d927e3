//! Unison in batch mode, to a server on a plain socket.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use sync_tests::wait::{self, DEADLINE};

use super::{
    Daemon,
    copier::{Copier, Run},
};
use crate::{
    meter::Resident,
    sample::End,
    stage::{Stage, remake},
};

/// Free in a network namespace that is ours alone.
const PORT: u16 = 8740;

/// A Unison server, and a client's archives.
pub(crate) struct Unison {
    home: PathBuf,
    target: PathBuf,
    server: Daemon,
}

impl Unison {
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("unison")?;
        let target = home.join("target");
        let server = serve(&home)?;
        Ok(Self {
            home,
            target,
            server,
        })
    }

    fn archives(home: &Path, side: &str) -> PathBuf {
        home.join(side)
    }
}

fn serve(home: &Path) -> Result<Daemon, String> {
    for part in ["target", "client", "server"] {
        remake(&home.join(part))?;
    }
    let mut command = Command::new("unison");
    command
        .args(["-socket", &PORT.to_string()])
        .env("UNISON", Unison::archives(home, "server"));
    let server = Daemon::start(command, home, "Unison's server")?;
    wait::until("Unison's server to listen", DEADLINE, || {
        TcpStream::connect(("127.0.0.1", PORT))
    });
    Ok(server)
}

impl Copier for Unison {
    fn target(&self) -> &Path {
        &self.target
    }

    fn forget(&mut self) -> Result<(), String> {
        for side in ["client", "server"] {
            remake(&Self::archives(&self.home, side))?;
        }
        remake(&self.target)
    }

    fn residents(&self) -> Vec<Resident> {
        vec![Resident::receiver(self.server.pid())]
    }

    fn copy(&mut self, source: &Path, run: Run<'_>) -> Result<(), String> {
        let mut command = Command::new("unison");
        command
            .arg(source)
            .arg(format!(
                "socket://127.0.0.1:{PORT}/{}",
                self.target.display()
            ))
            .args(["-batch", "-silent", "-times", "-confirmbigdel=false"])
            .env("UNISON", Self::archives(&self.home, "client"));
        run(End::Sender, command)
    }
}
