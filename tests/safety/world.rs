//! The world: a queue of things that happen, in true time.

mod judge;
mod kernel;
mod reload;
mod tell;
mod trouble;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::case::{Case, Rough};
use super::coverage::Coverage;
use super::etcd::Etcd;
use super::faults::{MS, Planned, SECOND};
use super::node::{Node, Wanted};
use super::verdict::{Kind, Wrong};
use crate::election::action::Action;
use crate::election::event::{Event, LeaseId, LinkId, VipId};
use crate::election::guards::{Guard, Guards};
use judge::Judge;
use wire::Request;

const TTL: i64 = 5 * SECOND;
/// After the last fault, one holder within this. A fault is over when nothing of it is left ([`Planned::over`]); what
/// follows from it may still have to run its course: a lease that has its full time again, which is the TTL, and probes,
/// back-off or a kernel's word, which are the rest.
const HEALED_WITHIN: i64 = TTL + 5 * SECOND;
/// How often etcd and the judge look at the clock.
const LOOKS_EVERY: i64 = 37 * MS;

/// A world has a few ten thousand happenings; one that has more spins on the spot.
const HAPPENINGS_MOST: u64 = 300_000;

/// How a world ended.
pub(super) struct Fate {
    pub(super) wrong: Option<Wrong>,
    pub(super) coverage: Coverage,
    /// What happened, for people.
    pub(super) told: Vec<String>,
}

/// How much a world tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Telling {
    /// Nothing, which is several times as fast.
    Nothing,
    /// What matters.
    Story,
    /// Every fact and order, for who looks for a mistake in the election itself.
    Everything,
}

/// What may be different from world to world without being a part of it.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// A guard that is off.
    pub(super) without: Option<Guard>,
    /// Only this is judged; none: everything.
    pub(super) judges: Option<Kind>,
    pub(super) telling: Telling,
}

impl Terms {
    /// All guards, everything judged, nothing told.
    pub(super) const STRICT: Self = Self { without: None, judges: None, telling: Telling::Nothing };
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
        sent: i64,
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
    /// A frozen process goes on.
    Thaw {
        node: usize,
    },
    /// etcd and the judge look at the clock.
    Look,
    Fault(Planned),
    Rob {
        node: usize,
        until: i64,
    },
    Start {
        node: usize,
    },
    LinkBack {
        node: usize,
    },
    /// The config is as it was.
    ReloadBack {
        node: usize,
    },
}

pub(super) struct World {
    case: Case,
    terms: Terms,
    guards: Guards,
    now: i64,
    seq: u64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    etcd: Etcd,
    nodes: Vec<Node>,
    /// What came for a node while it is frozen.
    waiting: BTreeMap<usize, Vec<Happening>>,
    /// Whose lease it is.
    owners: BTreeMap<LeaseId, usize>,
    /// Another host answers for the addresses until then.
    squatted_until: i64,
    /// No message is lost or late any more, and no watch breaks, from here on.
    calm_from: i64,
    /// From here on nothing that went wrong has anything still to come: also no message that was sent late before, and no
    /// daemon that has still to start.
    healed_at: i64,
    judge: Judge,
    fate: Fate,
}

impl World {
    pub(super) fn new(case: Case, terms: Terms) -> Self {
        let drifts = case.rough.contains(&Rough::Drift);
        let nodes: Vec<_> = case.nodes.iter().map(|spec| Node::new(spec, case.seed, drifts)).collect();
        let calm_from = case.faults.iter().map(Planned::over).max().unwrap_or(0).max(case.lasts);
        let mut world = Self {
            guards: terms.without.map_or_else(Guards::default, Guards::without),
            judge: Judge::new(&case, &terms),
            terms,
            now: 0,
            seq: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            etcd: Etcd::new(),
            nodes,
            waiting: BTreeMap::new(),
            owners: BTreeMap::new(),
            squatted_until: 0,
            calm_from,
            healed_at: calm_from,
            fate: Fate { wrong: None, coverage: Coverage::default(), told: Vec::new() },
            case,
        };
        for node in 0..world.nodes.len() {
            let at = world.nodes[node].wire.range(0, SECOND);
            world.at(at, Happening::Start { node });
        }
        world.at(10 * MS, Happening::Look);
        for fault in world.case.faults.clone() {
            world.at(fault.at, Happening::Fault(fault));
        }
        world
    }

    fn at(&mut self, when: i64, what: Happening) {
        self.seq += 1;
        self.queue.push(Reverse((when.max(self.now), self.seq)));
        self.happenings.insert(self.seq, what);
    }

    pub(super) fn run(mut self) -> Fate {
        let mut left = HAPPENINGS_MOST;
        while let Some(Reverse((when, seq))) = self.queue.pop() {
            if when > self.healed_at + HEALED_WITHIN || self.fate.wrong.is_some() {
                break;
            }
            left -= 1;
            if left == 0 {
                self.wrong(Kind::Spins, || "too much happens".into());
                break;
            }
            self.now = when;
            if let Some(what) = self.happenings.remove(&seq) {
                self.happen(what);
            }
        }
        if self.fate.wrong.is_none() {
            self.now = self.healed_at + HEALED_WITHIN;
            self.judge_end();
        }
        self.fate
    }

    /// Weather that makes messages late or lost ends with the faults: what is promised about healing is promised of a
    /// network that works. The rest is every day's.
    fn rough(&self, rough: Rough) -> bool {
        let ends = matches!(rough, Rough::Lost | Rough::Late | Rough::Twice | Rough::WatchBreaks);
        (!ends || self.now < self.calm_from) && self.case.rough.contains(&rough)
    }

    /// Something that went wrong before still has something to come then: nothing has healed before that.
    fn still_to_come(&mut self, when: i64) {
        self.healed_at = self.healed_at.max(when);
    }

    /// A short delay, now and then a long one.
    fn delay(&mut self, node: usize) -> i64 {
        let waits = self.rough(Rough::Waits);
        let rng = &mut self.nodes[node].wire;
        match rng.range(0, 60) {
            0 if waits => rng.range(100 * MS, 700 * MS),
            1..=5 if waits => rng.range(5 * MS, 100 * MS),
            _ => rng.range(MS / 10, 4 * MS),
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
            return self.wait_for_thaw(*node, what);
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
            Happening::AtEtcd { node, life, sent, request } => self.at_etcd(node, life, sent, request),
            Happening::Thaw { node } => self.thaw(node),
            Happening::Look => self.look(),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Rob { node, until } => self.rob(node, until),
            Happening::Start { node } => self.start(node),
            Happening::LinkBack { node } => self.link_news(node),
            Happening::ReloadBack { node } => self.reload_back(node),
            Happening::Hurry { node } => self.tell(node, 0, Event::StopNow),
        }
    }

    /// In the order in which it came, also where one freeze follows another.
    fn wait_for_thaw(&mut self, node: usize, what: Happening) {
        let waiting = self.waiting.entry(node).or_default();
        waiting.push(what);
        if waiting.len() == 1 {
            self.at(self.nodes[node].frozen_until, Happening::Thaw { node });
        }
    }

    fn thaw(&mut self, node: usize) {
        let until = self.nodes[node].frozen_until;
        if until > self.now {
            return self.at(until, Happening::Thaw { node });
        }
        for what in self.waiting.remove(&node).unwrap_or_default() {
            self.happen(what);
        }
    }

    fn look(&mut self) {
        for lease in self.etcd.expire(self.now) {
            self.fate.coverage.see("lease ended by its clock");
            let whose = self.whose(lease);
            self.say("etcd", || format!("the lease of {whose} ends by its clock"));
        }
        self.tell_watchers();
        self.judge_look();
        self.at(self.now + LOOKS_EVERY, Happening::Look);
    }

    // ---- the daemon ----

    fn start(&mut self, node: usize) {
        if self.nodes[node].election.is_some() {
            return;
        }
        if self.nodes[node].wordless_until > self.now {
            // Left-overs that the kernel does not take off: it does not start. Its unit tries again.
            self.fate.coverage.see("start held up by left-overs");
            let again = self.now + 500 * MS;
            self.still_to_come(again);
            return self.at(again, Happening::Start { node });
        }
        self.say_of(node, || "starts".into());
        let guards = self.guards.clone();
        let actions = self.nodes[node].boot(&guards, self.now);
        if let Some(lease) = self.nodes[node].former_lease {
            self.cover_start(lease);
            self.send(node, Request::Former { lease });
        }
        self.carry_out(node, actions);
        let life = self.nodes[node].life;
        self.at(self.now, Happening::ReadAll { node, life });
        self.link_news(node);
    }

    /// What an earlier life of the daemon left in etcd.
    fn cover_start(&mut self, former: LeaseId) {
        let keys = self.etcd.store.keys_of(former);
        if !keys.iter().any(|k| self.etcd.store.candidates().contains(k)) {
            return;
        }
        self.fate.coverage.see("started with old keys standing");
        if keys.iter().any(|k| self.etcd.store.is_first(k)) {
            self.fate.coverage.see("started behind its own old key, which is first");
        }
    }

    fn link_news(&mut self, node: usize) {
        let up = self.now >= self.nodes[node].link_down_until;
        let link = up.then_some(self.nodes[node].link);
        self.say_link(node, link);
    }

    fn say_link(&mut self, node: usize, link: Option<LinkId>) {
        if link.is_none() {
            self.nodes[node].link_lost_at = self.now;
        }
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
        let shown = if self.terms.telling == Telling::Everything { format!("<- {event:?}") } else { String::new() };
        let actions = election.handle(event, now);
        let deadline = election.deadline(now);
        self.say_all(node, || shown);
        self.carry_out(node, actions);
        self.judge_wishes(node, now);
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
        let life = self.nodes[node].life;
        for action in actions {
            self.say_all(node, || format!("-> {action:?}"));
            match action {
                Action::Tell(note) => self.noted(node, &note),
                Action::Announce { .. } => {}
                Action::Put { vip, generation, link, wish } => {
                    let wishes = &mut self.nodes[node].wishes;
                    let same = wishes.remove(&vip).filter(|w| w.generation == generation);
                    let (over, said) = same.map_or((false, None), |w| (w.over, w.said));
                    wishes.insert(vip, Wanted { generation, wish, link, over, at: self.now, said });
                    let when = self.now + self.nodes[node].chance.range(MS / 20, 2 * MS);
                    self.at(when, Happening::Keep { node, life, vip });
                }
                Action::Probe { vip, round, .. } => {
                    self.at(self.now, Happening::Probe { node, life, vip, round, left: 3 });
                }
                Action::ReadAll => self.at(self.now, Happening::ReadAll { node, life }),
                Action::Renew { lease } => {
                    let sent_at = self.nodes[node].local(self.now);
                    self.send(node, Request::Renew { lease, sent_at });
                }
                Action::Forget { vip } => self.forget(node, vip),
                Action::Finish { clean } => {
                    self.fate.coverage.see(if clean { "finished clean" } else { "finished, not all given back" });
                    self.say_of(node, || "ends".into());
                    self.nodes[node].die();
                    // Frozen, it may have heard the signal later than it was to be back.
                    let back = self.nodes[node].back_at.max(self.now + 100 * MS);
                    self.still_to_come(back);
                    self.at(back, Happening::Start { node });
                }
                order => self.send(node, Request::Order(order)),
            }
        }
    }
}
