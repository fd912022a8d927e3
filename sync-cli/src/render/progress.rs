//! Progress: a bar on a terminal, a line a second elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sync_daemon::events::{Progress, Unit};

use super::quantity;
use crate::terminal::Line;

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(1);

const WITH_TOTAL: &str = "{msg} [{bar:30}] {percent:>3}% {prefix} {elapsed}";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {prefix} {elapsed}";

/// Where progress is shown.
pub(crate) enum ProgressView {
    /// Nowhere.
    Hidden,
    /// As a bar, redrawn in place.
    Bar(Option<Bar>),
    /// As lines.
    Lines(Option<Written>),
}

/// A bar on the screen.
pub(crate) struct Bar {
    task: String,
    bar: ProgressBar,
}

/// The last line written.
pub(crate) struct Written {
    task: String,
    at: Instant,
}

impl ProgressView {
    pub(crate) fn new(wanted: bool, terminal: bool) -> Self {
        match (wanted, terminal) {
            (false, _) => Self::Hidden,
            (true, true) => Self::Bar(None),
            (true, false) => Self::Lines(None),
        }
    }

    /// Shows `progress`; returns the line to write where no bar can be drawn.
    pub(crate) fn update(&mut self, progress: &Progress) -> Option<Line> {
        match self {
            Self::Hidden => None,
            Self::Bar(shown) => {
                draw(shown, progress);
                None
            }
            Self::Lines(last) => due(last, progress, Instant::now()).then(|| line(progress)),
        }
    }

    /// Writes with the bar out of the way.
    pub(crate) fn suspend<T>(&mut self, write: impl FnOnce() -> T) -> T {
        match self {
            Self::Bar(Some(shown)) => shown.bar.suspend(write),
            _ => write(),
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&mut self) {
        if let Self::Bar(shown) = self
            && let Some(shown) = shown.take()
        {
            shown.bar.finish_and_clear();
        }
    }
}

fn draw(shown: &mut Option<Bar>, progress: &Progress) {
    if shown.as_ref().is_some_and(|bar| bar.task != progress.task)
        && let Some(old) = shown.take()
    {
        old.bar.finish_and_clear();
    }
    let Bar { bar, .. } = shown.get_or_insert_with(|| Bar {
        task: progress.task.clone(),
        bar: bar(progress),
    });
    if let Some(total) = progress.total {
        bar.set_length(total);
    }
    bar.set_prefix(amount(progress));
    bar.set_position(progress.done);
}

fn bar(progress: &Progress) -> ProgressBar {
    let template = match progress.total {
        Some(_) => WITH_TOTAL,
        None => WITHOUT_TOTAL,
    };
    let style = ProgressStyle::with_template(template)
        .expect("the templates above are well-formed")
        .progress_chars("=> ");
    let task = sync_core::path::printable(&progress.task).into_owned();
    ProgressBar::with_draw_target(progress.total, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(task)
}

/// Whether a line should be written now: at a task's first report, at its last,
/// and otherwise not more than once a second.
fn due(last: &mut Option<Written>, progress: &Progress, now: Instant) -> bool {
    let done = progress.total == Some(progress.done);
    let due = last.as_ref().is_none_or(|written| {
        written.task != progress.task || done || now - written.at >= LINE_EVERY
    });
    if due {
        *last = Some(Written {
            task: progress.task.clone(),
            at: now,
        });
    }
    due
}

fn line(progress: &Progress) -> Line {
    Line::new(format!("{}: {}", progress.task, amount(progress)))
}

fn amount(progress: &Progress) -> String {
    let (written, noun): (fn(u64) -> String, _) = match progress.unit {
        Unit::Files => (quantity::count, " files"),
        Unit::Bytes => (quantity::bytes, ""),
    };
    let done = written(progress.done);
    let of = progress
        .total
        .map(|total| format!(" of {}", written(total)));
    let bytes = match progress.unit {
        Unit::Files if progress.bytes > 0 => format!(", {}", quantity::bytes(progress.bytes)),
        _ => String::new(),
    };
    format!("{done}{}{noun}{bytes}", of.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(done: u64, total: Option<u64>) -> Progress {
        Progress {
            task: "reading t".into(),
            done,
            total,
            unit: Unit::Files,
            bytes: done * 1_000,
        }
    }

    #[test]
    fn lines_say_what_and_how_far() {
        let shown = |progress| line(&progress).plain();
        assert_eq!(shown(report(0, None)), "reading t: 0 files");
        assert_eq!(
            shown(report(1_500, Some(3_000))),
            "reading t: 1,500 of 3,000 files, 1.50 MB"
        );
        let bytes = Progress {
            unit: Unit::Bytes,
            ..report(1_500, Some(3_000))
        };
        assert_eq!(shown(bytes), "reading t: 1.50 kB of 3.00 kB");
    }

    #[test]
    fn lines_come_at_the_ends_and_once_a_second() {
        let start = Instant::now();
        let mut last = None;
        assert!(due(&mut last, &report(1, Some(9)), start));
        assert!(!due(&mut last, &report(2, Some(9)), start + LINE_EVERY / 2));
        assert!(due(&mut last, &report(3, Some(9)), start + LINE_EVERY));
        assert!(due(&mut last, &report(9, Some(9)), start + LINE_EVERY));
    }
}
