//! What the network is still to be told of a VIP that is held.

use crate::election::action::Occasion;
use crate::election::timings::Schedule;
use crate::moment::Moment;

/// A run of announcements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Announcing {
    /// When it began.
    pub(super) from: Moment,
    /// How many were made.
    pub(super) made: usize,
    /// When the next one is due.
    pub(super) due: Option<Moment>,
}

impl Announcing {
    pub(super) fn anew(now: Moment) -> Self {
        Self { from: now, made: 0, due: Some(now) }
    }

    /// The next one, after one was made at `now`.
    pub(super) fn plan_next(&mut self, schedule: &Schedule, now: Moment) {
        self.due = match schedule.times.get(self.made) {
            Some(after) => Some(self.from + *after),
            None => schedule.refresh.map(|every| now + every),
        };
    }

    /// What the next announcement is for.
    pub(super) fn occasion(&self, schedule: &Schedule) -> Occasion {
        match self.made {
            0 => Occasion::Put,
            n if n < schedule.times.len() => Occasion::Repeat,
            _ => Occasion::Refresh,
        }
    }
}
