//! What etcd keeps: keys with revisions, and the news of what changed. No time, no leases; the simulation's etcd and the
//! model check's are built on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::election::event::{Change, Entry, LeaseId, Record};
use crate::election::record::{CandidateRecord, Key, NodeRecord};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::election) enum Value {
    Candidate(CandidateRecord),
    Node(NodeRecord),
    /// Written by hand, without a lease.
    Foreign,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Item {
    lease: LeaseId,
    create: i64,
    modified: i64,
    value: Value,
}

impl Item {
    fn stands_for(&self, ip: IpAddr) -> bool {
        matches!(&self.value, Value::Candidate(r) if r.addresses.contains(&ip))
    }
}

/// What one revision changed, for the watchers.
pub(in crate::election) type Revision = (i64, Vec<Change>);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(in crate::election) struct Store {
    pub(in crate::election) revision: i64,
    items: BTreeMap<Key, Item>,
    /// Everything that happened since the watchers were last told.
    pub(in crate::election) news: Vec<Revision>,
}

impl Store {
    pub(in crate::election) fn new() -> Self {
        Self { revision: 1, items: BTreeMap::new(), news: Vec::new() }
    }

    /// How many keys stand, and the newest revision among them.
    pub(in crate::election) fn short_read(&self) -> (u64, i64) {
        let newest = self.items.values().map(|i| i.modified).max().unwrap_or(0);
        (self.items.len() as u64, newest)
    }

    pub(in crate::election) fn read_all(&self) -> Vec<Entry> {
        self.items.iter().map(|(k, i)| entry(k, i)).collect()
    }

    /// Who stands first for an address.
    pub(in crate::election) fn first(&self, ip: IpAddr) -> Option<&Key> {
        self.first_of(ip).map(|(k, _)| k)
    }

    /// Under which lease the first one stands for an address.
    pub(in crate::election) fn first_lease(&self, ip: IpAddr) -> Option<LeaseId> {
        self.first_of(ip).map(|(_, i)| i.lease)
    }

    fn first_of(&self, ip: IpAddr) -> Option<(&Key, &Item)> {
        self.items.iter().filter(|(_, i)| i.stands_for(ip)).min_by_key(|(_, i)| i.create)
    }

    /// The leases of all who stand for an address, in the queue's order.
    pub(in crate::election) fn queue(&self, ip: IpAddr) -> Vec<LeaseId> {
        let mut queue: Vec<_> = self.items.values().filter(|i| i.stands_for(ip)).collect();
        queue.sort_by_key(|i| i.create);
        queue.into_iter().map(|i| i.lease).collect()
    }

    /// Whether this candidate stands first for one of its addresses.
    pub(in crate::election) fn is_first(&self, key: &Key) -> bool {
        match self.items.get(key).map(|i| &i.value) {
            Some(Value::Candidate(r)) => r.addresses.iter().any(|ip| self.first(*ip) == Some(key)),
            Some(Value::Node(_) | Value::Foreign) | None => false,
        }
    }

    /// 0 if there is no such key.
    pub(in crate::election) fn create_revision(&self, key: &Key) -> i64 {
        self.items.get(key).map_or(0, |i| i.create)
    }

    /// One transaction.
    pub(in crate::election) fn write(&mut self, deletes: &[Key], puts: Vec<(Key, LeaseId, Value)>) {
        let revision = self.revision + 1;
        let mut changes = Vec::new();
        for key in deletes {
            if self.items.remove(key).is_some() {
                changes.push(Change::Deleted(key.clone()));
            }
        }
        for (key, lease, value) in puts {
            let create = self.items.get(&key).map_or(revision, |i| i.create);
            let item = Item { lease, create, modified: revision, value };
            changes.push(Change::Put(entry(&key, &item)));
            self.items.insert(key, item);
        }
        if !changes.is_empty() {
            self.revision = revision;
            self.news.push((revision, changes));
        }
    }

    pub(in crate::election) fn keys_of(&self, lease: LeaseId) -> Vec<Key> {
        self.items.iter().filter(|(_, i)| i.lease == lease).map(|(k, _)| k.clone()).collect()
    }

    pub(in crate::election) fn candidates(&self) -> Vec<Key> {
        let is_candidate = |i: &Item| matches!(i.value, Value::Candidate(_));
        self.items.iter().filter(|(_, i)| is_candidate(i)).map(|(k, _)| k.clone()).collect()
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
