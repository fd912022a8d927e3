//! Waiting for a condition, always with a deadline.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// Long enough for any condition on a loaded machine: reached only by a fault.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between the first two looks; it grows by a quarter each time, because a look
/// takes the processor from what is waited for.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// Between two looks at most.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Asks `probe` until it answers, and returns the answer.
///
/// # Panics
/// When `deadline` passes first; says what was waited for and why the last
/// answer was not it.
pub fn until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let last = match probe() {
            Ok(value) => return value,
            Err(reason) => reason,
        };
        let waited = start.elapsed();
        assert!(
            waited < deadline,
            "waited {:.1} s for {what}: {last}",
            waited.as_secs_f64()
        );
        thread::sleep(pause);
        pause = (pause * 5 / 4).min(PAUSE_MAX);
    }
}

/// `Ok` when `condition` holds, otherwise `reason`: for probes.
///
/// # Errors
/// When the condition does not hold.
pub fn ensure(condition: bool, reason: impl Into<String>) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(reason.into())
    }
}
