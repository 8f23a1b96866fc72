//! The world: a queue of things that happen, in true time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::etcd::{Etcd, MEMBERS, Value};
use super::faults::{Fault, HOLDER, Planned, Trouble, plan};
use super::node::{Address, Node, Wanted};
use super::rng::Rng;
use crate::election::action::{Action, Note, Wish};
use crate::election::event::{Event, LeaseId, LinkId, Outcome, Pair, ShortRead, VipId};
use crate::election::guards::Guards;
use crate::election::record::{Key, Released, node_key};
use crate::moment::Moment;
use crate::plan::{Plan, PlannedVip};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
const TTL: i64 = 5 * SECOND;
/// After the last fault, one holder within this.
const HEALED_WITHIN: i64 = TTL + 10 * SECOND;

/// A world has a few ten thousand happenings; one that has more spins on the spot.
const HAPPENINGS_MOST: u64 = 300_000;

/// How a world ended.
pub(super) struct Fate {
    pub(super) wrong: Option<String>,
    pub(super) trace: Vec<String>,
    pub(super) takes: u64,
}

enum Happening {
    Fact { node: usize, life: u64, event: Event },
    Tick { node: usize, life: u64 },
    Keep { node: usize, life: u64, vip: VipId },
    KernelEnds { node: usize, vip: VipId, id: u64 },
    AtEtcd { node: usize, life: u64, request: Request },
    ReadAll { node: usize, life: u64 },
    Probe { node: usize, life: u64, vip: VipId, round: u64, left: u32 },
    Expire,
    Fault(Planned),
    Start { node: usize },
    LinkBack { node: usize },
}

enum Request {
    Order(Action),
    Renew { lease: LeaseId, sent_at: Moment },
    Read { pair: Pair },
    ReadAll { sent_at: Moment },
    Former { lease: LeaseId },
}

pub(super) struct World {
    rng: Rng,
    now: i64,
    seq: u64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    etcd: Etcd,
    nodes: Vec<Node>,
    plan: Plan,
    guards: Guards,
    healed_at: i64,
    traced: bool,
    /// Whether nodes change the member they ask.
    rotates: bool,
    fate: Fate,
}

impl World {
    /// The world of this seed; `traced` keeps what happened, for people, and costs most of the time.
    pub(super) fn new(seed: u64, guards: Guards, trouble: Trouble, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let vips = (0..rng.range(1, 3) as u16)
            .map(|i| PlannedVip::for_test(VipId(i), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100 + i as u8))))
            .collect();
        let nodes: Vec<_> = (0..rng.range(3, 6)).map(|i| Node::new(format!("n{i}"), &mut rng)).collect();
        let faults = plan(nodes.len(), trouble, &mut rng);
        let rotates = rng.one_in(2);
        let mut world = Self {
            rng,
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            etcd: Etcd::new(),
            nodes,
            plan: Plan { vips },
            guards,
            healed_at: 0,
            traced,
            rotates,
            fate: Fate { wrong: None, trace: Vec::new(), takes: 0 },
        };
        for node in 0..world.nodes.len() {
            let at = world.rng.range(0, SECOND);
            world.at(at, Happening::Start { node });
        }
        world.at(10 * MS, Happening::Expire);
        for fault in faults {
            world.healed_at = world.healed_at.max(fault.at + fault.lasts);
            world.at(fault.at, Happening::Fault(fault));
        }
        world
    }

    fn at(&mut self, when: i64, what: Happening) {
        self.seq += 1;
        self.queue.push(Reverse((when.max(self.now), self.seq)));
        self.happenings.insert(self.seq, what);
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        let line = format!("{:9.4} {}", self.now as f64 / 1e9, text());
        self.fate.trace.push(line);
        if self.fate.trace.len() > 400 {
            self.fate.trace.remove(0);
        }
    }

    pub(super) fn run(mut self) -> Fate {
        let end = self.healed_at + HEALED_WITHIN;
        let mut left = HAPPENINGS_MOST;
        while let Some(Reverse((when, seq))) = self.queue.pop() {
            if when > end || self.fate.wrong.is_some() {
                break;
            }
            left -= 1;
            if left == 0 {
                self.fate.wrong = Some("it spins: too much happens".into());
            }
            self.now = when;
            if let Some(what) = self.happenings.remove(&seq) {
                self.happen(what);
            }
        }
        if self.fate.wrong.is_none() {
            self.judge_end();
        }
        self.fate
    }

    /// After the last fault everything heals: one holder for every VIP.
    fn judge_end(&mut self) {
        for vip in self.plan.vips.iter().map(|v| v.id).collect::<Vec<_>>() {
            let holders = self.nodes.iter().filter(|n| n.kernel.contains_key(&vip)).count();
            if holders != 1 {
                let states: Vec<_> = self.nodes.iter().map(|n| format!("{} {:?}", n.name, n.election)).collect();
                self.trace(|| states.join("\n"));
                self.fate.wrong = Some(format!("{holders} holders of {vip:?} long after the last fault"));
            }
        }
    }

    /// A short delay, now and then a long one.
    fn delay(&mut self) -> i64 {
        match self.rng.range(0, 60) {
            0 => self.rng.range(100 * MS, 700 * MS),
            1..=5 => self.rng.range(5 * MS, 100 * MS),
            _ => self.rng.range(MS / 10, 4 * MS),
        }
    }

    fn happen(&mut self, what: Happening) {
        // A frozen process does nothing; what lay in its queues comes first when it goes on.
        if let Happening::Fact { node, .. }
        | Happening::Tick { node, .. }
        | Happening::Keep { node, .. }
        | Happening::ReadAll { node, .. }
        | Happening::Probe { node, .. } = &what
            && self.nodes[*node].frozen_until > self.now
        {
            let until = self.nodes[*node].frozen_until;
            return self.at(until, what);
        }
        match what {
            Happening::Fact { node, life, event } if life == self.nodes[node].life => self.fact(node, event),
            Happening::Tick { node, life } if life == self.nodes[node].life => self.fact(node, Event::Tick),
            Happening::Keep { node, life, vip } if life == self.nodes[node].life => self.keep(node, vip),
            Happening::ReadAll { node, life } if life == self.nodes[node].life => {
                let sent_at = self.nodes[node].local(self.now);
                self.nodes[node].watching = false;
                self.send(node, Request::ReadAll { sent_at });
            }
            Happening::Probe { node, life, vip, round, left } if life == self.nodes[node].life => {
                self.probe(node, vip, round, left);
            }
            Happening::Fact { .. }
            | Happening::Tick { .. }
            | Happening::Keep { .. }
            | Happening::ReadAll { .. }
            | Happening::Probe { .. } => {}
            Happening::KernelEnds { node, vip, id } => self.kernel_ends(node, vip, id),
            Happening::AtEtcd { node, life, request } => self.at_etcd(node, life, request),
            Happening::Expire => {
                self.etcd.expire(self.now);
                self.tell_watchers();
                self.at(self.now + 37 * MS, Happening::Expire);
            }
            Happening::Fault(fault) => self.fault(fault),
            Happening::Start { node } => self.start(node),
            Happening::LinkBack { node } => self.link_news(node),
        }
    }

    // ---- the daemon ----

    fn start(&mut self, node: usize) {
        if self.nodes[node].election.is_some() {
            return;
        }
        self.trace(|| format!("n{node} starts"));
        let (plan, guards) = (self.plan.clone(), self.guards.clone());
        let actions = self.nodes[node].boot(&plan, &guards, self.now);
        if let Some(lease) = self.nodes[node].former_lease {
            self.send(node, Request::Former { lease });
        }
        self.carry_out(node, actions);
        let life = self.nodes[node].life;
        self.at(self.now, Happening::ReadAll { node, life });
        self.link_news(node);
    }

    fn link_news(&mut self, node: usize) {
        let up = self.now >= self.nodes[node].link_down_until;
        let link = up.then_some(LinkId(2));
        for vip in self.plan.vips.iter().map(|v| v.id).collect::<Vec<_>>() {
            self.tell(node, MS / 10, Event::Link { vip, link });
        }
    }

    fn tell(&mut self, node: usize, after: i64, event: Event) {
        let life = self.nodes[node].life;
        self.at(self.now + after, Happening::Fact { node, life, event });
    }

    fn fact(&mut self, node: usize, event: Event) {
        let now = self.nodes[node].local(self.now);
        let Some(election) = &mut self.nodes[node].election else { return };
        let quiet = matches!(event, Event::Tick | Event::PairAnswered(_));
        let shown = if quiet || !self.traced { String::new() } else { format!("{event:?}") };
        let actions = election.handle(event, now);
        let deadline = election.deadline(now);
        if !quiet {
            self.trace(|| format!("n{node} <- {shown:.300}"));
        }
        self.carry_out(node, actions);
        if let (Some(at), true) = (deadline, self.nodes[node].election.is_some()) {
            let (when, life) = (self.nodes[node].true_time(at), self.nodes[node].life);
            self.at(when, Happening::Tick { node, life });
        }
    }

    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            if !matches!(action, Action::Renew { .. }) {
                self.trace(|| format!("n{node} -> {action:?}"));
            }
            match action {
                Action::Tell(Note::Took { .. }) => self.fate.takes += 1,
                Action::Tell(_) | Action::Announce { .. } => {}
                Action::Put { vip, generation, wish, .. } => {
                    self.nodes[node].wishes.insert(vip, Wanted { generation, wish });
                    let (when, life) = (self.now + self.rng.range(MS / 20, 2 * MS), self.nodes[node].life);
                    self.at(when, Happening::Keep { node, life, vip });
                }
                Action::Probe { vip, round, .. } => {
                    let life = self.nodes[node].life;
                    self.at(self.now, Happening::Probe { node, life, vip, round, left: 3 });
                }
                Action::ReadAll => {
                    let life = self.nodes[node].life;
                    self.at(self.now, Happening::ReadAll { node, life });
                }
                Action::Renew { lease } => {
                    let sent_at = self.nodes[node].local(self.now);
                    self.send(node, Request::Renew { lease, sent_at });
                }
                Action::Finish { .. } => self.nodes[node].die(),
                order => self.send(node, Request::Order(order)),
            }
        }
    }

    // ---- the network between a node and etcd ----

    /// On its way to etcd: lost, or late by seconds (given up by the sender, and carried out all the same).
    fn send(&mut self, node: usize, request: Request) {
        let life = self.nodes[node].life;
        let late = match self.rng.range(0, 50) {
            0 => self.rng.range(0, 6 * SECOND),
            1 if !matches!(request, Request::ReadAll { .. }) => return,
            _ => 0,
        };
        let when = self.now + self.delay() + late;
        self.at(when, Happening::AtEtcd { node, life, request });
    }

    fn at_etcd(&mut self, node: usize, life: u64, request: Request) {
        let cut = self.now < self.nodes[node].etcd_cut_until;
        if self.rotates && self.rng.one_in(10) {
            self.nodes[node].member = self.rng.range(0, MEMBERS as i64) as usize;
        }
        let mut member = self.nodes[node].member;
        if matches!(request, Request::Read { .. }) && self.rng.one_in(2) {
            member = (member + 1) % MEMBERS; // a follower that asked the old leader for the renewal and knows a new one
        }
        let retry = matches!(request, Request::ReadAll { .. });
        if cut || (!self.etcd.answers(member, self.now) && !matches!(request, Request::Renew { .. })) {
            if retry && life == self.nodes[node].life {
                self.nodes[node].member = (member + 1) % MEMBERS;
                self.at(self.now + 150 * MS, Happening::ReadAll { node, life });
            }
            return;
        }
        let answer = self.answer(node, member, request);
        self.tell_watchers();
        let lost = self.rng.one_in(40) && !retry;
        if let (Some(event), false, true) = (answer, lost, life == self.nodes[node].life) {
            let slow = self.now < self.nodes[node].slow_until;
            let after = self.delay() + if slow { self.rng.range(200 * MS, 1500 * MS) } else { 0 };
            match event {
                Answer::Fact(event) => self.tell(node, after, event),
                Answer::Picture(event) => self.tell_in_order(node, after, event),
                Answer::Renewed(pair) => self.renewed(node, life, after, pair),
            }
        }
    }

    /// The renewal's answer arrives, and the read that may prove it goes out.
    fn renewed(&mut self, node: usize, life: u64, after: i64, mut pair: Pair) {
        let arrives = self.now + after;
        if arrives < self.nodes[node].frozen_until {
            return; // a frozen adapter; its request is too old when it goes on
        }
        pair.answered_at = self.nodes[node].local(arrives);
        pair.read.sent_at = pair.answered_at;
        let when = arrives + self.delay();
        self.at(when, Happening::AtEtcd { node, life, request: Request::Read { pair } });
    }

    fn answer(&mut self, node: usize, member: usize, request: Request) -> Option<Answer> {
        match request {
            Request::Renew { lease, sent_at } => {
                let (renewed, ttl) = self.etcd.renew(member, lease, self.now)?;
                if ttl == 0 {
                    return Some(Answer::Fact(Event::LeaseLost { lease }));
                }
                let read = ShortRead { sent_at, header: renewed, count: 0, newest: 0 };
                let ttl = Duration::from_nanos(ttl as u64);
                Some(Answer::Renewed(Pair { lease, sent_at, answered_at: sent_at, ttl, renewed, read }))
            }
            Request::Read { mut pair } => {
                let (count, newest) = self.etcd.short_read();
                pair.read = ShortRead { header: self.etcd.header(), count, newest, ..pair.read };
                Some(Answer::Fact(Event::PairAnswered(pair)))
            }
            Request::ReadAll { sent_at } => {
                self.nodes[node].watching = true;
                self.nodes[node].deaf_until = 0;
                let (header, entries) = (self.etcd.header(), self.etcd.read_all());
                Some(Answer::Picture(Event::PictureRead { sent_at, header, entries }))
            }
            Request::Former { lease } => {
                self.release(lease);
                None
            }
            Request::Order(action) => self.order(node, action).map(Answer::Fact),
        }
    }

    fn order(&mut self, node: usize, action: Action) -> Option<Event> {
        match action {
            Action::GrantLease => {
                let sent_at = self.nodes[node].local(self.now - MS);
                let lease = self.etcd.grant(TTL, self.now);
                self.nodes[node].lease = Some(lease);
                let ttl = Duration::from_nanos(TTL as u64);
                Some(Event::LeaseGranted { lease, ttl, sent_at, header: self.etcd.header() })
            }
            Action::Stand { key, lease, record } => {
                if !self.etcd.has_lease(lease) {
                    return Some(Event::LeaseLost { lease });
                }
                if self.etcd.create_revision(&key) == 0 {
                    self.etcd.write(&[], vec![(key, lease, Value::Candidate(record))]);
                }
                None
            }
            Action::WriteRecord { lease, record } => {
                if self.etcd.has_lease(lease) {
                    self.etcd.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
                }
                None
            }
            Action::StepBack { key, create, lease, record } => {
                if self.etcd.create_revision(&key) == create && self.etcd.has_lease(lease) {
                    self.etcd.write(&[key], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
                }
                None
            }
            Action::RevokeLease { lease, record } => {
                if let (Some(record), true) = (record, self.etcd.has_lease(lease)) {
                    self.etcd.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
                }
                self.etcd.revoke(lease);
                Some(Event::LeaseRevoked { lease })
            }
            _ => None,
        }
    }

    /// A restarted daemon's word for what its predecessor left, then the old lease.
    fn release(&mut self, lease: LeaseId) {
        if self.etcd.has_lease(lease) {
            let released = self.etcd.keys_of(lease).into_iter();
            let words = released.map(|key| Released { create: self.etcd.create_revision(&key), key }).collect();
            let record = crate::election::record::NodeRecord { released: words, ..Default::default() };
            self.etcd.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
            self.etcd.revoke(lease);
        }
    }

    fn tell_watchers(&mut self) {
        for (revision, changes) in std::mem::take(&mut self.etcd.news) {
            for node in 0..self.nodes.len() {
                let n = &self.nodes[node];
                if !n.watching || n.deaf_until > self.now {
                    continue;
                }
                if n.etcd_cut_until > self.now || self.rng.one_in(400) {
                    // The watch breaks; all is read again until that works.
                    self.nodes[node].watching = false;
                    let life = self.nodes[node].life;
                    self.at(self.now + 50 * MS, Happening::ReadAll { node, life });
                    continue;
                }
                let after = self.delay();
                self.tell_in_order(node, after, Event::Changed { revision, changes: changes.clone() });
            }
        }
    }

    fn tell_in_order(&mut self, node: usize, after: i64, event: Event) {
        let when = (self.now + after).max(self.nodes[node].watch_at);
        self.nodes[node].watch_at = when;
        self.tell(node, when - self.now, event);
    }

    // ---- the kernel ----

    fn keep(&mut self, node: usize, vip: VipId) {
        let Some(Wanted { generation, wish }) = self.nodes[node].wishes.get(&vip).cloned() else { return };
        let outcome = match wish {
            Wish::Until(fence) => self.put(node, vip, fence),
            Wish::Absent => self.take_off(node, vip),
        };
        let life = self.nodes[node].life;
        match outcome {
            Some(outcome) => {
                let event = Event::Settled { vip, generation, outcome };
                let after = self.rng.range(MS / 50, MS);
                self.tell(node, after, event.clone());
                if self.rng.one_in(20) {
                    let late = self.rng.range(MS, 3 * SECOND);
                    self.tell(node, late, event); // late news
                }
            }
            None if wish == Wish::Absent => self.at(self.now + 200 * MS, Happening::Keep { node, life, vip }),
            None => {}
        }
    }

    /// Clock and put are one step; a whole number of seconds, never past the fence.
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
        let late = self.rng.range(-20 * MS, 1050 * MS);
        let when = self.nodes[node].true_time(ends) + late;
        self.at(when, Happening::KernelEnds { node, vip, id });
        if new {
            self.trace(|| format!("n{node} kernel: {vip:?} on, for {seconds} s"));
        }
        let others = self.nodes.iter().enumerate().filter(|(i, n)| *i != node && n.kernel.contains_key(&vip));
        if let Some((other, _)) = others.into_iter().next() {
            self.fate.wrong =
                Some(format!("two nodes have {vip:?} at {:.4}: n{other} and n{node}", self.now as f64 / 1e9));
        }
        Some(Outcome::Present)
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

    fn kernel_ends(&mut self, node: usize, vip: VipId, id: u64) {
        if self.nodes[node].kernel.get(&vip).is_some_and(|a| a.id == id) {
            self.nodes[node].kernel.remove(&vip);
            self.trace(|| format!("n{node} kernel: {vip:?} ended by its lifetime"));
            // Still wished for: the keeper looks again.
            let life = self.nodes[node].life;
            self.at(self.now + MS, Happening::Keep { node, life, vip });
        }
    }

    fn probe(&mut self, node: usize, vip: VipId, round: u64, left: u32) {
        let reaches = |n: &Node| n.arp_cut_until <= self.now && n.link_down_until <= self.now;
        let me = &self.nodes[node];
        let answers = |(i, n): (usize, &Node)| i != node && n.kernel.contains_key(&vip) && reaches(n);
        if reaches(me) && self.nodes.iter().enumerate().any(answers) {
            return self.tell(node, MS / 5, Event::ProbeAnswered { vip, round, by: "somebody".into() });
        }
        if left == 0 {
            return self.tell(node, MS / 50, Event::ProbeSilent { vip, round });
        }
        let life = self.nodes[node].life;
        self.at(self.now + 33 * MS, Happening::Probe { node, life, vip, round, left: left - 1 });
    }

    // ---- faults ----

    fn fault(&mut self, planned: Planned) {
        let holder = self.nodes.iter().position(|n| n.kernel.contains_key(&VipId(0))).unwrap_or(0);
        let whom = |n: usize| if n == HOLDER { holder } else { n };
        self.trace(|| format!("FAULT (holder n{holder}) {:?} for {:.3} s", planned.fault, planned.lasts as f64 / 1e9));
        let until = self.now + planned.lasts;
        match planned.fault {
            Fault::Freeze(n) => self.nodes[whom(n)].frozen_until = until,
            Fault::Kill(n) => {
                self.nodes[whom(n)].die();
                self.at(until, Happening::Start { node: whom(n) });
            }
            Fault::Stop(n) => {
                self.tell(whom(n), 0, Event::Stop);
                self.at(until.max(self.now + 8 * SECOND), Happening::Start { node: whom(n) });
                self.healed_at = self.healed_at.max(self.now + 8 * SECOND);
            }
            Fault::CutEtcd(n) => self.nodes[whom(n)].etcd_cut_until = until,
            Fault::CutAll(n) => {
                (self.nodes[whom(n)].etcd_cut_until, self.nodes[whom(n)].arp_cut_until) = (until, until)
            }
            Fault::LinkDown(n) => {
                self.nodes[whom(n)].link_down_until = until;
                self.link_news(whom(n));
                self.at(until, Happening::LinkBack { node: whom(n) });
            }
            Fault::Deaf(n) => self.nodes[whom(n)].deaf_until = until,
            Fault::Wordless(n) => self.nodes[whom(n)].wordless_until = until,
            Fault::Slow(n) => self.nodes[whom(n)].slow_until = until,
            Fault::LoseLeader => self.etcd.lose_leader(None, self.now, &mut self.rng),
            Fault::StallLeader => self.etcd.lose_leader(Some(planned.lasts), self.now, &mut self.rng),
            Fault::LoseQuorum => self.etcd.lose_quorum(until),
            Fault::DeleteKey => {
                let keys: Vec<Key> = self.etcd.candidates();
                if !keys.is_empty() {
                    let key = keys[self.rng.range(0, keys.len() as i64) as usize].clone();
                    self.etcd.write(&[key], Vec::new());
                }
            }
            Fault::RevokeEarly => {
                let leases = self.etcd.leases();
                if !leases.is_empty() {
                    let lease = leases[self.rng.range(0, leases.len() as i64) as usize];
                    self.etcd.revoke(lease);
                }
            }
            Fault::BackUp => self.etcd.back_up(),
            Fault::Restore => self.restore(),
        }
        self.tell_watchers();
    }

    fn restore(&mut self) {
        if !self.etcd.restore(self.now) {
            return;
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].watching = false;
            let life = self.nodes[node].life;
            let after = self.delay();
            self.at(self.now + after, Happening::ReadAll { node, life });
        }
    }
}

enum Answer {
    Fact(Event),
    Picture(Event),
    Renewed(Pair),
}
