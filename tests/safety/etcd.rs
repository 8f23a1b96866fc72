//! The virtual etcd: one store, leases with a clock, terms, a leader that may be gone for a while or stalled.

use std::collections::BTreeMap;

use super::store::Store;
use crate::election::event::{Header, LeaseId};

pub(super) const MEMBERS: usize = 3;
const SECOND: i64 = 1_000_000_000;

#[derive(Clone, Debug)]
struct Granted {
    ttl: i64,
    ends: i64,
}

type Leases = BTreeMap<LeaseId, Granted>;

#[derive(Clone, Debug)]
pub(super) struct Etcd {
    pub(super) store: Store,
    leases: Leases,
    backup: Option<(Store, Leases)>,
    cluster: u64,
    term: u64,
    leader: usize,
    /// No leader until then: no writes, no linearizable reads.
    leaderless_until: i64,
    /// A leader whose disk hangs: it acknowledges renewals in its old term, to no effect.
    stalled: Option<(usize, u64, i64)>,
    next_lease: i64,
}

impl Etcd {
    pub(super) fn new() -> Self {
        Self {
            store: Store::new(),
            leases: Leases::new(),
            backup: None,
            cluster: 77,
            term: 2,
            leader: 0,
            leaderless_until: 0,
            stalled: None,
            next_lease: 0x100,
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
        self.leases.insert(lease, Granted { ttl, ends: now + ttl });
        lease
    }

    /// A renewal at a member: the header and the seconds it names; `None` if nobody answers.
    pub(super) fn renew(&mut self, member: usize, lease: LeaseId, now: i64) -> Option<(Header, i64)> {
        if let Some((m, term, until)) = self.stalled
            && m == member
            && now < until
        {
            return Some((Header { term, ..self.header() }, self.leases.get(&lease).map_or(5 * SECOND, |l| l.ttl)));
        }
        if now < self.leaderless_until {
            return None;
        }
        let ttl = self.leases.get_mut(&lease).map_or(0, |l| {
            l.ends = now + l.ttl;
            l.ttl
        });
        Some((self.header(), ttl))
    }

    pub(super) fn has_lease(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(super) fn lease_ends(&self, lease: LeaseId) -> Option<i64> {
        self.leases.get(&lease).map(|l| l.ends)
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            let keys = self.store.keys_of(lease);
            self.store.write(&keys, Vec::new());
        }
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
    }

    /// Ends leases whose time is over; without a leader nothing ends.
    pub(super) fn expire(&mut self, now: i64) -> Vec<LeaseId> {
        if now < self.leaderless_until {
            return Vec::new();
        }
        let over: Vec<LeaseId> = self.leases.iter().filter(|(_, l)| l.ends <= now).map(|(id, _)| *id).collect();
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
        // Whatever else keeps it from answering goes on.
        self.leaderless_until = self.leaderless_until.max(now + election);
        for lease in self.leases.values_mut() {
            lease.ends = self.leaderless_until + lease.ttl;
        }
    }

    pub(super) fn lose_quorum(&mut self, until: i64) {
        self.leaderless_until = self.leaderless_until.max(until);
        for lease in self.leases.values_mut() {
            lease.ends = lease.ends.max(self.leaderless_until + lease.ttl);
        }
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some((self.store.clone(), self.leases.clone()));
    }

    /// Restored from the backup, answers again at `back`: revisions go back, cluster id and term do not change. Watches
    /// break.
    pub(super) fn restore(&mut self, back: i64) -> bool {
        let Some((store, mut leases)) = self.backup.take() else { return false };
        for lease in leases.values_mut() {
            lease.ends = back + lease.ttl;
        }
        self.leaderless_until = self.leaderless_until.max(back);
        (self.store, self.leases) = (store, leases);
        self.store.news.clear();
        true
    }
}
