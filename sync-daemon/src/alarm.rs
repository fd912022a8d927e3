//! Waking when a burst of changes has settled.
//!
//! tokio's timers count in whole milliseconds and wake one to two of them late,
//! which each edit would pay on its way. The kernel's timers are exact. This is the
//! one module with `unsafe` in it: a single call.

use std::os::fd::OwnedFd;

use rustix::{
    io::{self, Errno},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Duration, Instant, sleep_until},
};

/// A timer of the kernel's.
pub(crate) struct Alarm {
    /// None where the kernel gives none: then tokio's serve.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new() -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok();
        Self {
            timer: timer.and_then(registered),
        }
    }

    /// Waits until `at`, and no millisecond longer. Safe to cancel; the last call
    /// counts.
    pub(crate) async fn wait_until(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        match &self.timer {
            Some(timer) if !left.is_zero() && set(timer, left).is_ok() => {
                if expired(timer).await.is_err() {
                    sleep_until(at).await;
                }
            }
            _ => sleep_until(at).await,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "tokio has no other way to wait for a descriptor of one's own"
)]
fn registered(timer: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and stays the same until it is dropped, and
    // nothing here takes it out again.
    unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }.ok()
}

fn set(timer: &AsyncFd<OwnedFd>, left: Duration) -> io::Result<()> {
    let timer_spec = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &timer_spec).map(drop)
}

/// Waits for the time that was set last.
async fn expired(timer: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        match io::read(timer, &mut [0; 8]) {
            Ok(_) => return Ok(()),
            // It was set anew after it had expired.
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_woken_early_and_the_last_call_counts() {
        let alarm = Alarm::new();
        assert!(alarm.timer.is_some(), "Linux has such timers");
        let long = Instant::now() + Duration::from_secs(600);
        for millis in [3, 0, 7, 1] {
            let at = Instant::now() + Duration::from_millis(millis);
            tokio::select! {
                biased;
                () = alarm.wait_until(long) => unreachable!("ten minutes have not passed"),
                () = std::future::ready(()) => {}
            }
            alarm.wait_until(at).await;
            assert!(Instant::now() >= at);
        }
        alarm.wait_until(Instant::now()).await;
    }
}
