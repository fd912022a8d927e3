//! Where one workload is played: a fresh disk, a pair of nodes, and rsync, all
//! beginning with the same source tree.

use std::{fs, path::PathBuf};

use sync_tests::{
    Settings, World,
    artifacts::Api,
    compare::{self, Strictness},
    scratch::Mounted,
};

use crate::{large, rsync::Rsync};

/// Room for an artifact three times over, its inodes and its place in journals.
const DISK_BYTES_PER_FILE: u64 = 40 << 10;
/// Room for everything else.
const DISK_BYTES_MIN: u64 = 512 << 20;

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
        let artifacts = u64::try_from(files).unwrap_or(u64::MAX);
        Self::with(artifacts * DISK_BYTES_PER_FILE + DISK_BYTES_MIN, |world| {
            Ok(world.fill(files))
        })
    }

    /// A stage with one large file of random bytes on the active.
    pub(crate) fn with_large(bytes: u64) -> Result<Self, String> {
        Self::with(5 * bytes + DISK_BYTES_MIN, |world| {
            large::write(&world.active.tree.join(large::NAME), bytes)?;
            Ok(Vec::new())
        })
    }

    fn with(
        disk_bytes: u64,
        fill: impl FnOnce(&World) -> Result<Vec<Api>, String>,
    ) -> Result<Self, String> {
        let disk = Mounted::warm_ext4(disk_bytes)
            .ok_or("an ext4 file system on a loop device is needed: run it as root")?;
        let settings = Settings::default();
        let world = World::within(disk.path(), &settings);
        let apis = fill(&world)?;
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
