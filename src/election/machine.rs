//! [`Election`]: one fact in, orders out, by the same call.

mod ending;
mod reconfigure;

use std::time::Duration;

use super::action::{Action, Cause, Note};
use super::contender::{Contender, EndSession, Ending, OnConflict, StepBack, View, Wants, earliest};
use super::event::{Answer, Change, Entry, Event, Generation, Header, LeaseId, Pair, VipId};
use super::guards::{Guard, Guards};
use super::picture::{Ignored, Picture};
use super::record::{NodeRecord, Released, node_key};
use super::session::{Counted, History, Live, Session, Verdict};
use super::timings::{RENEW_PAUSE, Schedule, Timings};
use crate::moment::Moment;
use crate::plan::Plan;
use ending::Stop;

/// How often a lease is asked for while none comes.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A grant takes two commits; asked for longer ago than this and not answered, it is taken for lost if etcd answers.
const ASK_PATIENCE: Duration = Duration::from_millis(200);
/// A step changes a contender's state at most this often for one fact; the longest true way is five.
const STEPS_MOST: usize = 16;

/// What the election is told once, at its start.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// This node's name, for people.
    pub node: String,
    /// The daemon's version, for people.
    pub version: String,
    /// What all keys begin with.
    pub prefix: String,
    /// The operator's margin, if he wants more than the default.
    pub margin: Option<Duration>,
    /// When to announce a VIP that was taken.
    pub announce: Schedule,
    /// What to do at a first claim of a VIP that somebody else answers for.
    pub on_conflict: OnConflict,
    /// Which guards stand (all, outside tests).
    pub guards: Guards,
}

/// The election of this node's VIPs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Election {
    settings: Settings,
    session: Session,
    history: History,
    picture: Picture,
    contenders: Vec<Contender>,
    /// Those that wait for an older one with an address of theirs to be given back.
    coming: Vec<Contender>,
    /// Those that were given back in this session: an order of theirs may still be carried out.
    ghosts: Vec<Contender>,
    stop: Stop,
    /// The TTL of the last session: so long others may still hold by what an earlier history told them.
    ttl: Duration,
    /// An ended session's lease that still has keys, all with their owner's word; revoked when etcd answers again.
    former: Option<(LeaseId, NodeRecord)>,
    /// A lease was left to run out, since the kernel did not confirm that its address is off.
    left: bool,
}

impl Election {
    /// Begins: every VIP is wished absent, and a lease is asked for.
    pub fn start(settings: Settings, plan: &Plan, now: Moment) -> (Self, Vec<Action>) {
        let contenders: Vec<_> = plan.vips.iter().filter_map(|v| Contender::new(v.id, v.addresses.clone())).collect();
        let mut actions: Vec<_> = contenders.iter().map(Contender::wish).collect();
        actions.push(Action::GrantLease);
        let election = Self {
            settings,
            session: Session::Asking { again_at: now + ASK_EVERY },
            history: History::default(),
            picture: Picture::default(),
            contenders,
            coming: Vec::new(),
            ghosts: Vec::new(),
            stop: Stop::No,
            ttl: Duration::ZERO,
            former: None,
            left: false,
        };
        (election, actions)
    }

    /// One fact, and the time; returns what to do about it.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        if self.stop == Stop::Finished {
            return Vec::new();
        }
        let mut wants = Wants::default();
        // The clock first: after a freeze or a suspend nothing that lay in a queue may come before the fence.
        self.advance(now, &mut wants);
        self.learn(event, now, &mut wants);
        self.advance(now, &mut wants);
        wants.actions
    }

    /// When it wants a `Tick`, at the latest; none: never.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.stop == Stop::Finished {
            return None;
        }
        let session = match &self.session {
            Session::Silent { .. } | Session::Asking { .. } if self.stop != Stop::No => None,
            Session::Silent { until } => Some(*until),
            Session::Asking { again_at } => Some(*again_at),
            Session::Live(live) => {
                let vips = self.contenders.iter().chain(&self.ghosts);
                let vips = vips.filter_map(|c| c.deadline(live, now)).filter(|at| *at > now).min();
                earliest([Some(live.renew_at), live.read_due(), vips, self.record_deadline(live)])
            }
        };
        earliest([session, self.stop_deadline()])
    }

    /// The VIPs, as they stand.
    pub fn contenders(&self) -> &[Contender] {
        &self.contenders
    }

    /// All that stands under the prefix, as the watch tells it.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    /// The session, as it stands.
    pub fn session(&self) -> &Session {
        &self.session
    }

    // ---- facts ----

    fn learn(&mut self, event: Event, now: Moment, wants: &mut Wants) {
        match event {
            Event::LeaseGranted { lease, ttl, sent_at, header } => {
                self.granted(lease, ttl, sent_at, header, now, wants)
            }
            Event::LeaseLost { lease } => self.lost(lease, now, wants),
            Event::LeaseRevoked { lease } => self.revoked(lease, wants),
            Event::PairAnswered(pair) => self.pair_answered(pair, now, wants),
            Event::PictureRead { sent_at, header, entries } => self.read(sent_at, header, entries, now, wants),
            Event::Changed { revision, changes } => self.changed(revision, changes, now, wants),
            Event::Settled { vip, generation, outcome } => {
                let guards = self.settings.guards.clone();
                if let Some(contender) = self.contender(vip) {
                    contender.settled(generation, outcome, &guards, now);
                }
            }
            Event::Repaired { vip, generation } => self.repaired(vip, generation, now, wants),
            Event::ProbeSilent { vip, round } => self.probed(vip, round, None, now, wants),
            Event::ProbeAnswered { vip, round, by } => self.probed(vip, round, Some(by), now, wants),
            Event::Claimed { vip, by, times } => self.claimed(vip, by, times, now, wants),
            Event::Link { vip, link } => {
                let mut all = self.contenders.iter_mut().chain(&mut self.coming);
                if let Some(contender) = all.find(|c| c.id == vip) {
                    contender.link(link, now, wants);
                }
            }
            Event::Reconfigured(new) => self.reconfigured(new, now, wants),
            Event::Stop => self.begin_stop(now, wants),
            Event::StopNow => {
                self.coming.clear();
                self.contenders.iter_mut().for_each(|c| c.let_go_now(wants));
                self.stop = Stop::Now { since: now };
            }
            Event::Tick => {}
        }
    }

    fn contender(&mut self, vip: VipId) -> Option<&mut Contender> {
        self.contenders.iter_mut().find(|c| c.id == vip)
    }

    fn lease(&self) -> Option<LeaseId> {
        match &self.session {
            Session::Live(live) => Some(live.lease),
            Session::Silent { .. } | Session::Asking { .. } => None,
        }
    }

    fn granted(
        &mut self,
        lease: LeaseId,
        ttl: Duration,
        sent_at: Moment,
        header: Header,
        now: Moment,
        wants: &mut Wants,
    ) {
        if self.lease() == Some(lease) {
            return; // told twice
        }
        if !matches!(self.session, Session::Asking { .. }) || self.stop != Stop::No {
            wants.actions.push(Action::RevokeLease { lease, record: None }); // nobody waits for it any more
            return;
        }
        self.history.seen(header.revision, now);
        self.ttl = ttl;
        let timings = Timings::new(ttl, self.settings.margin).announcing(self.settings.announce.clone());
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        wants.tell(Note::SessionBegan { lease, ttl_ms: millis(ttl), margin_ms: millis(timings.margin) });
        self.session = Session::Live(Box::new(Live::new(lease, timings, sent_at, now)));
        if let Some((lease, record)) = self.former.take() {
            wants.actions.push(Action::RevokeLease { lease, record: Some(record) });
        }
    }

    fn lost(&mut self, lease: LeaseId, now: Moment, wants: &mut Wants) {
        if self.lease() == Some(lease) {
            self.revoked(lease, wants); // the revocation's own answer may come later, or never
            self.end_session(&Cause::LeaseLost, None, now, wants);
        }
    }

    fn revoked(&mut self, lease: LeaseId, wants: &mut Wants) {
        if let Stop::Revoking { lease: ours, .. } = self.stop
            && lease == ours
        {
            self.finish(true, wants);
        }
    }

    fn pair_answered(&mut self, pair: Pair, now: Moment, wants: &mut Wants) {
        if self.lease() != Some(pair.lease) || !self.same_history(pair.read.header, pair.read.sent_at, now, wants) {
            return;
        }
        let Session::Live(live) = &mut self.session else { return };
        let counted = live.pair(pair, &self.picture, &self.settings.guards, now);
        if counted == Counted::No {
            wants.tell(Note::TermChanged);
            wants.renew = true;
        }
        // Whoever proves a turn waits for a renewal that was sent after the turn came.
        wants.renew |= self.contenders.iter().any(|c| c.wants_fresher_than(pair.sent_at));
    }

    fn read(&mut self, sent_at: Moment, header: Header, entries: Vec<Entry>, now: Moment, wants: &mut Wants) {
        if !self.same_history(header, sent_at, now, wants) {
            // A doubt, or another history: what the picture has is not what the new watch goes on from.
            if !wants.actions.contains(&Action::ReadAll) {
                wants.actions.push(Action::ReadAll);
            }
            return;
        }
        let is_another = self.picture.is_of_another_history(header.revision, &entries);
        if is_another && self.settings.guards.on(Guard::OneHistory) {
            return self.another_history(now, wants);
        }
        let ignored = self.picture.read(header.revision, entries, now);
        tell_ignored(ignored, wants);
        match &mut self.session {
            Session::Live(live) => {
                let counted = live.proven_by_read(sent_at, header, &self.picture, &self.settings.guards, now);
                wants.renew |= counted == Counted::No;
            }
            // etcd answers: a lease that was asked for in vain is asked for again.
            Session::Asking { again_at } if now + ASK_EVERY >= *again_at + ASK_PATIENCE => *again_at = now,
            Session::Asking { .. } | Session::Silent { .. } => {}
        }
    }

    fn changed(&mut self, revision: i64, changes: Vec<Change>, now: Moment, wants: &mut Wants) {
        // Before the first read of a history the watch that told this was one of an earlier history.
        if !self.picture.is_known() {
            return;
        }
        self.history.seen(revision, now);
        let ttl = match &self.session {
            Session::Live(live) => live.timings.ttl,
            Session::Silent { .. } | Session::Asking { .. } => Duration::from_secs(60),
        };
        let ignored = self.picture.change(revision, changes, now, ttl);
        tell_ignored(ignored, wants);
        if let Session::Live(live) = &mut self.session {
            live.recheck(&self.picture, &self.settings.guards, now);
        }
    }

    fn repaired(&mut self, vip: VipId, generation: Generation, now: Moment, wants: &mut Wants) {
        self.with_view(now, |contenders, view| {
            if let Some(contender) = contenders.iter_mut().find(|c| c.id == vip) {
                contender.repaired(generation, view, wants);
            }
        });
    }

    fn probed(&mut self, vip: VipId, round: u64, by: Option<Answer>, now: Moment, wants: &mut Wants) {
        self.with_view(now, |contenders, view| {
            if let Some(contender) = contenders.iter_mut().find(|c| c.id == vip) {
                contender.probed(round, by, view, wants);
            }
        });
    }

    fn claimed(&mut self, vip: VipId, by: String, times: u32, now: Moment, wants: &mut Wants) {
        self.with_view(now, |contenders, view| {
            if let Some(contender) = contenders.iter_mut().find(|c| c.id == vip) {
                contender.claimed(by, times, view, wants);
            }
        });
    }

    /// A linearizable answer: does the history go on?
    fn same_history(&mut self, header: Header, sent_at: Moment, now: Moment, wants: &mut Wants) -> bool {
        if !self.settings.guards.on(Guard::OneHistory) {
            return true;
        }
        match self.history.judge(header, sent_at, now) {
            Verdict::Same => true,
            Verdict::Doubt => {
                wants.renew = true;
                false
            }
            Verdict::Another => {
                self.another_history(now, wants);
                false
            }
        }
    }

    /// Nothing of it is adopted: off, forgotten, one TTL of silence, a new lease. The silence is due also when the lease
    /// was found gone before the history was: others may hold by theirs, and a lease that is on its way is given back.
    fn another_history(&mut self, now: Moment, wants: &mut Wants) {
        let until = match &self.session {
            Session::Silent { until } => (now + self.ttl).max(*until),
            Session::Asking { .. } | Session::Live(_) => now + self.ttl,
        };
        self.end_session(&Cause::AnotherHistory, Some(until), now, wants);
        // Who never had a session has nothing to wait for, and a lease may be on its way.
        if !self.ttl.is_zero() {
            self.session = Session::Silent { until };
        }
        self.history = History::default();
        self.picture.clear();
        self.former = None;
        wants.actions.push(Action::ReadAll);
    }

    // ---- the session ----

    /// Every VIP off, the lease forgotten; a new one at `silent_until`, or now.
    fn end_session(&mut self, cause: &Cause, silent_until: Option<Moment>, now: Moment, wants: &mut Wants) {
        let Some(lease) = self.lease() else { return };
        self.contenders.iter_mut().for_each(|c| c.session_ended(cause, wants));
        self.ghosts.clear(); // their keys end with the lease
        wants.tell(Note::SessionEnded { lease, cause: cause.clone() });
        self.session = Session::Silent { until: silent_until.unwrap_or(now) };
    }

    fn end_for(&mut self, why: EndSession, now: Moment, wants: &mut Wants) {
        let Session::Live(live) = &self.session else { return };
        match why {
            EndSession::NotFirstAnyMore => self.another_history(now, wants),
            // The lease must end by itself, and nothing is asked of etcd before it has.
            EndSession::NoKernelWord => {
                let until = live.renewed_at + live.timings.ttl + live.timings.margin;
                self.left = true;
                self.end_session(&Cause::NoKernelWord, Some(until), now, wants);
            }
            EndSession::KeyStays if self.contenders.iter().all(Contender::is_off) => {
                let record = live.record(&self.settings.node, &self.settings.version, true);
                self.former = Some((live.lease, record));
                self.end_session(&Cause::Fruitless, None, now, wants);
            }
            // Others still hold under this lease: it is theirs, and the dead key goes when etcd hears again.
            EndSession::KeyStays => {}
        }
    }

    fn advance(&mut self, now: Moment, wants: &mut Wants) {
        self.advance_contenders(now, wants);
        if let Some(why) = wants.end_session.take() {
            self.end_for(why, now, wants);
        }
        self.forget_and_admit(wants);
        self.step_back(wants);
        self.advance_session(now, wants);
        self.advance_stop(now, wants);
    }

    fn advance_contenders(&mut self, now: Moment, wants: &mut Wants) {
        let mut ghosts = std::mem::take(&mut self.ghosts);
        self.with_view(now, |contenders, view| {
            for contender in contenders.iter_mut().chain(&mut ghosts) {
                let mut steps = 0;
                while steps < STEPS_MOST && contender.step(view, wants) {
                    steps += 1;
                }
            }
        });
        self.ghosts = ghosts;
    }

    /// Contenders see the session only while there is one.
    fn with_view(&mut self, now: Moment, act: impl FnOnce(&mut [Contender], &View<'_>)) {
        let ending = match self.stop {
            Stop::No => Ending::No,
            Stop::Leaving { .. } => Ending::Leaving,
            Stop::LettingGo { .. } | Stop::Revoking { .. } | Stop::Now { .. } | Stop::Finished => Ending::LettingGo,
        };
        let Session::Live(live) = &self.session else { return };
        if matches!(self.stop, Stop::Now { .. }) {
            return; // addresses off and nothing else
        }
        let view = View {
            now,
            live,
            picture: &self.picture,
            ending,
            prefix: &self.settings.prefix,
            node: &self.settings.node,
            on_conflict: self.settings.on_conflict,
            guards: &self.settings.guards,
        };
        act(&mut self.contenders, &view);
    }

    fn step_back(&mut self, wants: &mut Wants) {
        let Session::Live(live) = &mut self.session else { return };
        for StepBack { key, create, parting } in std::mem::take(&mut wants.step_back) {
            live.say(parting, Released { key: key.clone(), create });
            let record = live.record(&self.settings.node, &self.settings.version, self.stop != Stop::No);
            wants.actions.push(Action::StepBack { key, create, lease: live.lease, record });
        }
    }

    fn advance_session(&mut self, now: Moment, wants: &mut Wants) {
        match &mut self.session {
            Session::Silent { until } | Session::Asking { again_at: until } => {
                if now >= *until && self.stop == Stop::No {
                    self.session = Session::Asking { again_at: now + ASK_EVERY };
                    wants.actions.push(Action::GrantLease);
                }
            }
            Session::Live(live) => {
                if std::mem::take(&mut wants.renew) {
                    live.renew_at = live.renew_at.min(live.renewed_at + RENEW_PAUSE);
                }
                if now >= live.renew_at {
                    live.renew_at = now + live.renew_after(now);
                    live.renewed_at = now;
                    wants.actions.push(Action::Renew { lease: live.lease });
                }
                if live.read_due().is_some_and(|at| now >= at) {
                    live.asked_for_read();
                    // Past the fence everything is read in any case.
                    if !live.is_past_fence(now) {
                        wants.tell(Note::WatchDeaf);
                    }
                    wants.actions.push(Action::ReadAll);
                }
                self.introduce(now, wants);
            }
        }
    }

    /// This node's record stands as long as its lease.
    fn introduce(&mut self, now: Moment, wants: &mut Wants) {
        let leaving = self.stop != Stop::No;
        let Session::Live(live) = &mut self.session else { return };
        let written = self.picture.node(&node_key(&self.settings.prefix, live.lease)).is_some();
        let due = live.record_at.is_none_or(|at| now >= at + live.timings.retry);
        if !written && due && self.picture.is_known() && !matches!(self.stop, Stop::Revoking { .. }) {
            live.record_at = Some(now);
            let record = live.record(&self.settings.node, &self.settings.version, leaving);
            wants.actions.push(Action::WriteRecord { lease: live.lease, record });
        }
    }

    fn record_deadline(&self, live: &Live) -> Option<Moment> {
        let written = self.picture.node(&node_key(&self.settings.prefix, live.lease)).is_some();
        let revoking = matches!(self.stop, Stop::Revoking { .. });
        if written || revoking { None } else { live.record_at.map(|at| at + live.timings.retry) }
    }
}

fn tell_ignored(ignored: Vec<Ignored>, wants: &mut Wants) {
    for (key, why) in ignored {
        wants.tell(Note::KeyIgnored { key, why });
    }
}
