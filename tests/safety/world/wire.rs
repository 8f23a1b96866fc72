//! The network between a node and etcd: requests and answers that are late, lost or carried out twice, and watches.

use std::time::Duration;

use super::{Happening, MS, SECOND, TTL, World};
use crate::election::action::Action;
use crate::election::event::{Event, LeaseId, Pair, ShortRead};
use crate::election::record::{NodeRecord, Released, node_key};
use crate::election::safety::case::Rough;
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
        let delay = self.delay(node);
        let (loses, delays, doubles) = (self.rough(Rough::Lost), self.rough(Rough::Late), self.rough(Rough::Twice));
        let rng = &mut self.nodes[node].wire;
        let (fate, late, twice, again) =
            (rng.range(0, 50), rng.range(0, 6 * SECOND), rng.one_in(25), rng.range(0, 4 * SECOND));
        if fate == 1 && loses && !matches!(request, Request::ReadAll { .. }) {
            return self.lost(node);
        }
        let late = if fate == 0 && delays { late } else { 0 };
        let when = self.now + delay + late;
        self.under_way(node, when, late, request.clone());
        // Sent to one member and, for want of an answer, to another: carried out twice, the second time late.
        if twice && doubles && !matches!(request, Request::ReadAll { .. } | Request::Read { .. }) {
            self.fate.coverage.see("order carried out twice");
            self.under_way(node, when + again, again, request);
        }
    }

    fn under_way(&mut self, node: usize, when: i64, late: i64, request: Request) {
        if late > 0 {
            self.still_to_come(when);
            self.nodes[node].rough_until = self.nodes[node].rough_until.max(when);
        }
        let (life, sent) = (self.nodes[node].life, self.now);
        self.at(when, Happening::AtEtcd { node, life, sent, request });
    }

    fn lost(&mut self, node: usize) {
        self.fate.coverage.see("message lost");
        self.nodes[node].rough_until = self.nodes[node].rough_until.max(self.now + SECOND);
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

    pub(super) fn at_etcd(&mut self, node: usize, life: u64, sent: i64, request: Request) {
        let cut = self.now < self.nodes[node].etcd_cut_until;
        let (wanders, elsewhere) = (self.nodes[node].wire.one_in(10), self.nodes[node].wire.one_in(2));
        if wanders && self.rough(Rough::Rotates) {
            self.nodes[node].member = self.nodes[node].wire.range(0, MEMBERS as i64) as usize;
        }
        let mut member = self.nodes[node].member;
        if matches!(request, Request::Read { .. }) && elsewhere {
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
        self.cover_order(node, life, sent, &request);
        if matches!(request, Request::Read { .. } | Request::ReadAll { .. }) {
            self.nodes[node].heard_at = self.nodes[node].heard_at.max(sent);
        }
        let answer = self.answer(node, member, request);
        self.tell_watchers();
        let lost = self.nodes[node].wire.one_in(40) && !retry && self.rough(Rough::Lost);
        if lost {
            self.lost(node);
        }
        if let (Some(event), false, true) = (answer, lost, life == self.nodes[node].life) {
            let slow = self.now < self.nodes[node].slow_until;
            let more = self.nodes[node].wire.range(200 * MS, 1500 * MS);
            let after = self.delay(node) + if slow { more } else { 0 };
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

    fn cover_order(&mut self, node: usize, life: u64, sent: i64, request: &Request) {
        let Request::Order(order) = request else { return };
        let (late, gone) = (self.now - sent, life != self.nodes[node].life);
        if late >= SECOND {
            self.fate.coverage.see("order carried out after 1 s or more");
        }
        if gone {
            self.fate.coverage.see("order of a daemon that is gone");
        }
        if late >= SECOND || gone {
            let name = format!("{order:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            self.say_of(node, || format!("its {name} of {} ms ago reaches etcd", late / MS));
        }
    }

    /// The renewal's answer arrives, and the read that may prove it goes out.
    fn renewed(&mut self, node: usize, life: u64, after: i64, mut pair: Pair) {
        let arrives = (self.now + after).max(self.nodes[node].frozen_until);
        pair.answered_at = self.nodes[node].local(arrives);
        pair.read.sent_at = pair.answered_at;
        let when = arrives + self.delay(node);
        self.at(when, Happening::AtEtcd { node, life, sent: arrives, request: Request::Read { pair } });
    }

    fn answer(&mut self, node: usize, member: usize, request: Request) -> Option<Answer> {
        match request {
            Request::Renew { lease, sent_at } => {
                let (renewed, ttl) = self.etcd.renew(member, lease, self.now)?;
                if renewed.term != self.etcd.header().term {
                    self.fate.coverage.see("renewal acknowledged by a stalled leader");
                }
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
                if self.nodes[node].watch.one_in(2) {
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
                self.owners.insert(lease, node);
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
        let news = std::mem::take(&mut self.etcd.store.news);
        self.say_news(&news);
        for (revision, changes) in news {
            for node in 0..self.nodes.len() {
                let breaks = self.nodes[node].watch.one_in(400) && self.rough(Rough::WatchBreaks);
                let lag = self.nodes[node].watch.range(0, 4 * SECOND);
                let n = &mut self.nodes[node];
                if !n.watching {
                    continue;
                }
                if n.deaf_until > self.now {
                    // A watch tells late or not at all, but it skips nothing: deaf once, deaf until all is read again.
                    n.watching = false;
                    continue;
                }
                if n.etcd_cut_until > self.now || breaks {
                    self.break_watch(node);
                    continue;
                }
                let lag = if n.lag_until > self.now { lag } else { 0 };
                let after = self.delay(node) + lag;
                self.tell_in_order(node, after, Event::Changed { revision, changes: changes.clone() });
            }
        }
    }

    /// All is read again until that works.
    pub(super) fn break_watch(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        (n.watching, n.rough_until) = (false, n.rough_until.max(self.now + SECOND));
        let life = n.life;
        self.at(self.now + 50 * MS, Happening::ReadAll { node, life });
    }

    fn tell_in_order(&mut self, node: usize, after: i64, event: Event) {
        let when = (self.now + after).max(self.nodes[node].watch_at);
        self.nodes[node].watch_at = when;
        let (life, stream) = (self.nodes[node].life, self.nodes[node].stream);
        self.at(when, Happening::Watch { node, life, stream, event });
    }
}
