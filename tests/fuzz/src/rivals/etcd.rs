//! The small etcd: one store, leases that end as early as they may, a leader that changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vipd::election::event::{Change, Entry, Header, LeaseId, Record};
use vipd::election::record::{Key, NodeRecord, Released, node_key};

use super::TTL;

pub(super) const PREFIX: &str = "vipd";

/// The store.
#[derive(Clone)]
pub(super) struct Etcd {
    revision: i64,
    pub(super) term: u64,
    items: BTreeMap<Key, (LeaseId, Entry)>,
    /// Each with its end.
    leases: BTreeMap<LeaseId, i64>,
    granted: i64,
    /// Revisions that the watches were not told yet.
    pub(super) news: Vec<(i64, Vec<Change>)>,
}

impl Etcd {
    pub(super) fn new() -> Self {
        let (items, leases) = (BTreeMap::new(), BTreeMap::new());
        Self { revision: 1, term: 2, items, leases, granted: 0x100, news: Vec::new() }
    }

    pub(super) fn header(&self) -> Header {
        Header { cluster: 7, term: self.term, revision: self.revision }
    }

    pub(super) fn grant(&mut self, now: i64) -> LeaseId {
        self.granted += 1;
        self.leases.insert(LeaseId(self.granted), now + TTL);
        LeaseId(self.granted)
    }

    /// Whether there is such a lease; it lives on.
    pub(super) fn renew(&mut self, lease: LeaseId, now: i64) -> bool {
        self.leases.get_mut(&lease).map(|ends| *ends = now + TTL).is_some()
    }

    pub(super) fn ends(&self, lease: LeaseId) -> Option<i64> {
        self.leases.get(&lease).copied()
    }

    /// The lease that ends next.
    pub(super) fn next_end(&self) -> Option<(i64, LeaseId)> {
        self.leases.iter().map(|(lease, ends)| (*ends, *lease)).min()
    }

    /// Another leader: every lease gets its full time.
    pub(super) fn change_leader(&mut self, now: i64) {
        self.term += 1;
        self.leases.values_mut().for_each(|ends| *ends = now + TTL);
    }

    pub(super) fn short_read(&self) -> (u64, i64) {
        let newest = self.items.values().map(|(_, entry)| entry.modified).max().unwrap_or(0);
        (self.items.len() as u64, newest)
    }

    pub(super) fn read_all(&self) -> Vec<Entry> {
        self.items.values().map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn create_revision(&self, key: &Key) -> i64 {
        self.items.get(key).map_or(0, |(_, entry)| entry.create)
    }

    /// Who stands, and under which lease.
    pub(super) fn candidates(&self) -> Vec<(Key, LeaseId)> {
        let candidates = self.items.iter().filter(|(_, (_, entry))| entry.record.is_candidate());
        candidates.map(|(key, (lease, _))| (key.clone(), *lease)).collect()
    }

    /// Who stands first for an address.
    pub(super) fn first(&self, ip: IpAddr) -> Option<&Key> {
        let names = |e: &Entry| matches!(&e.record, Record::Candidate { addresses, .. } if addresses.contains(&ip));
        let all = self.items.values().map(|(_, entry)| entry).filter(|entry| names(entry));
        all.min_by_key(|entry| entry.create).map(|entry| &entry.key)
    }

    /// One transaction.
    pub(super) fn write(&mut self, deletes: &[Key], puts: Vec<(Key, LeaseId, Record)>) {
        let modified = self.revision + 1;
        let mut changes = Vec::new();
        for key in deletes {
            if self.items.remove(key).is_some() {
                changes.push(Change::Deleted(key.clone()));
            }
        }
        for (key, lease, record) in puts {
            let create = self.items.get(&key).map_or(modified, |(_, entry)| entry.create);
            let entry = Entry { key: key.clone(), create, modified, record };
            changes.push(Change::Put(entry.clone()));
            self.items.insert(key, (lease, entry));
        }
        if !changes.is_empty() {
            self.revision = modified;
            self.news.push((modified, changes));
        }
    }

    pub(super) fn put_node(lease: LeaseId, record: NodeRecord) -> (Key, LeaseId, Record) {
        (node_key(PREFIX, lease), lease, Record::Node { lease, record })
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            self.write(&self.keys_of(lease), Vec::new());
        }
    }

    /// The owner's word for all that hangs on a lease, said by whoever knows, then its end.
    pub(super) fn release(&mut self, lease: LeaseId) {
        if self.leases.contains_key(&lease) {
            let words = self.keys_of(lease).into_iter().map(|key| Released { create: self.create_revision(&key), key });
            let record = NodeRecord { released: words.collect(), ..NodeRecord::default() };
            self.write(&[], vec![Self::put_node(lease, record)]);
            self.revoke(lease);
        }
    }

    fn keys_of(&self, lease: LeaseId) -> Vec<Key> {
        self.items.iter().filter(|(_, (whose, _))| *whose == lease).map(|(key, _)| key.clone()).collect()
    }
}
