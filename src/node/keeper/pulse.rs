//! Whether the keeper lives: when it last had an answer from the kernel. Read by whoever feeds the watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use crate::moment::Moment;

/// How often the kernel is asked, at the least.
const EVERY: Duration = Duration::from_secs(5);

/// A keeper that has had no answer for so long is dead.
const DEAD: Duration = Duration::from_secs(15);

/// When the keeper last had an answer, and when it last tried.
#[derive(Clone, Debug)]
pub struct Pulse {
    last: Arc<AtomicI64>,
    tried: Moment,
}

impl Pulse {
    pub(super) fn new(now: Moment) -> Self {
        Self { last: Arc::new(AtomicI64::new(now.as_nanos())), tried: now }
    }

    /// Of a keeper that had its last answer then.
    #[cfg(test)]
    pub(crate) fn for_test(last: Moment) -> Self {
        Self::new(last)
    }

    /// When it last had an answer.
    pub fn last(&self) -> Moment {
        Moment::from_nanos(self.last.load(Relaxed))
    }

    /// Whether the keeper has had no answer for so long that it is as good as dead.
    pub fn is_dead(&self, now: Moment) -> bool {
        now.since(self.last()) > DEAD
    }

    pub(super) fn next(&self) -> Moment {
        self.tried + EVERY
    }

    pub(super) fn tried(&mut self, now: Moment) {
        self.tried = now;
    }

    pub(super) fn beat(&self, now: Moment) {
        self.last.store(now.as_nanos(), Relaxed);
    }
}
