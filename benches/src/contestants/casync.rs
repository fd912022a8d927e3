//! casync: an index and a chunk store made on one side, extracted on the other.
//! The store lies on the same disk: no network, no daemon.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::copier::{Copier, Run};
use crate::{
    sample::End,
    stage::{Stage, remake},
};

/// The store and the target.
pub(crate) struct Casync {
    home: PathBuf,
    target: PathBuf,
}

impl Casync {
    pub(crate) fn new(stage: &Stage) -> Result<Self, String> {
        let home = stage.place("casync")?;
        let target = home.join("target");
        let mut made = Self { home, target };
        made.forget()?;
        Ok(made)
    }

    fn command(&self, verb: &str, tree: &Path) -> Command {
        let mut command = Command::new("casync");
        command
            .arg(verb)
            .arg(format!("--store={}", self.home.join("store").display()))
            .arg(self.home.join("index.caidx"))
            .arg(tree);
        command
    }
}

impl Copier for Casync {
    fn target(&self) -> &Path {
        &self.target
    }

    fn forget(&mut self) -> Result<(), String> {
        remake(&self.home.join("store"))?;
        remake(&self.target)
    }

    fn copy(&mut self, source: &Path, run: Run<'_>) -> Result<(), String> {
        run(End::Sender, self.command("make", source))?;
        run(End::Receiver, self.command("extract", &self.target))
    }
}
