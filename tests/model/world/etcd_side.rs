//! Between a node and etcd: orders and answers, at once or held up, and watches.

use std::collections::VecDeque;

use super::{Held, Kind, World};
use crate::election::action::Action;
use crate::election::event::{Event, Header, LeaseId, Pair, ShortRead};
use crate::election::model::TTL;
use crate::election::model::choice::Chooser;
use crate::election::record::{NodeRecord, Released, node_key};
use crate::election::safety::store::Value;

impl World {
    /// Whether this is held up, which is a fault.
    pub(super) fn is_held_up(&mut self, i: usize, what: impl FnOnce() -> Held, choose: &mut Chooser) -> bool {
        if !self.may_fail(Kind::Delay) || choose.one_of(2) == 0 {
            return false;
        }
        let what = what();
        self.say(|_| format!("  n{i}: held up: {what:?}"));
        self.left -= 1;
        self.node(i).held.push(what);
        true
    }

    pub(super) fn may_go_on(&self, i: usize, held: &Held) -> bool {
        match held {
            Held::Report(_) => self.nodes[i].election.is_some() && !self.nodes[i].frozen,
            Held::Order(_) | Held::Former(_) | Held::Renewal(..) | Held::Proof(_) => self.reaches(i),
        }
    }

    pub(super) fn forward(&mut self, i: usize, h: usize, choose: &mut Chooser) {
        match self.node(i).held.remove(h) {
            Held::Report(event) => self.fact(i, event, choose),
            Held::Order(order) => {
                if let (Some(event), true) = (self.execute(i, order), self.nodes[i].election.is_some()) {
                    self.node(i).held.push(Held::Report(event));
                }
            }
            Held::Former(lease) => self.release(lease),
            Held::Renewal(lease, sent_at) => {
                let renewed = self.etcd().renew(lease);
                let next = match renewed {
                    Some(header) => Held::Proof(self.renewed(i, lease, sent_at, header)),
                    None => Held::Report(Event::LeaseLost { lease }),
                };
                self.node(i).held.push(next);
            }
            Held::Proof(pair) => {
                let event = self.prove(pair);
                self.node(i).held.push(Held::Report(event));
            }
        }
    }

    // ---- renewals ----

    /// By the leader, or by a deposed leader whose disk hangs.
    pub(super) fn renew(&mut self, i: usize, lease: LeaseId, facts: &mut VecDeque<Event>, choose: &mut Chooser) {
        let sent_at = self.nodes[i].now;
        if self.is_held_up(i, || Held::Renewal(lease, sent_at), choose) || self.nodes[i].cut {
            return;
        }
        if let Some(deposed) = self.nodes[i].deposed {
            self.node(i).deposed = deposed.less();
            let header = Header { term: deposed.term, ..self.etcd.header() };
            let pair = self.renewed(i, lease, sent_at, header);
            self.say(|_| format!("  n{i}: renewed by the deposed leader"));
            // Without a leader nobody answers the read, and later the term is another one anyway.
            if self.reaches(i) {
                facts.push_back(self.prove(pair));
            }
            return;
        }
        if self.reaches(i) {
            facts.push_back(match self.etcd().renew(lease) {
                Some(header) => {
                    let pair = self.renewed(i, lease, sent_at, header);
                    self.prove(pair)
                }
                None => Event::LeaseLost { lease },
            });
        }
    }

    fn renewed(&self, i: usize, lease: LeaseId, sent_at: crate::moment::Moment, renewed: Header) -> Pair {
        let answered_at = self.nodes[i].now;
        let read = ShortRead { sent_at: answered_at, header: renewed, count: 0, newest: 0 };
        Pair { lease, sent_at, answered_at, ttl: TTL, renewed, read }
    }

    fn prove(&self, mut pair: Pair) -> Event {
        let (count, newest) = self.etcd.store.short_read();
        pair.read = ShortRead { header: self.etcd.header(), count, newest, ..pair.read };
        Event::PairAnswered(pair)
    }

    // ---- orders ----

    pub(super) fn order(&mut self, i: usize, order: Action, facts: &mut VecDeque<Event>, choose: &mut Chooser) {
        if !self.is_held_up(i, || Held::Order(order.clone()), choose) && self.reaches(i) {
            facts.extend(self.execute(i, order));
        }
    }

    fn execute(&mut self, i: usize, order: Action) -> Option<Event> {
        match order {
            Action::GrantLease => {
                let lease = self.etcd().grant();
                let header = self.etcd.header();
                self.node(i).lease = Some(lease);
                return Some(Event::LeaseGranted { lease, ttl: TTL, sent_at: self.nodes[i].now, header });
            }
            Action::Stand { key, lease, record } => {
                if !self.etcd.has(lease) {
                    return Some(Event::LeaseLost { lease });
                }
                if self.etcd.store.create_revision(&key) == 0 {
                    self.etcd().store.write(&[], vec![(key, lease, Value::Candidate(record))]);
                }
            }
            Action::WriteRecord { lease, record } => self.write_record(&[], lease, record),
            Action::StepBack { key, create, lease, record } => {
                if self.etcd.store.create_revision(&key) == create {
                    self.write_record(&[key], lease, record);
                }
            }
            Action::RevokeLease { lease, record } => {
                if let Some(record) = record {
                    self.write_record(&[], lease, record);
                }
                self.etcd().revoke(lease);
                return Some(Event::LeaseRevoked { lease });
            }
            Action::Renew { .. } | Action::ReadAll | Action::Put { .. } | Action::Probe { .. } => {}
            Action::Announce { .. } | Action::Forget { .. } | Action::Finish { .. } | Action::Tell(_) => {}
        }
        None
    }

    fn write_record(&mut self, deletes: &[crate::election::record::Key], lease: LeaseId, record: NodeRecord) {
        if self.etcd.has(lease) {
            self.etcd().store.write(deletes, vec![(node_key("vipd", lease), lease, Value::Node(record))]);
        }
    }

    pub(super) fn release_former(&mut self, i: usize, lease: LeaseId, choose: &mut Chooser) {
        if !self.is_held_up(i, || Held::Former(lease), choose) && self.reaches(i) {
            self.release(lease);
        }
    }

    fn release(&mut self, lease: LeaseId) {
        let store = &self.etcd.store;
        let word = |key| Released { create: store.create_revision(&key), key };
        let released = store.keys_of(lease).into_iter().map(word).collect();
        self.write_record(&[], lease, NodeRecord { released, ..NodeRecord::default() });
        self.etcd().revoke(lease);
    }

    // ---- the watch ----

    /// All at once, and a watch from there.
    pub(super) fn read(&mut self, i: usize, choose: &mut Chooser) {
        let (header, entries) = (self.etcd.header(), self.etcd.store.read_all());
        let n = self.node(i);
        (n.watching, n.to_read) = (true, false);
        let event = Event::PictureRead { sent_at: n.now, header, entries };
        // What is told after it comes after it, so it is late as all that is.
        if self.nodes[i].lagging {
            self.node(i).news.push_back(event);
        } else {
            self.fact(i, event, choose);
        }
    }

    pub(super) fn break_watch(&mut self, i: usize) {
        let n = self.node(i);
        if n.election.is_some() {
            (n.watching, n.to_read) = (false, true);
        }
    }

    pub(super) fn tell_watchers(&mut self) {
        if self.etcd.store.news.is_empty() {
            return;
        }
        for (revision, changes) in std::mem::take(&mut self.etcd().store.news) {
            for i in 0..self.nodes.len() {
                if self.nodes[i].watching {
                    self.node(i).news.push_back(Event::Changed { revision, changes: changes.clone() });
                }
            }
        }
    }
}
