//! The model's world: nodes with the real election, their kernels and clocks, one etcd, and what may happen next.
//!
//! Time goes on in ticks of a second, everybody's deadlines first. Unless a fault says otherwise an order is carried out
//! and answered at once; watches tell later, in any order among the nodes. Faults are few, come at any moment and last
//! as long as they like.

mod etcd_side;
mod kernel;
mod node;
mod trouble;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::choice::Chooser;
use super::etcd::Etcd;
use super::{TICK, TTL};
use crate::election::event::{Event, LeaseId};
use crate::election::guards::Guards;
pub(super) use node::{Held, Node};
pub(super) use trouble::{Fault, Kind};

/// What a model is checked for.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// What each node puts: one address, or a group of them (by their last bytes).
    pub(super) nodes: &'static [&'static [u8]],
    /// How many faults a story has.
    pub(super) faults: u8,
    /// Of which kinds.
    pub(super) kinds: Vec<Kind>,
    /// How late a kernel may end an address, at the most.
    pub(super) kernel_late: Duration,
    pub(super) guards: Guards,
}

/// In so many seconds everything settles: silences, leases that end, and the longest back-off after a few failures.
const CALM: usize = 20;

/// What happens next. `u8`s are nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Time goes on.
    Tick,
    /// The election's deadline has come.
    Wake(u8),
    /// The watch tells the next thing.
    Deliver(u8),
    /// The keeper looks at its wish.
    Keep(u8),
    /// Everything is read, and a watch starts.
    Read(u8),
    /// The network was asked, and answers.
    Probe(u8),
    /// The daemon is started (again).
    Start(u8),
    /// What was held up goes on: the node's and its number.
    Forward(u8, u8),
    /// It is lost.
    Lose(u8, u8),
    /// The kernel ends an address, in time.
    Gone(u8),
    /// A lease ends.
    Expire(LeaseId),
    Fault(Fault),
    Heal(Fault),
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) etcd: Rc<Etcd>,
    pub(super) nodes: Vec<Rc<Node>>,
    /// How many faults are left.
    pub(super) left: u8,
    pub(super) rules: Rc<Rules>,
    /// What happened, for people; none while states are only counted.
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let nodes = rules.nodes.iter().enumerate().map(|(i, addresses)| Rc::new(Node::new(i, addresses))).collect();
        Self { etcd: Rc::new(Etcd::new()), nodes, left: 0, rules: Rc::new(rules), trace: None }
    }

    /// Nobody runs yet.
    pub(super) fn starting(rules: Rules) -> Self {
        let left = rules.faults;
        Self { left, ..Self::new(rules) }
    }

    /// One holder of each address, the others in the queue, and nothing under way.
    pub(super) fn settled(rules: Rules) -> Self {
        let left = rules.faults;
        let mut world = Self::new(rules);
        for node in 0..world.nodes.len() {
            world.calm(Step::Start(node as u8)).expect("nothing goes wrong without faults");
        }
        world.is_served().expect("one holder to begin with");
        Self { left, ..world }
    }

    /// One step, and then as much time as everything needs to settle, with nothing that goes wrong.
    fn calm(&mut self, first: Step) -> Result<(), String> {
        self.apply(first, &mut Chooser::default())?;
        for _ in 0..CALM {
            while let Some(step) = self.steps().into_iter().find(|s| self.waits_for(*s)) {
                self.apply(step, &mut Chooser::default())?;
            }
            self.apply(Step::Tick, &mut Chooser::default())?;
        }
        Ok(())
    }

    /// All troubles end; an error if that does not lead to one holder.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        self.left = 0;
        self.end_troubles()?;
        self.calm(Step::Tick)?;
        for node in 0..self.nodes.len() {
            if self.nodes[node].election.is_none() {
                self.calm(Step::Start(node as u8))?;
            }
        }
        self.is_served().map_err(|text| format!("{text} {CALM} s after all troubles ended"))
    }

    /// One holder of each address; or none, while all who could have it wait for another address of theirs.
    fn is_served(&self) -> Result<(), String> {
        let holds = |ip: &IpAddr| self.nodes.iter().filter(|n| n.has(*ip)).count();
        let waits = |n: &Node| n.addresses().iter().any(|ip| holds(ip) > 0);
        for ip in self.nodes.iter().flat_map(|n| n.addresses()) {
            let all_wait = || self.nodes.iter().filter(|n| n.addresses().contains(ip)).all(|n| waits(n));
            match holds(ip) {
                1 => {}
                0 if all_wait() => {}
                n => return Err(format!("{n} holders of {ip}")),
            }
        }
        Ok(())
    }

    /// By what states are told apart.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.etcd, &self.nodes, self.left).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn may_fail(&self, kind: Kind) -> bool {
        self.left > 0 && self.rules.kinds.contains(&kind)
    }

    pub(super) fn node(&mut self, node: usize) -> &mut Node {
        Rc::make_mut(&mut self.nodes[node])
    }

    pub(super) fn etcd(&mut self) -> &mut Etcd {
        Rc::make_mut(&mut self.etcd)
    }

    pub(super) fn say(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = text(self);
            self.trace
                .iter_mut()
                .for_each(|t| t.push(format!("{:4} {line}", self.etcd.now.as_nanos() / 1_000_000_000)));
        }
    }

    /// Whether etcd serves this node.
    pub(super) fn reaches(&self, node: usize) -> bool {
        !self.nodes[node].cut && !self.etcd.leaderless
    }

    /// All that may happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for i in 0..self.nodes.len() {
            self.steps_of(i, &mut steps);
        }
        steps.extend(self.etcd.over().map(Step::Expire));
        self.troubles(&mut steps);
        if !steps.iter().any(|s| self.waits_for(*s)) {
            steps.push(Step::Tick);
        }
        steps
    }

    fn steps_of(&self, i: usize, steps: &mut Vec<Step>) {
        let (n, who) = (&self.nodes[i], i as u8);
        if n.kernel.is_some_and(|ends| ends <= n.now) {
            steps.push(Step::Gone(who));
        }
        for (h, held) in n.held.iter().enumerate() {
            if self.may_go_on(i, held) {
                steps.push(Step::Forward(who, h as u8));
            }
            steps.push(Step::Lose(who, h as u8));
        }
        if n.frozen {
            return;
        }
        let Some(election) = &n.election else {
            if !n.wordless {
                steps.push(Step::Start(who));
            }
            return;
        };
        if election.deadline(n.now).is_some_and(|at| at <= n.now) {
            steps.push(Step::Wake(who));
        }
        if !n.news.is_empty() {
            steps.push(Step::Deliver(who));
        }
        if n.is_to_keep() {
            steps.push(Step::Keep(who));
        }
        if n.to_read && self.reaches(i) {
            steps.push(Step::Read(who));
        }
        if n.probing.is_some() && self.all_is_told() {
            steps.push(Step::Probe(who));
        }
    }

    /// Three probes take longer than a watch that is not late, and than a read.
    fn all_is_told(&self) -> bool {
        let is_told = |i: usize, n: &Node| n.news.is_empty() && !(n.to_read && self.reaches(i));
        self.nodes.iter().enumerate().all(|(i, n)| n.lagging || n.frozen || is_told(i, n))
    }

    /// Whether time waits for this.
    fn waits_for(&self, step: Step) -> bool {
        match step {
            Step::Wake(_) | Step::Keep(_) | Step::Read(_) | Step::Probe(_) => true,
            Step::Deliver(n) => !self.nodes[usize::from(n)].lagging,
            Step::Expire(_) => self.etcd.waits(),
            _ => false,
        }
    }

    /// Does one step; an error if two nodes have the address after it.
    pub(super) fn apply(&mut self, step: Step, choose: &mut Chooser) -> Result<(), String> {
        self.say(|w| w.describe(step));
        match step {
            Step::Tick => self.tick(choose),
            Step::Wake(n) => self.fact(n.into(), Event::Tick, choose),
            Step::Deliver(n) => {
                if let Some(event) = self.node(n.into()).news.pop_front() {
                    self.fact(n.into(), event, choose);
                }
            }
            Step::Keep(n) => self.keep(n.into(), choose),
            Step::Read(n) => self.read(n.into(), choose),
            Step::Probe(n) => self.probe(n.into(), choose),
            Step::Start(n) => self.start(n.into(), choose),
            Step::Forward(n, h) => self.forward(n.into(), h.into(), choose),
            Step::Lose(n, h) => drop(self.node(n.into()).held.remove(h.into())),
            Step::Gone(n) => self.gone(n.into()),
            Step::Expire(lease) => self.etcd().revoke(lease),
            Step::Fault(fault) => self.strike(fault, choose),
            Step::Heal(fault) => self.heal(fault, choose),
        }
        self.tell_watchers();
        let holders: Vec<_> = self.nodes.iter().filter(|n| n.kernel.is_some()).collect();
        for (i, a) in holders.iter().enumerate() {
            if let Some(b) = holders[i + 1..].iter().find(|b| a.shares_with(b)) {
                return Err(format!("two nodes have the address: {} and {}", a.name, b.name));
            }
        }
        Ok(())
    }

    /// A second passes. What a kernel should have ended by now it has. A clock that is off beat stands still once in a
    /// while, or goes two seconds.
    fn tick(&mut self, choose: &mut Chooser) {
        for i in 0..self.nodes.len() {
            if self.nodes[i].kernel.is_some_and(|ends| ends + self.rules.kernel_late <= self.nodes[i].now + TICK) {
                self.gone(i);
            }
            let may_slip = self.nodes[i].odd && self.nodes[i].even_for >= TTL;
            let beats = if may_slip { [1, 0, 2][usize::from(choose.one_of(3))] } else { 1 };
            let n = self.node(i);
            n.even_for = if beats == 1 { (n.even_for + TICK).min(TTL) } else { Duration::ZERO };
            n.now = n.now + beats * TICK;
            n.time_passes();
        }
        let etcd = self.etcd();
        etcd.now = etcd.now + TICK;
    }

    fn describe(&self, step: Step) -> String {
        match step {
            Step::Forward(n, h) => format!("n{n}: goes on: {:?}", self.nodes[usize::from(n)].held[usize::from(h)]),
            Step::Lose(n, h) => format!("n{n}: is lost: {:?}", self.nodes[usize::from(n)].held[usize::from(h)]),
            step => format!("{step:?}"),
        }
    }
}
