//! One row group of the table: a piece of work, who did it, what it should cost.

use serde::{Deserialize, Serialize};

use crate::sample::{Series, Unit};

/// The product's name, with which the names of its own series begin.
pub(crate) const OURS: &str = "apim-sync";

/// A piece of work and everybody who did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The workload, `W1`.
    pub(crate) id: String,
    pub(crate) work: String,
    pub(crate) unit: Unit,
    /// The contestant that ratios refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rival: Option<String>,
    #[serde(default)]
    pub(crate) goals: Vec<Goal>,
    pub(crate) series: Vec<Series>,
}

/// What the product's first series should reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) measure: Measure,
    pub(crate) at_most: f64,
}

/// What a goal limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// The ratio of medians to this contestant.
    Against(String),
    /// The worst round's ratio to this contestant.
    AlwaysAgainst(String),
    /// The value at this share of the rounds.
    Quantile(f64),
    /// The median of another contestant, the product's own second way.
    MedianOf(String),
}

impl Goal {
    pub(crate) fn against(rival: &str, at_most: f64) -> Self {
        let measure = Measure::Against(rival.to_owned());
        Self { measure, at_most }
    }

    pub(crate) fn always_against(rival: &str, at_most: f64) -> Self {
        let measure = Measure::AlwaysAgainst(rival.to_owned());
        Self { measure, at_most }
    }

    pub(crate) fn median(at_most: f64) -> Self {
        Self::quantile(0.5, at_most)
    }

    pub(crate) fn quantile(share: f64, at_most: f64) -> Self {
        let measure = Measure::Quantile(share);
        Self { measure, at_most }
    }

    pub(crate) fn median_of(contestant: &str, at_most: f64) -> Self {
        let measure = Measure::MedianOf(contestant.to_owned());
        Self { measure, at_most }
    }
}

impl Row {
    pub(crate) fn new(id: &str, work: impl Into<String>, unit: Unit, series: Vec<Series>) -> Self {
        Self {
            id: id.to_owned(),
            work: work.into(),
            unit,
            rival: None,
            goals: Vec::new(),
            series,
        }
    }

    /// What the rounds took, in seconds.
    pub(crate) fn timed(id: &str, work: impl Into<String>, series: Vec<Series>) -> Self {
        let series = series.into_iter().map(Series::in_seconds).collect();
        Self::new(id, work, Unit::Seconds, series)
    }

    /// What the rounds sent, in bytes on the wire.
    pub(crate) fn sent(id: &str, work: impl Into<String>, series: Vec<Series>) -> Self {
        let series = series.into_iter().map(Series::in_bytes).collect();
        Self::new(id, work, Unit::Bytes, series)
    }

    /// A workload that could not be played at all.
    pub(crate) fn failed(id: &str, why: &str) -> Self {
        let series = vec![Series::failed(OURS, why)];
        Self::new(id, "not measured", Unit::Seconds, series)
    }

    pub(crate) fn to(mut self, rival: &str) -> Self {
        self.rival = Some(rival.to_owned());
        self
    }

    pub(crate) fn goals(mut self, goals: impl IntoIterator<Item = Goal>) -> Self {
        self.goals.extend(goals);
        self
    }

    pub(crate) fn of(&self, contestant: &str) -> Option<&Series> {
        self.series
            .iter()
            .find(|series| series.contestant == contestant)
    }

    /// The contestant that ratios refer to, if it ran.
    pub(crate) fn reference(&self) -> Option<&Series> {
        self.of(self.rival.as_deref()?)
    }

    /// What a goal is held against; `None` while that was not measured.
    pub(crate) fn reached(&self, goal: &Goal) -> Option<f64> {
        let ours = self.series.first()?;
        let ratio = |rival: &String| ours.ratios(self.of(rival)?);
        match &goal.measure {
            Measure::Against(rival) => Some(ratio(rival)?.medians),
            Measure::AlwaysAgainst(rival) => Some(ratio(rival)?.most),
            Measure::Quantile(share) => ours.quantile(*share),
            Measure::MedianOf(contestant) => self.of(contestant)?.median(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_held_against_what_it_names() {
        let series = |name: &str, values: &[f64]| Series {
            values: values.to_vec(),
            ..Series::new(name)
        };
        let both = vec![series(OURS, &[1.0, 3.0]), series("rsync", &[4.0, 4.0])];
        let row = Row::new("W1", "work", Unit::Seconds, both).to("rsync");
        assert_eq!(row.reached(&Goal::against("rsync", 0.6)), Some(0.5));
        assert_eq!(row.reached(&Goal::always_against("rsync", 0.6)), Some(0.75));
        assert_eq!(row.reached(&Goal::quantile(1.0, 9.0)), Some(3.0));
        assert_eq!(row.reached(&Goal::median_of("rsync", 9.0)), Some(4.0));
        assert_eq!(row.reached(&Goal::against("absent", 0.6)), None);
    }
}
