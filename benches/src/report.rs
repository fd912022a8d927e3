//! Samples, their medians and ratios, as a table and as JSON.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::workloads::Workload;

/// What a sample counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

/// All samples of one contestant in one workload.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    contestant: &'static str,
    unit: Unit,
    samples: Vec<f64>,
}

impl Series {
    pub(crate) fn new(contestant: &'static str, unit: Unit) -> Self {
        Self {
            contestant,
            unit,
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    /// The sample below which this share of the samples lies.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index between 0 and the number of samples"
        )]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    fn shown(&self, value: f64) -> String {
        match self.unit {
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
        }
    }
}

/// Everything measured in one run.
pub(crate) struct Report {
    machine: Value,
    rows: Vec<(&'static Workload, Vec<Series>)>,
}

impl Report {
    pub(crate) fn new(machine: Value) -> Self {
        Self {
            machine,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, workload: &'static Workload, series: Vec<Series>) {
        self.rows.push((workload, series));
    }

    /// A Markdown table; the ratio is to the workload's rival, where there is one.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| id | work | contestant | samples | median | p99 | ratio | goal |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for (workload, series) in &self.rows {
            for entry in series {
                table += &row(workload, series, entry);
            }
        }
        table
    }

    /// Writes the raw samples beside the earlier ones.
    pub(crate) fn save(&self) -> Result<PathBuf, String> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let age = SystemTime::now().duration_since(UNIX_EPOCH);
        let file = directory.join(format!("{}.json", age.map_or(0, |age| age.as_secs())));
        let text = format!("{:#}\n", self.json());
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| format!("writing {}: {error}", file.display()))?;
        Ok(file)
    }

    fn json(&self) -> Value {
        let series = |entry: &Series| {
            json!({
                "contestant": entry.contestant,
                "unit": format!("{:?}", entry.unit).to_lowercase(),
                "samples": entry.samples,
            })
        };
        let rows = self.rows.iter().map(|(workload, entries)| {
            json!({
                "id": workload.id,
                "work": workload.work,
                "series": entries.iter().map(series).collect::<Vec<_>>(),
            })
        });
        json!({ "machine": self.machine, "workloads": rows.collect::<Vec<_>>() })
    }
}

fn row(workload: &Workload, series: &[Series], entry: &Series) -> String {
    let rival = series
        .iter()
        .find(|other| Some(other.contestant) == workload.rival);
    let ratio = rival.map_or_else(String::new, |rival| {
        format!("{:.2}", entry.quantile(0.5) / rival.quantile(0.5))
    });
    let goal = if entry.contestant.starts_with("apim-sync") {
        workload.goal
    } else {
        ""
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {ratio} | {goal} |\n",
        workload.id,
        workload.work,
        entry.contestant,
        entry.samples.len(),
        entry.shown(entry.quantile(0.5)),
        entry.shown(entry.quantile(0.99)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample() {
        let mut series = Series::new("x", Unit::Seconds);
        [3.0, 1.0, 2.0]
            .into_iter()
            .for_each(|sample| series.add(sample));
        assert!((series.quantile(0.5) - 2.0).abs() < f64::EPSILON);
        assert!((series.quantile(1.0) - 3.0).abs() < f64::EPSILON);
    }
}
