//! Between a node and etcd: orders on their way, what etcd does about them, and answers on theirs.

use std::time::Duration;

use vipd::election::action::Action;
use vipd::election::event::{Event, Header, LeaseId, Pair, Record, ShortRead};
use vipd::moment::Moment;

use super::TTL;
use super::etcd::Etcd;
use super::world::World;

/// On its way to etcd.
#[derive(Clone)]
pub(super) enum Request {
    Order(Action, Moment),
    Renew { lease: LeaseId, sent_at: Moment },
    Read { pair: Pair },
    ReadAll { sent_at: Moment },
}

/// On its way to a node.
#[derive(Clone)]
pub(super) enum Answer {
    Fact(Event),
    /// A renewal was acknowledged; its read goes out when this arrives.
    Renewed(Pair),
}

impl World {
    /// etcd carries a request out. `stale`: a leader that is none any more acknowledges renewals.
    pub(super) fn carry_out_at_etcd(&mut self, node: usize, life: u32, request: Request, stale: bool) {
        let answer = match request {
            Request::Renew { lease, sent_at } => Some(self.renew(lease, sent_at, stale)),
            Request::Read { mut pair } => {
                let (count, newest) = self.etcd.short_read();
                pair.read = ShortRead { header: self.etcd.header(), count, newest, ..pair.read };
                Some(Answer::Fact(Event::PairAnswered(pair)))
            }
            Request::ReadAll { sent_at } => {
                self.read_all(node, life, sent_at);
                None
            }
            Request::Order(action, sent_at) => self.order(node, action, sent_at).map(Answer::Fact),
        };
        self.tell_watchers();
        if life == self.nodes[node].life {
            self.nodes[node].answers.extend(answer);
        }
    }

    fn renew(&mut self, lease: LeaseId, sent_at: Moment, stale: bool) -> Answer {
        let now = self.etcd.header();
        let stale = stale && now.term > 2;
        if !stale && !self.etcd.renew(lease, self.now) {
            return Answer::Fact(Event::LeaseLost { lease });
        }
        let renewed = Header { term: now.term - u64::from(stale), ..now };
        let read = ShortRead { sent_at, header: renewed, count: 0, newest: 0 };
        let ttl = Duration::from_nanos(TTL as u64);
        Answer::Renewed(Pair { lease, sent_at, answered_at: sent_at, ttl, renewed, read })
    }

    /// The whole picture, and a new watch behind it.
    fn read_all(&mut self, node: usize, life: u32, sent_at: Moment) {
        let node = &mut self.nodes[node];
        if node.life == life {
            node.watch.clear();
            node.watching = true;
            let (header, entries) = (self.etcd.header(), self.etcd.read_all());
            node.watch.push_back(Event::PictureRead { sent_at, header, entries });
        }
    }

    fn order(&mut self, node: usize, action: Action, sent_at: Moment) -> Option<Event> {
        let etcd = &mut self.etcd;
        match action {
            Action::GrantLease => {
                let lease = etcd.grant(self.now);
                self.nodes[node].lease = Some(lease);
                let ttl = Duration::from_nanos(TTL as u64);
                return Some(Event::LeaseGranted { lease, ttl, sent_at, header: self.etcd.header() });
            }
            Action::Stand { lease, .. } if etcd.ends(lease).is_none() => return Some(Event::LeaseLost { lease }),
            Action::Stand { key, lease, record } if etcd.create_revision(&key) == 0 => {
                let record = Record::Candidate { lease, addresses: record.addresses, who: record.node };
                etcd.write(&[], vec![(key, lease, record)]);
            }
            Action::WriteRecord { lease, record } if etcd.ends(lease).is_some() => {
                etcd.write(&[], vec![Etcd::put_node(lease, record)]);
            }
            Action::StepBack { key, create, lease, record }
                if etcd.ends(lease).is_some() && etcd.create_revision(&key) == create =>
            {
                etcd.write(&[key], vec![Etcd::put_node(lease, record)]);
            }
            Action::RevokeLease { lease, record } => {
                if let Some(record) = record.filter(|_| etcd.ends(lease).is_some()) {
                    etcd.write(&[], vec![Etcd::put_node(lease, record)]);
                }
                etcd.revoke(lease);
                return Some(Event::LeaseRevoked { lease });
            }
            _ => {}
        }
        None
    }

    pub(super) fn tell_watchers(&mut self) {
        for (revision, changes) in std::mem::take(&mut self.etcd.news) {
            for node in self.nodes.iter_mut().filter(|node| node.watching) {
                node.watch.push_back(Event::Changed { revision, changes: changes.clone() });
            }
        }
    }

    /// An answer arrives.
    pub(super) fn arrive(&mut self, node: usize, answer: Answer) {
        match answer {
            Answer::Fact(event) => self.tell(node, event),
            Answer::Renewed(mut pair) => {
                pair.answered_at = self.nodes[node].local(self.now);
                pair.read.sent_at = pair.answered_at;
                self.nodes[node].send(Request::Read { pair });
            }
        }
    }
}
