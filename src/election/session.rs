//! This daemon's life in etcd: one lease, the counted pairs that prove it, and the fence they move.
//!
//! The fence is the moment after which this node must not have any VIP. It moves forward only by a *counted pair*: a
//! renewal, and a linearizable read sent after its answer, from the same cluster in the same raft term, that agrees
//! with what the watch has told. A renewal alone proves nothing: a stalled leader acknowledges renewals while another
//! one leads, and some servers acknowledge revoked leases. Past the fence that short read proves nothing either: a backup
//! may have been restored and its store grown back to the very count and revision that are known. Then everything is
//! read, at once, and only beside that read a pair counts.

use std::time::Duration;

use super::contender::Parting;
use super::event::{Header, LeaseId, Pair};
use super::guards::{Guard, Guards};
use super::picture::Picture;
use super::record::{NodeRecord, Released};
use super::timings::Timings;
use crate::moment::Moment;

/// How many words a node's record carries. Others need a word at the moment its key goes.
const WORDS_SAID: usize = 32;

/// Where the session stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Session {
    /// Nothing is asked of etcd until then.
    Silent {
        /// When to begin anew.
        until: Moment,
    },
    /// A lease was asked for.
    Asking {
        /// When to ask again.
        again_at: Moment,
    },
    /// There is a lease.
    Live(Box<Live>),
}

/// A session with a lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Live {
    /// Its lease.
    pub lease: LeaseId,
    /// What it lives by.
    pub timings: Timings,
    /// The moment after which this node must not have any VIP; none before the first counted pair.
    pub fence: Option<Moment>,
    /// When the newest counted pair's renewal was sent.
    pub counted_at: Option<Moment>,
    /// When a pair last counted.
    pub proven_at: Option<Moment>,
    /// When the newest read that was answered was sent: etcd was reachable after that.
    pub heard_at: Option<Moment>,
    /// When the newest full read was sent.
    read_at: Option<Moment>,
    /// When the next renewal is due.
    pub renew_at: Moment,
    /// When the last renewal was ordered; the lease may live for a TTL from then.
    pub renewed_at: Moment,
    /// A pair whose read disagrees with the watch, for now, or that came past the fence.
    unproven: Option<Unproven>,
    /// The owner's words of this session, and what it passed on.
    released: Vec<Released>,
    passed: Vec<Released>,
    /// When the node's record was last ordered to be written.
    pub record_at: Option<Moment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Unproven {
    pair: Pair,
    since: Moment,
    /// Whether a full read was ordered to settle it.
    asked: bool,
}

/// What a pair did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// It moved the fence.
    Yes,
    /// Not as far as is known: it may count later.
    NotYet,
    /// It proves nothing: the term is another one, or the cluster.
    No,
}

impl Live {
    /// A session begins with a lease that was asked for at `sent_at`. It has no fence yet.
    pub fn new(lease: LeaseId, timings: Timings, sent_at: Moment, now: Moment) -> Self {
        Self {
            lease,
            timings,
            fence: None,
            counted_at: None,
            proven_at: None,
            heard_at: None,
            read_at: None,
            renew_at: now,
            renewed_at: sent_at,
            unproven: None,
            released: Vec::new(),
            passed: Vec::new(),
            record_at: None,
        }
    }

    /// Whether an address may be put or kept at `now` for at least `least`.
    pub fn allows(&self, now: Moment, least: Duration) -> bool {
        self.fence.is_some_and(|fence| now + least <= fence)
    }

    /// Whether the fence is past (or there is none).
    pub fn is_fenced(&self, now: Moment) -> bool {
        self.fence.is_none_or(|fence| fence <= now)
    }

    /// Whether there was a fence and it is past.
    pub fn is_past_fence(&self, now: Moment) -> bool {
        self.fence.is_some_and(|fence| fence <= now)
    }

    /// From a renewal that is sent now to the next one.
    pub fn renew_after(&self, now: Moment) -> Duration {
        let t = &self.timings;
        // By when pairs came, not by when they were sent: an etcd that is merely slow is not silent.
        let is_silent = self.proven_at.is_some_and(|at| now.since(at) > t.renew_every * 3 / 2);
        if is_silent && !self.is_fenced(now) { t.renew_silent } else { t.renew_every }
    }

    /// A renewal and its read were answered.
    pub fn pair(&mut self, pair: Pair, picture: &Picture, guards: &Guards, now: Moment) -> Counted {
        self.heard_at = self.heard_at.max(Some(pair.read.sent_at));
        if pair.renewed.cluster != pair.read.header.cluster {
            return Counted::No;
        }
        if pair.renewed.term != pair.read.header.term && guards.on(Guard::PairTerm) {
            return Counted::No;
        }
        if !self.is_blind(guards, now) && picture.agrees_with(&pair.read) || !guards.on(Guard::PairRead) {
            self.unproven = None;
            self.count(&pair, guards, now);
            return Counted::Yes;
        }
        self.unproven = Some(match self.unproven {
            // While a full read is on its way the older pair waits for it: the newer one was answered too late for that.
            // But not one that is too old by now: it may have been held up for seconds.
            Some(waiting) if waiting.asked && !self.is_too_old(&waiting.pair, guards, now) => waiting,
            Some(waiting) if !waiting.asked => Unproven { pair, ..waiting },
            Some(_) | None => Unproven { pair, since: now, asked: false },
        });
        Counted::NotYet
    }

    /// From when on a short read proves nothing: since the newest counted pair, or full read, this node heard nothing for
    /// so long that it may not have noticed another history.
    fn blind_from(&self) -> Option<Moment> {
        let read = self.read_at.map(|at| at + self.lasts(self.timings.ttl));
        self.fence.max(read).filter(|_| self.fence.is_some())
    }

    fn is_blind(&self, guards: &Guards, now: Moment) -> bool {
        self.blind_from().is_some_and(|from| from <= now) && guards.on(Guard::ReadPastFence)
    }

    /// The watch told more: perhaps it agrees now.
    pub fn recheck(&mut self, picture: &Picture, guards: &Guards, now: Moment) {
        if let Some(pair) = self.unproven.as_ref().map(|u| u.pair)
            && !self.is_blind(guards, now)
            && picture.agrees_with(&pair.read)
        {
            self.unproven = None;
            self.count(&pair, guards, now);
        }
    }

    /// All was read anew, and the picture is what it said. That read is the proof, if it was sent after the renewal's
    /// answer.
    pub fn proven_by_read(
        &mut self,
        sent_at: Moment,
        header: Header,
        picture: &Picture,
        guards: &Guards,
        now: Moment,
    ) -> Counted {
        self.heard_at = self.heard_at.max(Some(sent_at));
        self.read_at = self.read_at.max(Some(sent_at));
        let Some(Unproven { pair, asked, .. }) = self.unproven else { return Counted::NotYet };
        let same = header.cluster == pair.renewed.cluster && header.term == pair.renewed.term;
        if sent_at >= pair.answered_at {
            self.unproven = None;
            if !same {
                return Counted::No;
            }
            self.count(&pair, guards, now);
            return Counted::Yes;
        }
        // It was under way before. The one that was asked for is still to come, but the pair's own read may agree now.
        self.recheck(picture, guards, now);
        self.unproven = self.unproven.filter(|_| asked);
        Counted::NotYet
    }

    /// From a renewal's sending to the fence.
    fn lasts(&self, ttl: Duration) -> Duration {
        self.timings.ttl.min(ttl).checked_sub(self.timings.margin).unwrap_or_default()
    }

    /// Where this pair puts the fence.
    fn fence_by(&self, pair: &Pair, guards: &Guards, now: Moment) -> Moment {
        let from = if guards.on(Guard::CountFromSend) { pair.sent_at } else { now };
        let more = if guards.on(Guard::Fence) { Duration::ZERO } else { pair.ttl * 100 };
        from + self.lasts(pair.ttl) + more
    }

    /// Whether nothing can be put by this pair any more.
    fn is_too_old(&self, pair: &Pair, guards: &Guards, now: Moment) -> bool {
        self.fence_by(pair, guards, now) < now + self.timings.least_hold
    }

    fn count(&mut self, pair: &Pair, guards: &Guards, now: Moment) {
        self.fence = self.fence.max(Some(self.fence_by(pair, guards, now)));
        self.counted_at = self.counted_at.max(Some(pair.sent_at));
        self.proven_at = Some(now);
    }

    /// When everything is to be read anew for the pair that waits, unless that was ordered: when it has disagreed with the
    /// watch for long enough; at once where a short read proves nothing.
    pub fn read_due(&self) -> Option<Moment> {
        let waiting = self.unproven.filter(|u| !u.asked)?;
        let deaf_at = waiting.since + self.timings.deaf_after;
        Some(self.blind_from().map_or(deaf_at, |from| deaf_at.min(from.max(waiting.since))))
    }

    /// The full read was ordered.
    pub fn asked_for_read(&mut self) {
        if let Some(waiting) = &mut self.unproven {
            waiting.asked = true;
        }
    }

    /// What is said of a candidate that is taken back; of many, the newest are said.
    pub fn say(&mut self, parting: Parting, candidate: Released) {
        let said = match parting {
            Parting::Word => &mut self.released,
            Parting::Passed => &mut self.passed,
            Parting::Nothing => return,
        };
        said.retain(|known| *known != candidate);
        said.push(candidate);
        if said.len() > WORDS_SAID {
            said.remove(0);
        }
    }

    /// The node's record as it should read now.
    pub fn record(&self, node: &str, version: &str, leaving: bool) -> NodeRecord {
        let (released, passed) = (self.released.clone(), self.passed.clone());
        NodeRecord { node: node.into(), version: version.into(), leaving, released, passed }
    }
}

/// The cluster this session began with, and how far its store was seen to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History {
    cluster: Option<u64>,
    highest: i64,
    /// When `highest` was heard: a read sent later must not be below it.
    heard_at: Moment,
    strikes: u8,
}

/// What a linearizable answer says about the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on.
    Same,
    /// The store is behind what was seen: ask anew.
    Doubt,
    /// It is another one.
    Another,
}

impl History {
    /// A linearizable read that was sent at `sent_at` was answered.
    pub fn judge(&mut self, header: Header, sent_at: Moment, now: Moment) -> Verdict {
        if self.cluster.is_some_and(|c| c != header.cluster) {
            return Verdict::Another;
        }
        self.cluster = Some(header.cluster);
        if header.revision >= self.highest {
            self.seen(header.revision, now);
            self.strikes = 0;
            return Verdict::Same;
        }
        if sent_at < self.heard_at {
            return Verdict::Same; // older than what we know it to be behind
        }
        self.strikes += 1;
        if self.strikes >= 2 { Verdict::Another } else { Verdict::Doubt }
    }

    /// A revision was seen that etcd has committed.
    pub fn seen(&mut self, revision: i64, now: Moment) {
        if revision > self.highest {
            self.highest = revision;
            self.heard_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_come_sooner_only_while_none_counts_and_a_fence_is_ahead() {
        let ms = Moment::from_millis;
        let timings = Timings::new(Duration::from_secs(5), None);
        let mut live = Live::new(LeaseId(1), timings, ms(0), ms(0));
        assert_eq!(live.renew_after(ms(9000)).as_millis(), 500, "nothing to save yet");
        // Sent a second ago and answered now: slow, but not silent.
        (live.fence, live.proven_at) = (Some(ms(3800)), Some(ms(1000)));
        assert_eq!(live.renew_after(ms(1500)).as_millis(), 500);
        assert_eq!(live.renew_after(ms(1800)).as_millis(), 200);
        assert_eq!(live.renew_after(ms(3800)).as_millis(), 500, "the fence is past");
    }
}
