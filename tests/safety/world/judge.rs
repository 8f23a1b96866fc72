//! The judge: looks at the virtual kernels, at etcd's true state, and at what the elections wish.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{HEALED_WITHIN, MS, SECOND, TTL, Terms, World};
use crate::election::action::Cause;
use crate::election::contender::State;
use crate::election::event::{LeaseId, VipId};
use crate::election::safety::case::{Case, Rough};
use crate::election::safety::node::Node;
use crate::election::safety::verdict::{Kind, Wrong};
use crate::election::session::Session;
use crate::moment::Moment;

/// How late the kernel ends an address at the most.
pub(super) const KERNEL_LATE: i64 = 1050 * MS;

/// An address without its turn is gone within this: a fence that was moved last when the turn ended, and the kernel.
const SILENT_MOST: i64 = TTL + KERNEL_LATE;

/// The same on a node that nothing is wrong with: it hears of it, and takes the address off.
const HEARS_WITHIN: i64 = 1500 * MS;

/// Nobody has an address for so long though one node at the most had trouble: the kernel's word for the put that does
/// not come, and for the deletion (2 s each), then a lease and a margin (6.2 s), and a second to notice and to probe.
const NOBODY_MOST: i64 = 12 * SECOND;

/// A renewal that is carried out once more, so much later, makes the lease last longer by that.
const RENEWED_LATE: i64 = 4 * SECOND;

pub(super) struct Judge {
    /// Every put must be founded. Not while somebody meddles with etcd's keys, nor without a guard.
    strict: bool,
    only: Option<Kind>,
    addresses: Vec<IpAddr>,
    /// Since when a node has a VIP without the turn.
    silent: BTreeMap<(usize, VipId), i64>,
    /// Who keeps its place in the queue without the address.
    paused: BTreeSet<(usize, VipId)>,
    /// Since when nobody has an address.
    nobody: BTreeMap<IpAddr, i64>,
    nobody_most: i64,
    /// Since when every address has one holder.
    whole_since: Option<i64>,
    /// A restored backup took effect.
    restored: bool,
    etcd_troubled_until: i64,
}

impl Judge {
    pub(super) fn new(case: &Case, terms: &Terms) -> Self {
        let mut addresses: Vec<IpAddr> =
            case.nodes.iter().flat_map(|n| n.plan().vips).flat_map(|v| v.addresses).collect();
        addresses.sort();
        addresses.dedup();
        Self {
            strict: !case.by_hand(),
            only: terms.judges,
            addresses,
            silent: BTreeMap::new(),
            paused: BTreeSet::new(),
            nobody: BTreeMap::new(),
            nobody_most: NOBODY_MOST + if case.rough.contains(&Rough::Twice) { RENEWED_LATE } else { 0 },
            whole_since: None,
            restored: false,
            etcd_troubled_until: 0,
        }
    }
}

impl World {
    /// The first verdict stands.
    pub(super) fn wrong(&mut self, kind: Kind, text: impl FnOnce() -> String) {
        if self.fate.wrong.is_none() && self.judge.only.is_none_or(|only| only == kind) {
            let text = format!("at {:.4}: {}", self.now as f64 / 1e9, text());
            self.say("WRONG", || format!("{kind:?}: {text}"));
            self.fate.wrong = Some(Wrong { kind, text });
        }
    }

    pub(super) fn restored(&mut self) {
        self.judge.restored = true;
    }

    pub(super) fn etcd_troubled(&mut self, until: i64) {
        self.judge.etcd_troubled_until = self.judge.etcd_troubled_until.max(until);
    }

    /// No other node has any of its addresses. And, as long as nobody meddles with etcd's keys: the address is gone
    /// before the lease is, and its candidate stands and is first.
    pub(super) fn judge_put(&mut self, node: usize, vip: VipId, gone: i64) {
        let addresses = self.nodes[node].addresses(vip);
        let other = self.nodes.iter().enumerate().find(|(i, n)| *i != node && n.has_any(&addresses)).map(|(i, _)| i);
        let me = self.nodes[node].id;
        if let Some(other) = other {
            let other = self.nodes[other].id;
            self.wrong(Kind::TwoHolders, || format!("two nodes have {addresses:?}: n{other} and n{me}"));
        } else if self.nodes[node].has_twice(vip) {
            self.wrong(Kind::TwoHolders, || format!("n{me} has an address of {addresses:?} for two VIPs"));
        } else if self.judge.strict
            && let Some(why) = self.unfounded(node, vip, gone)
        {
            self.wrong(Kind::Unfounded, || format!("n{me} puts {addresses:?}, but {why}"));
        }
    }

    fn unfounded(&self, node: usize, vip: VipId, gone: i64) -> Option<String> {
        let election = self.nodes[node].election.as_ref()?;
        let Session::Live(live) = election.session() else { return Some("it has no session".into()) };
        match self.etcd.lease_ends(live.lease) {
            None => Some("its lease is gone".into()),
            Some(ends) if ends < gone => Some(format!("its lease ends {} ms earlier", (gone - ends) / MS)),
            Some(_) => self.no_turn(node, vip, live.lease),
        }
    }

    /// Why this node has not the turn, in etcd's own eyes.
    fn no_turn(&self, node: usize, vip: VipId, lease: LeaseId) -> Option<String> {
        let planned = self.nodes[node].plan.get(vip)?;
        // A node stands once for each address: first is whose lease is.
        planned.addresses.iter().find_map(|ip| match self.etcd.store.first_lease(*ip) {
            Some(first) if first == lease => None,
            Some(first) => Some(format!("{} stands first for {ip}", self.whose(first))),
            None => Some(format!("nobody stands for {ip}")),
        })
    }

    /// Whoever wishes an address has its turn, as far as it knows, and a fence that is not past.
    pub(super) fn judge_wishes(&mut self, node: usize, now: Moment) {
        let Some(election) = &self.nodes[node].election else { return };
        let fenced = match election.session() {
            Session::Live(live) => live.is_fenced(now),
            Session::Silent { .. } | Session::Asking { .. } => true,
        };
        let wrong = election.contenders().iter().find_map(|c| {
            let holds = matches!(c.state(), State::Taking { .. } | State::Holding { .. });
            match (c.is_wished(), holds) {
                (true, false) => Some(format!("wishes {:?} without the turn: {:?}", c.id, c.state())),
                (true, true) if fenced => Some(format!("wishes {:?} past the fence", c.id)),
                _ => None,
            }
        });
        if let Some(text) = wrong {
            let me = self.name(node);
            self.wrong(Kind::Silent, || format!("{me} {text}"));
        }
    }

    /// A session ends by a lost lease only if the lease is lost, and by another history only after a restored backup.
    pub(super) fn judge_session_end(&mut self, node: usize, lease: LeaseId, cause: &Cause) {
        let unfounded = match cause {
            // A restored backup may have brought it back since.
            Cause::LeaseLost => self.etcd.has_lease(lease) && !self.judge.restored,
            Cause::AnotherHistory => !self.judge.restored,
            _ => false,
        };
        if unfounded {
            let me = self.name(node);
            self.wrong(Kind::EndedForNothing, || format!("{me} ends its session for {cause:?}"));
        }
    }

    pub(super) fn judge_let_go(&mut self, node: usize, vip: VipId, kept_place: bool) {
        if kept_place {
            self.judge.paused.insert((node, vip));
        } else {
            self.judge.paused.remove(&(node, vip));
        }
    }

    /// Who lost its link keeps its turn for as long as it does not know that etcd can be reached another way. (Who only
    /// waits in the queue has nothing to keep.)
    pub(super) fn judge_left_queue(&mut self, node: usize, vip: VipId, cause: &Cause) {
        let paused = self.judge.paused.remove(&(node, vip));
        let n = &self.nodes[node];
        if paused && *cause == Cause::LinkDown && n.heard_at <= n.link_lost_at {
            let me = self.name(node);
            self.wrong(Kind::GivenUpBlindly, || format!("{me} gives {vip:?} up and has not heard etcd since"));
        }
    }

    pub(super) fn judge_look(&mut self) {
        self.judge_silent();
        let mut whole = true;
        for ip in self.judge.addresses.clone() {
            let holders = self.nodes.iter().filter(|n| n.has_any(&[ip])).count();
            whole &= holders == 1 || holders == 0 && self.all_wait(ip, i64::MAX);
            if holders > 0 {
                self.judge.nobody.remove(&ip);
            } else {
                let since = *self.judge.nobody.entry(ip).or_insert(self.now);
                self.judge_nobody(ip, since);
            }
        }
        self.judge.whole_since = if whole { self.judge.whole_since.or(Some(self.now)) } else { None };
    }

    fn judge_silent(&mut self) {
        for node in 0..self.nodes.len() {
            for vip in self.nodes[node].kernel.keys().copied().collect::<Vec<_>>() {
                let lease = self.nodes[node].lease.or(self.nodes[node].former_lease);
                let Some(why) = lease.map_or(Some("it has no lease".into()), |l| self.no_turn(node, vip, l)) else {
                    self.judge.silent.remove(&(node, vip));
                    continue;
                };
                let since = *self.judge.silent.entry((node, vip)).or_insert(self.now);
                let n = &self.nodes[node];
                let rough_until = n.troubled_until.max(n.rough_until).max(self.judge.etcd_troubled_until);
                let well = n.election.is_some() && rough_until < since;
                let most = if well { HEARS_WITHIN } else { SILENT_MOST };
                if self.now - since > most {
                    let (me, ms) = (self.name(node), (self.now - since) / MS);
                    self.wrong(Kind::Silent, || format!("{me} has {vip:?} for {ms} ms without the turn: {why}"));
                }
            }
        }
        let nodes = &self.nodes;
        self.judge.silent.retain(|(node, vip), _| nodes[*node].kernel.contains_key(vip));
    }

    /// With one node in trouble at the most, somebody has the address again in time.
    fn judge_nobody(&mut self, ip: IpAddr, since: i64) {
        let troubled = self.nodes.iter().filter(|n| n.election.is_none() || n.troubled_until >= since).count();
        let etcd = self.judge.etcd_troubled_until >= since;
        let somebody_could = troubled <= 1 && troubled < self.nodes.len() && !etcd;
        if somebody_could && self.all_wait(ip, since) {
            self.judge.nobody.remove(&ip);
            self.fate.coverage.see("address left alone for a group's sake");
        } else if self.now - since > self.judge.nobody_most && somebody_could {
            let ms = (self.now - since) / MS;
            self.wrong(Kind::Nobody, || format!("nobody has {ip} for {ms} ms"));
        }
    }

    /// Whether everybody who could put an address (and had no trouble since then) would put others with it, of which
    /// another node has one. Then nobody can have it for now.
    fn all_wait(&self, ip: IpAddr, since: i64) -> bool {
        let holds = |node: usize, ip: IpAddr| self.nodes.iter().enumerate().any(|(i, n)| i != node && n.has_any(&[ip]));
        let well = |n: &Node| n.election.is_some() && n.troubled_until < since;
        let nodes = self.nodes.iter().enumerate().filter(|(_, n)| well(n));
        let mut groups = nodes.flat_map(|(i, n)| n.wanted().map(move |vip| (i, &vip.addresses)));
        groups
            .all(|(node, group)| !group.contains(&ip) || group.iter().any(|other| *other != ip && holds(node, *other)))
    }

    /// After the last fault everything heals.
    pub(super) fn judge_end(&mut self) {
        self.judge_whole();
        for node in 0..self.nodes.len() {
            if self.nodes[node].election.is_some() && self.nodes[node].plan.vips.iter().any(|v| v.going) {
                let me = self.name(node);
                self.wrong(Kind::NotHealed, || format!("{me} has not given back what was taken out"));
            }
        }
        for node in 0..self.nodes.len() {
            for vip in self.nodes[node].vips() {
                self.judge_standing(node, vip);
            }
        }
        let after = self.judge.whole_since.map_or(HEALED_WITHIN, |since| since - self.healed_at);
        self.fate.coverage.end_of_world(after.max(0));
    }

    /// One holder of every address, unless each who could have it waits for another address of its group.
    fn judge_whole(&mut self) {
        let holders = |w: &Self, ip: IpAddr| w.nodes.iter().filter(|n| n.has_any(&[ip])).count();
        let counted: Vec<_> = self.judge.addresses.iter().map(|ip| (*ip, holders(self, *ip))).collect();
        let wrong = |(ip, n): &(IpAddr, usize)| *n != 1 && !(*n == 0 && self.all_wait(*ip, i64::MAX));
        if let Some((ip, n)) = counted.into_iter().find(wrong) {
            self.wrong(Kind::NotHealed, || format!("{n} holders of {ip} after the last fault"));
        }
    }

    /// Every node stands for all its VIPs, unless it waits after a failure of its own; and it has the address exactly if
    /// it has the turn.
    fn judge_standing(&mut self, node: usize, vip: VipId) {
        let me = self.name(node);
        let Some(election) = &self.nodes[node].election else {
            return self.wrong(Kind::DoesNotStand, || format!("{me} does not run"));
        };
        let (state, session) = (election.contenders().iter().find(|c| c.id == vip), election.session());
        let Some(contender) = state else { return };
        let now = self.nodes[node].local(self.now);
        let lease = match session {
            Session::Live(live) => live.lease,
            Session::Silent { .. } | Session::Asking { .. } => {
                return self.wrong(Kind::DoesNotStand, || format!("{me} has no session"));
            }
        };
        let waits = match session {
            Session::Live(live) => matches!(contender.state(), State::Idle) && contender.deadline(live, now).is_some(),
            Session::Silent { .. } | Session::Asking { .. } => false,
        };
        let state = format!("{:?}", contender.state());
        let addresses = self.nodes[node].addresses(vip);
        let stands = addresses.iter().all(|ip| self.etcd.store.queue(*ip).contains(&lease));
        let turn = self.no_turn(node, vip, lease).is_none();
        let has = self.nodes[node].kernel.contains_key(&vip);
        if !stands && !waits {
            self.wrong(Kind::DoesNotStand, || format!("{me} does not stand for {addresses:?}: {state}"));
        } else if stands && turn != has {
            self.wrong(Kind::NotHealed, || format!("{me}: turn {turn}, address {has} for {addresses:?}: {state}"));
        }
    }
}
