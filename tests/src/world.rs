//! An active and a passive node that trust each other, in one temporary
//! directory.

use std::{env, fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    artifacts::{self, Api},
    compare::{self, Strictness},
    node::{self, Node, Role, Settings},
    wait::{self, DEADLINE},
};

/// Lines of each daemon's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// Where a node listens on a host of its own.
const PORT: u16 = 7420;

/// The pair. Daemons end and files go when it is dropped.
#[derive(Debug)]
pub struct World {
    /// The active node.
    pub active: Node,
    /// The passive node.
    pub passive: Node,
    directory: TempDir,
}

impl World {
    /// Two initialised nodes with empty trees; no daemon runs.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&Settings::default())
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(settings: &Settings) -> Self {
        Self::within(&env::temp_dir(), settings)
    }

    /// The same in a directory inside `place`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn within(place: &Path, settings: &Settings) -> Self {
        Self::at(
            place,
            settings,
            [node::free_address(), node::free_address()],
        )
    }

    /// The same on two hosts, the active on the first.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn across(place: &Path, settings: &Settings, hosts: [&str; 2]) -> Self {
        Self::at(place, settings, hosts.map(|host| format!("{host}:{PORT}")))
    }

    fn at(place: &Path, settings: &Settings, addresses: [String; 2]) -> Self {
        let directory = tempfile::tempdir_in(place).expect("a temporary directory");
        let node = |name, role, address| {
            let home = directory.path().join(name);
            Node::init_at(&home, name, role, settings, address)
        };
        let [first, second] = addresses;
        let active = node("apim-1", Role::Active, first);
        let passive = node("apim-2", Role::Passive, second);
        active.trust(&passive);
        passive.trust(&active);
        Self {
            active,
            passive,
            directory,
        }
    }

    /// Two nodes in step: `files` artifacts on the active, bootstrapped to the
    /// passive, both daemons running. Answers the APIs too.
    #[must_use]
    pub fn running(files: usize) -> (Self, Vec<Api>) {
        Self::running_with(files, &Settings::default())
    }

    /// The same with other settings.
    ///
    /// # Panics
    /// When the nodes do not get in step.
    #[must_use]
    pub fn running_with(files: usize, settings: &Settings) -> (Self, Vec<Api>) {
        let mut world = Self::with(settings);
        let apis = world.fill(files);
        world.active.start();
        world.passive.start();
        world.until_in_step();
        world.until_equal(Strictness::Times);
        (world, apis)
    }

    /// A directory for whatever else a test needs.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Fills the active's tree; see [`artifacts::fill`].
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn fill(&self, files: usize) -> Vec<Api> {
        artifacts::fill(&self.active.tree, files, 1).expect("the tree can be written")
    }

    /// Adds a third node that follows the active.
    #[must_use]
    pub fn another_passive(&self, name: &str) -> Node {
        let home = self.directory.path().join(name);
        let node = Node::init(&home, name, Role::Passive, &Settings::default());
        self.active.trust(&node);
        node.trust(&self.active);
        node
    }

    /// Writes a file of the active's tree as the product does.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, content: &str) {
        let path = self.active.tree.join(path);
        artifacts::save(&path, content.as_bytes()).expect("the tree can be written");
    }

    /// Deletes a file of the active's tree.
    ///
    /// # Panics
    /// When it is not there.
    pub fn delete(&self, path: impl AsRef<Path>) {
        fs::remove_file(self.active.tree.join(path)).expect("the file is there");
    }

    /// Has the active send everything and waits until the passive shows it.
    pub fn push(&self) {
        self.active.run(&["push", "--wait=applied"]).exits(0);
    }

    /// Waits until the passive's tree is the active's.
    pub fn until_equal(&self, strictness: Strictness) {
        wait::until("the passive's tree to equal the active's", DEADLINE, || {
            compare::equal(&self.active.tree, &self.passive.tree, strictness)
        });
    }

    /// The same, where emptied artifact directories may stay on the passive.
    pub fn until_equal_but_empty_directories(&self) {
        wait::until(
            "the passive's files to equal the active's",
            DEADLINE,
            || compare::equal_files(&self.active.tree, &self.passive.tree),
        );
    }

    /// Waits until the active knows that the passive has everything.
    pub fn until_in_step(&self) {
        self.active
            .until_status("the passive to have everything", |status| {
                in_step(status, &self.passive.name).then_some(())
            });
    }

    /// Checks with the product's own audit that nothing differs.
    ///
    /// # Panics
    /// When it says otherwise.
    pub fn verify_clean(&self) {
        let outcome = self.active.run(&["verify", "--json"]).exits(0);
        assert_eq!(
            outcome.message("summary")["in_sync"],
            true,
            "{}",
            outcome.stdout
        );
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    #[expect(
        clippy::print_stdout,
        reason = "a failed test shows what the daemons said"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in [&self.active, &self.passive] {
                let log = node.log();
                let lines: Vec<_> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
                println!("--- log of {}, newest last", node.name);
                lines.iter().rev().for_each(|line| println!("{line}"));
            }
        }
    }
}

/// Whether a status says that `peer` is connected and stands where this node's
/// trees do.
#[must_use]
pub fn in_step(status: &Value, peer: &str) -> bool {
    let Some(peer) = peer_of(status, peer) else {
        return false;
    };
    let applied = peer["applied"].as_array().map_or(&[][..], Vec::as_slice);
    let trees = status["trees"].as_array().map_or(&[][..], Vec::as_slice);
    let stands = |tree: &Value| {
        applied
            .iter()
            .any(|at| at["tree"] == tree["name"] && at["root"] == tree["root"])
    };
    peer["state"] == "connected" && peer["pending_files"] == 0 && trees.iter().all(stands)
}

/// What a status says about `peer`.
#[must_use]
pub fn peer_of<'a>(status: &'a Value, peer: &str) -> Option<&'a Value> {
    let peers = status["peers"].as_array()?;
    peers.iter().find(|entry| entry["name"] == peer)
}

/// Whether a list of a status (`drift`, `held`) names a path, shown as for a
/// terminal.
#[must_use]
pub fn names(status: &Value, list: &str, path: &str) -> bool {
    let entries = status[list].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().any(|entry| entry["path"] == path)
}
