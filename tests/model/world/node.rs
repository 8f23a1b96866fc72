//! One node: its clock, its daemon with the real election, its kernel, and what is wrong with it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use super::World;
use crate::election::action::{Action, Wish};
use crate::election::contender::OnConflict;
use crate::election::event::{Event, Generation, LeaseId, LinkId, Outcome, Pair, VipId};
use crate::election::machine::{Election, Settings};
use crate::election::model::choice::Chooser;
use crate::election::model::{MARGIN, relative};
use crate::election::timings::Schedule;
use crate::moment::Moment;
use crate::plan::{Plan, PlannedVip};

pub(super) const VIP: VipId = VipId(0);
pub(super) const LINK: LinkId = LinkId(2);

fn address(byte: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, byte).into()
}

/// The wish the keeper has.
#[derive(Clone, Hash, Debug)]
pub(in crate::election::model) struct Wanted {
    pub(super) generation: Generation,
    pub(super) wish: Wish,
    /// It came just now: an old one puts nothing new.
    pub(super) is_fresh: bool,
    /// The keeper has done what it can.
    pub(super) done: bool,
    pub(super) said: Option<Outcome>,
}

/// Something held up on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::election::model) enum Held {
    /// An order to etcd. Its sender may be dead by then.
    Order(Action),
    /// A dead daemon's lease, to be released by the next one.
    Former(LeaseId),
    /// A renewal, sent then.
    Renewal(LeaseId, Moment),
    /// The read that may prove a renewal.
    Proof(Pair),
    /// An answer or a local report, on its way to the election.
    Report(Event),
}

/// How many renewals a deposed leader acknowledges: its disk does not hang for ever, but for longer than a lease lasts.
const IN_VAIN: u8 = 5;

#[derive(Clone, Copy, Hash)]
pub(in crate::election::model) struct Deposed {
    pub(super) term: u64,
    left: u8,
}

impl Deposed {
    pub(super) fn of(term: u64) -> Self {
        Self { term, left: IN_VAIN }
    }

    /// After one more renewal.
    pub(super) fn less(self) -> Option<Self> {
        Some(Self { left: self.left - 1, ..self }).filter(|d| d.left > 0)
    }
}

#[derive(Clone)]
pub(in crate::election::model) struct Node {
    pub(super) name: String,
    /// What it puts, all of it or nothing.
    addresses: Rc<[IpAddr]>,
    /// Its clock.
    pub(super) now: Moment,
    /// For how long that has gone on beat.
    pub(super) even_for: Duration,
    pub(super) election: Option<Election>,
    /// The address's end in the kernel.
    pub(super) kernel: Option<Moment>,
    pub(super) wanted: Option<Wanted>,
    /// What the watch is about to tell, in order.
    pub(super) news: VecDeque<Event>,
    pub(super) watching: bool,
    pub(super) to_read: bool,
    /// The network is being asked.
    pub(super) probing: Option<u64>,
    pub(super) held: Vec<Held>,
    pub(super) lease: Option<LeaseId>,
    /// Its clock runs at another rate.
    pub(super) odd: bool,
    /// It is connected to a deposed leader, which acknowledges renewals to no effect.
    pub(super) deposed: Option<Deposed>,
    pub(super) frozen: bool,
    /// Nothing between it and etcd.
    pub(super) cut: bool,
    /// It does not answer ARP, nor hear answers.
    pub(super) mute: bool,
    pub(super) lagging: bool,
    pub(super) wordless: bool,
    pub(super) link_down: bool,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let newest = self.wanted.as_ref().map_or(Generation::default(), |w| w.generation);
        relative::at(self.now, newest, || {
            (&self.election, self.kernel, &self.wanted, &self.news, self.probing, &self.held).hash(state);
        });
        (self.even_for, self.lease, self.watching, self.to_read, self.odd, self.deposed).hash(state);
        (self.frozen, self.cut, self.mute, self.lagging, self.wordless, self.link_down).hash(state);
    }
}

impl Node {
    pub(super) fn new(i: usize, addresses: &[u8]) -> Self {
        Self {
            name: format!("n{i}"),
            addresses: addresses.iter().map(|byte| address(*byte)).collect(),
            now: Moment::from_millis(1_000_000 * (i as i64 + 1)),
            even_for: Duration::ZERO,
            election: None,
            kernel: None,
            wanted: None,
            news: VecDeque::new(),
            watching: false,
            to_read: false,
            probing: None,
            held: Vec::new(),
            lease: None,
            odd: false,
            deposed: None,
            frozen: false,
            cut: false,
            mute: false,
            lagging: false,
            wordless: false,
            link_down: false,
        }
    }

    /// Whether both put an address.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        self.addresses.iter().any(|a| other.addresses.contains(a))
    }

    /// What it would put.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether its kernel has this address.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.kernel.is_some() && self.addresses.contains(&ip)
    }

    pub(super) fn is_to_keep(&self) -> bool {
        let may = |w: &Wanted| match w.wish {
            Wish::Absent => !self.wordless,
            Wish::Until(_) => !self.wordless && !self.link_down,
        };
        self.wanted.as_ref().is_some_and(|w| !w.done && may(w))
    }

    /// A tenth of a second, or more: a wish that was not looked at is old.
    pub(super) fn time_passes(&mut self) {
        if let Some(wanted) = &mut self.wanted {
            wanted.is_fresh = false;
        }
    }

    /// Nothing is wrong with it any more.
    pub(super) fn recover(&mut self) {
        (self.odd, self.frozen, self.cut, self.mute) = (false, false, false, false);
        (self.lagging, self.wordless) = (false, false);
        self.deposed = None;
        self.held.clear();
    }

    /// The process is gone, with all that it waited for; orders on their way are on their way.
    pub(super) fn die(&mut self) {
        self.election = None;
        self.wanted = None;
        self.news.clear();
        self.probing = None;
        (self.watching, self.to_read, self.lagging, self.frozen) = (false, false, false, false);
        self.held.retain(|h| matches!(h, Held::Order(_) | Held::Former(_)));
    }
}

impl World {
    /// Left-overs go before anything else; then the lease of the life before is released.
    pub(super) fn start(&mut self, i: usize, choose: &mut Chooser) {
        let guards = self.rules.guards.clone();
        let n = self.node(i);
        n.kernel = None;
        let settings = Settings {
            node: n.name.clone(),
            version: String::new(),
            prefix: "vipd".into(),
            margin: Some(MARGIN),
            announce: Schedule::default(),
            on_conflict: OnConflict::Refuse,
            guards,
        };
        let vip = PlannedVip { addresses: n.addresses.to_vec(), ..PlannedVip::for_test(VIP, n.addresses[0]) };
        let plan = Plan { vips: vec![vip] };
        let (election, actions) = Election::start(settings, &plan, n.now);
        n.election = Some(election);
        n.to_read = true;
        if let Some(lease) = n.lease.take() {
            self.release_former(i, lease, choose);
        }
        let mut facts = VecDeque::new();
        self.carry_out_all(i, actions, &mut facts, choose);
        let link = (!self.nodes[i].link_down).then_some(LINK);
        facts.push_back(Event::Link { vip: VIP, link });
        self.facts(i, facts, choose);
    }

    pub(super) fn fact(&mut self, i: usize, event: Event, choose: &mut Chooser) {
        self.facts(i, VecDeque::from([event]), choose);
    }

    /// Tells the election, carries out what it orders, and tells it what came of that, until all is quiet.
    pub(super) fn facts(&mut self, i: usize, mut facts: VecDeque<Event>, choose: &mut Chooser) {
        while let Some(event) = facts.pop_front() {
            if self.nodes[i].frozen {
                self.node(i).held.push(Held::Report(event));
                continue;
            }
            if event != Event::Tick {
                self.say(|_| format!("  n{i} <- {event:?}"));
            }
            let n = self.node(i);
            let Some(election) = &mut n.election else { return };
            let actions = election.handle(event, n.now);
            self.carry_out_all(i, actions, &mut facts, choose);
        }
    }

    fn carry_out_all(&mut self, i: usize, actions: Vec<Action>, facts: &mut VecDeque<Event>, choose: &mut Chooser) {
        for action in actions {
            match &action {
                Action::Tell(note) => self.say(|_| format!("  n{i} !! {note:?}")),
                order => self.say(|_| format!("  n{i} -> {order:?}")),
            }
            match action {
                Action::Tell(_) | Action::Announce { .. } => {}
                Action::Finish { .. } => self.node(i).die(),
                Action::Put { generation, wish, .. } => self.wish(i, generation, wish),
                Action::Probe { round, .. } => self.node(i).probing = Some(round),
                Action::ReadAll => {
                    let n = self.node(i);
                    n.news.clear();
                    (n.watching, n.to_read) = (false, true);
                }
                Action::Renew { lease } => self.renew(i, lease, facts, choose),
                order => self.order(i, order, facts, choose),
            }
        }
    }
}
