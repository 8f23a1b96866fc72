//! The lab's one clock. All nodes share a machine, so one reading orders the events of all of them.
//!
//! `CLOCK_BOOTTIME`, the clock that the daemon's own deadlines run on. Nothing else in the lab reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// A moment since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct At(Duration);

impl At {
    /// This far after boot: what a daemon's log says of the same clock.
    pub(crate) const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for At {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0 + span)
    }
}

impl Sub<Duration> for At {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0.as_secs_f64())
    }
}

/// What time it is.
pub(crate) fn now() -> At {
    // Linux has had this clock since 2.6.39; a kernel without it could not run the daemon either.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(At::default(), |time| At(time.into()))
}

/// The time of day, which only certificates want to know, since 1970.
pub(crate) fn since_epoch() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from)
}

/// Sleeps until `moment`, without drifting; returns at once if it has passed.
pub(crate) fn sleep_until(moment: At) {
    let time = TimeSpec::from(moment.0);
    while clock_nanosleep(ClockId::CLOCK_BOOTTIME, ClockNanosleepFlags::TIMER_ABSTIME, &time) == Err(nix::Error::EINTR)
    {
    }
}

/// Sleeps for `span`.
pub(crate) fn sleep(span: Duration) {
    sleep_until(now() + span);
}

/// Asks `done` every few milliseconds until it says yes or `within` is over.
pub(crate) fn poll_until(within: Duration, done: impl FnMut() -> bool) -> bool {
    poll_every(Duration::from_millis(5), within, done)
}

/// Asks `done` every `pause` until it says yes or `within` is over.
pub(crate) fn poll_every(pause: Duration, within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = now() + within;
    loop {
        if done() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        sleep(pause);
    }
}

/// `12.3 ms`, for people.
pub(crate) fn millis(span: Duration) -> String {
    let value = span.as_secs_f64() * 1000.0;
    if value >= 100.0 { format!("{value:.0} ms") } else { format!("{value:.1} ms") }
}
