//! Where one workload is played: a fresh disk, a pair of nodes, and rsync, all
//! beginning with the same source tree.

use std::{fs, path::PathBuf};

use sync_tests::{
    Settings, World,
    artifacts::Api,
    compare::{self, Strictness},
    scratch::Mounted,
};

use crate::rsync::Rsync;

/// Room for 100,000 artifacts three times over, and journals.
const DISK_BYTES: u64 = 6 << 30;

/// The stage. Fields are dropped in order: processes before the disk.
pub(crate) struct Stage {
    pub(crate) rsync: Rsync,
    pub(crate) world: World,
    pub(crate) apis: Vec<Api>,
    edits: usize,
    _disk: Mounted,
}

impl Stage {
    /// A stage with `files` artifacts on the active.
    pub(crate) fn new(files: usize) -> Result<Self, String> {
        let disk = Mounted::ext4(DISK_BYTES)
            .ok_or("an ext4 file system on a loop device is needed: run it as root")?;
        let settings = Settings::default();
        let world = World::within(disk.path(), &settings);
        let apis = world.fill(files);
        let rsync = Rsync::start(&disk.path().join("rsync"))?;
        Ok(Self {
            rsync,
            world,
            apis,
            edits: 0,
            _disk: disk,
        })
    }

    /// Fills the passive and rsync's target, so that only changes are left, and
    /// has the passive's daemon run.
    pub(crate) fn in_step(mut self) -> Result<Self, String> {
        self.world.active.start();
        self.world.passive.run(&["bootstrap"]).exits(0);
        self.world.passive.start();
        self.world.until_in_step();
        self.check_passive()?;
        self.rsync.copy(&self.world.active.tree)?;
        Ok(self)
    }

    /// Changes one API's own file on the active and answers its path. The length
    /// changes too, or rsync would not see a second edit within one second.
    pub(crate) fn edit(&mut self) -> Result<PathBuf, String> {
        self.edits += 1;
        let api = &self.apis[self.edits * 7 % self.apis.len()];
        let path = api.path();
        let content = format!(
            "<!-- edit {} {} -->{}",
            self.edits,
            "x".repeat(self.edits % 97),
            api.files()[0]
                .1
                .split_once("?>")
                .map_or("", |(_, rest)| rest)
        );
        sync_tests::artifacts::save(&self.world.active.tree.join(&path), content.as_bytes())
            .map_err(|error| format!("editing {}: {error}", path.display()))?;
        Ok(path)
    }

    /// Empties rsync's target and the passive, state included.
    pub(crate) fn empty_targets(&self) -> Result<(), String> {
        let passive = &self.world.passive;
        let places = [self.rsync.target().to_path_buf(), passive.tree.clone()];
        for place in places {
            remake(&place)?;
        }
        let state = passive.state.join("trees");
        fs::remove_dir_all(&state).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(format!("removing {}: {error}", state.display())),
        })
    }

    /// Checks a copy byte by byte.
    pub(crate) fn check_passive(&self) -> Result<(), String> {
        let world = &self.world;
        compare::equal(
            &world.active.tree,
            &world.passive.tree,
            Strictness::Identity,
        )
    }

    /// Checks rsync's copy byte by byte.
    pub(crate) fn check_rsync(&self) -> Result<(), String> {
        let source = &self.world.active.tree;
        compare::equal(source, self.rsync.target(), Strictness::Identity)
    }
}

fn remake(directory: &PathBuf) -> Result<(), String> {
    fs::remove_dir_all(directory)
        .and_then(|()| fs::create_dir(directory))
        .map_err(|error| format!("emptying {}: {error}", directory.display()))
}
