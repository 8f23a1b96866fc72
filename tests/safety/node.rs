//! One virtual node: a process with the real election in it, a kernel with addresses, and what is wrong with it.

use std::collections::BTreeMap;

use super::rng::Rng;
use crate::election::action::{Action, Wish};
use crate::election::event::{Generation, LeaseId, VipId};
use crate::election::guards::Guards;
use crate::election::machine::{Election, Settings};
use crate::moment::Moment;
use crate::plan::Plan;

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
}

pub(super) struct Node {
    pub(super) name: String,
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
    rate: f64,
    offset: i64,
}

impl Node {
    pub(super) fn new(name: String, rng: &mut Rng) -> Self {
        Self {
            name,
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
            rate: 1.0 + rng.range(-5000, 5001) as f64 / 1e6,
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

    pub(super) fn boot(&mut self, plan: &Plan, guards: &Guards, now: i64) -> Vec<Action> {
        self.life += 1;
        self.kernel.clear(); // the left-overs go before anything else
        self.wishes.clear();
        self.watching = false;
        self.former_lease = self.lease.take();
        let settings = Settings {
            node: self.name.clone(),
            version: String::new(),
            prefix: "vipd".into(),
            margin: None,
            guards: guards.clone(),
        };
        let (election, actions) = Election::start(settings, plan, self.local(now));
        self.election = Some(election);
        actions
    }

    pub(super) fn die(&mut self) {
        self.election = None;
        self.life += 1;
        self.watching = false;
    }
}
