//! The kernels and their keepers, probes, and the judge of puts.

use std::time::Duration;

use vipd::election::action::Wish;
use vipd::election::event::{Answer, Event, Outcome};
use vipd::election::lifetime::{self, Next};
use vipd::election::record::candidate_key;
use vipd::election::session::Session;
use vipd::moment::Moment;

use super::MS;
use super::etcd::PREFIX;
use super::node::{Held, VIP};
use super::world::World;

/// How late the kernel ends an address at the most, and how early.
const KERNEL_LATE: i64 = 1050 * MS;
const KERNEL_EARLY: i64 = 20 * MS;
/// How long a put may be held up between reading the clock and the kernel.
const HELD_UP: i64 = 50 * MS;
/// A wish that is older puts nothing that is not there.
const FRESH: Duration = Duration::from_millis(100);
/// How long a probing listens.
const LISTEN: i64 = 100 * MS;

impl World {
    /// Looks, compares, writes, says. `how`: whether the put is held up, and how late the kernel will end it.
    pub(super) fn keep(&mut self, node: usize, how: u8) {
        let n = &self.nodes[node];
        let Some(wanted) = n.wanted.as_ref().filter(|_| n.election.is_some() && !n.stuck) else { return };
        let outcome = match wanted.wish {
            Wish::Absent => {
                self.nodes[node].held = None;
                Some(Outcome::Absent)
            }
            Wish::Until(fence) => self.keep_on(node, fence, how),
        };
        let n = &mut self.nodes[node];
        if let (Some(wanted), Some(outcome)) = (&mut n.wanted, outcome)
            && wanted.said.as_ref() != Some(&outcome)
        {
            wanted.said = Some(outcome.clone());
            n.facts.push_back(Event::Settled { vip: VIP, generation: wanted.generation, outcome });
        }
    }

    fn keep_on(&mut self, node: usize, fence: Moment, how: u8) -> Option<Outcome> {
        let n = &self.nodes[node];
        let (local, wanted) = (n.local(self.now), n.wanted.as_ref()?);
        let over = matches!(wanted.said, Some(Outcome::Failed(_) | Outcome::NotOurs(_)));
        let stale = wanted.said.is_none() && n.held.is_none() && local.since(wanted.at) > FRESH;
        if over || stale || n.link_down {
            return None;
        }
        if n.refuses {
            self.nodes[node].held = None;
            return Some(Outcome::Failed("no".into()));
        }
        if lifetime::next(local, fence, n.held.map(|held| held.ends)) == Next::Now {
            self.put(node, local, fence, how);
        }
        self.nodes[node].held.map(|_| Outcome::Present)
    }

    fn put(&mut self, node: usize, local: Moment, fence: Moment, how: u8) {
        let Some(seconds) = lifetime::whole_seconds(local, fence) else { return };
        let ends = local + Duration::from_secs(seconds.into());
        let held_up = if how & 1 == 1 { HELD_UP } else { 0 };
        let gone = self.nodes[node].true_time(ends) + held_up;
        let late = [0, KERNEL_LATE, -KERNEL_EARLY, KERNEL_LATE][usize::from(how >> 1 & 3)];
        self.trace(|| format!("n{node} kernel: on for {seconds} s"));
        self.nodes[node].held = Some(Held { ends, gone: gone + late });
        self.judge_put(node, gone + KERNEL_LATE);
    }

    /// The promise: no other node has any of these addresses. And, unless somebody meddles: the address is gone before
    /// the lease is, and its candidate is first.
    fn judge_put(&mut self, node: usize, gone: i64) {
        let addresses = self.nodes[node].addresses();
        for (i, other) in self.nodes.iter().enumerate().filter(|(i, _)| *i != node) {
            let both = other.held.is_some() && other.addresses().iter().any(|ip| addresses.contains(ip));
            assert!(!both, "two nodes have {addresses:?}: n{i} and n{node}");
        }
        let heard = self.nodes[node].addresses().to_vec();
        if !self.by_hand {
            self.judge_foundation(node, gone);
        }
        for other in 0..self.nodes.len() {
            if other != node
                && self.reach(node, other)
                && self.nodes[other].addresses().iter().any(|ip| heard.contains(ip))
            {
                self.nodes[other].probing.iter_mut().for_each(|probing| probing.heard = true);
            }
        }
    }

    fn judge_foundation(&self, node: usize, gone: i64) {
        let n = &self.nodes[node];
        let Some(Session::Live(live)) = n.election.as_ref().map(|election| election.session()) else {
            panic!("n{node} puts without a session")
        };
        let ends = self.etcd.ends(live.lease).unwrap_or_else(|| panic!("n{node} puts, and its lease is gone"));
        assert!(gone <= ends, "n{node} puts, and its lease ends {} ms earlier", (gone - ends) / MS);
        let key = candidate_key(PREFIX, n.addresses()[0], live.lease);
        for ip in n.addresses() {
            assert_eq!(self.etcd.first(*ip), Some(&key), "n{node} puts, and another stands first");
        }
    }

    /// When the keeper wants to top up.
    pub(super) fn keeper_wants(&self, node: usize) -> Option<i64> {
        let n = &self.nodes[node];
        let (Wish::Until(fence), Some(held)) = (n.wanted.as_ref()?.wish, n.held) else { return None };
        match lifetime::next(n.local(self.now), fence, Some(held.ends)) {
            Next::At(at) => Some(n.true_time(at)),
            Next::Now | Next::Never => None,
        }
    }

    /// The kernel's own clock.
    pub(super) fn end_lives(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].held.is_some_and(|held| held.gone <= self.now) {
                self.trace(|| format!("n{node} kernel: off by its lifetime"));
                self.nodes[node].held = None;
                self.forget_presence(node);
            }
        }
    }

    /// Put again after the kernel ended it, it is present anew.
    fn forget_presence(&mut self, node: usize) {
        let wanted = self.nodes[node].wanted.as_mut();
        if let Some(wanted) = wanted.filter(|wanted| wanted.said == Some(Outcome::Present)) {
            wanted.said = None;
        }
    }

    /// Somebody takes the address off. The keeper sees that at once, and tells it when it is back.
    pub(super) fn rob(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if n.held.take().is_none() || n.frozen || n.stuck {
            return self.forget_presence(node);
        }
        self.keep(node, 0);
        let n = &mut self.nodes[node];
        if let (Some(wanted), Some(_)) = (&n.wanted, n.held) {
            n.facts.push_back(Event::Repaired { vip: VIP, generation: wanted.generation });
        }
    }

    /// Whether frames get from one node to another.
    fn reach(&self, from: usize, to: usize) -> bool {
        let open = |node: usize| !self.nodes[node].cut_from_all && !self.nodes[node].link_down;
        open(from) && open(to)
    }

    /// Whether another node would answer a probe now. A kernel answers also for a process that is frozen or dead.
    pub(super) fn is_answered(&self, node: usize) -> bool {
        let addresses = self.nodes[node].addresses();
        let has = |other: usize| {
            let n = &self.nodes[other];
            n.held.is_some() && n.addresses().iter().any(|ip| addresses.contains(ip))
        };
        (0..self.nodes.len()).any(|other| other != node && has(other) && self.reach(node, other))
    }

    /// When a probing ends, if nobody answers.
    pub(super) fn probing_ends(&self, node: usize) -> Option<i64> {
        self.nodes[node].probing.as_ref().map(|probing| probing.since + LISTEN)
    }

    /// A probing tells what it heard, if it is over.
    pub(super) fn end_probing(&mut self, node: usize) {
        let answered = self.is_answered(node);
        let n = &mut self.nodes[node];
        let Some(probing) = &n.probing else { return };
        let (round, since) = (probing.round, probing.since);
        if probing.heard || answered || n.link_down {
            n.facts.push_back(Event::ProbeAnswered { vip: VIP, round, by: Answer::Host("him".into()) });
        } else if self.now >= since + LISTEN {
            n.facts.push_back(Event::ProbeSilent { vip: VIP, round });
        } else {
            return;
        }
        n.probing = None;
    }
}
