//! All that stands under the prefix, as the watch tells it, and who stood first of late.
//!
//! The picture may be old, but within one history it never lies about two things: who is first stays first until it
//! is gone, and a key that is gone stays gone. Everything the election knows of its own keys it knows from here.

mod groups;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::event::{Change, Entry, Record, ShortRead};
use super::guards::{Guard, Guards};
use super::record::{Key, NodeRecord, Released, node_key};
use crate::moment::Moment;

/// Of how many candidates it is remembered what was said. It is needed when the key goes, which is at once.
const WORDS_KEPT: usize = 1024;

/// How many revisions back a read can be compared with what the watch told. Reads are late by milliseconds.
const TOLD_KEPT: usize = 32;

/// What is known of the prefix.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Picture {
    entries: BTreeMap<Key, Entry>,
    /// The revision up to which the picture is whole.
    revision: i64,
    /// Since when no change can have been missed; none before the first read.
    unbroken_since: Option<Moment>,
    said: BTreeMap<Candidate, Said>,
    ends: BTreeMap<IpAddr, Vec<End>>,
    /// What a short read would have said at the last revisions, oldest first: a watch may be ahead of a read.
    told: VecDeque<Told>,
}

/// What a short read should say from this revision on, up to the next change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Told {
    revision: i64,
    count: u64,
    newest: i64,
}

/// Of whom an owner said something; ordered by revision, so that the oldest can be forgotten first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Candidate {
    create: i64,
    key: Key,
}

/// What an owner said of its candidate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Said {
    /// Its word: its addresses are off.
    Word,
    /// It never had them, and knew of nobody before it who was lost.
    Passed,
}

/// Somebody who stood first for an address, and how that ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct End {
    at: Moment,
    said: Option<Said>,
}

/// What the last TTL says about those who stood first for a VIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Before {
    /// All were seen, and all ended with their owner's word.
    AllWorded,
    /// Somebody's turn ended without a word.
    Lost,
    /// Nobody was seen to stand first, or to have the addresses, or not all of the last TTL was seen.
    Unknown,
}

impl Picture {
    /// Everything was read anew: whatever happened since the last change is unknown. Returns the keys that are
    /// newly ignored.
    pub fn read(&mut self, revision: i64, entries: Vec<Entry>, now: Moment) -> Vec<Ignored> {
        let old = std::mem::take(&mut self.entries);
        let ignored = entries.iter().filter(|e| !old.contains_key(&e.key)).filter_map(ignored).collect();
        for mut entry in entries {
            keep(old.get(&entry.key), &mut entry);
            self.note_words(&entry);
            self.entries.insert(entry.key.clone(), entry);
        }
        self.unbroken_since = Some(now);
        self.told.clear();
        self.is_told(revision);
        ignored
    }

    /// Whether this read, which is not older than the picture, has a key as it was before it was last written: within one
    /// history that cannot be.
    pub fn is_of_another_history(&self, revision: i64, entries: &[Entry]) -> bool {
        let known = |e: &Entry| self.entries.get(&e.key).filter(|old| old.create == e.create);
        revision >= self.revision && entries.iter().any(|e| known(e).is_some_and(|old| e.modified < old.modified))
    }

    /// One revision's changes. Revisions that the picture has already are old news. Returns the keys that are newly
    /// ignored.
    pub fn change(&mut self, revision: i64, changes: Vec<Change>, now: Moment, ttl: Duration) -> Vec<Ignored> {
        if revision <= self.revision || self.unbroken_since.is_none() {
            return Vec::new();
        }
        let mut new = Vec::new();
        // A step back deletes the key and says the word in one revision: words first.
        for change in &changes {
            if let Change::Put(entry) = change {
                self.note_words(entry);
                new.extend(ignored(entry).filter(|_| !self.entries.contains_key(&entry.key)));
            }
        }
        for change in changes {
            match change {
                Change::Put(entry) => self.put(entry, now),
                Change::Deleted(key) => self.deleted(&key, now),
            }
        }
        self.is_told(revision);
        self.forget(now, ttl);
        new
    }

    fn is_told(&mut self, revision: i64) {
        self.revision = revision;
        self.told.push_back(Told { revision, count: self.count(), newest: self.newest() });
        if self.told.len() > TOLD_KEPT {
            self.told.pop_front();
        }
    }

    fn put(&mut self, mut entry: Entry, now: Moment) {
        // A candidate that was written over and is none any more ended as if its key were gone.
        let over =
            |old: &Entry| old.create != entry.create || old.record.is_candidate() && !entry.record.is_candidate();
        if self.entries.get(&entry.key).is_some_and(over) {
            self.deleted(&entry.key, now);
        }
        keep(self.entries.get(&entry.key), &mut entry);
        self.entries.insert(entry.key.clone(), entry);
    }

    fn deleted(&mut self, key: &Key, now: Moment) {
        let Some(entry) = self.entries.get(key) else { return };
        if let Record::Candidate { addresses, .. } = &entry.record {
            let said = self.said.get(&Candidate { create: entry.create, key: key.clone() }).copied();
            let ended: Vec<IpAddr> = addresses.iter().copied().filter(|a| self.is_first(key, *a)).collect();
            for address in ended {
                self.ends.entry(address).or_default().push(End { at: now, said });
            }
        }
        self.entries.remove(key);
    }

    /// A word counts only from the owner: its key must hang on the lease of the record that says it.
    fn note_words(&mut self, entry: &Entry) {
        let Record::Node { lease, record } = &entry.record else { return };
        let own = format!("/{lease}");
        let passed = record.passed.iter().map(|candidate| (candidate, Said::Passed));
        let words = record.released.iter().map(|candidate| (candidate, Said::Word));
        for (Released { key, create }, said) in passed.chain(words) {
            if key.0.ends_with(own.as_bytes()) {
                self.said.insert(Candidate { create: *create, key: key.clone() }, said);
            }
        }
        while self.said.len() > WORDS_KEPT {
            self.said.pop_first();
        }
    }

    fn forget(&mut self, now: Moment, ttl: Duration) {
        self.ends.retain(|_, ends| {
            ends.retain(|e| now.since(e.at) <= ttl);
            !ends.is_empty()
        });
    }

    /// Nothing is known any more (another history).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the prefix was read at all.
    pub fn is_known(&self) -> bool {
        self.unbroken_since.is_some()
    }

    /// Whether the watch has told all that a read saw. A watch that is ahead of the read is not deaf, but it may have
    /// skipped something: so the read is compared with what was told up to the read's own revision.
    pub fn agrees_with(&self, read: &ShortRead) -> bool {
        match self.told.iter().rfind(|t| t.revision <= read.header.revision) {
            Some(told) => told.count == read.count && told.newest == read.newest,
            // Ahead of it by more than is remembered, or by a whole read.
            None => self.is_known(),
        }
    }

    fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn newest(&self) -> i64 {
        self.entries.values().map(|e| e.modified).max().unwrap_or(0)
    }

    /// A key, if it stands.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// What a node says about itself under this key.
    pub fn node(&self, key: &Key) -> Option<&NodeRecord> {
        match &self.entries.get(key)?.record {
            Record::Node { record, .. } => Some(record),
            Record::Candidate { .. } | Record::Ignored(_) => None,
        }
    }

    /// How far the picture goes: it changes when the picture may have changed.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Who stands first for each address, by one look at all keys.
    pub fn firsts(&self) -> BTreeMap<IpAddr, &Entry> {
        let mut firsts: BTreeMap<IpAddr, &Entry> = BTreeMap::new();
        for entry in self.entries.values() {
            for address in entry.record.addresses() {
                let first = firsts.entry(*address).or_insert(entry);
                if entry.create < first.create {
                    *first = entry;
                }
            }
        }
        firsts
    }

    /// The candidates that name any of these addresses, first to last.
    pub fn candidates(&self, addresses: &[IpAddr]) -> Vec<&Entry> {
        let names = |e: &&Entry| matches!(&e.record, Record::Candidate { addresses: named, .. } if named.iter().any(|a| addresses.contains(a)));
        let mut all: Vec<&Entry> = self.entries.values().filter(names).collect();
        all.sort_by_key(|e| e.create);
        all
    }

    /// The candidates that name this address, in no order.
    fn queue(&self, address: IpAddr) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |e| e.record.addresses().contains(&address))
    }

    fn first(&self, address: IpAddr) -> Option<&Entry> {
        self.queue(address).min_by_key(|e| e.create)
    }

    /// How many candidates stand before this key for any of these addresses; none: it has the turn.
    pub fn before(&self, key: &Key, create: i64, addresses: &[IpAddr]) -> usize {
        let names_one = |e: &&Entry| e.record.addresses().iter().any(|a| addresses.contains(a));
        self.entries.values().filter(names_one).filter(|e| e.create < create && e.key != *key).count()
    }

    /// Whether this key stands first for an address.
    pub fn is_first(&self, key: &Key, address: IpAddr) -> bool {
        self.first(address).is_some_and(|f| f.key == *key)
    }

    /// A candidate that stands first for one of these addresses and is no daemon's: its lease has no node record.
    pub fn stranger(&self, addresses: &[IpAddr], prefix: &str) -> Option<(i64, &str)> {
        let mut firsts =
            addresses.iter().filter_map(|a| self.first(*a)).filter(|entry| self.is_stranger(entry, prefix));
        firsts.find_map(|entry| match &entry.record {
            Record::Candidate { who, .. } => Some((entry.create, who.as_str())),
            Record::Node { .. } | Record::Ignored(_) => None,
        })
    }

    /// Whether it is a candidate and no daemon's.
    fn is_stranger(&self, entry: &Entry, prefix: &str) -> bool {
        matches!(&entry.record, Record::Candidate { lease, .. } if self.node(&node_key(prefix, *lease)).is_none())
    }

    /// What the last one that stood first for one of these addresses said at its end; none: nobody was seen to end within a
    /// TTL before the last change.
    pub fn last_end(&self, addresses: &[IpAddr]) -> Option<Option<Said>> {
        self.last(addresses).map(|end| end.said)
    }

    fn last(&self, addresses: &[IpAddr]) -> Option<&End> {
        addresses.iter().filter_map(|a| self.ends.get(a)).flatten().max_by_key(|end| end.at)
    }

    /// Whether the last one that stood first for one of these addresses passed its turn on within the last TTL.
    pub fn is_passed_on(&self, addresses: &[IpAddr], now: Moment, ttl: Duration) -> bool {
        self.last(addresses).is_some_and(|end| end.said == Some(Said::Passed) && now.since(end.at) <= ttl)
    }

    /// How those ended that stood first for these addresses within the last TTL.
    pub fn past(&self, addresses: &[IpAddr], now: Moment, ttl: Duration, guards: &Guards) -> Before {
        let ends = |a: &IpAddr| self.ends.get(a).into_iter().flatten().filter(|e| now.since(e.at) <= ttl);
        let unbroken = self.unbroken_since.is_some_and(|since| now.since(since) > ttl);
        let all_seen = unbroken || !guards.on(Guard::WholeTtl);
        // The word for one address of a group says nothing of the others.
        let worded = |a: &IpAddr| ends(a).next().is_some() && ends(a).all(|e| e.said == Some(Said::Word));
        if addresses.iter().flat_map(ends).any(|e| e.said.is_none()) {
            Before::Lost
        } else if all_seen && addresses.iter().all(worded) {
            Before::AllWorded
        } else {
            Before::Unknown
        }
    }
}

/// A key that is ignored, and why.
pub type Ignored = (Key, &'static str);

fn ignored(entry: &Entry) -> Option<Ignored> {
    match entry.record {
        Record::Ignored(why) => Some((entry.key.clone(), why)),
        Record::Candidate { .. } | Record::Node { .. } => None,
    }
}

/// What a candidate stands for never changes under one key, and what was none when it was created never becomes one.
/// Whoever writes over it all the same is not followed, since "first" must never become false again.
fn keep(old: Option<&Entry>, new: &mut Entry) {
    let Some(old) = old.filter(|o| o.create == new.create) else { return };
    match (&old.record, &mut new.record) {
        (Record::Candidate { addresses: kept, .. }, Record::Candidate { addresses, .. }) => addresses.clone_from(kept),
        (Record::Ignored(why), candidate @ Record::Candidate { .. }) => *candidate = Record::Ignored(why),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::event::Header;

    fn entry(name: &str, revision: i64) -> Entry {
        Entry { key: Key(name.into()), create: revision, modified: revision, record: Record::Ignored("a test's") }
    }

    fn read(revision: i64, count: u64, newest: i64) -> ShortRead {
        let header = Header { cluster: 1, term: 1, revision };
        ShortRead { sent_at: Moment::default(), header, count, newest }
    }

    #[test]
    fn a_read_is_compared_with_what_was_told_up_to_its_own_revision() {
        let (mut p, now, ttl) = (Picture::default(), Moment::default(), Duration::from_secs(5));
        assert!(!p.agrees_with(&read(1, 0, 0)), "nothing was read yet");
        p.read(10, vec![entry("a", 3), entry("b", 4)], now);
        assert!(p.agrees_with(&read(9, 7, 7)), "older than all we know");
        assert!(p.agrees_with(&read(15, 2, 4)));
        p.change(20, vec![Change::Put(entry("c", 20))], now, ttl);
        assert!(p.agrees_with(&read(20, 3, 20)) && p.agrees_with(&read(19, 2, 4)));
        assert!(!p.agrees_with(&read(19, 1, 4)), "the watch is ahead, but it skipped a deletion");
        assert!(!p.agrees_with(&read(21, 4, 21)), "the watch is behind");
        (21..200).for_each(|r| drop(p.change(r, vec![Change::Put(entry("c", r))], now, ttl)));
        assert_eq!(p.told.len(), TOLD_KEPT);
    }
}
