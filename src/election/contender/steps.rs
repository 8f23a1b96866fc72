//! What a contender does about the facts: one small function for each state, tried again until nothing changes.

use std::net::IpAddr;
use std::time::Duration;

use super::OnConflict;
use super::{Announcing, Contender, EndSession, Ending, Parting, Probe, Proving, State, StepBack, View, Wants};
use crate::election::action::{Action, Cause, Note, Wish};
use crate::election::event::{Entry, Outcome};
use crate::election::guards::Guard;
use crate::election::picture::Before;
use crate::election::record::CandidateRecord;
use crate::moment::Moment;

/// Back-off while nobody else stands: waiting helps nobody then, but etcd need not hear of it many times a second.
pub(super) const BACKOFF_ALONE: Duration = Duration::from_secs(1);

impl Contender {
    /// Takes one step, if the facts call for one. Called until it says that nothing changed.
    pub fn step(&mut self, view: &View<'_>, wants: &mut Wants) -> bool {
        let before = self.state.clone();
        if let Some(create) = self.create()
            && !self.stands(create, view)
        {
            self.key_gone(create, view, wants);
            return true;
        }
        if self.is_not_first_any_more(view) {
            wants.end_session(EndSession::NotFirstAnyMore);
            return false;
        }
        match self.state.clone() {
            State::Idle => self.step_idle(view, wants),
            State::Standing { asked_at } => self.step_standing(asked_at, view, wants),
            State::Queued { create } => self.step_queued(create, view, wants),
            State::Proving(proving) => self.step_proving(proving, view, wants),
            State::Taking { create, since } => self.step_taking(create, since, view, wants),
            State::Holding { create, .. } => self.step_holding(create, view, wants),
            State::Paused { create, since } => self.step_paused(create, since, view, wants),
            State::Leaving { create, parting, since, asked_since, asked_at } => {
                self.step_leaving((create, parting), (since, asked_since, asked_at), view, wants);
            }
        }
        self.state != before
    }

    /// Whether our candidate still stands. A key that somebody wrote over, so that it hangs on our lease no more, counts
    /// for nobody: then we have none either. It has our name all the same, so whoever leaves sees it gone first.
    fn stands(&self, create: i64, view: &View<'_>) -> bool {
        let leaves = matches!(self.state, State::Leaving { .. });
        view.picture.get(&self.key(view)).is_some_and(|e| e.create == create && (leaves || e.record.is_candidate()))
    }

    /// Who is first stays first until it is gone, and who stood before us is gone. A backup that was restored while this
    /// node heard nothing brings such a key back, and its revisions may have grown past all we have seen since.
    fn is_not_first_any_more(&self, view: &View<'_>) -> bool {
        let before = |create| view.picture.before(&self.key(view), create, &self.addresses);
        view.guards.on(Guard::FirstStaysFirst) && self.has_turn() && self.create().is_some_and(|c| before(c) > 0)
    }

    fn key_gone(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        let leaving = matches!(self.state, State::Leaving { .. });
        self.dead = self.dead.max(create);
        if view.guards.on(Guard::KeyGone) {
            self.take_off(&Cause::KeyGone, false, wants);
        }
        self.state = State::Idle;
        if leaving {
            wants.tell(Note::SteppedBack { vip: self.id });
        }
    }

    fn may_stand(&self, view: &View<'_>) -> bool {
        view.ending == Ending::No
            && !self.retiring
            && view.picture.is_known()
            && self.link.is_some()
            && self.is_off()
            && view.live.allows(view.now, view.live.timings.least_hold)
            && view.now >= self.failed_at + self.rest(view.live.timings.backoff(self.failures), view)
            && view.now >= self.link_lost_at + self.rest(view.live.timings.damping(self.link_losses), view)
    }

    /// How long to rest before standing again, if that is how long the others shall have it.
    fn rest(&self, rest: Duration, view: &View<'_>) -> Duration {
        let others = rest > BACKOFF_ALONE && view.picture.others_could_serve(view.live.lease, &self.addresses);
        if others { rest } else { rest.min(BACKOFF_ALONE) }
    }

    fn step_idle(&mut self, view: &View<'_>, wants: &mut Wants) {
        match view.picture.get(&self.key(view)) {
            Some(own) if self.is_alive(own, view) && self.may_stand(view) => self.queue(own.create, view, wants),
            // Any key under our own lease is ours; one that is dead or not wanted is given back.
            Some(own) => self.leave_state(own.create, view),
            None if self.may_stand(view) => self.stand(view, wants),
            None => {}
        }
    }

    /// Whether this key, which has our name, may be stood by. One that names other addresses was ordered before those of
    /// the VIP changed.
    fn is_alive(&self, own: &Entry, view: &View<'_>) -> bool {
        let named = own.record.addresses();
        let is_ours = !own.record.is_candidate()
            || named.len() == self.addresses.len() && self.addresses.iter().all(|a| named.contains(a));
        is_ours && (own.create > self.dead || !view.guards.on(Guard::OneTurn))
    }

    fn stand(&mut self, view: &View<'_>, wants: &mut Wants) {
        let record = CandidateRecord { node: view.node.into(), addresses: self.addresses.clone() };
        wants.actions.push(Action::Stand { key: self.key(view), lease: view.live.lease, record });
        self.state = State::Standing { asked_at: view.now };
    }

    fn queue(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        let behind = view.picture.before(&self.key(view), create, &self.addresses);
        wants.tell(Note::Queued { vip: self.id, behind });
        (self.state, self.in_the_way) = (State::Queued { create }, None);
    }

    fn step_standing(&mut self, asked_at: Moment, view: &View<'_>, wants: &mut Wants) {
        let seen = view.picture.get(&self.key(view)).is_some();
        if seen || !self.may_stand(view) {
            self.state = State::Idle; // which looks at the key, now or when it comes
        } else if view.now >= asked_at + view.live.timings.retry {
            self.stand(view, wants);
        }
    }

    fn step_queued(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        if let Some(cause) = self.must_leave(view, false) {
            return self.leave(create, &cause, view, wants);
        }
        if view.picture.before(&self.key(view), create, &self.addresses) > 0 {
            self.notice_stranger(view, wants);
            return self.give_way(create, view, wants);
        }
        let past = view.picture.past(&self.addresses, view.now, view.live.timings.ttl, view.guards);
        let worded = past == Before::AllWorded || !view.guards.on(Guard::OwnersWord);
        let at_once = worded && self.may_take(view);
        wants.tell(Note::TurnCame { vip: self.id, at_once });
        if at_once {
            return self.take(create, view, wants);
        }
        wants.renew = true;
        let (since, lost) = (view.now, past == Before::Lost);
        let probe = Probe::Due { at: view.now };
        self.state = State::Proving(Proving { create, since, lost, probe, answered: None });
    }

    /// A stranger's turn is respected, but while it has it nobody has the VIP: told once it has lasted for a TTL. (It is
    /// looked at with every renewal, so it needs no deadline of its own.)
    fn notice_stranger(&mut self, view: &View<'_>, wants: &mut Wants) {
        let Some((create, who)) = view.picture.stranger(&self.addresses, view.prefix) else {
            self.stranger = None;
            return;
        };
        let known = self.stranger.filter(|(known, ..)| *known == create);
        let (_, since, told) = known.unwrap_or((create, view.now, false));
        let due = !told && view.now.since(since) >= view.live.timings.ttl;
        if due {
            wants.tell(Note::StrangerFirst { vip: self.id, who: who.to_owned() });
        }
        self.stranger = Some((create, since, told || due));
    }

    /// A group that waits for one address does not keep others from another one.
    fn give_way(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        let key = self.key(view);
        let is = view.picture.is_in_the_way(&key, create, &self.addresses, view.prefix);
        if !is || !view.guards.on(Guard::GivesWay) {
            self.in_the_way = None;
        } else if view.now >= *self.in_the_way.get_or_insert(view.now) + view.live.timings.give_way_after {
            self.leave(create, &Cause::InTheWay, view, wants);
        }
    }

    fn may_take(&self, view: &View<'_>) -> bool {
        self.link.is_some() && self.is_off() && view.live.allows(view.now, view.live.timings.least_hold)
    }

    fn step_proving(&mut self, mut p: Proving, view: &View<'_>, wants: &mut Wants) {
        if let Some(cause) = self.must_leave(view, false) {
            return self.leave(p.create, &cause, view, wants);
        }
        let t = &view.live.timings;
        let fresh = view.live.counted_at.is_some_and(|at| at >= p.since) || !view.guards.on(Guard::FreshPair);
        let ready = fresh && self.may_take(view);
        if !view.guards.on(Guard::Probes) && ready {
            return self.take(p.create, view, wants);
        }
        if view.now >= p.since + t.ttl {
            return self.proved_nothing(&p, ready, view, wants);
        }
        match p.probe {
            Probe::Silent { at } if ready && view.now < at + t.probe_good => return self.take(p.create, view, wants),
            Probe::Silent { at } if view.now >= at + t.probe_good && fresh => self.probe(&mut p, view, wants),
            Probe::Due { at } if view.now >= at => self.probe(&mut p, view, wants),
            Probe::Out { since } if view.now >= since + t.retry => self.probe(&mut p, view, wants),
            Probe::Due { .. } | Probe::Out { .. } | Probe::Silent { .. } => {}
        }
        self.state = State::Proving(p);
    }

    /// One TTL of proving: no kernel of ours answers longer than that, so whoever still does is a stranger.
    fn proved_nothing(&mut self, p: &Proving, ready: bool, view: &View<'_>, wants: &mut Wants) {
        let insist = p.lost || view.on_conflict == OnConflict::Claim;
        match &p.answered {
            Some(by) if insist && ready => {
                wants.tell(Note::TookLoudly { vip: self.id, by: by.clone() });
                self.take(p.create, view, wants);
            }
            Some(by) if !insist => self.fail(p.create, &Cause::Answered(by.clone()), view, wants),
            Some(_) | None => self.leave(p.create, &Cause::Fruitless, view, wants),
        }
    }

    fn probe(&mut self, p: &mut Proving, view: &View<'_>, wants: &mut Wants) {
        let Some(link) = self.link else { return };
        self.round += 1;
        p.probe = Probe::Out { since: view.now };
        wants.actions.push(Action::Probe { vip: self.id, link, round: self.round });
    }

    fn take(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        let Some(fence) = view.live.fence else { return };
        self.want(Wish::Until(fence), wants);
        self.state = State::Taking { create, since: view.now };
    }

    fn step_taking(&mut self, create: i64, since: Moment, view: &View<'_>, wants: &mut Wants) {
        if self.pause_or_leave(create, view, wants) {
            return;
        }
        match &self.settled {
            Some(Outcome::Present) => {
                wants.tell(Note::Took { vip: self.id });
                self.defence.begin();
                self.state = State::Holding { create, since: view.now, announcing: Announcing::anew(view.now) };
            }
            Some(outcome) => self.fail_put(create, outcome.clone(), view, wants),
            None if view.now >= since + view.live.timings.word_bound => {
                self.fail(create, &Cause::PutFailed("the kernel gave no answer".into()), view, wants);
            }
            // Ordered with little more than a second left, it may have come too late for a whole one.
            None => self.follow_fence(view, wants),
        }
    }

    /// The wish moves with the fence, under the same number.
    fn follow_fence(&mut self, view: &View<'_>, wants: &mut Wants) {
        if let Some(fence) = view.live.fence.filter(|f| self.wish != Wish::Until(*f)) {
            self.want(Wish::Until(fence), wants);
        }
    }

    fn step_holding(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        if self.pause_or_leave(create, view, wants) {
            return;
        }
        if let Some(outcome) = self.settled.clone().filter(|s| *s != Outcome::Present) {
            return self.fail_put(create, outcome, view, wants);
        }
        if self.repairs.len() > view.live.timings.repair_limit {
            return self.fail(create, &Cause::Fought, view, wants);
        }
        self.follow_fence(view, wants);
        self.announce(view, wants);
        self.defend(view, wants);
    }

    fn announce(&mut self, view: &View<'_>, wants: &mut Wants) {
        let (vip, link) = (self.id, self.link);
        let State::Holding { since, announcing, .. } = &mut self.state else { return };
        let (Some(link), Some(due)) = (link, announcing.due) else { return };
        if view.now < due {
            return;
        }
        let t = &view.live.timings;
        let occasion = announcing.occasion(&t.announce);
        wants.actions.push(Action::Announce { vip, link, occasion });
        announcing.made += 1;
        announcing.plan_next(&t.announce, view.now);
        if view.now >= *since + t.repair_window {
            self.failures = 0;
        }
    }

    fn step_paused(&mut self, create: i64, since: Moment, view: &View<'_>, wants: &mut Wants) {
        if let Some(cause) = self.must_leave(view, true) {
            return self.leave(create, &cause, view, wants);
        }
        if self.may_take(view) {
            return self.take(create, view, wants);
        }
        // Kept or not, the place is of no use to anybody while the kernel does not say that the address is off.
        if view.now >= since + view.live.timings.word_bound && !self.is_off() && view.guards.on(Guard::KernelsWord) {
            wants.end_session(EndSession::NoKernelWord);
            return;
        }
        // With the link down a deletion is sent only when etcd is known to be reachable another way.
        let heard_since = view.live.heard_at.is_some_and(|at| at > self.link_lost_at);
        let reachable = heard_since || !view.guards.on(Guard::HeardSince);
        if self.link.is_none() && reachable {
            self.leave(create, &Cause::LinkDown, view, wants);
        } else if view.now >= since + view.live.timings.ttl {
            self.leave(create, &Cause::Fruitless, view, wants);
        }
    }

    fn step_leaving(
        &mut self,
        (create, parting): (i64, Parting),
        (since, asked_since, asked_at): (Moment, Option<Moment>, Moment),
        view: &View<'_>,
        wants: &mut Wants,
    ) {
        let t = &view.live.timings;
        if !self.is_off() && view.guards.on(Guard::OffBeforeRelease) {
            if view.now >= since + t.word_bound && view.guards.on(Guard::KernelsWord) {
                wants.end_session(EndSession::NoKernelWord);
            }
            return;
        }
        let is_first = || view.picture.before(&self.key(view), create, &self.addresses) == 0;
        if !view.guards.on(Guard::OneTurn) && self.may_take(view) && is_first() {
            return self.take(create, view, wants);
        }
        if asked_since.is_some() && view.now < asked_at + t.retry {
            return;
        }
        let first = asked_since.unwrap_or(view.now);
        if view.now >= first + t.ttl {
            wants.end_session(EndSession::KeyStays);
        }
        // From here on the key is dead to us, whatever becomes of the order.
        self.dead = self.dead.max(create);
        wants.step_back.push(StepBack { key: self.key(view), create, parting });
        self.state = State::Leaving { create, parting, since, asked_since: Some(first), asked_at: view.now };
    }

    /// Reasons to leave the queue that hold in every state. Whoever is paused by its link waits for better news.
    fn must_leave(&self, view: &View<'_>, paused: bool) -> Option<Cause> {
        match view.ending {
            Ending::Leaving | Ending::LettingGo => Some(Cause::Stopping),
            Ending::No if self.retiring => Some(Cause::Removed),
            Ending::No if self.link.is_none() && !paused => Some(Cause::LinkDown),
            Ending::No => None,
        }
    }

    /// What takes an address off a holder at once: the order to let go, the fence, the link.
    fn pause_or_leave(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) -> bool {
        let stops = (view.ending == Ending::LettingGo).then_some(Cause::Stopping);
        if let Some(cause) = stops.or(self.retiring.then_some(Cause::Removed)) {
            self.leave(create, &cause, view, wants);
            return true;
        }
        let fenced = view.live.is_fenced(view.now);
        if !fenced && self.link.is_some() {
            return false;
        }
        let cause = if fenced { Cause::Fenced } else { Cause::LinkDown };
        self.take_off(&cause, true, wants);
        // Without its link it asks at once whether etcd is reachable another way: then the turn is given up.
        wants.renew |= !fenced;
        self.state = State::Paused { create, since: view.now };
        true
    }

    fn fail_put(&mut self, create: i64, outcome: Outcome, view: &View<'_>, wants: &mut Wants) {
        let cause = match outcome {
            Outcome::NotOurs(what) => Cause::NotOurs(what),
            Outcome::Failed(what) => Cause::PutFailed(what),
            Outcome::Present | Outcome::Absent => Cause::PutFailed("it is gone from the link".into()),
        };
        self.fail(create, &cause, view, wants);
    }

    /// Gives the turn up for a cause on this node: the next time we stand after a while.
    fn fail(&mut self, create: i64, cause: &Cause, view: &View<'_>, wants: &mut Wants) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = view.now;
        self.repairs.clear();
        self.leave(create, cause, view, wants);
    }

    fn leave(&mut self, create: i64, cause: &Cause, view: &View<'_>, wants: &mut Wants) {
        if !self.is_wished() {
            wants.tell(Note::LeftQueue { vip: self.id, cause: cause.clone() });
        }
        self.take_off(cause, false, wants);
        self.leave_state(create, view);
    }

    fn leave_state(&mut self, create: i64, view: &View<'_>) {
        let parting = match &self.state {
            State::Proving(p) if p.lost => Parting::Nothing,
            State::Proving(_) => Parting::Passed,
            State::Queued { .. } if !self.left_no_question(view) => Parting::Nothing,
            _ => Parting::Word,
        };
        self.state = State::Leaving { create, parting, since: view.now, asked_since: None, asked_at: view.now };
    }

    /// A group that waits may have stood first for one of its addresses for long. It has asked nobody about that one, so
    /// it can only pass on what those before it said.
    fn left_no_question(&self, view: &View<'_>) -> bool {
        let said =
            |a: &IpAddr| view.picture.past(&[*a], view.now, view.live.timings.ttl, view.guards) == Before::AllWorded;
        let key = self.key(view);
        self.addresses.iter().all(|a| !view.picture.is_first(&key, *a) || said(a))
    }

    pub(super) fn take_off(&mut self, cause: &Cause, kept_place: bool, wants: &mut Wants) {
        if self.is_wished() {
            wants.tell(Note::LetGo { vip: self.id, cause: cause.clone(), kept_place });
            self.want(Wish::Absent, wants);
        }
    }

    /// A new number only when present and absent flip: a later fence is the same wish.
    fn want(&mut self, wish: Wish, wants: &mut Wants) {
        if (wish == Wish::Absent) != (self.wish == Wish::Absent) {
            self.generation.0 += 1;
            self.settled = None;
        }
        self.wish = wish;
        wants.actions.push(self.wish());
    }
}
