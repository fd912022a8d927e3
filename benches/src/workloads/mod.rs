//! What is measured: one module for each kind of work.

mod audit;
mod bootstrap;
mod edit;
mod fanout;
mod idle;
mod insertion;
mod million;
mod moved;
mod releases;
mod unchanged;
mod wide;

use crate::{options::Options, row::Row, seclusion};
pub(crate) use edit::until_visible;

/// A workload: the same work for every contestant.
pub(crate) struct Workload {
    /// As asked for on the command line.
    pub(crate) id: &'static str,
    /// What is done, for people who wait.
    pub(crate) work: &'static str,
    /// Whether a quick run has it.
    pub(crate) quick: bool,
    play: fn(&Options) -> Result<Vec<Row>, String>,
}

/// Plays with packets as small as networks have them.
fn narrow(
    play: fn(&Options) -> Result<Vec<Row>, String>,
    options: &Options,
) -> Result<Vec<Row>, String> {
    seclusion::narrow()?;
    let rows = play(options);
    seclusion::widen()?;
    rows
}

#[rustfmt::skip]
pub(crate) static WORKLOADS: [Workload; 16] = [
    Workload { id: "W1", work: "bootstrap of 10,000 files", quick: true, play: |options| bootstrap::small(options, "W1", 10_000) },
    Workload { id: "W2", work: "bootstrap of 100,000 files", quick: false, play: |options| bootstrap::small(options, "W2", 100_000) },
    Workload { id: "W3", work: "nothing changed in 100,000 files", quick: true, play: unchanged::play },
    Workload { id: "W4", work: "every byte of 100,000 files compared", quick: true, play: audit::play },
    Workload { id: "W5", work: "one edit in 100,000 files, by a command", quick: true, play: edit::commanded },
    Workload { id: "W6", work: "one edit in 100,000 files, until it is visible", quick: true, play: edit::visible },
    Workload { id: "W7", work: "bytes of one edit in 100,000 files", quick: true, play: |options| narrow(edit::bytes, options) },
    Workload { id: "W8", work: "bytes of a bootstrap of 10,000 files", quick: true, play: |options| narrow(bootstrap::bytes, options) },
    Workload { id: "W9", work: "a directory of 2,500 files that moves", quick: true, play: |options| narrow(moved::play, options) },
    Workload { id: "W10", work: "bootstrap of one file of 1 GiB", quick: false, play: bootstrap::large },
    Workload { id: "W11", work: "20 bytes inserted in 1 GiB", quick: false, play: insertion::play },
    Workload { id: "W12", work: "successive releases of real trees", quick: false, play: |options| narrow(releases::play, options) },
    Workload { id: "W13", work: "a link of 40 ms and 100 Mbit/s", quick: false, play: wide::play },
    // W14 and W17 are one play: a million files are made only once.
    Workload { id: "W14", work: "one million files: memory and restart (W17)", quick: false, play: million::play },
    Workload { id: "W15", work: "eight passives", quick: false, play: fanout::play },
    Workload { id: "W16", work: "idle with 100,000 files watched", quick: false, play: idle::play },
];

impl Workload {
    /// Measures it; a failure becomes a row that says so.
    pub(crate) fn rows(&self, options: &Options) -> Vec<Row> {
        (self.play)(options).unwrap_or_else(|why| vec![Row::failed(self.id, &why)])
    }
}

/// The workload that an id names; a play may have several ids.
pub(crate) fn named(id: &str) -> Option<&'static Workload> {
    let id = if id == "W17" { "W14" } else { id };
    WORKLOADS.iter().find(|workload| workload.id == id)
}
