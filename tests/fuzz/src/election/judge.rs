//! What may never happen on one node, told from its orders and the facts alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vipd::election::action::{Action, Wish};
use vipd::election::contender::State;
use vipd::election::event::{Event, Generation, LeaseId, LinkId, Outcome, Pair, VipId};
use vipd::election::machine::Election;
use vipd::election::record::{Key, NodeRecord, candidate_key};
use vipd::election::session::Session;
use vipd::moment::Moment;
use vipd::plan::Plan;

use super::teller::PREFIX;

/// Orders to one fact: a few for each VIP.
const ORDERS_MOST: usize = 40;

/// One VIP as ordered, and as far as the kernel answered.
#[derive(Default)]
struct Ordered {
    generation: Generation,
    /// Until when it was put; none: absent.
    until: Option<Moment>,
    /// The kernel's word that it is off, for the present generation.
    off: bool,
    link: Option<LinkId>,
    round: u64,
}

/// Holds orders against facts.
pub(super) struct Judge {
    plan: Plan,
    vips: BTreeMap<VipId, Ordered>,
    /// The session's lease when the fact came.
    lease: Option<LeaseId>,
    /// Leases that were the session's, each with its TTL.
    ttls: BTreeMap<LeaseId, Duration>,
    /// No address may live longer under this lease, by the renewals that may count.
    bounds: BTreeMap<LeaseId, Moment>,
    /// Candidates whose deletion was ordered.
    dead: BTreeSet<(Key, i64)>,
    finished: bool,
    hurried: bool,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        let vips = plan.vips.iter().map(|vip| (vip.id, Ordered::default())).collect();
        Self {
            plan: plan.clone(),
            vips,
            lease: None,
            ttls: BTreeMap::new(),
            bounds: BTreeMap::new(),
            dead: BTreeSet::new(),
            finished: false,
            hurried: false,
        }
    }

    /// The present generation, and whether the address is wished for.
    pub(super) fn wish(&self, vip: VipId) -> (Generation, bool) {
        let ordered = &self.vips[&vip];
        (ordered.generation, ordered.until.is_some())
    }

    /// The last probing's number.
    pub(super) fn round(&self, vip: VipId) -> u64 {
        self.vips[&vip].round
    }

    /// A fact that is about to be told.
    pub(super) fn hear(&mut self, event: &Event, election: &Election) {
        self.lease = lease_of(election);
        match event {
            Event::LeaseGranted { lease, ttl, .. } => drop(self.ttls.insert(*lease, *ttl)),
            Event::PairAnswered(pair) => self.hear_pair(pair),
            Event::Settled { vip, generation, outcome } => {
                if let Some(ordered) = self.vips.get_mut(vip).filter(|ordered| ordered.generation == *generation) {
                    ordered.off = *outcome == Outcome::Absent && ordered.until.is_none();
                }
            }
            Event::Link { vip, link } => {
                if let Some(ordered) = self.vips.get_mut(vip) {
                    ordered.link = *link;
                }
            }
            Event::StopNow => self.hurried = true,
            _ => {}
        }
    }

    /// A renewal may count if its read is of its own cluster and term; what else it takes makes the bound only safer.
    fn hear_pair(&mut self, pair: &Pair) {
        let (renewed, read) = (pair.renewed, pair.read.header);
        let Some(ttl) = self.ttls.get(&pair.lease) else { return };
        if (renewed.cluster, renewed.term) == (read.cluster, read.term) {
            let margin = Duration::from_millis(1150) + *ttl / 100;
            let bound = pair.sent_at + (*ttl).min(pair.ttl).saturating_sub(margin);
            let old = self.bounds.entry(pair.lease).or_insert(bound);
            *old = bound.max(*old);
        }
    }

    /// What came of it.
    pub(super) fn look(&mut self, actions: &[Action], now: Moment, election: &Election) {
        assert!(!self.finished || actions.is_empty(), "orders after the end: {actions:?}");
        assert!(actions.len() <= ORDERS_MOST, "{} orders to one fact", actions.len());
        actions.iter().for_each(|action| self.order(action, now, election));
        if self.finished {
            assert_eq!(election.deadline(now), None, "a deadline after the end");
        } else {
            self.stands(now, election);
        }
    }

    fn order(&mut self, action: &Action, now: Moment, election: &Election) {
        match action {
            Action::GrantLease => assert_eq!(lease_of(election), None, "two leases"),
            Action::Renew { lease } => assert!(self.is_session(*lease, election), "{lease:?} is not the session's"),
            Action::RevokeLease { lease, record } => {
                let never_used = !self.bounds.contains_key(lease);
                assert!(never_used || self.all_off(), "{lease:?} revoked without the kernel's word");
                self.words(record.as_ref());
            }
            Action::ReadAll | Action::Tell(_) => {}
            Action::Stand { key, lease, .. } => {
                assert!(self.is_session(*lease, election));
                assert!(self.vips[&self.whose(key, *lease)].off, "stands without the kernel's word");
            }
            Action::WriteRecord { lease, record } => {
                assert!(self.is_session(*lease, election));
                self.words(Some(record));
            }
            Action::StepBack { key, create, lease, record } => {
                assert!(self.vips[&self.whose(key, *lease)].off, "{key} is given back without the kernel's word");
                self.dead.insert((key.clone(), *create));
                self.words(Some(record));
            }
            Action::Put { vip, generation, link, wish } => self.put(*vip, *generation, *link, *wish, now),
            Action::Probe { vip, link, round } => {
                let ordered = self.vip(*vip);
                assert!(ordered.link == Some(*link) && *round > ordered.round, "a probing of the past");
                ordered.round = *round;
            }
            Action::Announce { vip, link, .. } => {
                let ordered = self.vip(*vip);
                assert!(ordered.link == Some(*link) && ordered.until.is_some(), "announced what is not here");
            }
            // No config is reloaded here; the safety simulation does that.
            Action::Forget { vip } => panic!("{vip:?} is forgotten, which nobody took out"),
            Action::Finish { clean } => {
                assert!(self.vips.values().all(|ordered| ordered.until.is_none()), "the end, and an address is wished");
                assert!(!clean || self.all_off(), "all given back, without the kernel's word");
                self.finished = true;
            }
        }
    }

    fn put(&mut self, vip: VipId, generation: Generation, link: Option<LinkId>, wish: Wish, now: Moment) {
        let bound = self.lease.and_then(|lease| self.bounds.get(&lease)).copied();
        let hurried = self.hurried;
        let ordered = self.vip(vip);
        let until = match wish {
            Wish::Until(until) => Some(until),
            Wish::Absent => None,
        };
        assert!(generation >= ordered.generation, "the number of a wish went back");
        let flips = until.is_some() != ordered.until.is_some();
        assert!(!flips || generation > ordered.generation, "another wish under an old number");
        if generation > ordered.generation {
            ordered.off = false;
        }
        if let Some(until) = until {
            assert!(!hurried, "put after the second signal");
            assert!(until > now, "put at {now:?}, past the fence {until:?}");
            assert!(bound.is_some_and(|bound| until <= bound), "put until {until:?}, renewals allow {bound:?}");
            assert!(link.is_some() && link == ordered.link, "put on {link:?}, the link is {:?}", ordered.link);
        }
        (ordered.generation, ordered.until) = (generation, until);
    }

    /// What holds after every fact: nobody has a VIP past the fence, without a link, or under a dead key.
    fn stands(&self, now: Moment, election: &Election) {
        for contender in election.contenders() {
            let ordered = &self.vips[&contender.id];
            assert_eq!(contender.is_wished(), ordered.until.is_some(), "what it orders is what it wishes");
            assert!(!contender.is_off() || ordered.off, "it takes an address for off that is not");
            let Some(until) = ordered.until else { continue };
            assert!(until > now, "the fence {until:?} is past at {now:?}");
            assert!(ordered.link.is_some(), "wished without a link");
            let lease = lease_of(election).expect("an address is wished only in a session");
            let (State::Taking { create, .. } | State::Holding { create, .. }) = contender.state() else {
                panic!("wished in {:?}", contender.state())
            };
            let key = contender.key_under(PREFIX, lease);
            assert!(!self.dead.contains(&(key, *create)), "put under a key that was given back");
        }
    }

    /// A word is said only for what was given back.
    fn words(&self, record: Option<&NodeRecord>) {
        for word in record.iter().flat_map(|record| &record.released) {
            assert!(self.dead.contains(&(word.key.clone(), word.create)), "a word for {} too early", word.key);
        }
    }

    fn vip(&mut self, vip: VipId) -> &mut Ordered {
        self.vips.get_mut(&vip).expect("orders are about VIPs of the plan")
    }

    fn whose(&self, key: &Key, lease: LeaseId) -> VipId {
        let own = self.plan.vips.iter().find(|vip| candidate_key(PREFIX, vip.key_address, lease) == *key);
        own.unwrap_or_else(|| panic!("{key} is not one of ours")).id
    }

    fn all_off(&self) -> bool {
        self.vips.values().all(|ordered| ordered.off && ordered.until.is_none())
    }

    /// The session's lease, before the fact or after it.
    fn is_session(&self, lease: LeaseId, election: &Election) -> bool {
        self.lease == Some(lease) || lease_of(election) == Some(lease)
    }
}

fn lease_of(election: &Election) -> Option<LeaseId> {
    match election.session() {
        Session::Live(live) => Some(live.lease),
        Session::Silent { .. } | Session::Asking { .. } => None,
    }
}
