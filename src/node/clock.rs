//! The only place that reads a clock: `CLOCK_BOOTTIME`, which counts suspended time and which nobody can set. The
//! calendar is read here too, and decides nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};
use tokio::io::unix::AsyncFd;
use x509_cert::der::DateTime;

use super::ready;
use crate::moment::Moment;

const DAY: u64 = 24 * 60 * 60;

/// Now, on this node's boot-time clock.
pub fn now() -> Moment {
    let t = clock_gettime(Clock::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    Moment::from_nanos(t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

/// What the calendar says, since 1970: for the dates in certificates and in what people read, and for nothing else. Anybody may set it.
pub fn calendar() -> Duration {
    let t = clock_gettime(Clock::CLOCK_REALTIME).expect("CLOCK_REALTIME always exists");
    Duration::new(u64::try_from(t.tv_sec()).unwrap_or(0), u32::try_from(t.tv_nsec()).unwrap_or(0))
}

/// The time of the calendar, in milliseconds since 1970. For people only.
pub fn calendar_millis() -> u64 {
    u64::try_from(calendar().as_millis()).unwrap_or(0)
}

/// A time of the calendar as the log has it: UTC, and with the date if that is a day ago. For people only.
pub fn time_of_day(at: u64) -> String {
    let seconds = at / 1000;
    if seconds + DAY > calendar_millis() / 1000 {
        let today = seconds % DAY;
        return format!("{:02}:{:02}:{:02}Z", today / 3600, today / 60 % 60, today % 60);
    }
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or_else(|e| e.to_string(), |date| date.to_string())
}

/// Waits for moments of `CLOCK_BOOTTIME`, so that a suspended machine is late by nothing when it wakes.
#[derive(Debug)]
pub struct Alarm {
    fd: AsyncFd<Timer>,
}

/// nix's timer lends its descriptor only by `AsFd`; tokio wants the raw one.
#[derive(Debug)]
struct Timer(TimerFd);

impl ready::Owner for Timer {}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// Opens the timer.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub fn new() -> io::Result<Self> {
        let fd = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { fd: ready::register(Timer(fd))? })
    }

    /// Returns at `deadline` or just after it, at once if it is past; never, if there is none.
    ///
    /// # Errors
    /// When the timer cannot be set or waited for.
    pub async fn wait(&self, deadline: Option<Moment>) -> io::Result<()> {
        let Some(deadline) = deadline else { return std::future::pending().await };
        // A zero would disarm it; one nanosecond after boot is long past.
        let at = u64::try_from(deadline.as_nanos()).unwrap_or(0).max(1);
        let expiration = Expiration::OneShot(Duration::from_nanos(at).into());
        self.fd.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        loop {
            let mut ready = self.fd.readable().await?;
            let mut ticks = [0; 8];
            match ready.try_io(|fd| Ok(nix::unistd::read(fd.get_ref().0.as_fd(), &mut ticks)?)) {
                Ok(done) => return done.map(drop),
                Err(_not_yet) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_the_moment_and_not_for_the_past() {
        let alarm = Alarm::new().unwrap();
        let start = now();
        alarm.wait(Some(Moment::from_nanos(0))).await.unwrap();
        alarm.wait(Some(start + Duration::from_millis(30))).await.unwrap();
        assert!(now() >= start + Duration::from_millis(30));
    }

    #[tokio::test]
    async fn a_wait_that_was_dropped_does_not_disturb_the_next() {
        let alarm = Alarm::new().unwrap();
        let first = tokio::time::timeout(Duration::from_millis(5), alarm.wait(Some(now() + Duration::from_secs(60))));
        assert!(first.await.is_err());
        let start = now();
        alarm.wait(Some(start + Duration::from_millis(20))).await.unwrap();
        assert!(now() >= start + Duration::from_millis(20));
    }
}
