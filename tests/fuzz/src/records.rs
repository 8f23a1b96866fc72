//! What stands in etcd, which anybody may have written: keys and values of any bytes, a whole prefix of them.
//!
//! The bytes are entries, each a kind of key, a lease, a key and a value.

use std::net::IpAddr;

use vipd::election::event::{Change, Entry, LeaseId, Record};
use vipd::election::guards::Guards;
use vipd::election::picture::Picture;
use vipd::election::record::{
    CandidateRecord, Key, NodeRecord, Released, candidate_key, naming_address, node_key, parse,
};
use vipd::moment::Moment;

use crate::bytes::Bytes;

const PREFIX: &str = "vipd";

/// The most that is shown of a key and of a value: 256 and 64 bytes, each of them as `\xff` at worst.
const KEY_SHOWN: usize = 4 * 256 + 3;
const WHO_SHOWN: usize = 4 * 64;

/// A few key-values: read all at once, then told one by one.
pub fn judge(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut entries = Vec::new();
    while !bytes.is_empty() && entries.len() < 8 {
        entries.push(one(&mut bytes, entries.len() as i64 + 2));
    }
    ours_read_back(Bytes(data));
    picture(entries);
}

fn one(bytes: &mut Bytes<'_>, revision: i64) -> Entry {
    let (kind, lease) = (bytes.byte(), LeaseId(i64::from(bytes.byte() as i8)));
    // The last key may be long, and so may the last value.
    let name = if kind & 0x40 == 0 { bytes.piece() } else { bytes.take(usize::MAX) };
    let key = match kind % 4 {
        0 => name.to_vec(),
        1 => [b"vipd/", name].concat(),
        2 => [b"vipd/", name, b"/", lease.to_string().as_bytes()].concat(),
        _ => node_key(PREFIX, lease).0,
    };
    let value = if kind & 0x80 == 0 { bytes.piece() } else { bytes.take(usize::MAX) };
    let entry = parse(PREFIX, &key, value, revision, revision, lease);
    assert_eq!((&entry.key.0, entry.create, entry.modified), (&key, revision, revision));
    let shown = entry.key.to_string();
    assert!(shown.len() <= KEY_SHOWN && harmless(&shown), "{shown:?}");
    judge_record(&entry, value, lease);
    entry
}

fn judge_record(entry: &Entry, value: &[u8], lease: LeaseId) {
    let last = format!("/{:x}", lease.0);
    match &entry.record {
        Record::Candidate { lease: whose, addresses, who } => {
            assert!(*whose == lease && lease.0 != 0 && entry.key.0.ends_with(last.as_bytes()));
            let text = std::str::from_utf8(&entry.key.0).expect("a candidate's key is text");
            let named = text.split('/').nth(1).and_then(|name| name.parse().ok()).expect("it names an address");
            assert!(addresses.contains(&named), "the address that names it");
            assert!(addresses.len() <= value.len() + 1);
            assert!(who.len() <= WHO_SHOWN && harmless(who), "{who:?}");
        }
        Record::Node { lease: whose, record } => {
            assert!(*whose == lease && lease.0 != 0 && entry.key == node_key(PREFIX, lease));
            assert!(record.released.len() <= value.len());
            same_again(record, lease);
        }
        Record::Ignored(why) => assert!(!why.is_empty()),
    }
}

/// A record that was understood says the same when we write it.
fn same_again(record: &NodeRecord, lease: LeaseId) {
    // Words about keys that are not text are nobody's: only such keys are written otherwise than they were read.
    let value = serde_json::to_vec(record).expect("a record can be written");
    let again = parse(PREFIX, &node_key(PREFIX, lease).0, &value, 1, 1, lease).record;
    // Escapes may make it longer than what is looked into.
    if value.len() <= 64 * 1024 {
        assert_eq!(again, Record::Node { lease, record: record.clone() });
    }
}

/// What we write, we read.
fn ours_read_back(mut bytes: Bytes<'_>) {
    let lease = LeaseId(i64::from_ne_bytes(bytes.array()) | 1);
    let mut addresses: Vec<IpAddr> = vec![IpAddr::from(bytes.array::<4>())];
    if bytes.coin() {
        addresses.insert(0, IpAddr::from(bytes.array::<16>()));
    }
    let node = String::from_utf8_lossy(bytes.piece()).into_owned();
    let named = naming_address(&addresses).expect("there is one");
    let key = candidate_key(PREFIX, named, lease);
    let record = CandidateRecord { node: node.clone(), addresses: addresses.clone() };
    let value = serde_json::to_vec(&record).expect("a record can be written");
    let Record::Candidate { lease: whose, addresses: read, .. } = parse(PREFIX, &key.0, &value, 1, 1, lease).record
    else {
        panic!("our own candidate does not stand: {key}")
    };
    assert_eq!((whose, read), (lease, addresses));
    let released = vec![Released { key, create: i64::from(bytes.byte()) }];
    let passed = released.clone();
    same_again(&NodeRecord { node, version: "1".into(), leaving: bytes.coin(), released, passed }, lease);
}

/// Whatever stands there, the picture keeps its own rules.
fn picture(entries: Vec<Entry>) {
    let (now, ttl) = (Moment::from_millis(1000), std::time::Duration::from_secs(5));
    let half = entries.len() / 2;
    let (keys, newest) = (keys_of(&entries), entries.len() as i64 + 1);
    let mut picture = Picture::default();
    picture.read(half as i64 + 1, entries[..half].to_vec(), now);
    for entry in &entries[half..] {
        picture.change(entry.modified, vec![Change::Put(entry.clone())], now, ttl);
    }
    for entry in &entries {
        if let Record::Candidate { addresses, .. } = &entry.record {
            let behind = picture.before(&entry.key, entry.create, addresses);
            assert!(behind <= entries.len() * addresses.len().max(1));
            picture.stranger(addresses, PREFIX);
            picture.past(addresses, now, ttl, &Guards::default());
        }
    }
    let gone = keys.iter().cloned().map(Change::Deleted).collect();
    picture.change(newest + 1, gone, now, ttl);
    assert!(keys.iter().all(|key| picture.get(key).is_none()), "a key that is gone stays gone");
}

fn keys_of(entries: &[Entry]) -> Vec<Key> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}

fn harmless(shown: &str) -> bool {
    shown.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}
