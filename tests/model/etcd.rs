//! The model's etcd: one store, leases that end late or never early, terms, a leader that may be gone or stalled.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::{TICK, TTL, relative};
use crate::election::event::{Generation, Header, LeaseId};
use crate::election::safety::store::Store;
use crate::moment::Moment;

/// How late a lease may end, beyond its time to live.
const LATE: Duration = TICK;

#[derive(Clone)]
pub(super) struct Etcd {
    pub(super) now: Moment,
    pub(super) store: Store,
    leases: BTreeMap<LeaseId, Moment>,
    term: u64,
    /// No leader: no writes, no linearizable reads, and no lease ends.
    pub(super) leaderless: bool,
    next_lease: i64,
}

impl Hash for Etcd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = (&self.store, self.term, self.leaderless, self.next_lease);
        relative::at(self.now, Generation::default(), || (&self.leases, rest).hash(state));
    }
}

impl Etcd {
    pub(super) fn new() -> Self {
        Self {
            now: Moment::default(),
            store: Store::new(),
            leases: BTreeMap::new(),
            term: 2,
            leaderless: false,
            next_lease: 0x100,
        }
    }

    pub(super) fn header(&self) -> Header {
        Header { cluster: 77, term: self.term, revision: self.store.revision }
    }

    pub(super) fn grant(&mut self) -> LeaseId {
        self.next_lease += 1;
        let lease = LeaseId(self.next_lease);
        self.leases.insert(lease, self.now + TTL);
        lease
    }

    pub(super) fn has(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    /// The header of a renewal's answer; none if the lease is gone.
    pub(super) fn renew(&mut self, lease: LeaseId) -> Option<Header> {
        *self.leases.get_mut(&lease)? = self.now + TTL;
        Some(self.header())
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            let keys = self.store.keys_of(lease);
            self.store.write(&keys, Vec::new());
        }
    }

    /// The leases whose time is over.
    pub(super) fn over(&self) -> impl Iterator<Item = LeaseId> {
        let over = |ends: Moment| !self.leaderless && ends <= self.now;
        self.leases.iter().filter(move |(_, ends)| over(**ends)).map(|(lease, _)| *lease)
    }

    /// Whether time must not go on before a lease has ended.
    pub(super) fn waits(&self) -> bool {
        !self.leaderless && self.leases.values().any(|ends| *ends + LATE <= self.now)
    }

    /// Another one leads, and gives every lease its full time.
    pub(super) fn elect(&mut self) {
        self.leaderless = false;
        self.term += 1;
        let ends = self.now + TTL;
        self.leases.values_mut().for_each(|e| *e = ends);
    }
}
