//! What the faults do to the world.

use super::wire::Request;
use super::{Happening, MS, SECOND, TTL, World};
use crate::election::event::{Event, LeaseId};
use crate::election::record::Key;
use crate::election::safety::coverage::FAULTS;
use crate::election::safety::faults::{Fault, Planned, Whom};
use crate::election::safety::node::Node;
use crate::election::safety::rng::Rng;
use crate::election::safety::store::Value;

/// How long a leader election takes at the most.
const ELECTION_MOST: i64 = 2 * SECOND;
/// A stopped daemon is back after this at the least: it has 3 s to stop, and 0.2 before that.
const STOP_TAKES: i64 = 8 * SECOND;
/// How long all members are stopped at the most to restore a backup. It takes longer than a TTL: no fence of before
/// outlives that.
const RESTORE_MOST: i64 = TTL + 3 * SECOND;

impl Planned {
    /// When nothing of it is left, apart from what follows from it: at most a lease that has to end, which has its full
    /// time from then.
    pub(super) fn over(&self) -> i64 {
        let ended = self.at + self.lasts;
        match self.fault {
            Fault::LoseLeader => self.at + ELECTION_MOST,
            Fault::StallLeader => ended + ELECTION_MOST,
            Fault::Stop(_) | Fault::StopNow(_) => ended.max(self.at + STOP_TAKES),
            Fault::Restore => self.at + RESTORE_MOST,
            Fault::LinkReplaced(_) | Fault::WatchBreaks(_) | Fault::BackUp => self.at,
            Fault::DeleteKey | Fault::DeleteFirst | Fault::Overwrite | Fault::RevokeEarly => self.at,
            _ => ended,
        }
    }
}

impl World {
    /// Who it meets, if that node is in this world.
    fn meets(&self, whom: Whom) -> Option<usize> {
        let ip = *self.nodes[0].spec.first()?.first()?;
        let queue: Vec<usize> =
            self.etcd.store.queue(ip).iter().filter_map(|lease| self.owners.get(lease)).copied().collect();
        let first = queue.first().copied().unwrap_or(0);
        match whom {
            Whom::Node(id) => self.nodes.iter().position(|n| n.id == id),
            Whom::Holder => self.nodes.iter().position(|n| n.has_any(&[ip])).or(Some(first)),
            Whom::First => Some(first),
            Whom::Next => queue.get(1).copied().or(Some(first)),
            Whom::Last => queue.last().copied().or(Some(first)),
        }
    }

    pub(super) fn fault(&mut self, planned: Planned) {
        let Planned { fault, lasts, chance, .. } = planned;
        let mut rng = Rng::stream(chance, "fault", 0);
        let took = match fault.whom().map(|whom| self.meets(whom)) {
            None => self.fault_of_etcd(&planned, &mut rng),
            Some(None) => false,
            Some(Some(node)) => {
                let name = self.name(node);
                self.say("FAULT", || format!("{fault:?}, which is {name}, for {} ms", lasts / MS));
                let over = planned.over();
                let n = &mut self.nodes[node];
                n.troubled_until = n.troubled_until.max(over);
                self.fault_of_node(node, &planned, &mut rng)
            }
        };
        if took {
            self.fate.coverage.see_one_of(FAULTS, &fault);
        }
        self.tell_watchers();
    }

    /// Whether there was anything for it to happen to.
    fn fault_of_node(&mut self, node: usize, planned: &Planned, rng: &mut Rng) -> bool {
        let until = self.now + planned.lasts;
        let lives = self.nodes[node].election.is_some();
        let n = &mut self.nodes[node];
        let later = |old: &mut i64| *old = until.max(*old);
        match planned.fault {
            // Never shorter: what lies in its queues waits for the thaw, in order.
            Fault::Freeze(_) => later(&mut n.frozen_until),
            Fault::Kill(_) | Fault::KillCleaned(_) => self.kill(node, planned),
            Fault::Stop(_) | Fault::StopNow(_) => self.stop(node, planned, rng),
            Fault::CutEtcd(_) => later(&mut n.etcd_cut_until),
            Fault::CutAll(_) => {
                later(&mut n.etcd_cut_until);
                later(&mut n.arp_cut_until);
            }
            Fault::OnlyLinkDown(_) => {
                later(&mut n.etcd_cut_until);
                self.link_goes(node, until);
            }
            Fault::LinkDown(_) => self.link_goes(node, until),
            Fault::LinkReplaced(_) => self.link_replaced(node, self.now),
            Fault::LinkDeleted(_) => self.link_replaced(node, until),
            Fault::Robbed(_) => {
                let has = !n.kernel.is_empty();
                self.rob(node, until);
                return has;
            }
            Fault::Refuses(_) => later(&mut n.refuses_until),
            Fault::Lag(_) => later(&mut n.lag_until),
            Fault::Deaf(_) => later(&mut n.deaf_until),
            Fault::WatchBreaks(_) => {
                let watched = n.watching;
                self.break_watch(node);
                return watched;
            }
            Fault::Wordless(_) => later(&mut n.wordless_until),
            Fault::Reload(_) => return self.reload(node, until, rng),
            Fault::Slow(_) => later(&mut n.slow_until),
            _ => {}
        }
        lives
    }

    fn fault_of_etcd(&mut self, planned: &Planned, rng: &mut Rng) -> bool {
        let (fault, until) = (planned.fault, self.now + planned.lasts);
        self.say("FAULT", || format!("{fault:?} for {} ms", planned.lasts / MS));
        self.etcd_troubled(planned.over());
        let election = rng.range(SECOND, ELECTION_MOST);
        match fault {
            Fault::LoseLeader => self.etcd.lose_leader(None, election, self.now),
            Fault::StallLeader => self.etcd.lose_leader(Some(planned.lasts), election, self.now),
            Fault::LoseQuorum => self.etcd.lose_quorum(until),
            Fault::Squatter => self.squatted_until = self.squatted_until.max(until),
            Fault::DeleteKey => return self.with_a_key(rng, |w, key| w.etcd.store.write(&[key], Vec::new())),
            Fault::DeleteFirst => {
                let first = self.etcd.store.candidates().into_iter().find(|k| self.etcd.store.is_first(k));
                let Some(first) = first else { return false };
                self.etcd.store.write(&[first], Vec::new());
            }
            Fault::Overwrite => {
                let foreign = |key| vec![(key, LeaseId(0), Value::Foreign)];
                return self.with_a_key(rng, |w, key| w.etcd.store.write(&[], foreign(key)));
            }
            Fault::RevokeEarly => {
                let leases = self.etcd.leases();
                if leases.is_empty() {
                    return false;
                }
                self.etcd.revoke(leases[rng.range(0, leases.len() as i64) as usize]);
            }
            Fault::BackUp => self.etcd.back_up(),
            Fault::Restore => return self.restore(self.now + rng.range(TTL, RESTORE_MOST)),
            _ => {}
        }
        true
    }

    fn with_a_key(&mut self, rng: &mut Rng, act: impl FnOnce(&mut Self, Key)) -> bool {
        let keys: Vec<Key> = self.etcd.store.candidates();
        if keys.is_empty() {
            return false;
        }
        let key = keys[rng.range(0, keys.len() as i64) as usize].clone();
        act(self, key);
        true
    }

    fn kill(&mut self, node: usize, planned: &Planned) {
        if !self.nodes[node].kernel.is_empty() && self.nodes[node].election.is_some() {
            self.fate.coverage.see("killed while it holds");
        }
        self.nodes[node].die();
        if matches!(planned.fault, Fault::KillCleaned(_)) {
            self.clean_up(node);
        }
        self.at(self.now + planned.lasts, Happening::Start { node });
    }

    fn stop(&mut self, node: usize, planned: &Planned, rng: &mut Rng) {
        self.tell(node, 0, Event::Stop);
        if matches!(planned.fault, Fault::StopNow(_)) {
            let after = rng.range(0, 500 * MS);
            self.at(self.now + after, Happening::Hurry { node });
        }
        let back = &mut self.nodes[node].back_at;
        *back = planned.over().max(*back);
    }

    /// The unit's clean-up after a kill: the addresses, then the lease with the word.
    fn clean_up(&mut self, node: usize) {
        if self.nodes[node].wordless_until > self.now {
            return;
        }
        self.nodes[node].kernel.clear();
        self.say_of(node, || "is cleaned up after".into());
        if let Some(lease) = self.nodes[node].lease {
            self.send(node, Request::Former { lease });
        }
    }

    fn link_goes(&mut self, node: usize, until: i64) {
        let down = &mut self.nodes[node].link_down_until;
        *down = until.max(*down);
        self.link_news(node);
        self.at(until, Happening::LinkBack { node });
    }

    fn link_replaced(&mut self, node: usize, back: i64) {
        let n: &mut Node = &mut self.nodes[node];
        n.link.0 += 1;
        n.kernel.clear();
        n.link_down_until = n.link_down_until.max(back);
        self.say_link(node, None);
        self.at(back, Happening::LinkBack { node });
    }

    fn restore(&mut self, back: i64) -> bool {
        let (revision, first) = (self.etcd.header().revision, self.firsts());
        if !self.etcd.restore(back) {
            return false;
        }
        self.restored();
        if self.etcd.header().revision < revision {
            self.fate.coverage.see("restore that took revisions back");
        }
        if self.firsts() != first {
            self.fate.coverage.see("restore that changed who is first");
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].watching = false;
            let life = self.nodes[node].life;
            let after = self.delay(node);
            self.at(self.now + after, Happening::ReadAll { node, life });
        }
        true
    }

    fn firsts(&self) -> Vec<Key> {
        self.etcd.store.candidates().into_iter().filter(|k| self.etcd.store.is_first(k)).collect()
    }
}
