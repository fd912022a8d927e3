//! Where one workload is played: a fresh disk, a pair of nodes, and rsync, all
//! beginning with the same source tree.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use sync_tests::{
    Settings, World,
    artifacts::{self, Api},
    compare, lockstep,
    node::Node,
    scratch::Mounted,
};

use crate::{
    contestants::rsync::{Rsync, Way},
    large,
    meter::Resident,
    options::Options,
};

/// Room for an artifact four times over, its inodes and its place in journals.
const DISK_BYTES_PER_FILE: u64 = 48 << 10;
/// Room for everything else.
const DISK_BYTES_MIN: u64 = 512 << 20;
/// Room for a large file: its source, the passive's copy old and new and what it
/// remembers of earlier ones, and two of rsync's.
const DISK_LARGE_COPIES: u64 = 8;

/// The stage. Fields are dropped in order: processes before the disk.
pub(crate) struct Stage {
    pub(crate) rsync: Rsync,
    pub(crate) world: World,
    apis: Vec<Api>,
    edits: usize,
    disk: Mounted,
}

impl Stage {
    /// A stage with `files` artifacts on the active.
    pub(crate) fn new(files: usize) -> Result<Self, String> {
        Self::with_room(files, files)
    }

    /// The same on a disk that has room for more of them.
    pub(crate) fn with_room(files: usize, room_for: usize) -> Result<Self, String> {
        let artifacts = u64::try_from(room_for).unwrap_or(u64::MAX);
        Self::with(artifacts * DISK_BYTES_PER_FILE + DISK_BYTES_MIN, |world| {
            Ok(world.fill(files))
        })
    }

    /// The same with [`Options::many`] artifacts.
    pub(crate) fn of_many(options: &Options) -> Result<Self, String> {
        Self::new(options.many())
    }

    /// A stage with one large file of random bytes on the active.
    pub(crate) fn with_large(bytes: u64) -> Result<Self, String> {
        Self::with(DISK_LARGE_COPIES * bytes + DISK_BYTES_MIN, |world| {
            large::write(&world.active.tree.join(large::NAME), bytes)?;
            Ok(Vec::new())
        })
    }

    /// A stage with empty trees for content of up to `bytes`, which may be replaced
    /// as a whole.
    pub(crate) fn empty(bytes: u64) -> Result<Self, String> {
        let settings = Settings {
            max_delete: "100%",
            ..Settings::default()
        };
        let disk_bytes = DISK_LARGE_COPIES * bytes + DISK_BYTES_MIN;
        Self::with_settings(disk_bytes, &settings, |_| Ok(Vec::new()))
    }

    fn with(
        disk_bytes: u64,
        fill: impl FnOnce(&World) -> Result<Vec<Api>, String>,
    ) -> Result<Self, String> {
        Self::with_settings(disk_bytes, &Settings::default(), fill)
    }

    fn with_settings(
        disk_bytes: u64,
        settings: &Settings,
        fill: impl FnOnce(&World) -> Result<Vec<Api>, String>,
    ) -> Result<Self, String> {
        let disk = disk(disk_bytes)?;
        let world = World::within(disk.path(), settings);
        let apis = fill(&world)?;
        let rsync = Rsync::start(&disk.path().join("rsync"))?;
        rsync.wait();
        Ok(Self {
            rsync,
            world,
            apis,
            edits: 0,
            disk,
        })
    }

    /// Fills the passive and rsync's targets, so that only changes are left, and
    /// has both daemons run.
    pub(crate) fn in_step(mut self) -> Result<Self, String> {
        self.world.active.start();
        self.world.passive.run(&["bootstrap"]).exits(0);
        self.world.passive.start();
        self.world.until_in_step();
        self.check_passive()?;
        self.rsync.copy(Way::Daemon, self.source())?;
        self.rsync.copy(Way::Ssh, self.source())?;
        Ok(self)
    }

    /// Has the active's daemon run.
    pub(crate) fn serving(mut self) -> Self {
        self.world.active.start();
        self
    }

    /// The tree that everybody copies.
    pub(crate) fn source(&self) -> &Path {
        &self.world.active.tree
    }

    /// The artifacts that [`Stage::new`] made.
    pub(crate) fn apis(&self) -> &[Api] {
        &self.apis
    }

    /// A place on the disk for a contestant's own files; made anew, empty.
    pub(crate) fn place(&self, name: &str) -> Result<PathBuf, String> {
        let place = self.disk.path().join(name);
        remake(&place)?;
        Ok(place)
    }

    /// Sees to it that the active's daemon runs and that both are in step.
    pub(crate) fn active_up(&mut self) -> Result<(), String> {
        if !self.world.active.is_running() {
            self.world.active.start();
            self.world.until_in_step();
        }
        Ok(())
    }

    /// Sees to it that the active's daemon does not run.
    pub(crate) fn active_down(&mut self) -> Result<(), String> {
        if self.world.active.is_running() {
            self.world.active.stop();
        }
        Ok(())
    }

    /// A command of the active.
    pub(crate) fn active(&self, arguments: &[&str]) -> Command {
        self.world.active.command(arguments)
    }

    /// A command of the passive.
    pub(crate) fn passive(&self, arguments: &[&str]) -> Command {
        self.world.passive.command(arguments)
    }

    /// The active's daemon, which must run.
    pub(crate) fn sender(&self) -> Resident {
        Resident::sender(pid(&self.world.active))
    }

    /// The passive's daemon, which must run.
    pub(crate) fn receiver(&self) -> Resident {
        Resident::receiver(pid(&self.world.passive))
    }

    /// Changes one API's own file on the active and answers its path. The length
    /// changes too, or rsync would not see a second edit within one second.
    pub(crate) fn edit(&mut self) -> Result<PathBuf, String> {
        self.edits += 1;
        let api = &self.apis[self.edits * 7 % self.apis.len()];
        edit(self.source(), api, self.edits)
    }

    /// Our daemons: they would carry what a rival is to carry.
    pub(crate) fn daemons(&self) -> Vec<u32> {
        let nodes = [&self.world.active, &self.world.passive];
        let running = nodes.into_iter().filter(|node| node.is_running());
        running.map(pid).collect()
    }

    /// Empties the passive, state included.
    pub(crate) fn empty_passive(&self) -> Result<(), String> {
        empty_node(&self.world.passive)
    }

    /// Empties one of rsync's targets.
    pub(crate) fn empty_target(&self, way: Way) -> Result<(), String> {
        remake(&self.rsync.target(way))
    }

    /// Compares the passive's copy byte by byte.
    pub(crate) fn check_passive(&self) -> Result<(), String> {
        lockstep::equal(self.source(), &self.world.passive.tree)
    }

    /// The same, where emptied artifact directories may stay on the passive.
    pub(crate) fn check_passive_files(&self) -> Result<(), String> {
        compare::equal_files(self.source(), &self.world.passive.tree)
    }

    /// Compares one of rsync's copies byte by byte.
    pub(crate) fn check_target(&self, way: Way) -> Result<(), String> {
        lockstep::equal(self.source(), &self.rsync.target(way))
    }
}

/// A fresh file system in memory, of which every page has been written before.
pub(crate) fn disk(bytes: u64) -> Result<Mounted, String> {
    Mounted::warm_ext4(bytes)
        .ok_or_else(|| "an ext4 file system on a loop device is needed: run it as root".to_owned())
}

/// Saves other content for `api` below `root`, as the product does.
pub(crate) fn edit(root: &Path, api: &Api, number: usize) -> Result<PathBuf, String> {
    let path = api.path();
    let content = api.files()[0].1.clone();
    let body = content.split_once("?>").map_or("", |(_, body)| body);
    let padding = "x".repeat(number % 97);
    let content = format!("<!-- edit {number} {padding} -->{body}");
    artifacts::save(&root.join(&path), content.as_bytes())
        .map_err(|error| format!("editing {}: {error}", path.display()))?;
    Ok(path)
}

/// Whether a file has the same bytes in two trees.
pub(crate) fn same(path: &Path, source: &Path, copy: &Path) -> Result<(), String> {
    let read = |root: &Path| fs::read(root.join(path)).map_err(|error| error.to_string());
    if read(source)? == read(copy)? {
        Ok(())
    } else {
        Err(format!("{} differs", path.display()))
    }
}

/// A running daemon's process.
pub(crate) fn pid(node: &Node) -> u32 {
    node.pid().as_raw_nonzero().get().unsigned_abs()
}

/// Empties a node's tree and has it forget what it had.
pub(crate) fn empty_node(node: &Node) -> Result<(), String> {
    remake(&node.tree)?;
    let state = node.state.join("trees");
    fs::remove_dir_all(&state).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(format!("removing {}: {error}", state.display())),
    })
}

/// Makes a directory, or empties it: servers hold the directory itself.
pub(crate) fn remake(directory: &Path) -> Result<(), String> {
    let emptied = || {
        fs::create_dir_all(directory)?;
        for item in fs::read_dir(directory)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                fs::remove_dir_all(item.path())?;
            } else {
                fs::remove_file(item.path())?;
            }
        }
        Ok(())
    };
    emptied().map_err(|error: io::Error| format!("emptying {}: {error}", directory.display()))
}
