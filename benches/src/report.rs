//! A run as a file: raw samples, and what is published of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{plot, row::Row, table};

/// The page that shows the figures, and the lines between which they stand.
const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --full --save` -->";
const END: &str = "<!-- end of figures -->";
/// The picture of the ratios.
const PLOT: &str = "docs/performance.svg";

/// Everything measured in one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// When it began, in seconds since 1970.
    began: u64,
    machine: Value,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(machine: Value) -> Self {
        let age = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            began: age.map_or(0, |age| age.as_secs()),
            machine,
            rows: Vec::new(),
        }
    }

    /// Reads the raw samples of earlier runs, as if they had been one. Of a workload
    /// that was measured again the last run counts.
    pub(crate) fn load(files: &[PathBuf]) -> Result<Self, String> {
        let mut runs = files.iter().map(|file| Self::load_one(file));
        let mut all = runs.next().ok_or("no run was named")??;
        for run in runs {
            let later = run?.rows;
            all.rows
                .retain(|row| later.iter().all(|it| it.id != row.id));
            all.rows.extend(later);
        }
        all.rows.sort_by_key(|row| number(&row.id));
        Ok(all)
    }

    fn load_one(file: &Path) -> Result<Self, String> {
        let fail = |error: String| format!("reading {}: {error}", file.display());
        let text = fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| fail(error.to_string()))
    }

    /// Where its raw samples are kept, beside those of earlier runs.
    pub(crate) fn file(&self) -> PathBuf {
        let name = format!("{}.json", self.began);
        root().join("benches/results").join(name)
    }

    /// Writes the raw samples; again after each workload, lest a long run be lost.
    pub(crate) fn keep(&self) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        write(&self.file(), &(text + "\n"))
    }

    /// Redraws the table and the picture of the documentation.
    pub(crate) fn publish(&self) -> Result<(), String> {
        let page = root().join(PAGE);
        let text = fs::read_to_string(&page)
            .map_err(|error| format!("reading {}: {error}", page.display()))?;
        let figures = table::markdown(&self.rows);
        let replaced = between(&text, &figures)
            .ok_or_else(|| format!("{PAGE} lacks the lines {BEGIN} and {END}"))?;
        write(&page, &replaced)?;
        write(&root().join(PLOT), &plot::svg(&self.rows))
    }
}

/// The page with other figures.
fn between(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

/// W2 comes before W10.
fn number(id: &str) -> u32 {
    id.trim_start_matches('W').parse().unwrap_or(u32::MAX)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("writing {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_figures_are_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let replaced = between(&page, "new\n").unwrap();
        assert_eq!(replaced, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between("no lines", "new"), None);
    }
}
