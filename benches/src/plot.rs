//! The ratios of a run as a picture: one bar a row of figures, shorter is better.

use crate::row::{OURS, Row};

const WIDTH: f64 = 860.0;
const LABEL_WIDTH: f64 = 430.0;
/// A ratio of one ends here.
const UNIT_WIDTH: f64 = 300.0;
const LINE_HEIGHT: f64 = 22.0;
const TOP: f64 = 34.0;
/// Longer bars are cut off; their figure says how long they are.
const RATIO_MAX: f64 = 1.2;
/// A label is cut to what fits before the bars.
const LABEL_LETTERS: usize = 66;

/// One bar.
struct Bar {
    label: String,
    ratio: f64,
}

/// A drawing of every row that has a rival.
pub(crate) fn svg(rows: &[Row]) -> String {
    let bars: Vec<Bar> = rows.iter().filter_map(bar).collect();
    let height = bars
        .iter()
        .fold(TOP + 12.0, |height, _| height + LINE_HEIGHT);
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">apim-sync against its rival: \
         ratio of medians, shorter is better</text>\n"
    );
    let mut top = TOP;
    for bar in &bars {
        drawing += &drawn(bar, top);
        top += LINE_HEIGHT;
    }
    let one = LABEL_WIDTH + UNIT_WIDTH;
    drawing += &format!(
        "<line x1=\"{one}\" y1=\"{TOP}\" x2=\"{one}\" y2=\"{top}\" stroke=\"#444444\"/>\n</svg>\n"
    );
    drawing
}

fn bar(row: &Row) -> Option<Bar> {
    let rival = row.reference()?;
    let ours = row.series.first()?;
    if !ours.contestant.starts_with(OURS) || ours.contestant == rival.contestant {
        return None;
    }
    let label = format!("{} {} / {}", row.id, row.work, rival.contestant);
    let ratio = ours.ratios(rival)?.medians;
    Some(Bar { label, ratio })
}

fn drawn(bar: &Bar, top: f64) -> String {
    let label: String = bar.label.chars().take(LABEL_LETTERS).collect();
    let label = label.replace('&', "&amp;").replace('<', "&lt;");
    let width = bar.ratio.min(RATIO_MAX) * UNIT_WIDTH;
    let colour = if bar.ratio <= 1.0 {
        "#2f7d4f"
    } else {
        "#b5532a"
    };
    let base = top + 14.0;
    let figure = LABEL_WIDTH + width + 6.0;
    format!(
        "<text x=\"8\" y=\"{base}\">{label}</text>\
         <rect x=\"{LABEL_WIDTH}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\
         <text x=\"{figure:.1}\" y=\"{base}\">{:.2}</text>\n",
        top + 3.0,
        bar.ratio
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Series, Unit};

    #[test]
    fn rows_without_a_rival_have_no_bar() {
        let series = |name: &str, value: f64| Series {
            values: vec![value],
            ..Series::new(name)
        };
        let both = vec![series(OURS, 1.0), series("rsync", 4.0)];
        let row = Row::new("W1", "a < b", Unit::Seconds, both);
        assert!(!svg(std::slice::from_ref(&row)).contains("<text x=\"8\" y=\"48\""));
        let drawing = svg(&[row.to("rsync")]);
        assert!(
            drawing.contains("a &lt; b") && drawing.contains(">0.25<"),
            "{drawing}"
        );
    }
}
