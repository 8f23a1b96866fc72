//! The virtual kernels and their keepers, and the probes that ask for addresses.

use std::time::Duration;

use super::judge::KERNEL_LATE;
use super::{Happening, MS, SECOND, World};
use crate::election::action::Wish;
use crate::election::event::{Answer, Event, Outcome, VipId};
use crate::election::safety::case::Rough;
use crate::election::safety::node::{Address, Node, Wanted};
use crate::moment::Moment;

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
        let after = self.nodes[node].chance.range(MS / 50, MS);
        self.tell(node, after, event.clone());
        if self.nodes[node].chance.one_in(20) && self.rough(Rough::LateNews) {
            let late = self.nodes[node].chance.range(MS, 3 * SECOND);
            self.tell(node, late, event);
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
            if self.nodes[node].chance.one_in(2) {
                self.put(node, vip, fence);
            }
            let (generation, outcome) = (wanted.generation, Outcome::Failed("no answer".into()));
            let after = self.nodes[node].chance.range(SECOND, 3 * SECOND);
            self.tell(node, after, Event::Settled { vip, generation, outcome });
            return None;
        }
        self.nodes[node].kernel.remove(&vip);
        let not_ours = self.nodes[node].chance.one_in(3);
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
        let kernel_late = self.rough(Rough::KernelLate);
        let rng = &mut self.nodes[node].chance;
        let (held_up, late) = (rng.range(0, 50 * MS), rng.range(-20 * MS, KERNEL_LATE));
        let (held_up, late) = if kernel_late { (held_up, late) } else { (0, 0) };
        let gone = self.nodes[node].true_time(ends) + held_up;
        self.at(gone + late, Happening::KernelEnds { node, vip, id });
        if new {
            let named = self.named(node, vip);
            self.say_of(node, || format!("kernel: {named} on, for {seconds} s"));
        }
        self.judge_put(node, vip, gone + KERNEL_LATE);
        Some(Outcome::Present)
    }

    fn take_off(&mut self, node: usize, vip: VipId) -> Option<Outcome> {
        if self.now < self.nodes[node].wordless_until {
            return None;
        }
        if self.nodes[node].kernel.remove(&vip).is_some() {
            let named = self.named(node, vip);
            self.say_of(node, || format!("kernel: {named} off"));
        }
        Some(Outcome::Absent)
    }

    pub(super) fn kernel_ends(&mut self, node: usize, vip: VipId, id: u64) {
        if self.nodes[node].kernel.get(&vip).is_some_and(|a| a.id == id) {
            self.nodes[node].kernel.remove(&vip);
            self.fate.coverage.see("kernel ended the address itself");
            let named = self.named(node, vip);
            self.say_of(node, || format!("kernel: {named} ended by its lifetime"));
            // Still wished for: the keeper looks again, and if it is put again, it is present anew.
            self.nodes[node].wishes.entry(vip).and_modify(|w| w.said = None);
            let life = self.nodes[node].life;
            self.at(self.now + MS, Happening::Keep { node, life, vip });
        }
    }

    /// Somebody takes the addresses off, again and again; the keeper puts them back if they are still wished for.
    pub(super) fn rob(&mut self, node: usize, until: i64) {
        let life = self.nodes[node].life;
        if self.now < until {
            self.at(self.now + 200 * MS, Happening::Rob { node, until });
        }
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
        let squatted = self.squatted_until > self.now;
        if reaches(me) && (squatted || self.nodes.iter().enumerate().any(answers)) {
            return self.tell(node, MS / 5, Event::ProbeAnswered { vip, round, by: Answer::Host("somebody".into()) });
        }
        if left == 0 {
            return self.tell(node, MS / 50, Event::ProbeSilent { vip, round });
        }
        let life = self.nodes[node].life;
        self.at(self.now + 33 * MS, Happening::Probe { node, life, vip, round, left: left - 1 });
    }
}
