//! What one measured round of one contestant cost, and all of its rounds.

use serde::{Deserialize, Serialize};

/// One round: how long, how much on the wire, how much work at either end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// Both directions, headers and acknowledgements included.
    pub(crate) wire_bytes: u64,
    pub(crate) cpu_seconds: Ends<f64>,
}

/// One figure for either end of a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ends<T> {
    pub(crate) sender: T,
    pub(crate) receiver: T,
}

/// An end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Sender,
    Receiver,
}

impl<T> Ends<T> {
    pub(crate) fn of(&mut self, end: End) -> &mut T {
        match end {
            End::Sender => &mut self.sender,
            End::Receiver => &mut self.receiver,
        }
    }
}

/// What a row's figures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    BytesPerFile,
    /// Of one processor.
    Share,
}

/// All rounds of one contestant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) contestant: String,
    /// The row's figure, round by round.
    pub(crate) values: Vec<f64>,
    /// What those rounds cost, where it was measured.
    #[serde(default)]
    pub(crate) costs: Vec<Cost>,
    /// The largest resident memory of a process at either end.
    #[serde(default)]
    pub(crate) peak_bytes: Ends<u64>,
    /// Why there are no values, or no more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl Series {
    /// A contestant that has not run yet.
    pub(crate) fn new(contestant: impl Into<String>) -> Self {
        Self {
            contestant: contestant.into(),
            ..Self::default()
        }
    }

    /// A contestant that could not.
    pub(crate) fn failed(contestant: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            failure: Some(why.into()),
            ..Self::new(contestant)
        }
    }

    /// The same rounds, looked at as seconds.
    pub(crate) fn in_seconds(self) -> Self {
        let values = self.costs.iter().map(|cost| cost.seconds).collect();
        Self { values, ..self }
    }

    /// The same rounds, looked at as processor seconds of the sending end.
    pub(crate) fn in_sender_seconds(self) -> Self {
        let seconds = |cost: &Cost| cost.cpu_seconds.sender;
        let values = self.costs.iter().map(seconds).collect();
        Self { values, ..self }
    }

    /// The same rounds, looked at as bytes on the wire.
    pub(crate) fn in_bytes(self) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let bytes = |cost: &Cost| cost.wire_bytes as f64;
        let values = self.costs.iter().map(bytes).collect();
        Self { values, ..self }
    }

    /// Processor seconds of either end; `None` where they were not measured.
    pub(crate) fn cpu_medians(&self) -> Option<Ends<f64>> {
        let of = |look: fn(&Cost) -> f64| {
            let seconds: Vec<f64> = self.costs.iter().map(look).collect();
            quantile(&seconds, 0.5)
        };
        Some(Ends {
            sender: of(|cost| cost.cpu_seconds.sender)?,
            receiver: of(|cost| cost.cpu_seconds.receiver)?,
        })
    }

    /// The value below which this share of the values lies.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        quantile(&self.values, share)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Round by round, how many times the other's value this one is.
    pub(crate) fn ratios(&self, other: &Self) -> Option<Ratio> {
        let pairs = self.values.iter().zip(&other.values);
        let each = pairs.map(|(ours, theirs)| ours / theirs);
        // What was too short for its clock has no ratio.
        let each: Vec<f64> = each.filter(|ratio| ratio.is_finite()).collect();
        Some(Ratio {
            medians: self.median()? / other.median()?,
            least: quantile(&each, 0.0)?,
            most: quantile(&each, 1.0)?,
        })
    }
}

/// A ratio of medians, and the least and the greatest of the rounds' own ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) medians: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// The value at this share of the sorted values; between two of them, on the
/// line that joins them.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "an index of a short list")]
    let place = last as f64 * share;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series {
            values: values.to_vec(),
            ..Series::new("x")
        }
    }

    fn close(left: Option<f64>, right: f64) {
        assert!((left.unwrap() - right).abs() < 1e-12, "{left:?} {right}");
    }

    #[test]
    fn the_median_is_the_middle_value() {
        close(series(&[3.0, 1.0, 2.0]).median(), 2.0);
        close(series(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
    }

    #[test]
    fn quantiles_reach_from_the_least_to_the_greatest() {
        let values = series(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        close(values.quantile(0.0), 1.0);
        close(values.quantile(1.0), 5.0);
        close(values.quantile(0.99), 4.96);
    }

    #[test]
    fn without_values_there_is_no_figure() {
        assert_eq!(series(&[]).median(), None);
        assert_eq!(series(&[]).ratios(&series(&[1.0])), None);
    }

    #[test]
    fn a_ratio_has_the_spread_of_the_pairs() {
        let ratio = series(&[1.0, 2.0, 3.0]).ratios(&series(&[2.0, 2.0, 4.0]));
        let expected = Ratio {
            medians: 1.0,
            least: 0.5,
            most: 1.0,
        };
        assert_eq!(ratio, Some(expected));
    }
}
