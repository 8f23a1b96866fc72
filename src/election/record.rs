//! What stands under the prefix in etcd, as bytes and as types. Pure; foreign bytes may be anything.
//!
//! `<prefix>/<address>/<lease id, %x>` is a candidate, `<prefix>/.nodes/<lease id>` a node's record
//! (protocol section 3).

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::event::{Entry, LeaseId, Record};

/// A key in etcd. Any bytes; shown escaped, and no more of it than our own keys can have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<u8>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = &self.0[..self.0.len().min(KEY_SHOWN)];
        let more = if cut.len() < self.0.len() { "..." } else { "" };
        write!(f, "{}{more}", cut.escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A candidate's value: who stands, and every address it would put. It never changes under one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// The node's name, for people.
    pub node: String,
    /// Every address the candidate would put.
    pub addresses: Vec<IpAddr>,
}

/// A node's word about itself. Unknown fields are ignored, missing ones have defaults.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRecord {
    /// The node's name, for people.
    pub node: String,
    /// The daemon's version, for people.
    pub version: String,
    /// It is about to stop: makes the others ready, no more.
    pub leaving: bool,
    /// The owner's word: the addresses of these candidates (`key@create revision`) are off.
    pub released: Vec<Released>,
    /// These had the turn, knew of nobody before them who was lost, and never put their addresses: whoever comes next
    /// has the same question before it, and no other.
    pub passed: Vec<Released>,
}

/// A candidate whose address is off, in its owner's word. Written `key@create revision`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Released {
    /// The candidate's key.
    pub key: Key,
    /// Its create revision.
    pub create: i64,
}

impl TryFrom<String> for Released {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (key, create) = text.rsplit_once('@').ok_or("no @ in it")?;
        let create = create.parse().map_err(|_| "no revision behind the @")?;
        Ok(Self { key: Key(key.into()), create })
    }
}

impl From<Released> for String {
    fn from(r: Released) -> Self {
        format!("{}@{}", String::from_utf8_lossy(&r.key.0), r.create)
    }
}

/// How much of a key is shown to people, in bytes. Ours have less: a prefix of at most 128 bytes, an address, a lease.
/// A foreign one may have a megabyte, and each is told once.
const KEY_SHOWN: usize = 256;
/// How much of a foreign value is shown to people, in bytes.
const SHOWN: usize = 64;
/// The largest value that is looked into, in bytes: ours have a few hundred.
const LARGEST: usize = 64 * 1024;
/// The most addresses of one candidate that are believed: no config has more in all. Every one of them is a queue to look at.
const MOST_ADDRESSES: usize = 256;

/// The key of a candidate for `address` (the VIP's name: its first IPv4 address, else its first) under `lease`.
pub fn candidate_key(prefix: &str, address: IpAddr, lease: LeaseId) -> Key {
    Key(format!("{prefix}/{address}/{lease}").into_bytes())
}

/// The key of a node's record.
pub fn node_key(prefix: &str, lease: LeaseId) -> Key {
    Key(format!("{prefix}/.nodes/{lease}").into_bytes())
}

/// The address that names a VIP in etcd: its first IPv4 address, else its first IPv6 one.
pub fn naming_address(addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.iter().find(|a| a.is_ipv4()).or_else(|| addresses.first()).copied()
}

/// A VIP for people: its addresses.
pub fn vip_name(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
}

/// Reads one key-value under the prefix.
pub fn parse(prefix: &str, key: &[u8], value: &[u8], create: i64, modified: i64, lease: LeaseId) -> Entry {
    let record = parse_record(prefix, key, value, lease).unwrap_or_else(Record::Ignored);
    Entry { key: Key(key.to_vec()), create, modified, record }
}

fn parse_record(prefix: &str, key: &[u8], value: &[u8], lease: LeaseId) -> Result<Record, &'static str> {
    let text = std::str::from_utf8(key).map_err(|_| "its name is not text")?;
    let rest = text.strip_prefix(prefix).and_then(|r| r.strip_prefix('/')).ok_or("it is not under the prefix")?;
    let (group, last) = rest.split_once('/').ok_or("its name has no lease")?;
    if lease.0 == 0 {
        return Err("it hangs on no lease");
    }
    if last != lease.to_string() {
        return Err("the last part of its name is not its lease");
    }
    if group == ".nodes" {
        let record =
            bounded(value).and_then(|v| serde_json::from_slice(v).ok()).ok_or("its value is no node record")?;
        return Ok(Record::Node { lease, record });
    }
    let named: IpAddr = group.parse().map_err(|_| "its name has no address")?;
    if named.to_string() != group {
        return Err("its address is not in canonical form");
    }
    Ok(candidate(named, value, lease))
}

/// A candidate may carry any value: `etcdctl elect` writes what it was given.
fn candidate(named: IpAddr, value: &[u8], lease: LeaseId) -> Record {
    let ours: Option<CandidateRecord> = bounded(value).and_then(|v| serde_json::from_slice(v).ok());
    let (mut addresses, who) = match ours.filter(|r| r.addresses.len() <= MOST_ADDRESSES) {
        Some(r) => (r.addresses, shown(r.node.as_bytes())),
        None => (Vec::new(), shown(value)),
    };
    if !addresses.contains(&named) {
        addresses.insert(0, named);
    }
    Record::Candidate { lease, addresses, who }
}

fn bounded(value: &[u8]) -> Option<&[u8]> {
    (value.len() <= LARGEST).then_some(value)
}

fn shown(value: &[u8]) -> String {
    value[..value.len().min(SHOWN)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "vipd";

    fn entry(key: &str, value: &str, lease: i64) -> Record {
        parse(P, key.as_bytes(), value.as_bytes(), 5, 6, LeaseId(lease)).record
    }

    #[test]
    fn our_own_candidate_reads_back() {
        let ips: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let value = serde_json::to_string(&CandidateRecord { node: "cp-1".into(), addresses: ips.clone() }).unwrap();
        let key = candidate_key(P, naming_address(&ips).unwrap(), LeaseId(0xabc));
        assert_eq!(key.to_string(), "vipd/10.0.0.1/abc");
        let want = Record::Candidate { lease: LeaseId(0xabc), addresses: ips, who: "cp-1".into() };
        assert_eq!(entry(&key.to_string(), &value, 0xabc), want);
    }

    #[test]
    fn a_foreign_value_is_any_bytes_and_still_stands() {
        let e = parse(P, b"vipd/10.0.0.1/a", b"so\xffme\n", 1, 1, LeaseId(10));
        let Record::Candidate { addresses, who, .. } = e.record else { panic!("{e:?}") };
        assert_eq!(addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(who, "so\\xffme\\n");
    }

    #[test]
    fn a_candidate_of_more_addresses_than_a_config_has_stands_for_its_keys_alone() {
        let value = |count: u32| {
            let addresses = (0..count).map(|i| IpAddr::from((0x0a01_0000 + i).to_be_bytes())).collect();
            serde_json::to_string(&CandidateRecord { node: "x".into(), addresses }).unwrap()
        };
        let named = |count| entry("vipd/10.0.0.1/a", &value(count), 10).addresses().len();
        assert_eq!((named(256), named(257)), (257, 1));
    }

    #[test]
    fn a_foreign_key_is_shown_escaped_and_cut() {
        assert_eq!(Key(b"vipd/\x1b[2J\n".to_vec()).to_string(), "vipd/\\x1b[2J\\n");
        assert_eq!(Key(vec![b'x'; 1 << 20]).to_string(), "x".repeat(256) + "...");
        let longest =
            candidate_key(&"p".repeat(128), "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(), LeaseId(-1));
        assert_eq!(longest.to_string().into_bytes(), longest.0, "ours are shown whole");
    }

    #[test]
    fn what_cannot_be_a_candidate_is_ignored_with_the_reason() {
        for (key, lease) in [
            ("vipd/10.0.0.1/abc", 0),
            ("vipd/10.0.0.1/abc", 1),
            ("vipd/10.0.0.1", 1),
            ("vipd/10.0.0.300/1", 1),
            ("vipd/FD00::1/1", 1),
            ("vipd/10.0.0.1/1/1", 1),
            ("vipdx/10.0.0.1/1", 1),
            ("vipd/.nodes/1", 1),
        ] {
            assert!(matches!(entry(key, "x", lease), Record::Ignored(_)), "{key}");
        }
    }

    #[test]
    fn a_node_record_keeps_words_and_ignores_what_it_does_not_know() {
        let value = r#"{"node":"cp-1","later":{"x":1},"released":["vipd/10.0.0.1/a@17"]}"#;
        let Record::Node { record, .. } = entry("vipd/.nodes/a", value, 10) else { panic!() };
        assert_eq!(record.released, [Released { key: Key(b"vipd/10.0.0.1/a".to_vec()), create: 17 }]);
        assert!(!record.leaving);
    }
}
