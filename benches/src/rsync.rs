//! rsync against its own daemon: plain TCP, no encryption, no durability.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sync_tests::wait::{self, DEADLINE};

/// Free in a network namespace that is ours alone.
const PORT: u16 = 8730;

/// A running rsync daemon that serves one directory to write into.
pub(crate) struct Rsync {
    target: PathBuf,
    daemon: Child,
}

impl Rsync {
    /// Serves `home/target`.
    pub(crate) fn start(home: &Path) -> Result<Self, String> {
        let target = home.join("target");
        let config = home.join("rsyncd.conf");
        let text = format!(
            "use chroot = no\nuid = root\ngid = root\n[target]\npath = {}\nread only = no\n",
            target.display()
        );
        fs::create_dir_all(&target)
            .and_then(|()| fs::write(&config, text))
            .map_err(|error| format!("preparing {}: {error}", home.display()))?;
        let daemon = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--port", &PORT.to_string()])
            .arg(format!("--config={}", config.display()))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("starting the rsync daemon: {error}"))?;
        wait::until("the rsync daemon to listen", DEADLINE, || {
            TcpStream::connect(("127.0.0.1", PORT))
        });
        Ok(Self { target, daemon })
    }

    /// What it writes into.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Copies the whole of `source`, as `rsync -a --delete` does.
    pub(crate) fn copy(&self, source: &Path) -> Result<(), String> {
        run(&format!("{}/", source.display()), "", &["-a", "--delete"])
    }

    /// Copies the whole of `source` with other options.
    pub(crate) fn copy_with(&self, source: &Path, options: &[&str]) -> Result<(), String> {
        run(&format!("{}/", source.display()), "", options)
    }

    /// Copies one named file of `source`.
    pub(crate) fn copy_file(&self, source: &Path, path: &Path) -> Result<(), String> {
        let from = source.join(path);
        run(
            &from.display().to_string(),
            &path.display().to_string(),
            &["-a"],
        )
    }
}

impl Drop for Rsync {
    fn drop(&mut self) {
        // Best effort: the namespace goes with this process anyway.
        let _ = self
            .daemon
            .kill()
            .and_then(|()| self.daemon.wait().map(drop));
    }
}

fn run(from: &str, to: &str, options: &[&str]) -> Result<(), String> {
    let to = format!("rsync://127.0.0.1:{PORT}/target/{to}");
    let status = Command::new("rsync")
        .args(options)
        .arg(from)
        .arg(to)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("rsync of {from}: {other:?}")),
    }
}
