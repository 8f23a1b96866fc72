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

mod announcing;
mod defence;
mod steps;

use std::net::IpAddr;

use super::action::{Action, Cause, Note, Wish};
use super::event::{Answer, Generation, LeaseId, LinkId, Outcome, VipId};
use super::guards::{Guard, Guards};
use super::picture::Picture;
use super::record::{Key, candidate_key, naming_address};
use super::session::Live;
use super::timings::{LINK_LOSSES_MOST, LINK_REST, Schedule};
use crate::moment::Moment;
pub use announcing::Announcing;
use defence::Defence;
use steps::BACKOFF_ALONE;

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
    /// What to do at a first claim of a VIP that somebody else answers for.
    pub on_conflict: OnConflict,
    /// Which guards stand.
    pub guards: &'a Guards,
}

/// What to do at a first claim when somebody else answers for the VIP for a whole TTL. Whoever takes over from a holder
/// that was lost takes it in any case, and whoever holds defends it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnConflict {
    /// Leave it to him, loudly, and try again after a while: the address in the config may well be a mistake.
    #[default]
    Refuse,
    /// Take it, loudly: it is ours, whoever uses it.
    Claim,
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
    /// Candidates to step back from. The address is off.
    pub step_back: Vec<StepBack>,
    /// A renewal at once.
    pub renew: bool,
    /// The session must end.
    pub end_session: Option<EndSession>,
}

/// A candidate to step back from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepBack {
    /// Its key.
    pub key: Key,
    /// Its create revision.
    pub create: i64,
    /// What its owner says of it.
    pub parting: Parting,
}

/// What an owner says of a candidate that it takes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Parting {
    /// Its word: the addresses are off, and the next one need not ask.
    Word,
    /// It never had them, and knew of nobody who did: the next one stands where it stood, at a first claim.
    Passed,
    /// Nothing. It never had them and was still finding out whether somebody who was lost has: the next one would take any
    /// word for an answer to a question that is still open.
    Nothing,
}

/// Why a contender wants the session to end; of several reasons the last one here decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EndSession {
    /// A key of ours does not go: give back all with the lease.
    KeyStays,
    /// An address has no kernel's word: nothing is given back, the lease ends by itself.
    NoKernelWord,
    /// Somebody stands before a turn that had come: within one history that cannot be.
    NotFirstAnyMore,
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
        /// What the network is still to be told.
        announcing: Announcing,
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
        /// What goes with it.
        parting: Parting,
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
    /// What came of the last probes that did not end in silence.
    answered: Option<Answer>,
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
    /// When the link was last seen to go, and how often that was without a long rest.
    link_lost_at: Moment,
    link_losses: u32,
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
    defence: Defence,
    /// Who stands first and is no daemon: its create revision, since when, and whether that was told.
    stranger: Option<(i64, Moment, bool)>,
    /// Since when it stands in another candidate's way.
    in_the_way: Option<Moment>,
    /// It was taken out of the plan: it gives back what it has, and never stands again.
    retiring: bool,
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
            link_losses: 0,
            state: State::Idle,
            generation: Generation(1),
            wish: Wish::Absent,
            settled: None,
            dead: 0,
            round: 0,
            failures: 0,
            failed_at: Moment::default(),
            repairs: Vec::new(),
            defence: Defence::default(),
            stranger: None,
            in_the_way: None,
            retiring: false,
        })
    }

    /// Which VIP.
    pub fn id(&self) -> VipId {
        self.id
    }

    /// Its addresses, which move as one.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
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

    /// It is taken out of the plan.
    pub fn retire(&mut self) {
        self.retiring = true;
    }

    /// Whether it was taken out of the plan and has nothing any more: no address, in the kernel's word, and no place in
    /// the queue that it goes by.
    pub fn has_retired(&self) -> bool {
        self.retiring && self.is_off() && self.state == State::Idle
    }

    /// Whether the two have an address in common.
    pub fn shares_address(&self, other: &Self) -> bool {
        self.addresses.iter().any(|address| other.addresses.contains(address))
    }

    /// Whether the two have one name in etcd.
    pub fn is_named_like(&self, other: &Self) -> bool {
        self.named == other.named
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

    /// Whether it goes by its turn having come.
    fn has_turn(&self) -> bool {
        matches!(self.state, State::Proving(_) | State::Taking { .. } | State::Holding { .. } | State::Paused { .. })
    }

    // ---- facts ----

    /// The link can serve, or cannot. The same one, told again, has another hardware address: whoever holds tells the
    /// network anew.
    pub fn link(&mut self, link: Option<LinkId>, now: Moment, wants: &mut Wants) {
        if self.link.is_some() != link.is_some() {
            wants.tell(Note::LinkChanged { vip: self.id, up: link.is_some() });
        }
        if link.is_none() {
            self.count_link_loss(now);
            self.link_lost_at = now;
        } else if let (true, State::Holding { announcing, .. }) = (self.link == link, &mut self.state) {
            *announcing = Announcing::anew(now);
        }
        self.link = link;
    }

    fn count_link_loss(&mut self, now: Moment) {
        if self.link.is_some() {
            let rested = now.since(self.link_lost_at) > LINK_REST;
            self.link_losses = if rested { 1 } else { (self.link_losses + 1).min(LINK_LOSSES_MOST) };
        }
    }

    /// A wish was settled. Late news of an older one falls on the floor.
    pub fn settled(&mut self, generation: Generation, outcome: Outcome, guards: &Guards, now: Moment) {
        if generation != self.generation && guards.on(Guard::Generations) {
            return;
        }
        // Present once more: it had gone (the kernel's clock, a link that flushed it), so the network is told anew.
        if let (State::Holding { announcing, .. }, Outcome::Present) = (&mut self.state, &outcome) {
            *announcing = Announcing::anew(now);
        }
        self.settled = Some(outcome);
    }

    /// Somebody took an address off, and it is back.
    pub fn repaired(&mut self, generation: Generation, view: &View<'_>, wants: &mut Wants) {
        if generation != self.generation || !matches!(self.state, State::Holding { .. }) {
            return;
        }
        let t = &view.live.timings;
        self.repairs.retain(|at| view.now.since(*at) <= t.repair_window);
        if self.repairs.last().is_none_or(|last| view.now.since(*last) >= t.repair_burst) {
            self.repairs.push(view.now);
            wants.tell(Note::Repaired { vip: self.id, times: self.repairs.len() });
        }
        if let State::Holding { announcing, .. } = &mut self.state {
            *announcing = Announcing::anew(view.now);
        }
    }

    /// Probes were answered by somebody, or by nobody.
    pub fn probed(&mut self, round: u64, by: Option<Answer>, view: &View<'_>, wants: &mut Wants) {
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

    /// There is another schedule of announcements: what lies in the past by it is taken for said.
    pub fn reschedule(&mut self, schedule: &Schedule, now: Moment) {
        if let State::Holding { announcing, .. } = &mut self.state {
            announcing.made = schedule.times.partition_point(|after| announcing.from + *after <= now).max(1);
            announcing.plan_next(schedule, now);
        }
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

    /// When it wants to be looked at again.
    pub fn deadline(&self, live: &Live, now: Moment) -> Option<Moment> {
        let t = &live.timings;
        match &self.state {
            State::Idle => {
                let rests =
                    [(self.failed_at, t.backoff(self.failures)), (self.link_lost_at, t.damping(self.link_losses))];
                let ends = rests.iter().flat_map(|(at, rest)| [*at + (*rest).min(BACKOFF_ALONE), *at + *rest]);
                ends.filter(|at| *at > now).min()
            }
            State::Queued { .. } => self.in_the_way.map(|since| since + t.give_way_after),
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
            State::Holding { announcing, .. } => earliest([announcing.due, self.defence.due(), live.fence]),
            State::Paused { since, .. } if self.is_off() => Some(*since + t.ttl),
            State::Paused { since, .. } => Some(*since + t.word_bound.min(t.ttl)),
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
    /// The session must end.
    pub fn end_session(&mut self, why: EndSession) {
        self.end_session = self.end_session.max(Some(why));
    }

    /// Something to tell people.
    pub fn tell(&mut self, note: Note) {
        self.actions.push(Action::Tell(note));
    }
}
