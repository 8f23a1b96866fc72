//! Time as the election sees it: nanoseconds since boot, suspended time counted.
//!
//! Only `node/clock.rs` makes moments (from `CLOCK_BOOTTIME`); simulation and model check make their own.
//! A moment is never the wall clock, so nothing NTP or a person does to the clock changes a decision.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on this node's boot-time clock, in nanoseconds. Moments of different nodes do not compare.
///
/// Signed, so that a state can be looked at relative to "now": the model check hashes it that way
/// (`tests/model/relative.rs`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(not(test), derive(Hash))]
pub struct Moment(i64);

impl Moment {
    /// The moment this many nanoseconds after boot.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The moment this many milliseconds after boot.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(d)))
    }
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0 as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_never_goes_below_zero() {
        let (a, b) = (Moment::from_millis(5), Moment::from_millis(7));
        assert_eq!(b.since(a), Duration::from_millis(2));
        assert_eq!(a.since(b), Duration::ZERO);
    }

    #[test]
    fn far_ends_saturate_instead_of_overflowing() {
        let end = Moment::from_nanos(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Moment::from_nanos(i64::MIN) - Duration::MAX, Moment::from_nanos(i64::MIN));
    }
}
