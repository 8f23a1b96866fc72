//! The daemon's end: `leaving` while clients are served, addresses off, keys back with the owner's word, the lease.

use std::time::Duration;

use super::Election;
use crate::election::action::Action;
use crate::election::contender::{Contender, Wants};
use crate::election::event::LeaseId;
use crate::election::record::node_key;
use crate::election::session::Session;
use crate::election::timings::WORD_BOUND;
use crate::moment::Moment;

/// How long `leaving` may take before the address goes off all the same.
const LEAVING_BOUND: Duration = Duration::from_millis(200);
/// How long the end may take from then on: the kernel's word, and etcd's answers. Past it the lease ends by itself.
const STOP_BOUND: Duration = Duration::from_secs(3);

/// The daemon's end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stop {
    No,
    /// `leaving` was ordered; holders serve on until it is seen or the bound is past.
    Leaving {
        since: Moment,
    },
    /// Addresses off, then keys.
    LettingGo {
        since: Moment,
    },
    /// The lease is being revoked.
    Revoking {
        lease: LeaseId,
        since: Moment,
    },
    /// Second signal: addresses off, nothing else.
    Now {
        since: Moment,
    },
    Finished,
}

impl Election {
    pub(super) fn begin_stop(&mut self, now: Moment, wants: &mut Wants) {
        if self.stop != Stop::No {
            return;
        }
        self.coming.clear();
        let holds = self.contenders.iter().any(Contender::is_wished);
        self.stop = if holds { Stop::Leaving { since: now } } else { Stop::LettingGo { since: now } };
        if let (true, Session::Live(live)) = (holds, &mut self.session) {
            live.record_at = Some(now);
            let record = live.record(&self.settings.node, &self.settings.version, true);
            wants.actions.push(Action::WriteRecord { lease: live.lease, record });
        }
    }

    pub(super) fn advance_stop(&mut self, now: Moment, wants: &mut Wants) {
        let off = self.contenders.iter().all(Contender::is_off);
        match self.stop.clone() {
            Stop::No | Stop::Finished => {}
            Stop::Leaving { since } => {
                if self.leaving_seen() || now >= since + LEAVING_BOUND || self.lease().is_none() {
                    self.stop = Stop::LettingGo { since: now };
                    self.advance(now, wants);
                }
            }
            Stop::LettingGo { since } => match self.lease() {
                Some(lease) if off && self.contenders.iter().chain(&self.ghosts).all(|c| self.has_no_key(c, lease)) => {
                    wants.actions.push(Action::RevokeLease { lease, record: None });
                    self.stop = Stop::Revoking { lease, since: now };
                }
                None if off => self.finish(self.former.is_none() && !self.left, wants),
                _ if now >= since + STOP_BOUND => self.finish(false, wants),
                _ => {}
            },
            Stop::Revoking { since, .. } if now >= since + STOP_BOUND => self.finish(false, wants),
            Stop::Revoking { .. } => {}
            Stop::Now { since } if off || now >= since + WORD_BOUND => self.finish(false, wants),
            Stop::Now { .. } => {}
        }
    }

    pub(super) fn has_no_key(&self, contender: &Contender, lease: LeaseId) -> bool {
        self.picture.get(&contender.key_under(&self.settings.prefix, lease)).is_none()
    }

    fn leaving_seen(&self) -> bool {
        let key = self.lease().map(|l| node_key(&self.settings.prefix, l));
        key.and_then(|k| self.picture.node(&k)).is_some_and(|r| r.leaving)
    }

    pub(super) fn stop_deadline(&self) -> Option<Moment> {
        match self.stop {
            Stop::No | Stop::Finished => None,
            Stop::Leaving { since } => Some(since + LEAVING_BOUND),
            Stop::LettingGo { since } | Stop::Revoking { since, .. } => Some(since + STOP_BOUND),
            Stop::Now { since } => Some(since + WORD_BOUND),
        }
    }

    pub(super) fn finish(&mut self, clean: bool, wants: &mut Wants) {
        self.stop = Stop::Finished;
        wants.actions.push(Action::Finish { clean });
    }
}
