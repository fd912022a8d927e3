//! From the documented rsync script and its workers list to what replaces
//! them: the nodes, the trees, the engine's configuration of each node, the
//! faults that are left behind, and the steps from the one to the other.
//!
//! Text in, text out. The script is read, never run. What only a running shell
//! would know is refused with its line, or said in a note; nothing is guessed
//! without saying so.

use std::fmt;

use thiserror::Error;

use self::copies::Copies;
pub use self::faults::{Fault, FaultKind};
use crate::{generate::engine::WORK_DIR, setup::Tree};

mod config;
mod copies;
mod faults;
mod filter;
mod left_behind;
mod nodes;
mod place;
mod rsync;
mod script;
mod shell;
mod steps;
#[cfg(test)]
mod tests;
mod trees;
mod values;
mod words;
mod workers;

/// Bytes of the script, and of the workers list, that are read at the most;
/// the documented script has one thousandth.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Which of the two files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SourceFile {
    /// The rsync script.
    Script,
    /// The list of targets.
    Workers,
}

/// A place in one of the two files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct At {
    /// Which file.
    pub file: SourceFile,
    /// The line, from 1.
    pub line: usize,
}

/// Why nothing is imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// A file too large to be what it should be.
    #[error(
        "the {file} has {bytes} bytes; at most {FILE_BYTES_MAX} are read: is it the right file?"
    )]
    TooLarge {
        /// Which file.
        file: SourceFile,
        /// Its size.
        bytes: usize,
    },
    /// A line that is not understood.
    #[error("{at}: {reason}; by hand: {by_hand}")]
    Line {
        /// Where.
        at: At,
        /// Why not.
        reason: String,
        /// What to do instead.
        by_hand: &'static str,
    },
    /// The whole leads to nothing.
    #[error("{reason}; by hand: {by_hand}")]
    Whole {
        /// Why.
        reason: String,
        /// What to do instead.
        by_hand: &'static str,
    },
}

/// What the script and the list lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The active node, then each passive one.
    pub nodes: Vec<Node>,
    /// The trees that are kept in step from now on.
    pub trees: Vec<ImportedTree>,
    /// What the old way does wrong.
    pub faults: Vec<Fault>,
    /// What was copied before and no longer is.
    pub left_behind: Vec<LeftBehind>,
    /// What a person has to look at.
    pub notes: Vec<Note>,
    /// Files of patterns, named by `--exclude-from`, whose lines have to be
    /// added to `exclude` by hand.
    pub pattern_files: Vec<String>,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The script ran here.
    Active,
    /// The script copied to it.
    Passive,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// `apim-1` is the active one.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its address; `None` is the machine that the script runs on, which no
    /// script names.
    pub host: Option<String>,
    /// The user that the script logged in as.
    pub user: Option<String>,
    /// Its `APIM_HOME`, as written: `~` is kept.
    pub home: String,
    /// Where that is.
    pub place: Place,
    /// Where the node is named; of the active one, the first rsync command.
    pub at: At,
    /// The UDP port of its engine.
    pub port: u16,
    /// Where its engine keeps key and state.
    pub state_dir: String,
}

/// Where an `APIM_HOME` is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// An absolute path, as written.
    Given(String),
    /// An absolute path that was made of `~` and has to be checked.
    Assumed(String),
    /// Not known: the home as written is no absolute path. The engine refuses
    /// it until somebody writes one.
    Unknown,
}

/// A tree and its patterns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedTree {
    /// Which.
    pub tree: Tree,
    /// The lines of the script that copied it.
    pub lines: Vec<usize>,
    /// Patterns of what is taken whatever `exclude` says.
    pub include: Vec<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
}

/// What was copied before and no longer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeftBehind {
    /// Where in the `APIM_HOME`.
    pub path: &'static str,
    /// Why it is not taken, and what keeps it right instead.
    pub instead: &'static str,
}

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// What it is about, if one line.
    pub at: Option<At>,
    /// What to look at.
    pub text: String,
}

/// Reads the workers list and the script. `home_directory` is that of the user
/// the script runs as on this machine, where that is known: `~` in the paths
/// of the active node.
///
/// # Errors
/// The first line that is not understood, with the reason and what to do by
/// hand; or that nothing of an API Manager is copied.
pub fn read(
    workers: &str,
    script: &str,
    home_directory: Option<&str>,
) -> Result<Import, ImportError> {
    check_size(SourceFile::Workers, workers)?;
    check_size(SourceFile::Script, script)?;
    let has_returns = script.contains("\r\n");
    let unix = script.replace("\r\n", "\n");
    let unmarked = |text| {
        str::strip_prefix(text, '\u{feff}')
            .unwrap_or(text)
            .to_owned()
    };
    let list = workers::read(&unmarked(workers))?;
    let read = script::read(&unmarked(&unix)).map_err(|error| ImportError::Line {
        at: At::script(error.line),
        reason: error.reason.into(),
        by_hand: "a shell cannot read the script either: is it whole?",
    })?;
    if read.has_more_calls {
        return Err(ImportError::Whole {
            reason: "the script runs rsync more than 100 times".into(),
            by_hand: "keep the lines that copy parts of an APIM_HOME, and import again",
        });
    }
    let copies = copies::gather(&read, &list.workers)?;
    let (trees, tree_notes) = trees::found(&copies)?;
    let nodes = nodes::nodes(&copies, home_directory)?;
    let seen = faults::Seen {
        script: &read,
        copies: &copies,
        list: &list,
        has_returns,
    };
    Ok(Import {
        faults: faults::found(&seen),
        left_behind: left_behind::found(&copies),
        notes: notes(&nodes, &trees, &copies, tree_notes),
        pattern_files: pattern_files(&copies),
        nodes,
        trees,
    })
}

impl Import {
    /// What to do, in this order.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        steps::of(self)
    }

    /// The `apim-sync.toml` of a node: an index into [`nodes`](Self::nodes).
    ///
    /// # Panics
    /// When there is no such node: a bug of whoever asks.
    #[must_use]
    pub fn engine_config(&self, node: usize) -> String {
        config::of(self, &self.nodes[node])
    }
}

impl Node {
    /// Where a tree is on this node: an absolute path unless
    /// [`place`](Self::place) is unknown.
    #[must_use]
    pub fn tree_path(&self, tree: Tree) -> String {
        below(self.root(), tree.path())
    }

    /// Where the engine keeps its work on a tree: on the tree's file system,
    /// outside of it.
    #[must_use]
    pub fn work_dir(&self, tree: Tree) -> String {
        below(self.root(), &format!("{WORK_DIR}/{}", tree.name()))
    }

    fn root(&self) -> &str {
        match &self.place {
            Place::Given(path) | Place::Assumed(path) => path,
            Place::Unknown => &self.home,
        }
    }
}

impl At {
    fn script(line: usize) -> Self {
        let file = SourceFile::Script;
        Self { file, line }
    }
}

impl Note {
    fn script(line: usize, text: String) -> Self {
        let at = Some(At::script(line));
        Self { at, text }
    }
}

impl Role {
    /// The word of `apim-sync init --role`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl fmt::Display for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Script => "script",
            Self::Workers => "workers list",
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{at}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

fn check_size(file: SourceFile, text: &str) -> Result<(), ImportError> {
    match text.len() {
        0..=FILE_BYTES_MAX => Ok(()),
        bytes => Err(ImportError::TooLarge { file, bytes }),
    }
}

fn below(home: &str, path: &str) -> String {
    format!("{}/{path}", home.trim_end_matches('/'))
}

fn pattern_files(copies: &Copies) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    let named = copies
        .copying
        .iter()
        .flat_map(|it| &it.rsync.options.pattern_files);
    for file in named {
        if !files.contains(file) {
            files.push(file.clone());
        }
    }
    files
}

fn notes(
    nodes: &[Node],
    trees: &[ImportedTree],
    copies: &Copies,
    of_trees: Vec<Note>,
) -> Vec<Note> {
    let mut notes: Vec<Note> = nodes.iter().filter_map(nodes::of_place).collect();
    notes.push(Note {
        at: None,
        text: format!(
            "no script names the address of {}: the passive needs it when they are paired",
            nodes[0].name
        ),
    });
    notes.extend(of_trees);
    notes.extend(copies.copying.iter().flat_map(words::notes_of_command));
    if trees.iter().any(|it| it.tree == Tree::UserStores) {
        notes.push(Note {
            at: None,
            text: "userstores is taken because the script copied it; without secondary user stores, take its [[tree]] out on every node".into(),
        });
    }
    notes.extend(copies.notes.iter().cloned());
    notes
}
