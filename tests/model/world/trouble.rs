//! What goes wrong, at any moment, and for as long as it likes.

use super::node::{Deposed, LINK, VIP};
use super::{Step, World};
use crate::election::event::{Event, LeaseId};
use crate::election::model::choice::Chooser;
use crate::election::safety::store::Value;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::election::model) enum Kind {
    /// The process stops between any two steps.
    Freeze,
    /// The daemon is killed and nobody cleans up.
    Kill,
    /// SIGTERM.
    Stop,
    /// Nothing reaches the node: not etcd, not ARP.
    Cut,
    /// Etcd does not reach the node; ARP does.
    CutEtcd,
    /// The watch tells late.
    Lag,
    /// The watch goes silent.
    Deaf,
    /// The kernel neither writes addresses nor answers.
    Wordless,
    /// The link is down.
    Link,
    /// The clock runs at another rate.
    Clock,
    /// Etcd has no leader for a while, then another.
    Leader,
    /// The same, and the old leader goes on acknowledging this node's renewals.
    Stall,
    /// One order, answer or report is late, and may be lost.
    Delay,
    /// The kernel refuses to put an address.
    PutFails,
    /// Somebody deletes a candidate's key.
    DeleteKey,
    /// Etcd revokes a lease too early.
    Revoke,
    /// Somebody writes over a candidate's key, without its lease.
    Overwrite,
}

/// A fault and whose it is: a node's number, or a key's or lease's.
pub(in crate::election::model) type Fault = (Kind, u8);

impl World {
    /// What may break, and what may heal.
    pub(super) fn troubles(&self, steps: &mut Vec<Step>) {
        for kind in &self.rules.kinds {
            let many = match kind {
                Kind::Leader => 1,
                Kind::Delay | Kind::PutFails => 0, // comes with what is late, or put
                Kind::DeleteKey | Kind::Overwrite => self.etcd.store.candidates().len(),
                Kind::Revoke => self.etcd.leases().count(),
                _ => self.nodes.len(),
            };
            for fault in (0..many as u8).map(|who| (*kind, who)) {
                if self.is_on(fault) {
                    let lasts = fault.0 == Kind::Clock || fault.0 == Kind::Stall && self.etcd.leaderless;
                    steps.extend((!lasts).then_some(Step::Heal(fault)));
                } else if self.left > 0 && self.may_strike(fault) {
                    steps.push(Step::Fault(fault));
                }
            }
        }
        if self.etcd.leaderless && !self.rules.kinds.contains(&Kind::Leader) {
            steps.push(Step::Heal((Kind::Leader, 0)));
        }
    }

    fn is_on(&self, (kind, who): Fault) -> bool {
        let n = || &self.nodes[usize::from(who)];
        match kind {
            Kind::Freeze => n().frozen,
            Kind::Cut => n().cut && n().mute,
            Kind::CutEtcd => n().cut,
            Kind::Lag => n().lagging,
            Kind::Wordless => n().wordless,
            Kind::Link => n().link_down,
            Kind::Clock => n().odd,
            Kind::Leader => self.etcd.leaderless,
            Kind::Stall => n().deposed.is_some(),
            _ => false,
        }
    }

    fn may_strike(&self, (kind, who): Fault) -> bool {
        let n = || &self.nodes[usize::from(who)];
        match kind {
            Kind::Freeze | Kind::Kill | Kind::Stop | Kind::Lag => n().election.is_some() && !n().frozen,
            Kind::Deaf => n().watching,
            Kind::Stall => !self.etcd.leaderless,
            _ => true,
        }
    }

    pub(super) fn strike(&mut self, (kind, who): Fault, choose: &mut Chooser) {
        self.left -= 1;
        let i = usize::from(who);
        match kind {
            Kind::Kill => self.node(i).die(),
            Kind::Stop => self.fact(i, Event::Stop, choose),
            Kind::Deaf => self.node(i).watching = false,
            Kind::Cut | Kind::CutEtcd => {
                self.node(i).mute |= kind == Kind::Cut;
                self.node(i).cut = true;
                self.break_watch(i);
            }
            Kind::Freeze => self.node(i).frozen = true,
            Kind::Lag => self.node(i).lagging = true,
            Kind::Wordless => self.node(i).wordless = true,
            Kind::Clock => self.node(i).odd = true,
            Kind::Link => self.link(i, false, choose),
            Kind::Leader | Kind::Stall => {
                let deposed = Deposed::of(self.etcd.header().term);
                self.etcd().leaderless = true;
                if kind == Kind::Stall {
                    self.node(i).deposed = Some(deposed);
                }
                (0..self.nodes.len()).for_each(|i| self.break_watch(i));
            }
            Kind::DeleteKey => {
                let key = self.etcd.store.candidates().swap_remove(i);
                self.etcd().store.write(&[key], Vec::new());
            }
            Kind::Overwrite => {
                let key = self.etcd.store.candidates().swap_remove(i);
                self.etcd().store.write(&[], vec![(key, LeaseId(0), Value::Foreign)]);
            }
            Kind::Revoke => {
                let lease = self.etcd.leases().nth(i);
                lease.into_iter().for_each(|l| self.etcd().revoke(l));
            }
            Kind::Delay | Kind::PutFails => {}
        }
    }

    pub(super) fn heal(&mut self, (kind, who): Fault, choose: &mut Chooser) {
        let i = usize::from(who);
        match kind {
            Kind::Freeze => self.node(i).frozen = false,
            Kind::Cut | Kind::CutEtcd => (self.node(i).cut, self.node(i).mute) = (false, false),
            Kind::Lag => self.node(i).lagging = false,
            Kind::Wordless => self.node(i).wordless = false,
            Kind::Link => self.link(i, true, choose),
            Kind::Leader => self.etcd().elect(),
            Kind::Stall => self.node(i).deposed = None,
            _ => {}
        }
    }

    /// Everything heals, and what was held up is lost.
    pub(super) fn end_troubles(&mut self) -> Result<(), String> {
        if self.etcd.leaderless {
            self.etcd().elect();
        }
        for i in 0..self.nodes.len() {
            self.node(i).recover();
            self.apply(Step::Heal((Kind::Link, i as u8)), &mut Chooser::default())?;
        }
        Ok(())
    }

    fn link(&mut self, i: usize, up: bool, choose: &mut Chooser) {
        self.node(i).link_down = !up;
        self.fact(i, Event::Link { vip: VIP, link: up.then_some(LINK) }, choose);
    }
}
