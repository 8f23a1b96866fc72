//! The world: a queue of things that happen, in true time.

mod kernel;
mod trouble;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};

use super::etcd::Etcd;
use super::faults::{Planned, Trouble, by_hand, plan};
use super::node::{Node, Wanted};
use super::rng::Rng;
use crate::election::action::{Action, Note};
use crate::election::event::{Event, LinkId, VipId};
use crate::election::guards::Guards;
use crate::plan::{Plan, PlannedVip};
use wire::Request;

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
    Fact {
        node: usize,
        life: u64,
        event: Event,
    },
    Tick {
        node: usize,
        life: u64,
        id: u64,
    },
    /// From a watch; its news die with it.
    Watch {
        node: usize,
        life: u64,
        stream: u64,
        event: Event,
    },
    /// The second signal.
    Hurry {
        node: usize,
    },
    Keep {
        node: usize,
        life: u64,
        vip: VipId,
    },
    KernelEnds {
        node: usize,
        vip: VipId,
        id: u64,
    },
    AtEtcd {
        node: usize,
        life: u64,
        request: Request,
    },
    ReadAll {
        node: usize,
        life: u64,
    },
    Probe {
        node: usize,
        life: u64,
        vip: VipId,
        round: u64,
        left: u32,
    },
    Expire,
    Fault(Planned),
    Start {
        node: usize,
    },
    LinkBack {
        node: usize,
    },
}

pub(super) struct World {
    rng: Rng,
    now: i64,
    seq: u64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    etcd: Etcd,
    nodes: Vec<Node>,
    guards: Guards,
    healed_at: i64,
    /// Every put must be founded. Not while somebody meddles with etcd's keys, nor without a guard: there only overlaps
    /// are judged.
    strict: bool,
    /// Nodes have different groupings of the same addresses: safe, but they may wait for each other.
    mixed: bool,
    traced: bool,
    /// Whether nodes change the member they ask.
    rotates: bool,
    fate: Fate,
}

impl World {
    /// The world of this seed; `traced` keeps what happened, for people, and costs most of the time.
    pub(super) fn new(seed: u64, guards: Guards, trouble: Trouble, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let alike = plans(&mut rng);
        let mixed = rng.one_in(8);
        let fast = rng.one_in(2);
        let nodes: Vec<_> = (0..rng.range(3, 6))
            .map(|i| {
                let plan = if mixed { plans(&mut rng) } else { alike.clone() };
                Node::new(format!("n{i}"), plan, fast, &mut rng)
            })
            .collect();
        let faults = plan(nodes.len(), trouble, &mut rng);
        let rotates = rng.one_in(2);
        let by_hand = faults.iter().any(|f| by_hand(f.fault));
        let mut world = Self {
            rng,
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            etcd: Etcd::new(),
            nodes,
            strict: guards == Guards::default() && !by_hand,
            guards,
            healed_at: 0,
            mixed,
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
        let mut left = HAPPENINGS_MOST;
        while let Some(Reverse((when, seq))) = self.queue.pop() {
            if when > self.healed_at + HEALED_WITHIN || self.fate.wrong.is_some() {
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
        if self.mixed {
            return;
        }
        let all: Vec<IpAddr> = self.nodes[0].plan.vips.iter().flat_map(|v| v.addresses.clone()).collect();
        for ip in all {
            let holders = self.nodes.iter().filter(|n| n.has_any(&[ip])).count();
            if holders != 1 {
                let states: Vec<_> = self.nodes.iter().map(|n| format!("{} {:?}", n.name, n.election)).collect();
                self.trace(|| states.join("\n"));
                self.fate.wrong = Some(format!("{holders} holders of {ip} long after the last fault"));
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
        | Happening::Watch { node, .. }
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
            Happening::Tick { node, life, id } if life == self.nodes[node].life && id == self.nodes[node].tick.1 => {
                self.nodes[node].tick = (0, 0);
                self.fact(node, Event::Tick);
            }
            Happening::Watch { node, life, stream, event } if life == self.nodes[node].life => {
                if stream == self.nodes[node].stream {
                    self.fact(node, event);
                }
            }
            Happening::Keep { node, life, vip } if life == self.nodes[node].life => self.keep(node, vip),
            Happening::ReadAll { node, life } if life == self.nodes[node].life => self.read_all(node),
            Happening::Probe { node, life, vip, round, left } if life == self.nodes[node].life => {
                self.probe(node, vip, round, left);
            }
            Happening::Fact { .. }
            | Happening::Tick { .. }
            | Happening::Watch { .. }
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
            Happening::Hurry { node } => self.tell(node, 0, Event::StopNow),
        }
    }

    // ---- the daemon ----

    fn start(&mut self, node: usize) {
        if self.nodes[node].election.is_some() {
            return;
        }
        if self.nodes[node].wordless_until > self.now {
            // Left-overs that the kernel does not take off: it does not start. Its unit tries again.
            return self.at(self.now + 500 * MS, Happening::Start { node });
        }
        self.trace(|| format!("n{node} starts"));
        let guards = self.guards.clone();
        let actions = self.nodes[node].boot(&guards, self.now);
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
        let link = up.then_some(self.nodes[node].link);
        self.say_link(node, link);
    }

    fn say_link(&mut self, node: usize, link: Option<LinkId>) {
        for vip in self.nodes[node].vips() {
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
            if self.nodes[node].tick.0 != when {
                let id = self.seq + 1;
                self.nodes[node].tick = (when, id);
                self.at(when, Happening::Tick { node, life, id });
            }
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
                Action::Put { vip, generation, link, wish } => {
                    let wishes = &mut self.nodes[node].wishes;
                    let same = wishes.remove(&vip).filter(|w| w.generation == generation);
                    let (over, said) = same.map_or((false, None), |w| (w.over, w.said));
                    wishes.insert(vip, Wanted { generation, wish, link, over, at: self.now, said });
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
}

/// One or two addresses: on their own, or as a group.
fn plans(rng: &mut Rng) -> Plan {
    let ips: Vec<_> = (0..rng.range(1, 3) as u8).map(|i| IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100 + i))).collect();
    let vips = if rng.one_in(5) {
        vec![PlannedVip { addresses: ips.clone(), ..PlannedVip::for_test(VipId(0), ips[0]) }]
    } else {
        ips.into_iter().zip(0..).map(|(ip, i)| PlannedVip::for_test(VipId(i), ip)).collect()
    };
    Plan { vips }
}
