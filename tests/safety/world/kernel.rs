//! The virtual kernels, their keepers, and the judge: no address on two nodes, and no put without its turn.

use std::net::IpAddr;
use std::time::Duration;

use super::{Happening, MS, SECOND, World};
use crate::election::action::Wish;
use crate::election::event::{Event, Outcome, VipId};
use crate::election::record::candidate_key;
use crate::election::safety::node::{Address, Node, Wanted};
use crate::election::session::Session;
use crate::moment::Moment;

/// How late the kernel ends an address at the most.
const KERNEL_LATE: i64 = 1050 * MS;

impl World {
    /// Looks, compares, writes, and says what became of the wish.
    pub(super) fn keep(&mut self, node: usize, vip: VipId) {
        let Some(wanted) = self.nodes[node].wishes.get(&vip).cloned() else { return };
        let life = self.nodes[node].life;
        let outcome = match wanted.wish {
            Wish::Until(fence) => self.keep_on(node, vip, &wanted, fence),
            Wish::Absent => self.take_off(node, vip),
        };
        let Some(outcome) = outcome else {
            if wanted.wish == Wish::Absent {
                self.at(self.now + 200 * MS, Happening::Keep { node, life, vip });
            }
            return;
        };
        if wanted.said.as_ref() == Some(&outcome) {
            return;
        }
        self.nodes[node].wishes.entry(vip).and_modify(|w| w.said = Some(outcome.clone()));
        let event = Event::Settled { vip, generation: wanted.generation, outcome };
        let after = self.rng.range(MS / 50, MS);
        self.tell(node, after, event.clone());
        if self.rng.one_in(20) {
            let late = self.rng.range(MS, 3 * SECOND);
            self.tell(node, late, event); // late news
        }
    }

    /// A wish that failed is over until there is another number.
    fn keep_on(&mut self, node: usize, vip: VipId, wanted: &Wanted, fence: Moment) -> Option<Outcome> {
        let n = &self.nodes[node];
        if wanted.over || n.link_down_until > self.now || wanted.link != Some(n.link) {
            return None;
        }
        // An old wish puts nothing: the keeper waits for the next one.
        if wanted.said.is_none() && self.now > wanted.at + 100 * MS && !n.kernel.contains_key(&vip) {
            return None;
        }
        let (refuses, wordless) = (n.refuses_until > self.now, n.wordless_until > self.now);
        if !refuses && !wordless {
            return self.put(node, vip, fence);
        }
        self.nodes[node].wishes.entry(vip).and_modify(|w| w.over = true);
        if wordless {
            // No answer: it may be there, and whether it is gone again nobody says.
            if self.rng.one_in(2) {
                self.put(node, vip, fence);
            }
            let (generation, outcome) = (wanted.generation, Outcome::Failed("no answer".into()));
            let after = self.rng.range(SECOND, 3 * SECOND);
            self.tell(node, after, Event::Settled { vip, generation, outcome });
            return None;
        }
        self.nodes[node].kernel.remove(&vip);
        let not_ours = self.rng.one_in(3);
        Some(if not_ours { Outcome::NotOurs("somebody's".into()) } else { Outcome::Failed("no".into()) })
    }

    /// Clock and put are one step, which the machine may hold up by 50 ms; a whole number of seconds, never past the
    /// fence.
    fn put(&mut self, node: usize, vip: VipId, fence: Moment) -> Option<Outcome> {
        let local = self.nodes[node].local(self.now);
        let seconds = fence.since(local).as_secs();
        let ends = local + Duration::from_secs(seconds);
        let has = self.nodes[node].kernel.get(&vip).is_some_and(|a| a.ends >= ends);
        if seconds == 0 || has {
            return has.then_some(Outcome::Present);
        }
        let new = !self.nodes[node].kernel.contains_key(&vip);
        self.seq += 1;
        let id = self.seq;
        self.nodes[node].kernel.insert(vip, Address { id, ends });
        let held_up = self.rng.range(0, 50 * MS);
        let gone = self.nodes[node].true_time(ends) + held_up;
        let late = self.rng.range(-20 * MS, KERNEL_LATE);
        self.at(gone + late, Happening::KernelEnds { node, vip, id });
        if new {
            self.trace(|| format!("n{node} kernel: {vip:?} on, for {seconds} s"));
        }
        self.judge_put(node, vip, gone + KERNEL_LATE);
        Some(Outcome::Present)
    }

    /// No other node has any of its addresses. And, as long as nobody meddles with etcd's keys: the address is gone
    /// before the lease is, and its candidate stands and is first.
    fn judge_put(&mut self, node: usize, vip: VipId, gone: i64) {
        let addresses = self.nodes[node].addresses(vip);
        let now = self.now as f64 / 1e9;
        let other = self.nodes.iter().enumerate().find(|(i, n)| *i != node && n.has_any(&addresses));
        if let Some((other, _)) = other {
            self.fate.wrong = Some(format!("two nodes have {addresses:?} at {now:.4}: n{other} and n{node}"));
        } else if self.strict
            && let Some(why) = self.unfounded(node, &addresses, gone)
        {
            self.fate.wrong = Some(format!("n{node} puts {addresses:?} at {now:.4}, but {why}"));
        }
    }

    fn unfounded(&self, node: usize, addresses: &[IpAddr], gone: i64) -> Option<String> {
        let election = self.nodes[node].election.as_ref()?;
        let Session::Live(live) = election.session() else { return Some("it has no session".into()) };
        match self.etcd.lease_ends(live.lease) {
            None => return Some("its lease is gone".into()),
            Some(ends) if ends < gone => return Some(format!("its lease ends {} ms earlier", (gone - ends) / MS)),
            Some(_) => {}
        }
        let key = candidate_key("vipd", *addresses.first()?, live.lease);
        addresses.iter().find_map(|ip| match self.etcd.store.first(*ip) {
            Some(first) if *first == key => None,
            first => Some(format!("{first:?} stands first for {ip}")),
        })
    }

    fn take_off(&mut self, node: usize, vip: VipId) -> Option<Outcome> {
        if self.now < self.nodes[node].wordless_until {
            return None;
        }
        if self.nodes[node].kernel.remove(&vip).is_some() {
            self.trace(|| format!("n{node} kernel: {vip:?} off"));
        }
        Some(Outcome::Absent)
    }

    pub(super) fn kernel_ends(&mut self, node: usize, vip: VipId, id: u64) {
        if self.nodes[node].kernel.get(&vip).is_some_and(|a| a.id == id) {
            self.nodes[node].kernel.remove(&vip);
            self.trace(|| format!("n{node} kernel: {vip:?} ended by its lifetime"));
            // Still wished for: the keeper looks again, and if it is put again, it is present anew.
            self.nodes[node].wishes.entry(vip).and_modify(|w| w.said = None);
            let life = self.nodes[node].life;
            self.at(self.now + MS, Happening::Keep { node, life, vip });
        }
    }

    /// Somebody takes the addresses off; the keeper puts them back if they are still wished for.
    pub(super) fn rob(&mut self, node: usize) {
        let life = self.nodes[node].life;
        for (vip, _) in std::mem::take(&mut self.nodes[node].kernel) {
            self.at(self.now + MS, Happening::Keep { node, life, vip });
            if let Some(Wanted { generation, wish: Wish::Until(_), .. }) = self.nodes[node].wishes.get(&vip) {
                let event = Event::Repaired { vip, generation: *generation };
                self.tell(node, 2 * MS, event);
            }
        }
    }

    pub(super) fn probe(&mut self, node: usize, vip: VipId, round: u64, left: u32) {
        let reaches = |n: &Node| n.arp_cut_until <= self.now && n.link_down_until <= self.now;
        let (me, addresses) = (&self.nodes[node], self.nodes[node].addresses(vip));
        let answers = |(i, n): (usize, &Node)| i != node && n.has_any(&addresses) && reaches(n);
        if reaches(me) && self.nodes.iter().enumerate().any(answers) {
            return self.tell(node, MS / 5, Event::ProbeAnswered { vip, round, by: "somebody".into() });
        }
        if left == 0 {
            return self.tell(node, MS / 50, Event::ProbeSilent { vip, round });
        }
        let life = self.nodes[node].life;
        self.at(self.now + 33 * MS, Happening::Probe { node, life, vip, round, left: left - 1 });
    }
}
