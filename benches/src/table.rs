//! Rows as a Markdown table.

use crate::{
    row::{Goal, Measure, Row},
    sample::{Ends, Series, Unit},
};

const HEAD: &str = "\
| id | contestant | rounds | median | ratio (least to most) | processor s, sender + receiver | \
peak memory, sender / receiver |\n|---|---|---|---|---|---|---|\n";

/// A table; each row begins with a line that says the work and the goals.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut table = String::from(HEAD);
    for row in rows {
        table += &format!(
            "| **{}** | **{}**{} | | | | | |\n",
            row.id,
            row.work,
            goals(row)
        );
        for series in &row.series {
            table += &line(row, series);
        }
    }
    table
}

fn line(row: &Row, series: &Series) -> String {
    if let (Some(why), true) = (&series.failure, series.values.is_empty()) {
        let why = why.lines().next().unwrap_or_default();
        return format!("| | {}: {why} | | | | | |\n", series.contestant);
    }
    let ratio = row.reference().and_then(|rival| series.ratios(rival));
    let ratio = ratio.map_or_else(String::new, |ratio| {
        format!(
            "{:.2} ({:.2} to {:.2})",
            ratio.medians, ratio.least, ratio.most
        )
    });
    let median = series.median();
    let median = median.map_or_else(String::new, |value| shown(row.unit, value));
    let (name, rounds) = (&series.contestant, series.values.len());
    let (processor, memory) = (processor(series), memory(series.peak_bytes));
    format!("| | {name} | {rounds} | {median} | {ratio} | {processor} | {memory} |\n")
}

/// The goals and whether they are met.
fn goals(row: &Row) -> String {
    let each = row.goals.iter().map(|goal| {
        let verdict = match row.reached(goal) {
            Some(value) if value <= goal.at_most => "met",
            Some(_) => "missed",
            None => "not measured",
        };
        format!("; {}: {verdict}", limit(row.unit, goal))
    });
    each.collect()
}

fn limit(unit: Unit, goal: &Goal) -> String {
    let at_most = goal.at_most;
    match &goal.measure {
        Measure::Against(rival) => format!("goal {at_most} of {rival}"),
        Measure::AlwaysAgainst(rival) => format!("goal {at_most} of {rival} in every round"),
        Measure::Quantile(share) if (*share - 0.5).abs() < f64::EPSILON => {
            format!("goal {}", shown(unit, at_most))
        }
        Measure::Quantile(share) => format!("p{:.0} goal {}", share * 100.0, shown(unit, at_most)),
        Measure::MedianOf(contestant) => format!("{contestant}: goal {}", shown(unit, at_most)),
    }
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Bytes if value < 1e4 => format!("{value:.0} B"),
        Unit::Bytes if value < 1e6 => format!("{:.0} KB", value / 1e3),
        Unit::Bytes => format!("{:.2} MB", value / 1e6),
        Unit::BytesPerFile => format!("{value:.0} B"),
        Unit::Share => format!("{:.3} %", value * 100.0),
    }
}

fn processor(series: &Series) -> String {
    let Some(Ends { sender, receiver }) = series.cpu_medians() else {
        return String::new();
    };
    format!("{sender:.2} + {receiver:.2}")
}

fn memory(peak: Ends<u64>) -> String {
    let mib = |bytes: u64| match bytes {
        0 => "-".to_owned(),
        bytes => format!("{} MiB", bytes >> 20),
    };
    match peak {
        Ends {
            sender: 0,
            receiver: 0,
        } => String::new(),
        Ends { sender, receiver } => format!("{} / {}", mib(sender), mib(receiver)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::OURS;

    fn row() -> Row {
        let series = |name: &str, values: &[f64]| Series {
            values: values.to_vec(),
            ..Series::new(name)
        };
        let both = vec![series(OURS, &[0.5, 0.6]), series("rsync", &[1.0, 1.0])];
        let row = Row::new("W1", "work", Unit::Seconds, both).to("rsync");
        row.goals([Goal::against("rsync", 0.6), Goal::median(0.1)])
    }

    #[test]
    fn a_row_says_ratio_spread_and_goals() {
        let table = markdown(&[row()]);
        assert!(table.contains("| 0.55 (0.50 to 0.60) |"), "{table}");
        assert!(
            table.contains("goal 0.6 of rsync: met; goal 100.0 ms: missed"),
            "{table}"
        );
    }

    #[test]
    fn who_could_not_says_why() {
        let mut row = row();
        row.series = vec![Series::failed("Unison", "it is not installed\nmore")];
        let table = markdown(&[row]);
        assert!(table.contains("Unison: it is not installed |"), "{table}");
    }
}
