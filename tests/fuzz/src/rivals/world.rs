//! The world: time, what may happen next, and a time in which all goes well.

use std::cell::RefCell;
use std::collections::BTreeMap;

use vipd::election::action::Action;
use vipd::election::event::{Event, LeaseId, Record};
use vipd::moment::Moment;

use super::etcd::Etcd;
use super::node::{LINK, Node, Probing, VIP, Wanted, ip};
use super::wire::Request;
use super::{MS, SECOND, TTL};
use crate::bytes::Bytes;

/// Steps of time, in milliseconds.
const PASS: [i64; 10] = [1, 10, 40, 60, 100, 500, 1000, 2000, 3800, 5000];
/// Times in which all goes well, in milliseconds.
const WELL: [i64; 8] = [1, 10, 50, 110, 300, 600, 1200, 2500];
/// How long an election takes over one fact.
const HANDLING: i64 = MS / 100;
/// So often something is done about something at one moment; more is spinning on the spot.
const ROUNDS_MOST: usize = 300;
/// The daemon's end is bounded: the word that it leaves, then the kernel's and etcd's.
const STOPPED_WITHIN: i64 = 4 * SECOND;
/// A TTL, and the longest back-off.
const HEALED_WITHIN: i64 = TTL + 40 * SECOND;

thread_local! {
    /// How each kind of world begins: always alike, and most of a short one's time.
    static BEGUN: RefCell<BTreeMap<u8, World>> = const { RefCell::new(BTreeMap::new()) };
}

/// All there is.
#[derive(Clone)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) etcd: Etcd,
    pub(super) nodes: Vec<Node>,
    /// Somebody may meddle with keys and leases. That is harmless only where a holder can be reached by ARP: then no
    /// network is cut, no link goes and nobody takes addresses off.
    pub(super) by_hand: bool,
    must_heal: bool,
    traced: bool,
}

impl World {
    /// A world of this kind, in which the first node has the VIP and the others wait.
    pub(super) fn new(head: u8) -> Self {
        let begin =
            |begun: &mut BTreeMap<u8, Self>| begun.entry(head & 0xf).or_insert_with(|| Self::begin(head)).clone();
        let world = BEGUN.with_borrow_mut(begin);
        Self { must_heal: head & 0x70 == 0x70, ..world }
    }

    fn begin(head: u8) -> Self {
        let fast = if head & 4 == 0 { 10_000 } else { -10_000 };
        let alike = head & 3 != 3;
        let group = |i: u8| if alike || i == 0 { vec![ip(1)] } else { vec![ip(2), ip(1)] };
        let count = if head & 3 == 2 { 3 } else { 2 };
        let nodes = (0..count).map(|i| Node::new(group(i), if i == 0 { fast } else { 0 })).collect();
        let mut world = Self {
            now: 1000 * SECOND,
            etcd: Etcd::new(),
            nodes,
            by_hand: head & 8 != 0,
            must_heal: false,
            traced: std::env::var_os("VIPD_FUZZ_TRACE").is_some(),
        };
        world.start(0);
        world.go_well(TTL / 5, usize::MAX);
        (1..world.nodes.len()).for_each(|node| world.start(node));
        world.go_well(TTL / 5, usize::MAX);
        world
    }

    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.traced {
            println!("{:9.3} {}", self.now as f64 / 1e9, text());
        }
    }

    /// What the next bytes say.
    pub(super) fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (what, node) = (bytes.byte(), bytes.below(self.nodes.len()));
        match what % 24 {
            0 | 1 => self.go_well(WELL[bytes.below(WELL.len())] * MS, usize::MAX),
            2 => self.go_well(WELL[bytes.below(WELL.len())] * MS, node),
            3 | 4 => self.pass(self.now + PASS[bytes.below(PASS.len())] * MS),
            5 => self.pass_until_due(node),
            6 => self.tell_next(node),
            7 => self.tell_watched(node),
            8 => self.tell_answer(node, bytes.below(4)),
            9 | 10 => self.carry_out_next(node, bytes.byte()),
            11 => self.keep_if_awake(node, bytes.byte()),
            12 => self.tell(node, Event::Tick),
            13 => self.end_probing(node),
            14 => self.lose(node, bytes.below(4)),
            15 => self.break_watch(node, bytes.coin()),
            _ => self.trouble(what % 24, node, bytes),
        }
    }

    fn trouble(&mut self, what: u8, node: usize, bytes: &mut Bytes<'_>) {
        self.trace(|| format!("n{node} TROUBLE {what}"));
        let may_cut = !self.by_hand;
        let n = &mut self.nodes[node];
        match what {
            16 => n.frozen = !n.frozen,
            17 => n.cut_from_etcd = !n.cut_from_etcd,
            18 if may_cut => n.cut_from_all = !n.cut_from_all,
            19 if may_cut => self.flip_link(node),
            20 => self.end_life(node, bytes.byte()),
            21 if bytes.coin() => n.stuck = !n.stuck,
            21 => n.refuses = !n.refuses,
            22 => self.etcd.change_leader(self.now),
            23 if self.by_hand => self.meddle(bytes),
            23 => self.rob(node),
            _ => {}
        }
    }

    // ---- the daemons ----

    /// Starts a daemon; what its predecessor left in etcd is released.
    fn start(&mut self, node: usize) {
        if self.nodes[node].stuck {
            return; // left-overs that the kernel does not take off: it does not start
        }
        if let Some(lease) = self.nodes[node].lease.take() {
            self.etcd.release(lease);
            self.tell_watchers();
        }
        let now = self.now;
        let actions = self.nodes[node].start(now);
        self.carry_out(node, actions);
        self.ask_for_all(node);
    }

    fn end_life(&mut self, node: usize, how: u8) {
        match how & 7 {
            0 | 1 => self.nodes[node].die(),
            2 => self.clean_up(node),
            3..=5 => {
                self.nodes[node].asked_to_stop = true;
                self.nodes[node].facts.push_back(if how & 7 == 5 { Event::StopNow } else { Event::Stop });
            }
            _ => self.start(node),
        }
    }

    /// Killed, and the unit's clean-up runs.
    fn clean_up(&mut self, node: usize) {
        self.nodes[node].die();
        if !self.nodes[node].stuck {
            self.nodes[node].held = None;
            let lease = self.nodes[node].lease.take();
            lease.into_iter().for_each(|lease| self.etcd.release(lease));
            self.tell_watchers();
        }
    }

    /// A fact reaches the election, unless its process is dead or frozen.
    pub(super) fn tell(&mut self, node: usize, event: Event) {
        // Nothing takes no time: what was sent before a fact was seen was sent earlier.
        self.pass(self.now + HANDLING);
        let n = &mut self.nodes[node];
        let local = n.local(self.now);
        let Some(election) = n.election.as_mut().filter(|_| !n.frozen) else { return };
        if self.traced && event != Event::Tick {
            println!("{:9.3} n{node} <- {event:?}", self.now as f64 / 1e9);
        }
        let actions = election.handle(event, local);
        self.carry_out(node, actions);
    }

    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        let sent_at = self.nodes[node].local(self.now);
        for action in actions {
            self.trace(|| format!("n{node} -> {action:?}"));
            let answered = matches!(action, Action::Probe { .. }) && self.is_answered(node);
            let n = &mut self.nodes[node];
            match action {
                Action::Put { generation, wish, .. } => {
                    let same = n.wanted.take().filter(|wanted| wanted.generation == generation);
                    let said = same.and_then(|wanted| wanted.said);
                    n.wanted = Some(Wanted { generation, wish, at: sent_at, said });
                }
                Action::Probe { round, .. } => n.probing = Some(Probing { round, since: self.now, heard: answered }),
                Action::ReadAll => self.ask_for_all(node),
                Action::Renew { lease } => n.send(Request::Renew { lease, sent_at }),
                Action::Finish { .. } => n.die(),
                Action::Tell(_) | Action::Announce { .. } => {}
                order => n.send(Request::Order(order, sent_at)),
            }
        }
    }

    /// The watch is given up, and all is to be read.
    fn ask_for_all(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        n.watching = false;
        n.watch.clear();
        let sent_at: Moment = n.local(self.now);
        n.requests.retain(|(life, request)| *life != n.life || !matches!(request, Request::ReadAll { .. }));
        n.send(Request::ReadAll { sent_at });
    }

    fn break_watch(&mut self, node: usize, deaf: bool) {
        if deaf {
            self.nodes[node].watching = false; // it tells nothing more, and says nothing of that
        } else if self.nodes[node].election.is_some() {
            self.ask_for_all(node);
        }
    }

    fn flip_link(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        n.link_down = !n.link_down;
        if n.election.is_some() {
            n.facts.push_back(Event::Link { vip: VIP, link: (!n.link_down).then_some(LINK) });
        }
    }

    /// Somebody deletes a candidate key, writes over it, or revokes a lease. Whose it is has the address, so that its
    /// kernel answers for it, or hears of this at once; a node that is neither is not covered by the promise.
    fn meddle(&mut self, bytes: &mut Bytes<'_>) {
        let (what, nth) = (bytes.below(3), usize::from(bytes.byte()));
        let candidates = self.etcd.candidates();
        let Some((key, lease)) = candidates.get(nth % candidates.len().max(1)).cloned() else { return };
        let whose = self.nodes.iter().position(|n| n.session() == Some(lease));
        let hears = |n: &Node| n.watching && !n.frozen && !n.cut_from_etcd;
        if whose.is_some_and(|node| self.nodes[node].held.is_none() && !hears(&self.nodes[node])) {
            return;
        }
        match what {
            0 => self.etcd.write(&[key], Vec::new()),
            1 => self.etcd.write(&[], vec![(key, LeaseId(0), Record::Ignored("it hangs on no lease"))]),
            _ => self.etcd.revoke(lease),
        }
        self.tell_watchers();
        if let Some(node) = whose.filter(|node| self.nodes[*node].held.is_none()) {
            while let Some(event) = self.pop(node, |n| n.watch.pop_front()) {
                self.tell(node, event);
            }
        }
    }

    // ---- one thing at a time ----

    fn tell_next(&mut self, node: usize) {
        if let Some(event) = self.pop(node, |n| n.facts.pop_front()) {
            self.tell(node, event);
        }
    }

    fn tell_watched(&mut self, node: usize) {
        if let Some(event) = self.pop(node, |n| n.watch.pop_front()) {
            self.tell(node, event);
        }
    }

    fn tell_answer(&mut self, node: usize, nth: usize) {
        if let Some(answer) = self.pop(node, |n| n.answers.remove(nth)) {
            self.arrive(node, answer);
        }
    }

    /// A frozen process takes nothing out of its queues.
    fn pop<T>(&mut self, node: usize, next: impl FnOnce(&mut Node) -> Option<T>) -> Option<T> {
        let n = &mut self.nodes[node];
        if n.frozen || n.election.is_none() { None } else { next(n) }
    }

    /// etcd carries out one of the first requests; perhaps it will come a second time.
    fn carry_out_next(&mut self, node: usize, how: u8) {
        let n = &mut self.nodes[node];
        if let Some((life, request)) = n.requests.remove(usize::from(how & 3)) {
            if how & 0x30 == 0x30 {
                n.requests.push_back((life, request.clone()));
            }
            self.carry_out_at_etcd(node, life, request, how & 0xc0 == 0xc0);
        }
    }

    fn keep_if_awake(&mut self, node: usize, how: u8) {
        if !self.nodes[node].frozen {
            self.keep(node, how);
        }
    }

    fn lose(&mut self, node: usize, nth: usize) {
        let n = &mut self.nodes[node];
        if n.requests.remove(nth).is_none() {
            n.answers.remove(nth);
        }
    }

    // ---- time ----

    /// Time passes, and nobody does anything but etcd's and the kernels' own clocks.
    fn pass(&mut self, until: i64) {
        loop {
            let lives = self.nodes.iter().filter_map(|n| n.held).map(|held| held.gone).min();
            let lease = self.etcd.next_end();
            let next = [lives, lease.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.end_lives();
            if let Some((_, lease)) = lease.filter(|(ends, _)| *ends <= self.now) {
                self.trace(|| format!("etcd: {lease:?} ends"));
                self.etcd.revoke(lease);
                self.tell_watchers();
            }
        }
        self.now = self.now.max(until);
    }

    fn pass_until_due(&mut self, node: usize) {
        if let Some(due) = self.due(node) {
            self.pass(due);
        }
    }

    /// When a node wants to do something next.
    fn due(&self, node: usize) -> Option<i64> {
        let n = &self.nodes[node];
        let election = n.election.as_ref().filter(|_| !n.frozen)?;
        let deadline = election.deadline(n.local(self.now)).map(|at| n.true_time(at));
        let keeper = self.keeper_wants(node).filter(|_| !n.stuck && !n.link_down);
        [deadline, keeper, self.probing_ends(node)].into_iter().flatten().min()
    }

    /// For so long everything happens at once and in order, at all nodes or only at one.
    fn go_well(&mut self, long: i64, only: usize) {
        self.trace(|| format!("goes well for {} ms", long / MS));
        let (end, mut rounds) = (self.now + long, 0);
        let who: Vec<usize> = (0..self.nodes.len()).filter(|node| only == usize::MAX || only == *node).collect();
        loop {
            let busy = who.iter().filter(|node| self.attend(**node)).count() > 0;
            if busy {
                rounds += 1;
                assert!(rounds <= ROUNDS_MOST, "it spins on the spot at {}", self.now);
                continue;
            }
            let due = who.iter().filter_map(|node| self.due(*node)).min();
            let next = due.unwrap_or(end).max(self.now + MS).min(end);
            if self.now >= end {
                return;
            }
            rounds = 0;
            self.pass(next);
        }
    }

    /// All that waits at one node; whether there was anything.
    fn attend(&mut self, node: usize) -> bool {
        let mut busy = false;
        while !self.nodes[node].cut_from_etcd && !self.nodes[node].cut_from_all {
            let Some((life, request)) = self.nodes[node].requests.pop_front() else { break };
            self.carry_out_at_etcd(node, life, request, false);
            busy = true;
        }
        if self.nodes[node].frozen {
            return busy;
        }
        while !self.nodes[node].cut_from_etcd && !self.nodes[node].cut_from_all {
            if let Some(answer) = self.pop(node, |n| n.answers.pop_front()) {
                self.arrive(node, answer);
            } else if let Some(event) = self.pop(node, |n| n.watch.pop_front()) {
                self.tell(node, event);
            } else {
                break;
            }
            busy = true;
        }
        self.end_probing(node);
        self.keep(node, 0);
        while let Some(event) = self.pop(node, |n| n.facts.pop_front()) {
            self.tell(node, event);
            busy = true;
        }
        busy | self.tick(node)
    }

    fn tick(&mut self, node: usize) -> bool {
        let n = &self.nodes[node];
        let local = n.local(self.now);
        let due = n.election.as_ref().and_then(|election| election.deadline(local)).is_some_and(|at| at <= local);
        if due {
            self.tell(node, Event::Tick);
        }
        due
    }

    // ---- the end ----

    /// All is well again: whoever was asked to stop does, and one node has the VIP.
    pub(super) fn end(&mut self) {
        if !self.must_heal {
            return;
        }
        for node in 0..self.nodes.len() {
            let n = &mut self.nodes[node];
            (n.cut_from_etcd, n.cut_from_all, n.frozen, n.stuck, n.refuses) = (false, false, false, false, false);
            if n.link_down {
                self.flip_link(node);
            }
        }
        let asked = |world: &Self| world.nodes.iter().any(|n| n.asked_to_stop && n.election.is_some());
        self.go_well_while(STOPPED_WITHIN, asked, "stops in time");
        for node in 0..self.nodes.len() {
            if self.nodes[node].election.is_none() {
                self.start(node);
            }
        }
        self.go_well_while(HEALED_WITHIN, |world| world.nodes.iter().all(|n| n.held.is_none()), "has the VIP");
    }

    fn go_well_while(&mut self, at_most: i64, unwell: impl Fn(&Self) -> bool, what: &str) {
        let end = self.now + at_most;
        while unwell(self) {
            assert!(self.now < end, "all is well again, and nobody {what}");
            self.go_well(SECOND, usize::MAX);
        }
    }
}
