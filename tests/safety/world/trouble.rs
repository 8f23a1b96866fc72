//! What the faults do to the world.

use super::wire::Request;
use super::{Happening, MS, SECOND, TTL, World};
use crate::election::event::{Event, LeaseId, VipId};
use crate::election::record::Key;
use crate::election::safety::faults::{Fault, HOLDER, Planned};
use crate::election::safety::store::Value;

impl World {
    pub(super) fn fault(&mut self, planned: Planned) {
        let holder = self.nodes.iter().position(|n| n.kernel.contains_key(&VipId(0))).unwrap_or(0);
        let whom = |n: usize| if n == HOLDER { holder } else { n };
        self.trace(|| format!("FAULT (holder n{holder}) {:?} for {:.3} s", planned.fault, planned.lasts as f64 / 1e9));
        let until = self.now + planned.lasts;
        match planned.fault {
            Fault::Freeze(n) => {
                // Never shorter: what lies in its queues waits for the thaw, in order.
                let node = &mut self.nodes[whom(n)];
                node.frozen_until = node.frozen_until.max(until);
            }
            Fault::Kill(n) => {
                self.nodes[whom(n)].die();
                if self.rng.one_in(2) {
                    self.clean_up(whom(n));
                }
                self.at(until, Happening::Start { node: whom(n) });
            }
            Fault::Stop(n) => {
                self.tell(whom(n), 0, Event::Stop);
                if self.rng.one_in(3) {
                    let after = self.rng.range(0, 500 * MS);
                    self.at(self.now + after, Happening::Hurry { node: whom(n) });
                }
                self.at(until.max(self.now + 8 * SECOND), Happening::Start { node: whom(n) });
                self.healed_at = self.healed_at.max(self.now + 8 * SECOND);
            }
            Fault::CutEtcd(n) => self.nodes[whom(n)].etcd_cut_until = until,
            Fault::CutAll(n) => {
                (self.nodes[whom(n)].etcd_cut_until, self.nodes[whom(n)].arp_cut_until) = (until, until)
            }
            Fault::LinkDown(n) => {
                self.nodes[whom(n)].link_down_until = until;
                self.link_news(whom(n));
                self.at(until, Happening::LinkBack { node: whom(n) });
            }
            Fault::LinkReplaced(n) => {
                let node = whom(n);
                self.nodes[node].link.0 += 1;
                self.nodes[node].kernel.clear();
                self.say_link(node, None);
                let back = self.now + if self.rng.one_in(2) { 0 } else { planned.lasts };
                self.nodes[node].link_down_until = self.nodes[node].link_down_until.max(back);
                self.at(back, Happening::LinkBack { node });
            }
            Fault::Robbed(n) => self.rob(whom(n)),
            Fault::Refuses(n) => self.nodes[whom(n)].refuses_until = until,
            Fault::Lag(n) => self.nodes[whom(n)].lag_until = until,
            Fault::Deaf(n) => self.nodes[whom(n)].deaf_until = until,
            Fault::Wordless(n) => self.nodes[whom(n)].wordless_until = until,
            Fault::Slow(n) => self.nodes[whom(n)].slow_until = until,
            Fault::LoseLeader => self.etcd.lose_leader(None, self.now, &mut self.rng),
            Fault::StallLeader => self.etcd.lose_leader(Some(planned.lasts), self.now, &mut self.rng),
            Fault::LoseQuorum => self.etcd.lose_quorum(until),
            Fault::DeleteKey => {
                let keys: Vec<Key> = self.etcd.store.candidates();
                if !keys.is_empty() {
                    let key = keys[self.rng.range(0, keys.len() as i64) as usize].clone();
                    self.etcd.store.write(&[key], Vec::new());
                }
            }
            Fault::Overwrite => {
                let keys: Vec<Key> = self.etcd.store.candidates();
                if !keys.is_empty() {
                    let key = keys[self.rng.range(0, keys.len() as i64) as usize].clone();
                    self.etcd.store.write(&[], vec![(key, LeaseId(0), Value::Foreign)]);
                }
            }
            Fault::RevokeEarly => {
                let leases = self.etcd.leases();
                if !leases.is_empty() {
                    let lease = leases[self.rng.range(0, leases.len() as i64) as usize];
                    self.etcd.revoke(lease);
                }
            }
            Fault::BackUp => self.etcd.back_up(),
            Fault::Restore => self.restore(),
        }
        self.tell_watchers();
    }

    /// The unit's clean-up after a kill: the addresses, then the lease with the word.
    fn clean_up(&mut self, node: usize) {
        if self.nodes[node].wordless_until > self.now {
            return;
        }
        self.nodes[node].kernel.clear();
        if let Some(lease) = self.nodes[node].lease {
            self.send(node, Request::Former { lease });
        }
    }

    /// Every member is stopped for it, which takes longer than a TTL: no fence of before outlives that.
    fn restore(&mut self) {
        if !self.etcd.restore(self.now + self.rng.range(TTL, TTL + 3 * SECOND)) {
            return;
        }
        self.healed_at = self.healed_at.max(self.now + TTL + 3 * SECOND);
        for node in 0..self.nodes.len() {
            self.nodes[node].watching = false;
            let life = self.nodes[node].life;
            let after = self.delay();
            self.at(self.now + after, Happening::ReadAll { node, life });
        }
    }
}
