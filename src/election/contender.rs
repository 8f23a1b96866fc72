//! One VIP's way through the election.
//!
//! ```text
//!            stand               key seen               first, words known
//!   Idle ───────────▶ Standing ───────────▶ Queued ────────────────────────▶ Taking ──present──▶ Holding
//!    ▲                                        │ first, words not known        ▲   ▲               │  │
//!    │                                        ▼                               │   │ counted pair, │  │
//!    │                                     Proving ──probes silent,───────────┘   │ link back     │  │
//!    │                                        │      fresh pair                Paused ◀───────────┘  │
//!    │                                        │                                  │   fence, link     │
//!    │  key seen gone                         ▼ gives up                         ▼                   ▼
//!    └───────────────────────────────────  Leaving  ◀──────────────── one TTL for nothing, a cause, an order
//!                                    (address off, kernel's word, then the key)
//! ```
//! From every state with a key: *key seen gone* → address off → Idle. The state is read off the facts after every
//! event ([`Contender::step`]); it is not pushed along by single events, so a lost one cannot wedge it.

use std::net::IpAddr;
use std::time::Duration;

use super::action::{Action, Cause, Note, Wish};
use super::event::{Generation, LeaseId, LinkId, Outcome, VipId};
use super::guards::{Guard, Guards};
use super::picture::{Before, Picture};
use super::record::{CandidateRecord, Key, candidate_key, naming_address};
use super::session::Live;
use crate::moment::Moment;

/// Back-off while nobody else stands: waiting helps nobody then, but etcd need not hear of it many times a second.
const BACKOFF_ALONE: Duration = Duration::from_secs(1);

/// What a contender may look at while it steps.
pub struct View<'a> {
    /// Now.
    pub now: Moment,
    /// The session.
    pub live: &'a Live,
    /// The prefix.
    pub picture: &'a Picture,
    /// How far the daemon's end has come.
    pub ending: Ending,
    /// Key prefix.
    pub prefix: &'a str,
    /// This node's name.
    pub node: &'a str,
    /// Which guards stand.
    pub guards: &'a Guards,
}

/// How far the daemon's end has come, as contenders see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// Not at all.
    No,
    /// Holders still serve; nobody takes.
    Leaving,
    /// Everybody lets go.
    LettingGo,
}

/// What a contender wants of the session.
#[derive(Default)]
pub struct Wants {
    /// Orders.
    pub actions: Vec<Action>,
    /// Candidates to step back from, with the owner's word: the address is off.
    pub step_back: Vec<(Key, i64)>,
    /// A renewal at once.
    pub renew: bool,
    /// The session must end.
    pub end_session: Option<EndSession>,
}

/// Why a contender wants the session to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndSession {
    /// An address has no kernel's word: nothing is given back, the lease ends by itself.
    NoKernelWord,
    /// A key of ours does not go: give back all with the lease.
    KeyStays,
}

/// Where a VIP stands on this node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Not in the queue.
    Idle,
    /// The key was ordered and not seen yet.
    Standing {
        /// When it was last ordered.
        asked_at: Moment,
    },
    /// In the queue.
    Queued {
        /// Our key's create revision.
        create: i64,
    },
    /// First, and finding out whether the one before is really gone.
    Proving(Proving),
    /// First; the address was ordered.
    Taking {
        /// Our key's create revision.
        create: i64,
        /// Since when.
        since: Moment,
    },
    /// Has the turn and the address.
    Holding {
        /// Our key's create revision.
        create: i64,
        /// Since when.
        since: Moment,
        /// How many announcements were made.
        announced: usize,
        /// When the next one is due.
        announce_at: Option<Moment>,
    },
    /// Has the turn, keeps its place, and has no address for now.
    Paused {
        /// Our key's create revision.
        create: i64,
        /// Since when.
        since: Moment,
    },
    /// Gives the turn up.
    Leaving {
        /// The key's create revision.
        create: i64,
        /// Since when.
        since: Moment,
        /// When the address was off and the first step back was ordered.
        asked_since: Option<Moment>,
        /// When the last one was.
        asked_at: Moment,
    },
}

/// First, and finding out whether the one before is really gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proving {
    create: i64,
    since: Moment,
    /// Somebody stood first and ended without a word (else: a first claim, as far as we know).
    lost: bool,
    probe: Probe,
    /// Who answered last.
    answered: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Probe {
    Due { at: Moment },
    Out { since: Moment },
    Silent { at: Moment },
}

/// One VIP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Contender {
    /// Which.
    pub id: VipId,
    addresses: Vec<IpAddr>,
    named: IpAddr,
    link: Option<LinkId>,
    /// When the link was last seen to go.
    link_lost_at: Moment,
    state: State,
    generation: Generation,
    /// What the kernel was last told.
    wish: Wish,
    settled: Option<Outcome>,
    /// Candidates up to this create revision are dead to us: their deletion was ordered, or their turn was seen to end.
    dead: i64,
    /// The probing's number.
    round: u64,
    /// Failures in a row for causes on this node, and the last one.
    failures: u32,
    failed_at: Moment,
    repairs: Vec<Moment>,
}

impl Contender {
    /// A VIP that is wished absent. None, if it has no address.
    pub fn new(id: VipId, addresses: Vec<IpAddr>) -> Option<Self> {
        Some(Self {
            id,
            named: naming_address(&addresses)?,
            addresses,
            link: None,
            link_lost_at: Moment::default(),
            state: State::Idle,
            generation: Generation(1),
            wish: Wish::Absent,
            settled: None,
            dead: 0,
            round: 0,
            failures: 0,
            failed_at: Moment::default(),
            repairs: Vec::new(),
        })
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The wish as an order, for the start.
    pub fn wish(&self) -> Action {
        Action::Put { vip: self.id, generation: self.generation, link: self.link, wish: self.wish }
    }

    /// Whether the kernel gave its word that the address is off, for the present wish.
    pub fn is_off(&self) -> bool {
        self.wish == Wish::Absent && self.settled == Some(Outcome::Absent)
    }

    /// Whether an address is wished for.
    pub fn is_wished(&self) -> bool {
        self.wish != Wish::Absent
    }

    fn key(&self, view: &View<'_>) -> Key {
        self.key_under(view.prefix, view.live.lease)
    }

    /// Its key under a lease.
    pub fn key_under(&self, prefix: &str, lease: LeaseId) -> Key {
        candidate_key(prefix, self.named, lease)
    }

    /// Whether it waits for a counted pair whose renewal was sent later than this.
    pub fn wants_fresher_than(&self, sent_at: Moment) -> bool {
        matches!(&self.state, State::Proving(p) if sent_at < p.since)
    }

    /// The create revision of the candidate that this state goes by.
    fn create(&self) -> Option<i64> {
        match &self.state {
            State::Idle | State::Standing { .. } => None,
            State::Proving(p) => Some(p.create),
            State::Queued { create }
            | State::Taking { create, .. }
            | State::Holding { create, .. }
            | State::Paused { create, .. }
            | State::Leaving { create, .. } => Some(*create),
        }
    }

    // ---- facts ----

    /// The link can serve, or cannot.
    pub fn link(&mut self, link: Option<LinkId>, now: Moment, wants: &mut Wants) {
        if self.link.is_some() != link.is_some() {
            wants.tell(Note::LinkChanged { vip: self.id, up: link.is_some() });
        }
        if link.is_none() {
            self.link_lost_at = now;
        }
        self.link = link;
    }

    /// A wish was settled. Late news of an older one falls on the floor.
    pub fn settled(&mut self, generation: Generation, outcome: Outcome, guards: &Guards, now: Moment) {
        if generation != self.generation && guards.on(Guard::Generations) {
            return;
        }
        // Present once more: it had gone (the kernel's clock, a link that flushed it), so the network is told anew.
        if let (State::Holding { announced, announce_at, .. }, Outcome::Present) = (&mut self.state, &outcome) {
            (*announced, *announce_at) = (0, Some(now));
        }
        self.settled = Some(outcome);
    }

    /// Somebody took an address off, and it is back.
    pub fn repaired(&mut self, generation: Generation, view: &View<'_>, wants: &mut Wants) {
        if generation != self.generation || !matches!(self.state, State::Holding { .. }) {
            return;
        }
        self.repairs.retain(|at| view.now.since(*at) <= view.live.timings.repair_window);
        self.repairs.push(view.now);
        wants.tell(Note::Repaired { vip: self.id, times: self.repairs.len() });
        if let State::Holding { announced, announce_at, .. } = &mut self.state {
            (*announced, *announce_at) = (0, Some(view.now));
        }
    }

    /// Probes were answered by somebody, or by nobody.
    pub fn probed(&mut self, round: u64, by: Option<String>, view: &View<'_>, wants: &mut Wants) {
        let State::Proving(p) = &mut self.state else { return };
        if round != self.round || !matches!(p.probe, Probe::Out { .. }) {
            return;
        }
        let Some(by) = by else {
            p.probe = Probe::Silent { at: view.now };
            return;
        };
        if p.answered.is_none() {
            wants.tell(Note::SomebodyAnswers { vip: self.id, by: by.clone() });
        }
        p.answered = Some(by);
        p.probe = Probe::Due { at: view.now + view.live.timings.probe_pause };
    }

    /// The session is over: no key of it counts any more.
    pub fn session_ended(&mut self, cause: &Cause, wants: &mut Wants) {
        self.take_off(cause, false, wants);
        self.state = State::Idle;
        self.dead = 0;
    }

    /// Off, whatever else is going on, and no more.
    pub fn let_go_now(&mut self, wants: &mut Wants) {
        self.take_off(&Cause::Stopping, false, wants);
    }

    // ---- decisions ----

    /// Takes one step, if the facts call for one. Called until it says that nothing changed.
    pub fn step(&mut self, view: &View<'_>, wants: &mut Wants) -> bool {
        let before = self.state.clone();
        if let Some(create) = self.create()
            && view.picture.get(&self.key(view)).map(|e| e.create) != Some(create)
        {
            self.key_gone(create, wants);
            return true;
        }
        match self.state.clone() {
            State::Idle => self.step_idle(view, wants),
            State::Standing { asked_at } => self.step_standing(asked_at, view, wants),
            State::Queued { create } => self.step_queued(create, view, wants),
            State::Proving(proving) => self.step_proving(proving, view, wants),
            State::Taking { create, since } => self.step_taking(create, since, view, wants),
            State::Holding { create, .. } => self.step_holding(create, view, wants),
            State::Paused { create, since } => self.step_paused(create, since, view, wants),
            State::Leaving { create, since, asked_since, asked_at } => {
                self.step_leaving(create, (since, asked_since, asked_at), view, wants);
            }
        }
        self.state != before
    }

    fn key_gone(&mut self, create: i64, wants: &mut Wants) {
        let leaving = matches!(self.state, State::Leaving { .. });
        self.dead = self.dead.max(create);
        self.take_off(&Cause::KeyGone, false, wants);
        self.state = State::Idle;
        if leaving {
            wants.tell(Note::SteppedBack { vip: self.id });
        }
    }

    fn may_stand(&self, view: &View<'_>) -> bool {
        view.ending == Ending::No
            && view.picture.is_known()
            && self.link.is_some()
            && self.is_off()
            && view.live.allows(view.now, view.live.timings.least_hold)
            && view.now >= self.failed_at + self.backoff(view)
    }

    fn backoff(&self, view: &View<'_>) -> Duration {
        let backoff = view.live.timings.backoff(self.failures);
        if view.picture.others_stand(Some(view.live.lease), &self.addresses) {
            backoff
        } else {
            backoff.min(BACKOFF_ALONE)
        }
    }

    fn step_idle(&mut self, view: &View<'_>, wants: &mut Wants) {
        let own = view.picture.get(&self.key(view)).map(|e| e.create);
        match own {
            Some(create) if create > self.dead && self.may_stand(view) => self.queue(create, view, wants),
            // Any key under our own lease is ours; one that is dead or not wanted is given back.
            Some(create) => self.leave_state(create, view),
            None if self.may_stand(view) => self.stand(view, wants),
            None => {}
        }
    }

    fn stand(&mut self, view: &View<'_>, wants: &mut Wants) {
        let record = CandidateRecord { node: view.node.into(), addresses: self.addresses.clone() };
        wants.actions.push(Action::Stand { key: self.key(view), lease: view.live.lease, record });
        self.state = State::Standing { asked_at: view.now };
    }

    fn queue(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) {
        let behind = view.picture.before(&self.key(view), create, &self.addresses);
        wants.tell(Note::Queued { vip: self.id, behind });
        self.state = State::Queued { create };
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
            return;
        }
        let past = view.picture.past(&self.addresses, view.now, view.live.timings.ttl);
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

    fn may_take(&self, view: &View<'_>) -> bool {
        self.link.is_some() && self.is_off() && view.live.allows(view.now, view.live.timings.least_hold)
    }

    fn step_proving(&mut self, mut p: Proving, view: &View<'_>, wants: &mut Wants) {
        if let Some(cause) = self.must_leave(view, false) {
            return self.leave(p.create, &cause, view, wants);
        }
        let t = &view.live.timings;
        let fresh = view.live.counted_at.is_some_and(|at| at >= p.since);
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
        match &p.answered {
            Some(by) if p.lost && ready => {
                wants.tell(Note::TookLoudly { vip: self.id, by: by.clone() });
                self.take(p.create, view, wants);
            }
            Some(by) if !p.lost => self.fail(p.create, &Cause::Answered(by.clone()), view, wants),
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
                self.state = State::Holding { create, since: view.now, announced: 0, announce_at: Some(view.now) };
            }
            Some(outcome) => self.fail_put(create, outcome.clone(), view, wants),
            None if view.now >= since + view.live.timings.word_bound => {
                self.fail(create, &Cause::PutFailed("the kernel gave no answer".into()), view, wants);
            }
            None => {}
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
        if let Some(fence) = view.live.fence.filter(|f| self.wish != Wish::Until(*f)) {
            self.want(Wish::Until(fence), wants);
        }
        self.announce(view, wants);
    }

    fn announce(&mut self, view: &View<'_>, wants: &mut Wants) {
        let (vip, link) = (self.id, self.link);
        let State::Holding { since, announced, announce_at, .. } = &mut self.state else { return };
        let (Some(link), Some(due)) = (link, *announce_at) else { return };
        if view.now < due {
            return;
        }
        let t = &view.live.timings;
        wants.actions.push(Action::Announce { vip, link });
        *announced += 1;
        *announce_at = match t.announce.get(*announced) {
            Some(after) => Some((*since + *after).max(view.now + Duration::from_millis(1))),
            None => t.refresh.map(|every| view.now + every),
        };
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
        // With the link down a deletion is sent only when etcd is known to be reachable another way.
        let reachable = view.live.heard_at.is_some_and(|at| at > self.link_lost_at);
        if self.link.is_none() && reachable {
            self.leave(create, &Cause::LinkDown, view, wants);
        } else if view.now >= since + view.live.timings.ttl {
            self.leave(create, &Cause::Fruitless, view, wants);
        }
    }

    fn step_leaving(
        &mut self,
        create: i64,
        (since, asked_since, asked_at): (Moment, Option<Moment>, Moment),
        view: &View<'_>,
        wants: &mut Wants,
    ) {
        let t = &view.live.timings;
        if !self.is_off() && view.guards.on(Guard::OffBeforeRelease) {
            if view.now >= since + t.word_bound {
                wants.end_session = Some(EndSession::NoKernelWord);
            }
            return;
        }
        if !view.guards.on(Guard::OneTurn) && self.may_take(view) {
            return self.take(create, view, wants);
        }
        if asked_since.is_some() && view.now < asked_at + t.retry {
            return;
        }
        let first = asked_since.unwrap_or(view.now);
        if view.now >= first + t.ttl {
            wants.end_session = Some(EndSession::KeyStays);
        }
        // From here on the key is dead to us, whatever becomes of the order.
        self.dead = self.dead.max(create);
        wants.step_back.push((self.key(view), create));
        self.state = State::Leaving { create, since, asked_since: Some(first), asked_at: view.now };
    }

    /// Reasons to leave the queue that hold in every state. Whoever is paused by its link waits for better news.
    fn must_leave(&self, view: &View<'_>, paused: bool) -> Option<Cause> {
        match view.ending {
            Ending::Leaving | Ending::LettingGo => Some(Cause::Stopping),
            Ending::No if self.link.is_none() && !paused => Some(Cause::LinkDown),
            Ending::No => None,
        }
    }

    /// What takes an address off a holder at once: the order to let go, the fence, the link.
    fn pause_or_leave(&mut self, create: i64, view: &View<'_>, wants: &mut Wants) -> bool {
        if view.ending == Ending::LettingGo {
            self.leave(create, &Cause::Stopping, view, wants);
            return true;
        }
        let fenced = view.live.is_fenced(view.now);
        if !fenced && self.link.is_some() {
            return false;
        }
        let cause = if fenced { Cause::Fenced } else { Cause::LinkDown };
        self.take_off(&cause, true, wants);
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
        self.state = State::Leaving { create, since: view.now, asked_since: None, asked_at: view.now };
    }

    fn take_off(&mut self, cause: &Cause, kept_place: bool, wants: &mut Wants) {
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

    /// When it wants to be looked at again.
    pub fn deadline(&self, live: &Live, now: Moment) -> Option<Moment> {
        let t = &live.timings;
        match &self.state {
            State::Idle if self.failures > 0 => {
                let later = |after: Duration| Some(self.failed_at + after).filter(|at| *at > now);
                let backoff = t.backoff(self.failures);
                earliest([later(backoff.min(BACKOFF_ALONE)), later(backoff)])
            }
            State::Idle | State::Queued { .. } => None,
            State::Standing { asked_at } => Some(*asked_at + t.retry),
            State::Proving(p) => {
                let probe = match p.probe {
                    Probe::Due { at } => at,
                    Probe::Out { since } => since + t.retry,
                    Probe::Silent { at } => at + t.probe_good,
                };
                Some(probe.min(p.since + t.ttl))
            }
            State::Taking { since, .. } => earliest([Some(*since + t.word_bound), live.fence]),
            State::Holding { announce_at, .. } => earliest([*announce_at, live.fence]),
            State::Paused { since, .. } => Some(*since + t.ttl),
            State::Leaving { since, asked_since: None, .. } => Some(*since + t.word_bound),
            State::Leaving { asked_at, .. } => Some(*asked_at + t.retry),
        }
    }
}

/// The earliest of some moments.
pub fn earliest<const N: usize>(moments: [Option<Moment>; N]) -> Option<Moment> {
    moments.into_iter().flatten().min()
}

impl Wants {
    /// Something to tell people.
    pub fn tell(&mut self, note: Note) {
        self.actions.push(Action::Tell(note));
    }
}
