//! Comparing counts with what was agreed.

use std::fmt::Write as _;

use crate::strace::Counts;

/// A kind of call, and how often it may be made for one file.
pub(crate) type Bound = (&'static str, f64);

/// For what is not done file by file.
const ONCE: f64 = 40.0;

/// Not looked at: `close` comes once for whatever was opened, and `fcntl` before
/// each `close` of an unoptimised standard library.
const IGNORED: [&str; 2] = ["close", "fcntl"];

/// Compares the counts for `files` files with `bounds`. A kind without a bound is
/// not for files: it may be made [`ONCE`], to open the tree and what belongs to it.
///
/// # Panics
/// When one is made more often; shows all of them.
#[track_caller]
pub(crate) fn check(what: &str, counts: &Counts, files: u32, bounds: &[Bound]) {
    let mut table = format!("{what}, {files} files\n      calls  a file   bound\n");
    let mut over = Vec::new();
    let counted = |(call, _): &(&String, &u32)| !IGNORED.contains(&call.as_str());
    for (call, &count) in counts.iter().filter(counted) {
        let each = f64::from(count) / f64::from(files);
        let bound = bounds.iter().find(|(name, _)| name == call);
        let most = bound.map_or(ONCE, |(_, bound)| bound * f64::from(files));
        let _ = writeln!(
            table,
            "{count:>11}{each:>8.3}{:>8.3}  {call}",
            most / f64::from(files)
        );
        if f64::from(count) > most {
            over.push(call.as_str());
        }
    }
    println!("{table}");
    assert!(
        over.is_empty(),
        "{over:?} came more often than agreed (benches/tests/system_calls says how often):\n{table}"
    );
}
