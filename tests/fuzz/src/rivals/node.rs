//! One node: the real election, its queues, its clock, its kernel.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use vipd::election::action::{Action, Wish};
use vipd::election::contender::OnConflict;
use vipd::election::event::{Event, Generation, LeaseId, LinkId, Outcome, VipId};
use vipd::election::guards::Guards;
use vipd::election::machine::{Election, Settings};
use vipd::election::session::Session;
use vipd::election::timings::Schedule;
use vipd::link::LinkChoice;
use vipd::moment::Moment;
use vipd::plan::{Plan, PlannedVip};

use super::etcd::PREFIX;
use super::wire::{Answer, Request};

pub(super) const VIP: VipId = VipId(0);
pub(super) const LINK: LinkId = LinkId(2);
/// What does not fit into a queue is lost.
const QUEUE: usize = 24;

/// The VIP's addresses in a kernel.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// Their end by the kernel's count, on the node's own clock.
    pub(super) ends: Moment,
    /// When they will be gone, in true time.
    pub(super) gone: i64,
}

/// The latest wish.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) generation: Generation,
    pub(super) wish: Wish,
    pub(super) at: Moment,
    pub(super) said: Option<Outcome>,
}

/// A probing under way.
#[derive(Clone)]
pub(super) struct Probing {
    pub(super) round: u64,
    pub(super) since: i64,
    pub(super) heard: bool,
}

/// One node.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) plan: Plan,
    /// None while the daemon is dead.
    pub(super) election: Option<Election>,
    /// Which life of the daemon.
    pub(super) life: u32,
    pub(super) held: Option<Held>,
    pub(super) wanted: Option<Wanted>,
    pub(super) probing: Option<Probing>,
    /// From the keeper, the prober, the links, in order.
    pub(super) facts: VecDeque<Event>,
    /// From the watch, in order.
    pub(super) watch: VecDeque<Event>,
    pub(super) watching: bool,
    pub(super) requests: VecDeque<(u32, Request)>,
    pub(super) answers: VecDeque<Answer>,
    /// What the runtime directory says.
    pub(super) lease: Option<LeaseId>,
    pub(super) cut_from_etcd: bool,
    pub(super) cut_from_all: bool,
    pub(super) link_down: bool,
    pub(super) frozen: bool,
    pub(super) asked_to_stop: bool,
    /// The kernel does nothing and says nothing.
    pub(super) stuck: bool,
    /// The kernel refuses to put.
    pub(super) refuses: bool,
    /// By how much its clock is fast, in millionths.
    rate: i64,
}

impl Node {
    pub(super) fn new(addresses: Vec<IpAddr>, rate: i64) -> Self {
        let key_address = addresses[0];
        let (link, place) = (LinkChoice::named("eth0"), String::new());
        let vip = PlannedVip { id: VIP, addresses, link, key_address, place, going: false };
        Self {
            plan: Plan { vips: vec![vip] },
            election: None,
            life: 0,
            held: None,
            wanted: None,
            probing: None,
            facts: VecDeque::new(),
            watch: VecDeque::new(),
            watching: false,
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            lease: None,
            cut_from_etcd: false,
            cut_from_all: false,
            link_down: false,
            frozen: false,
            asked_to_stop: false,
            stuck: false,
            refuses: false,
            rate,
        }
    }

    /// The session's lease.
    pub(super) fn session(&self) -> Option<LeaseId> {
        match self.election.as_ref()?.session() {
            Session::Live(live) => Some(live.lease),
            Session::Silent { .. } | Session::Asking { .. } => None,
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.plan.vips[0].addresses
    }

    /// True time on this node's clock.
    pub(super) fn local(&self, now: i64) -> Moment {
        Moment::from_nanos(now + now * self.rate / 1_000_000)
    }

    /// When this node's clock shows `at`, in true time, or a little later.
    pub(super) fn true_time(&self, at: Moment) -> i64 {
        at.as_nanos() * 1_000_000 / (1_000_000 + self.rate) + 2
    }

    /// Starts the daemon: what an earlier life left goes first.
    pub(super) fn start(&mut self, now: i64) -> Vec<Action> {
        self.die();
        self.held = None;
        let settings = Settings {
            node: "n".into(),
            version: String::new(),
            prefix: PREFIX.into(),
            margin: None,
            announce: Schedule::default(),
            on_conflict: OnConflict::Refuse,
            guards: Guards::default(),
        };
        let (election, actions) = Election::start(settings, &self.plan, self.local(now));
        self.election = Some(election);
        let link = (!self.link_down).then_some(LINK);
        self.facts.push_back(Event::Link { vip: VIP, link });
        actions
    }

    /// The daemon is gone; what it sent may still arrive.
    pub(super) fn die(&mut self) {
        (self.election, self.wanted, self.probing) = (None, None, None);
        (self.watching, self.asked_to_stop, self.life) = (false, false, self.life + 1);
        self.facts.clear();
        self.watch.clear();
        self.answers.clear();
    }

    pub(super) fn send(&mut self, request: Request) {
        if self.requests.len() < QUEUE {
            self.requests.push_back((self.life, request));
        }
    }
}

/// The addresses that are fought for.
pub(super) fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}
