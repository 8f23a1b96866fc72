//! The virtual etcd: one store, leases with a clock, terms, a leader that may be gone for a while or stalled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::election::event::{Change, Entry, Header, LeaseId, Record};
use crate::election::record::{CandidateRecord, Key, NodeRecord};

pub(super) const MEMBERS: usize = 3;
const SECOND: i64 = 1_000_000_000;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Candidate(CandidateRecord),
    Node(NodeRecord),
    /// Written by hand, without a lease.
    Foreign,
}

#[derive(Clone, Debug)]
struct Item {
    lease: LeaseId,
    create: i64,
    modified: i64,
    value: Value,
}

#[derive(Clone, Debug)]
struct Granted {
    ttl: i64,
    ends: i64,
}

#[derive(Clone, Debug, Default)]
struct Store {
    revision: i64,
    items: BTreeMap<Key, Item>,
    leases: BTreeMap<LeaseId, Granted>,
}

/// What one revision changed, for the watchers.
pub(super) type Revision = (i64, Vec<Change>);

#[derive(Clone, Debug)]
pub(super) struct Etcd {
    store: Store,
    backup: Option<Store>,
    cluster: u64,
    term: u64,
    leader: usize,
    /// No leader until then: no writes, no linearizable reads.
    leaderless_until: i64,
    /// A leader whose disk hangs: it acknowledges renewals in its old term, to no effect.
    stalled: Option<(usize, u64, i64)>,
    next_lease: i64,
    /// Everything that happened since the watchers were last told.
    pub(super) news: Vec<Revision>,
}

impl Etcd {
    pub(super) fn new() -> Self {
        Self {
            store: Store { revision: 1, ..Store::default() },
            backup: None,
            cluster: 77,
            term: 2,
            leader: 0,
            leaderless_until: 0,
            stalled: None,
            next_lease: 0x100,
            news: Vec::new(),
        }
    }

    /// Whether writes and linearizable reads are answered by this member now.
    pub(super) fn answers(&self, member: usize, now: i64) -> bool {
        now >= self.leaderless_until && !self.is_stalled(member, now)
    }

    fn is_stalled(&self, member: usize, now: i64) -> bool {
        self.stalled.is_some_and(|(m, _, until)| m == member && now < until)
    }

    pub(super) fn header(&self) -> Header {
        Header { cluster: self.cluster, term: self.term, revision: self.store.revision }
    }

    pub(super) fn grant(&mut self, ttl: i64, now: i64) -> LeaseId {
        self.next_lease += 1;
        let lease = LeaseId(self.next_lease);
        self.store.leases.insert(lease, Granted { ttl, ends: now + ttl });
        lease
    }

    /// A renewal at a member: the header and the seconds it names; `None` if nobody answers.
    pub(super) fn renew(&mut self, member: usize, lease: LeaseId, now: i64) -> Option<(Header, i64)> {
        if let Some((m, term, until)) = self.stalled
            && m == member
            && now < until
        {
            return Some((
                Header { term, ..self.header() },
                self.store.leases.get(&lease).map_or(5 * SECOND, |l| l.ttl),
            ));
        }
        if now < self.leaderless_until {
            return None;
        }
        let ttl = self.store.leases.get_mut(&lease).map_or(0, |l| {
            l.ends = now + l.ttl;
            l.ttl
        });
        Some((self.header(), ttl))
    }

    pub(super) fn short_read(&self) -> (u64, i64) {
        let newest = self.store.items.values().map(|i| i.modified).max().unwrap_or(0);
        (self.store.items.len() as u64, newest)
    }

    pub(super) fn read_all(&self) -> Vec<Entry> {
        self.store.items.iter().map(|(k, i)| entry(k, i)).collect()
    }

    pub(super) fn has_lease(&self, lease: LeaseId) -> bool {
        self.store.leases.contains_key(&lease)
    }

    pub(super) fn lease_ends(&self, lease: LeaseId) -> Option<i64> {
        self.store.leases.get(&lease).map(|l| l.ends)
    }

    /// Who stands for an address, in the queue's order: the keys and their leases.
    pub(super) fn queue(&self, ip: IpAddr) -> Vec<(&Key, LeaseId)> {
        let names = |i: &Item| matches!(&i.value, Value::Candidate(r) if r.addresses.contains(&ip));
        let mut queue: Vec<_> = self.store.items.iter().filter(|(_, i)| names(i)).collect();
        queue.sort_by_key(|(_, i)| i.create);
        queue.into_iter().map(|(k, i)| (k, i.lease)).collect()
    }

    /// Who stands first for an address, and under which lease.
    pub(super) fn first(&self, ip: IpAddr) -> Option<(&Key, LeaseId)> {
        let names = |i: &Item| matches!(&i.value, Value::Candidate(r) if r.addresses.contains(&ip));
        let first = self.store.items.iter().filter(|(_, i)| names(i)).min_by_key(|(_, i)| i.create);
        first.map(|(k, i)| (k, i.lease))
    }

    pub(super) fn create_revision(&self, key: &Key) -> i64 {
        self.store.items.get(key).map_or(0, |i| i.create)
    }

    /// One transaction.
    pub(super) fn write(&mut self, deletes: &[Key], puts: Vec<(Key, LeaseId, Value)>) {
        let revision = self.store.revision + 1;
        let mut changes = Vec::new();
        for key in deletes {
            if self.store.items.remove(key).is_some() {
                changes.push(Change::Deleted(key.clone()));
            }
        }
        for (key, lease, value) in puts {
            let create = self.store.items.get(&key).map_or(revision, |i| i.create);
            let item = Item { lease, create, modified: revision, value };
            changes.push(Change::Put(entry(&key, &item)));
            self.store.items.insert(key, item);
        }
        if !changes.is_empty() {
            self.store.revision = revision;
            self.news.push((revision, changes));
        }
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.store.leases.remove(&lease).is_some() {
            let keys: Vec<Key> = self.keys_of(lease);
            self.write(&keys, Vec::new());
        }
    }

    pub(super) fn keys_of(&self, lease: LeaseId) -> Vec<Key> {
        self.store.items.iter().filter(|(_, i)| i.lease == lease).map(|(k, _)| k.clone()).collect()
    }

    pub(super) fn is_candidate(&self, key: &Key) -> bool {
        self.store.items.get(key).is_some_and(|i| matches!(i.value, Value::Candidate(_)))
    }

    /// Whether this candidate stands first for one of its addresses.
    pub(super) fn is_first(&self, key: &Key) -> bool {
        match self.store.items.get(key).map(|i| &i.value) {
            Some(Value::Candidate(r)) => {
                r.addresses.iter().any(|ip| self.first(*ip).is_some_and(|(first, _)| first == key))
            }
            _ => false,
        }
    }

    pub(super) fn candidates(&self) -> Vec<Key> {
        let is_candidate = |i: &Item| matches!(i.value, Value::Candidate(_));
        self.store.items.iter().filter(|(_, i)| is_candidate(i)).map(|(k, _)| k.clone()).collect()
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.store.leases.keys().copied().collect()
    }

    /// Ends leases whose time is over; without a leader nothing ends.
    pub(super) fn expire(&mut self, now: i64) -> Vec<LeaseId> {
        if now < self.leaderless_until {
            return Vec::new();
        }
        let over: Vec<LeaseId> = self.store.leases.iter().filter(|(_, l)| l.ends <= now).map(|(id, _)| *id).collect();
        for lease in &over {
            self.revoke(*lease);
        }
        over
    }

    /// The leader is gone (or its disk hangs for `stall`); another is elected after a while and gives every lease
    /// its full time.
    pub(super) fn lose_leader(&mut self, stall: Option<i64>, election: i64, now: i64) {
        if let Some(stall) = stall {
            self.stalled = Some((self.leader, self.term, now + election + stall));
        }
        self.leader = (self.leader + 1) % MEMBERS;
        self.term += 1;
        self.leaderless_until = now + election;
        for lease in self.store.leases.values_mut() {
            lease.ends = self.leaderless_until + lease.ttl;
        }
    }

    pub(super) fn lose_quorum(&mut self, until: i64) {
        self.leaderless_until = self.leaderless_until.max(until);
        for lease in self.store.leases.values_mut() {
            lease.ends = lease.ends.max(self.leaderless_until + lease.ttl);
        }
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some(self.store.clone());
    }

    /// Restored from the backup, answers again at `back`: revisions go back, cluster id and term do not change. Watches
    /// break.
    pub(super) fn restore(&mut self, back: i64) -> bool {
        let Some(mut store) = self.backup.take() else { return false };
        for lease in store.leases.values_mut() {
            lease.ends = back + lease.ttl;
        }
        self.leaderless_until = self.leaderless_until.max(back);
        self.store = store;
        self.news.clear();
        true
    }
}

fn entry(key: &Key, item: &Item) -> Entry {
    let record = match &item.value {
        Value::Candidate(r) => {
            Record::Candidate { lease: item.lease, addresses: r.addresses.clone(), who: r.node.clone() }
        }
        Value::Foreign => Record::Ignored("it hangs on no lease"),
        Value::Node(r) => Record::Node { lease: item.lease, record: r.clone() },
    };
    Entry { key: key.clone(), create: item.create, modified: item.modified, record }
}
