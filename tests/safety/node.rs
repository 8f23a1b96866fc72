//! One virtual node: a process with the real election in it, a kernel with addresses, and what is wrong with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::case::Spec;
use super::rng::Rng;
use crate::election::action::{Action, Wish};
use crate::election::contender::OnConflict;
use crate::election::event::{Generation, LeaseId, LinkId, Outcome, VipId};
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::election::timings::Schedule;
use crate::moment::Moment;
use crate::plan::{Plan, PlannedVip};

/// An address in the virtual kernel.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Which put it came from; a later one makes the earlier one's end void.
    pub(super) id: u64,
    /// Its end, on the node's own clock.
    pub(super) ends: Moment,
}

#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) generation: Generation,
    pub(super) wish: Wish,
    pub(super) link: Option<LinkId>,
    /// It failed: nothing more is done about it under this number.
    pub(super) over: bool,
    /// When it was ordered.
    pub(super) at: i64,
    /// What was said of it last.
    pub(super) said: Option<Outcome>,
}

pub(super) struct Node {
    /// Its number in the case; its place among the nodes is another matter.
    pub(super) id: usize,
    /// With those that are being given back.
    pub(super) plan: Plan,
    /// The VIPs it is to have in the end, and the highest number that was given.
    pub(super) spec: Vec<Vec<IpAddr>>,
    pub(super) next_vip: u32,
    /// The chance of its messages, of its watch, and of its kernel.
    pub(super) wire: Rng,
    pub(super) watch: Rng,
    pub(super) chance: Rng,
    /// The election's one timer: when, and which.
    pub(super) tick: (i64, u64),
    /// The number its link has now.
    pub(super) link: LinkId,
    /// Which watch; what an earlier one told and is still under way is lost.
    pub(super) stream: u64,
    pub(super) reading: bool,
    pub(super) read_again: bool,
    /// The watch tells seconds late.
    pub(super) lag_until: i64,
    /// The kernel refuses to put addresses.
    pub(super) refuses_until: i64,
    /// `None` while the daemon is dead.
    pub(super) election: Option<Election>,
    /// Which life of the daemon: what belongs to an earlier one does not reach it.
    pub(super) life: u64,
    pub(super) kernel: BTreeMap<VipId, Address>,
    pub(super) wishes: BTreeMap<VipId, Wanted>,
    pub(super) lease: Option<LeaseId>,
    /// What the runtime directory would say after a kill.
    pub(super) former_lease: Option<LeaseId>,
    pub(super) member: usize,
    pub(super) watching: bool,
    /// Everything from the watch arrives in order.
    pub(super) watch_at: i64,
    pub(super) frozen_until: i64,
    pub(super) etcd_cut_until: i64,
    pub(super) arp_cut_until: i64,
    pub(super) link_down_until: i64,
    pub(super) slow_until: i64,
    pub(super) deaf_until: i64,
    /// Deletions of addresses have no effect and no answer.
    pub(super) wordless_until: i64,
    /// When the newest read was sent that etcd answered, and when the link was lost.
    pub(super) heard_at: i64,
    pub(super) link_lost_at: i64,
    /// When a stopped daemon is started again.
    pub(super) back_at: i64,
    /// Something was wrong with it up to then; or with its messages.
    pub(super) troubled_until: i64,
    pub(super) rough_until: i64,
    /// How each VIP's next taking would come about.
    pub(super) way: BTreeMap<VipId, &'static str>,
    rate: f64,
    offset: i64,
}

impl Node {
    /// A node whose clock runs at a rate up to 1 % from etcd's if it drifts: all of a world's are fast, or slow.
    pub(super) fn new(spec: &Spec, seed: u64, drifts: bool) -> Self {
        let fast = Rng::stream(seed, "fast", 0).one_in(2);
        let mut rng = Rng::stream(seed, "node", spec.id);
        let off = if drifts { rng.range(0, 10_001) as f64 / 1e6 } else { 0.0 };
        Self {
            id: spec.id,
            spec: spec.plan().vips.into_iter().map(|v| v.addresses).collect(),
            next_vip: 99,
            plan: spec.plan(),
            wire: Rng::stream(seed, "wire", spec.id),
            watch: Rng::stream(seed, "watch", spec.id),
            chance: Rng::stream(seed, "kernel", spec.id),
            tick: (0, 0),
            link: LinkId(2),
            stream: 0,
            reading: false,
            read_again: false,
            lag_until: 0,
            refuses_until: 0,
            election: None,
            life: 0,
            kernel: BTreeMap::new(),
            wishes: BTreeMap::new(),
            lease: None,
            former_lease: None,
            member: rng.range(0, super::etcd::MEMBERS as i64) as usize,
            watching: false,
            watch_at: 0,
            frozen_until: 0,
            etcd_cut_until: 0,
            arp_cut_until: 0,
            link_down_until: 0,
            slow_until: 0,
            deaf_until: 0,
            wordless_until: 0,
            heard_at: 0,
            link_lost_at: 0,
            back_at: 0,
            troubled_until: 0,
            rough_until: 0,
            way: BTreeMap::new(),
            rate: if fast { 1.0 + off } else { 1.0 - off },
            offset: rng.range(1_000_000_000, 1_000_000_000_000),
        }
    }

    /// True time on this node's clock.
    pub(super) fn local(&self, now: i64) -> Moment {
        Moment::from_nanos(self.offset + (now as f64 * self.rate) as i64)
    }

    /// When this node's clock shows `at`, in true time.
    pub(super) fn true_time(&self, at: Moment) -> i64 {
        ((at.as_nanos() - self.offset) as f64 / self.rate).ceil() as i64 + 1
    }

    pub(super) fn vips(&self) -> Vec<VipId> {
        self.plan.vips.iter().map(|v| v.id).collect()
    }

    /// Those that are not being given back.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &PlannedVip> {
        self.plan.vips.iter().filter(|v| !v.going)
    }

    pub(super) fn addresses(&self, vip: VipId) -> Vec<IpAddr> {
        self.plan.get(vip).map(|v| v.addresses.clone()).unwrap_or_default()
    }

    /// Whether its kernel has an address of this VIP for another one as well.
    pub(super) fn has_twice(&self, vip: VipId) -> bool {
        let addresses = self.addresses(vip);
        self.plan.vips.iter().any(|v| {
            v.id != vip && self.kernel.contains_key(&v.id) && v.addresses.iter().any(|a| addresses.contains(a))
        })
    }

    /// Whether its kernel has any of these addresses.
    pub(super) fn has_any(&self, addresses: &[IpAddr]) -> bool {
        self.kernel
            .keys()
            .filter_map(|vip| self.plan.get(*vip))
            .any(|v| v.addresses.iter().any(|a| addresses.contains(a)))
    }

    pub(super) fn boot(&mut self, guards: &Guards, now: i64) -> Vec<Action> {
        self.life += 1;
        (self.tick, self.reading, self.read_again) = ((0, 0), false, false);
        self.kernel.clear(); // the left-overs go before anything else
        self.plan.vips.retain(|v| !v.going);
        self.wishes.clear();
        self.watching = false;
        self.way.clear();
        self.former_lease = self.lease.take();
        let settings = Settings {
            node: format!("n{}", self.id),
            version: String::new(),
            prefix: "vipd".into(),
            margin: None,
            announce: Schedule::default(),
            // Both are as safe: whoever insists asks for a whole TTL first.
            on_conflict: if self.id.is_multiple_of(2) { OnConflict::Refuse } else { OnConflict::Claim },
            guards: guards.clone(),
        };
        let (election, actions) = Election::start(settings, &self.plan, self.local(now));
        self.election = Some(election);
        actions
    }

    pub(super) fn die(&mut self) {
        self.election = None;
        self.life += 1;
        self.watching = false;
    }
}
