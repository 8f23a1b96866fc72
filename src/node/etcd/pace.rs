//! How often: back-off between tries, and how often the same trouble is told. Adapter time only, nothing is decided by it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Pauses that double, within bounds.
#[derive(Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    /// Sleeps for the next pause.
    pub(super) async fn pause(&mut self) {
        let pause = self.step();
        tokio::time::sleep(pause).await;
    }

    fn step(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.most);
        pause
    }

    /// Things went well: the next pause is the least again.
    pub(super) fn reset(&mut self) {
        self.next = self.least;
    }
}

/// Tells a lasting trouble at once and then at intervals, and its end once.
#[derive(Debug)]
pub(super) struct Told {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Told {
    pub(super) fn every(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// The trouble is there: whether to tell it now.
    pub(super) fn again(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|t| now - t >= self.interval);
        if due {
            *last = Some(now);
        }
        due
    }

    /// The trouble is over: whether it had been told.
    pub(super) fn over(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_start_over() {
        let ms = Duration::from_millis;
        let mut b = Backoff::new(ms(10), ms(35));
        assert_eq!([b.step(), b.step(), b.step(), b.step()], [ms(10), ms(20), ms(35), ms(35)]);
        b.reset();
        assert_eq!(b.step(), ms(10));
    }

    #[test]
    fn trouble_is_told_once_an_interval_and_its_end_once() {
        let told = Told::every(Duration::from_secs(30));
        assert_eq!(
            [told.over(), told.again(), told.again(), told.over(), told.over()],
            [false, true, false, true, false]
        );
    }
}
