//! The etcd adapter against real etcd processes on loopback.
//!
//! Nothing here asserts a tight time; the times printed are for people.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod cluster;
mod endpoints;
mod rotation;
mod server;
mod session;
mod watching;
mod way;

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use vipd::config;
use vipd::election::action::Action;
use vipd::election::event::{Change, Entry, Event, Header, LeaseId, Pair};
use vipd::election::record::{self, CandidateRecord, Key, NodeRecord};
use vipd::node::etcd::Etcd;

const PREFIX: &str = "vipd";
/// Whatever is waited for here comes in less, also on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// An adapter under test and what it reported.
struct Lab {
    etcd: Etcd,
    events: mpsc::Receiver<Event>,
    /// Every event that was looked at.
    seen: Vec<Event>,
}

impl Lab {
    fn start(endpoints: Vec<String>) -> Self {
        Self::start_with(&conf(endpoints), config::Ttl::Auto)
    }

    fn start_with(config: &config::Etcd, ttl: config::Ttl) -> Self {
        let (tell, events) = mpsc::channel(64);
        // `RUST_LOG=vipd=debug` shows what the adapter does.
        let _set_already =
            tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        let etcd = Etcd::start(config, ttl, tell);
        Self { etcd, events, seen: Vec::new() }
    }

    fn order(&self, action: Action) {
        self.etcd.carry_out(&action);
    }

    /// The next event that `pick` picks; the others are passed over.
    async fn next<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the adapter lives");
                let found = pick(&event);
                self.seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.expect("the event comes")
    }

    /// The next event within `wait`, if there is one.
    async fn quiet<T>(&mut self, wait: Duration, pick: impl FnMut(&Event) -> Option<T>) -> bool {
        tokio::time::timeout(wait, self.next(pick)).await.is_err()
    }

    async fn picture(&mut self) -> (Header, Vec<Entry>) {
        self.next(|e| match e {
            Event::PictureRead { header, entries, .. } => Some((*header, entries.clone())),
            _ => None,
        })
        .await
    }

    async fn changed(&mut self) -> (i64, Vec<Change>) {
        self.next(|e| match e {
            Event::Changed { revision, changes } => Some((*revision, changes.clone())),
            _ => None,
        })
        .await
    }

    async fn grant(&mut self) -> (LeaseId, Duration) {
        // As the election does: it asks again while none comes.
        loop {
            self.order(Action::GrantLease);
            let granted = self.next(|e| match e {
                Event::LeaseGranted { lease, ttl, .. } => Some((*lease, *ttl)),
                _ => None,
            });
            if let Ok(granted) = tokio::time::timeout(Duration::from_secs(2), granted).await {
                return granted;
            }
        }
    }

    async fn pair(&mut self, lease: LeaseId) -> Pair {
        self.order(Action::Renew { lease });
        self.next(|e| match e {
            Event::PairAnswered(pair) if pair.lease == lease => Some(*pair),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self, lease: LeaseId) {
        self.next(|e| (*e == Event::LeaseLost { lease }).then_some(())).await;
    }

    /// Stands for `address` and returns the key with its create revision.
    async fn stand(&mut self, lease: LeaseId, address: &str) -> (Key, i64) {
        loop {
            let key = self.order_stand(lease, address);
            let seen = self.next(|e| find(e, &key).map(|entry| entry.create));
            // As the election does: it repeats its orders.
            if let Ok(create) = tokio::time::timeout(Duration::from_secs(2), seen).await {
                break (key, create);
            }
        }
    }

    fn order_stand(&self, lease: LeaseId, address: &str) -> Key {
        let address: IpAddr = address.parse().unwrap();
        let key = record::candidate_key(PREFIX, address, lease);
        let record = CandidateRecord { node: "cp-1".into(), addresses: vec![address] };
        self.order(Action::Stand { key: key.clone(), lease, record });
        key
    }
}

fn conf(endpoints: Vec<String>) -> config::Etcd {
    config::Etcd { endpoints, prefix: PREFIX.into(), ..config::Etcd::default() }
}

/// The key as it is told, in a change or in the whole picture.
fn find<'a>(event: &'a Event, key: &Key) -> Option<&'a Entry> {
    match event {
        Event::PictureRead { entries, .. } => entries.iter().find(|e| e.key == *key),
        Event::Changed { changes, .. } => changes.iter().find_map(|c| match c {
            Change::Put(entry) if entry.key == *key => Some(entry),
            Change::Put(_) | Change::Deleted(_) => None,
        }),
        _ => None,
    }
}

fn node_record(released: Vec<record::Released>) -> NodeRecord {
    NodeRecord { node: "cp-1".into(), version: "test".into(), leaving: false, released, passed: vec![] }
}
