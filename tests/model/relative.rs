//! Moments by their age and wishes by how many came since: two states that differ only in what time it is, or in how
//! often an address came and went before, are the same state.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use crate::election::event::Generation;
use crate::moment::Moment;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
    static NEWEST: Cell<u64> = const { Cell::new(0) };
}

/// Beyond this, older or later is all the same: no decision of a session with a lease of four seconds compares moments
/// that are farther apart.
const FAR: i64 = 6_000_000_000;

/// What is hashed by `hash` sees moments as they are at `now`, and wishes as they are when this is the newest.
pub(super) fn at<T>(now: Moment, newest: Generation, hash: impl FnOnce() -> T) -> T {
    NOW.set(now.as_nanos());
    NEWEST.set(newest.0);
    hash()
}

impl Hash for Moment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.as_nanos() - NOW.get()).clamp(-FAR, FAR).hash(state);
    }
}

impl Hash for Generation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NEWEST.get().wrapping_sub(self.0).hash(state);
    }
}
