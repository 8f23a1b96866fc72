//! Candidates of several addresses that wait for one of them and stand in others' way for another.
//!
//! Create revisions are one order for all queues, so whoever stands first of all has its turn, and no circle of waiting
//! can be. But while one address of a group is held elsewhere, for good as far as anybody knows, the group keeps its place
//! in the queue of another that nobody holds, and a node that could serve that one stands behind it. So it gives way.
//!
//! In these words: a candidate is *blocked* while another one has its turn with an address that both name; it is *free* if
//! it neither has its turn nor is blocked. Whoever is blocked and stands before a free one that names an address of its own
//! gives its place up and stands again at the end. The free one with the lowest create revision has none but blocked ones
//! before it: when they have given way it has its turn. So each round of giving way ends with one more turn taken, and it
//! ends by itself.

use std::net::IpAddr;

use super::Picture;
use crate::election::event::{Entry, LeaseId, Record};
use crate::election::record::Key;

impl Picture {
    /// Whether this candidate, which waits, keeps somebody from an address that it cannot have for now itself.
    pub fn is_in_the_way(&self, key: &Key, create: i64, addresses: &[IpAddr], prefix: &str) -> bool {
        let has_others = addresses.len() > 1;
        has_others
            && self.is_blocked(key, addresses)
            && addresses.iter().any(|a| self.queue(*a).any(|e| e.create > create && self.is_free(e, prefix)))
    }

    /// Whether somebody under another lease stands for any of these addresses who is not blocked: who has it, or soon
    /// could. (Where one is blocked by another address of its own, that is no use to this one.)
    pub fn others_could_serve(&self, own: LeaseId, addresses: &[IpAddr]) -> bool {
        let foreign = |e: &&Entry| !matches!(&e.record, Record::Candidate { lease, .. } if *lease == own);
        let could = |e: &Entry| !self.is_blocked(&e.key, e.record.addresses());
        addresses.iter().any(|a| self.queue(*a).filter(foreign).any(could))
    }

    /// Whether somebody else has its turn with one of these addresses. That one is first in its queue.
    fn is_blocked(&self, key: &Key, addresses: &[IpAddr]) -> bool {
        addresses.iter().filter_map(|a| self.first(*a)).any(|first| first.key != *key && self.has_turn(first))
    }

    fn has_turn(&self, entry: &Entry) -> bool {
        entry.record.addresses().iter().all(|a| self.is_first(&entry.key, *a))
    }

    /// Whether it could have its turn if all who are blocked gave way. Nobody gives way to a stranger, nor for one who
    /// stands behind a stranger.
    fn is_free(&self, entry: &Entry, prefix: &str) -> bool {
        let addresses = entry.record.addresses();
        let strange = |e: &Entry| e.create <= entry.create && self.is_stranger(e, prefix);
        !self.is_blocked(&entry.key, addresses) && !addresses.iter().any(|a| self.queue(*a).any(strange))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::record::{NodeRecord, candidate_key, node_key};
    use crate::moment::Moment;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    /// Candidates in the order of the queue; all of daemons but those whose number is in `strange`.
    fn picture(candidates: &[&[u8]], strange: &[usize]) -> Picture {
        let mut entries = Vec::new();
        for (i, addresses) in candidates.iter().enumerate() {
            let (lease, create) = (LeaseId(i as i64 + 1), i as i64 + 100);
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| ip(*a)).collect();
            let key = candidate_key("vipd", addresses[0], lease);
            let record = Record::Candidate { lease, addresses, who: String::new() };
            entries.push(Entry { key, create, modified: create, record });
            if !strange.contains(&i) {
                let record = Record::Node { lease, record: NodeRecord::default() };
                entries.push(Entry { key: node_key("vipd", lease), create: 1, modified: 1, record });
            }
        }
        let mut picture = Picture::default();
        picture.read(1000, entries, Moment::default());
        picture
    }

    fn in_the_way(candidates: &[&[u8]], strange: &[usize]) -> Vec<usize> {
        let picture = picture(candidates, strange);
        let is = |i: &usize| {
            let (addresses, lease) =
                (candidates[*i].iter().map(|a| ip(*a)).collect::<Vec<_>>(), LeaseId(*i as i64 + 1));
            let key = candidate_key("vipd", addresses[0], lease);
            picture.is_in_the_way(&key, *i as i64 + 100, &addresses, "vipd")
        };
        (0..candidates.len()).filter(is).collect()
    }

    #[test]
    fn a_group_that_waits_gives_way_to_who_need_not() {
        // The first has 6 for good, the group waits for it before one who could serve 4.
        assert_eq!(in_the_way(&[&[6], &[4, 6], &[4]], &[]), [1]);
        assert_eq!(in_the_way(&[&[6], &[6, 4], &[4, 5]], &[]), [1]);
    }

    #[test]
    fn nobody_gives_way_in_vain() {
        let cases: &[&[&[u8]]] = &[
            // All alike: who waits, waits for the same.
            &[&[4, 6], &[4, 6], &[4, 6]],
            // Nobody holds anything that the group waits for.
            &[&[4, 6], &[4], &[6]],
            // Who stands behind it waits for the same as it.
            &[&[6], &[4, 6], &[4, 6], &[6]],
            // Who stands behind it waits for something else.
            &[&[6], &[5], &[4, 6], &[4, 5]],
            // Both are held.
            &[&[4], &[6], &[4, 6], &[4], &[6]],
            &[&[6], &[4, 6]],
        ];
        for case in cases {
            assert_eq!(in_the_way(case, &[]), Vec::<usize>::new(), "{case:?}");
        }
    }

    #[test]
    fn all_who_are_blocked_give_way_at_once_and_the_free_do_not() {
        // 4 is free for the fourth; the second and the third wait for 6 and 5. The fourth and the fifth are in nobody's way.
        assert_eq!(in_the_way(&[&[6], &[5], &[4, 6], &[4, 5], &[4], &[4]], &[]), [2, 3]);
    }

    #[test]
    fn a_stranger_is_given_no_way() {
        assert_eq!(in_the_way(&[&[6], &[4, 6], &[4]], &[2]), Vec::<usize>::new());
        assert_eq!(in_the_way(&[&[6], &[4, 6], &[4], &[4]], &[2]), Vec::<usize>::new());
        assert_eq!(in_the_way(&[&[6], &[4, 6], &[4]], &[0]), [1], "it holds what the group waits for");
    }

    /// What the module's text says: in every queue of four candidates over three addresses, giving way again and again
    /// ends, and then nobody is free.
    #[test]
    fn giving_way_ends_and_leaves_nobody_waiting_for_nothing() {
        let sets: &[&[u8]] = &[&[4], &[5], &[6], &[4, 5], &[4, 6], &[5, 6], &[4, 5, 6]];
        let mut cases = 0;
        for code in 0..sets.len().pow(5) {
            let mut candidates: Vec<&[u8]> = (0..5).map(|i| sets[code / sets.len().pow(i) % sets.len()]).collect();
            let mut rounds = 0;
            loop {
                let yields = in_the_way(&candidates, &[]);
                if yields.is_empty() {
                    break;
                }
                let mut gone: Vec<&[u8]> = yields.iter().map(|i| candidates[*i]).collect();
                let mut place = 0..;
                candidates.retain(|_| !yields.contains(&place.next().unwrap()));
                candidates.append(&mut gone);
                rounds += 1;
                assert!(rounds <= candidates.len(), "{candidates:?}");
            }
            // No address is left alone that somebody could have at once.
            let picture = picture(&candidates, &[]);
            let turns: Vec<&[u8]> = {
                let entries: Vec<_> = picture.entries.values().filter(|e| picture.has_turn(e)).collect();
                let of = |e: &&Entry| candidates[(e.create - 100) as usize];
                entries.iter().filter(|e| e.record.is_candidate()).map(of).collect()
            };
            let held = |a: &u8| turns.iter().any(|t| t.contains(a));
            assert!(candidates.iter().all(|c| c.iter().any(held)), "{candidates:?}: {turns:?}");
            cases += 1;
        }
        assert_eq!(cases, 7_usize.pow(5));
    }
}
