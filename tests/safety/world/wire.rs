//! The network between a node and etcd: requests and answers that are late, lost or carried out twice, and watches.

use std::time::Duration;

use super::{Happening, MS, SECOND, TTL, World};
use crate::election::action::Action;
use crate::election::event::{Event, LeaseId, Pair, ShortRead};
use crate::election::record::{NodeRecord, Released, node_key};
use crate::election::safety::etcd::MEMBERS;
use crate::election::safety::store::Value;
use crate::moment::Moment;

#[derive(Clone)]
pub(super) enum Request {
    Order(Action),
    Renew { lease: LeaseId, sent_at: Moment },
    Read { pair: Pair },
    ReadAll { sent_at: Moment },
    Former { lease: LeaseId },
}

enum Answer {
    Fact(Event),
    Picture(Event),
    Renewed(Pair),
}

impl World {
    /// On its way to etcd: lost, or late by seconds (given up by the sender, and carried out all the same).
    pub(super) fn send(&mut self, node: usize, request: Request) {
        let life = self.nodes[node].life;
        let late = match self.rng.range(0, 50) {
            0 => self.rng.range(0, 6 * SECOND),
            1 if !matches!(request, Request::ReadAll { .. }) => return,
            _ => 0,
        };
        let when = self.now + self.delay() + late;
        // Sent to one member and, for want of an answer, to another: carried out twice, the second time late.
        if self.rng.one_in(25) && !matches!(request, Request::ReadAll { .. } | Request::Read { .. }) {
            let again = when + self.rng.range(0, 4 * SECOND);
            self.at(again, Happening::AtEtcd { node, life, request: request.clone() });
        }
        self.at(when, Happening::AtEtcd { node, life, request });
    }

    /// The watch is given up and all is read; an order that comes meanwhile is remembered.
    pub(super) fn read_all(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if n.reading {
            n.read_again = true;
            return;
        }
        (n.reading, n.watching, n.watch_at) = (true, false, 0);
        n.stream += 1;
        let sent_at = n.local(self.now);
        self.send(node, Request::ReadAll { sent_at });
    }

    fn picture_told(&mut self, node: usize) {
        self.nodes[node].reading = false;
        if std::mem::take(&mut self.nodes[node].read_again) {
            let life = self.nodes[node].life;
            self.at(self.now + 10 * MS, Happening::ReadAll { node, life });
        }
    }

    pub(super) fn at_etcd(&mut self, node: usize, life: u64, request: Request) {
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
                self.nodes[node].reading = false;
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
                Answer::Picture(event) => {
                    self.tell_in_order(node, after, event);
                    self.picture_told(node);
                }
                Answer::Renewed(pair) => self.renewed(node, life, after, pair),
            }
        }
    }

    /// The renewal's answer arrives, and the read that may prove it goes out.
    fn renewed(&mut self, node: usize, life: u64, after: i64, mut pair: Pair) {
        let arrives = (self.now + after).max(self.nodes[node].frozen_until);
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
                let (count, newest) = self.etcd.store.short_read();
                pair.read = ShortRead { header: self.etcd.header(), count, newest, ..pair.read };
                Some(Answer::Fact(Event::PairAnswered(pair)))
            }
            Request::ReadAll { sent_at } => {
                self.nodes[node].watching = true;
                if self.rng.one_in(2) {
                    self.nodes[node].deaf_until = 0; // else the next watch is one of the same deaf member
                }
                let (header, entries) = (self.etcd.header(), self.etcd.store.read_all());
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
                if self.etcd.store.create_revision(&key) == 0 {
                    self.etcd.store.write(&[], vec![(key, lease, Value::Candidate(record))]);
                }
                None
            }
            Action::WriteRecord { lease, record } => {
                if self.etcd.has_lease(lease) {
                    self.etcd.store.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
                }
                None
            }
            Action::StepBack { key, create, lease, record } => {
                if self.etcd.store.create_revision(&key) == create && self.etcd.has_lease(lease) {
                    self.etcd.store.write(&[key], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
                }
                None
            }
            Action::RevokeLease { lease, record } => {
                if let (Some(record), true) = (record, self.etcd.has_lease(lease)) {
                    self.etcd.store.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
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
            let released = self.etcd.store.keys_of(lease).into_iter();
            let words = released.map(|key| Released { create: self.etcd.store.create_revision(&key), key }).collect();
            let record = NodeRecord { released: words, ..Default::default() };
            self.etcd.store.write(&[], vec![(node_key("vipd", lease), lease, Value::Node(record))]);
            self.etcd.revoke(lease);
        }
    }

    pub(super) fn tell_watchers(&mut self) {
        for (revision, changes) in std::mem::take(&mut self.etcd.store.news) {
            for node in 0..self.nodes.len() {
                let n = &self.nodes[node];
                if !n.watching {
                    continue;
                }
                if n.deaf_until > self.now {
                    // A watch tells late or not at all, but it skips nothing: deaf once, deaf until all is read again.
                    self.nodes[node].watching = false;
                    continue;
                }
                if n.etcd_cut_until > self.now || self.rng.one_in(400) {
                    // The watch breaks; all is read again until that works.
                    self.nodes[node].watching = false;
                    let life = self.nodes[node].life;
                    self.at(self.now + 50 * MS, Happening::ReadAll { node, life });
                    continue;
                }
                let lag = if n.lag_until > self.now { self.rng.range(0, 4 * SECOND) } else { 0 };
                let after = self.delay() + lag;
                self.tell_in_order(node, after, Event::Changed { revision, changes: changes.clone() });
            }
        }
    }

    fn tell_in_order(&mut self, node: usize, after: i64, event: Event) {
        let when = (self.now + after).max(self.nodes[node].watch_at);
        self.nodes[node].watch_at = when;
        let (life, stream) = (self.nodes[node].life, self.nodes[node].stream);
        self.at(when, Happening::Watch { node, life, stream, event });
    }
}
