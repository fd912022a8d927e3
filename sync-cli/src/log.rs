//! The log: lines on standard error, safe for terminals and log files.

use std::io::{self, Write};

use sync_core::path::printable;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::args::Global;

/// What the log shows without `-v` or `-q`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Usual {
    /// A daemon tells what it does.
    Info,
    /// A one-shot command answers by itself and logs only trouble.
    Warnings,
}

/// Starts logging for this process.
pub(crate) fn start(global: &Global, usual: Usual) {
    let level = level(global.verbose, global.quiet, usual);
    let filter = EnvFilter::builder()
        .with_env_var("APIM_SYNC_LOG")
        .with_default_directive(level.into())
        .from_env_lossy();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(global.verbose >= 2)
        .with_writer(Escaping);
    // The journal stamps each line itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().init();
    } else {
        format.init();
    }
}

fn level(verbose: u8, quiet: bool, usual: Usual) -> LevelFilter {
    match (verbose, quiet, usual) {
        (_, true, Usual::Warnings) => LevelFilter::ERROR,
        (_, true, Usual::Info) | (0, _, Usual::Warnings) => LevelFilter::WARN,
        (0, _, Usual::Info) | (1, _, Usual::Warnings) => LevelFilter::INFO,
        (1, _, Usual::Info) => LevelFilter::DEBUG,
        (2.., _, _) => LevelFilter::TRACE,
    }
}

/// Writes each event, which comes in one piece, as one printable line.
struct Escaping;

impl<'a> MakeWriter<'a> for Escaping {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Escaping {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(line(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    format!("{}\n", printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_printable_line() {
        assert_eq!(line(b"a\nb\x1b[2J\xff\n"), "a%0Ab%1B[2J\u{fffd}\n");
    }

    #[test]
    fn flags_move_the_level() {
        use LevelFilter as L;
        let cases = [
            (0, false, Usual::Info, L::INFO),
            (1, false, Usual::Info, L::DEBUG),
            (2, false, Usual::Info, L::TRACE),
            (0, true, Usual::Info, L::WARN),
            (0, false, Usual::Warnings, L::WARN),
            (1, false, Usual::Warnings, L::INFO),
            (0, true, Usual::Warnings, L::ERROR),
        ];
        for (verbose, quiet, usual, expected) in cases {
            assert_eq!(level(verbose, quiet, usual), expected);
        }
    }
}
