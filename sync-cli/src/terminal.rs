//! The one door to standard output and standard error.
//!
//! Answers go to standard output, everything else to standard error. Whatever
//! comes from files or peers is made printable here, so no other module needs
//! to think of it. A reader that goes away (`| head`) ends the output, not the
//! work.

use std::{
    borrow::Cow,
    cell::RefCell,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;
use sync_core::path::printable;
use sync_daemon::{
    events::Progress,
    failure::{Failure, FailureKind},
};

use crate::{
    args::{Color, Global},
    render::progress::ProgressView,
};

/// How a piece of text stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
        }
    }
}

/// Pieces of text, each with or without paint: one line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Line(Vec<(Option<Paint>, String)>);

impl Line {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::default().text(text)
    }

    pub(crate) fn painted(paint: Paint, text: impl Into<String>) -> Self {
        Self::default().paint(paint, text)
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push((None, text.into()));
        self
    }

    /// This line and then `other`.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn paint(mut self, paint: Paint, text: impl Into<String>) -> Self {
        self.0.push((Some(paint), text.into()));
        self
    }

    fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (paint, text) in &self.0 {
            match paint.filter(|_| colour) {
                Some(paint) => {
                    let code = paint.code();
                    out.push_str(&format!("\x1b[{code}m{}\x1b[0m", printable(text)));
                }
                None => out.push_str(&printable(text)),
            }
        }
        out
    }

    /// The line as it looks without colour.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> String {
        self.render(false)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Standard output and standard error, as the flags want them.
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
    progress: RefCell<ProgressView>,
    out: RefCell<Out>,
}

enum Out {
    Open,
    /// The reader went away: nothing more to write.
    Gone,
    Broken(io::Error),
}

impl Terminal {
    pub(crate) fn new(global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        let err_terminal = io::stderr().is_terminal();
        let automatic = err_terminal && !global.quiet && !global.json;
        Self {
            json: global.json,
            quiet: global.quiet,
            colour_out: colour(io::stdout().is_terminal()),
            colour_err: colour(err_terminal),
            progress: RefCell::new(ProgressView::new(
                automatic || global.progress,
                err_terminal,
            )),
            out: RefCell::new(Out::Open),
        }
    }

    /// Whether JSON lines are wanted.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether standard output is a screen that can be redrawn.
    pub(crate) fn is_screen(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// A line of the answer.
    pub(crate) fn answer(&self, line: &Line) {
        self.write_out(line.render(self.colour_out) + "\n");
    }

    /// Text of the answer as it is: completions, manual pages.
    pub(crate) fn answer_raw(&self, text: &str) {
        self.write_out(text.to_owned());
    }

    /// A line of JSON.
    pub(crate) fn answer_json(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => self.write_out(line + "\n"),
            Err(error) => *self.out.borrow_mut() = Out::Broken(error.into()),
        }
    }

    /// A line beside the answer, unless `--quiet`.
    pub(crate) fn note(&self, line: &Line) {
        if !self.quiet {
            self.complain(line);
        }
    }

    /// A line that even `--quiet` shows.
    pub(crate) fn complain(&self, line: &Line) {
        let text = line.render(self.colour_err) + "\n";
        self.progress.borrow_mut().suspend(|| {
            // There is nobody left to tell when standard error is closed.
            let _ = io::stderr().write_all(text.as_bytes());
        });
    }

    /// Shows how far the work has come, where that is wanted.
    pub(crate) fn progress(&self, progress: &Progress) {
        let line = self.progress.borrow_mut().update(progress);
        if let Some(line) = line {
            self.complain(&line);
        }
    }

    /// Takes the progress bar away.
    pub(crate) fn clear_progress(&self) {
        self.progress.borrow_mut().clear();
    }

    /// Empties the screen before it is drawn again.
    pub(crate) fn clear_screen(&self) {
        self.write_out("\x1b[H\x1b[2J".into());
    }

    /// Whether the answer was written in full.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        self.clear_progress();
        match &*self.out.borrow() {
            Out::Broken(error) => Err(Failure::caused_by(
                FailureKind::Failed,
                "writing to standard output",
                error,
            )),
            Out::Open | Out::Gone => Ok(()),
        }
    }

    fn write_out(&self, text: String) {
        let mut out = self.out.borrow_mut();
        if !matches!(*out, Out::Open) {
            return;
        }
        let written = self.progress.borrow_mut().suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
        });
        *out = match written {
            Ok(()) => Out::Open,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Out::Gone,
            Err(error) => Out::Broken(error),
        };
    }
}

/// `text`, or a dash where there is none.
pub(crate) fn or_dash(text: Option<&str>) -> Cow<'_, str> {
    text.map_or("-".into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_wraps_only_the_painted_piece() {
        let line = Line::new("a ").paint(Paint::Red, "b").text(" c");
        assert_eq!(line.render(false), "a b c");
        assert_eq!(line.render(true), "a \x1b[31mb\x1b[0m c");
    }

    #[test]
    fn what_a_terminal_would_obey_never_reaches_it() {
        let line = Line::new("a\x1b]0;owned\x07\nb%FF");
        assert_eq!(line.render(true), "a%1B]0;owned%07%0Ab%FF");
    }
}
