//! Releases the lease of a predecessor on this node that was killed: its word, said by us, then the revocation.
//!
//! Only for whoever knows that the addresses are off this node. It touches nothing but that lease's keys.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::Link;
use super::failure::Failure;
use super::members::{Bound, Members};
use super::pace::{Backoff, Told};
use super::{Shared, TELL, answer, orders};
use crate::config;
use crate::election::event::{Entry, LeaseId, Record};
use crate::election::record::{NodeRecord, Released};

/// In the background: as long as a lease may still be there, with the longest TTL etcd is run with in earnest.
const BACKGROUND: Duration = Duration::from_secs(180);
const BOUND: Bound = Bound { each: Duration::from_secs(1), last: Duration::from_secs(2) };

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The word was said for these candidates, and the lease is revoked.
    Done {
        /// What was released.
        released: Vec<Released>,
    },
    /// No key hung on the lease any more; it is revoked, or had ended before.
    Gone,
    /// It could not be done in time: the lease ends by itself.
    GivenUp {
        /// What went wrong last.
        why: String,
    },
}

/// Who releases, for people.
pub(super) struct Who {
    pub(super) node: String,
    pub(super) version: String,
}

/// Says for every candidate under `old` that its address is off, and revokes that lease; repeats with back-off for at
/// most `bound`. For a command of its own: it makes its own connections and ends them.
pub async fn release(config: &config::Etcd, old: LeaseId, node: &str, version: &str, bound: Duration) -> Release {
    let (events, _nobody) = mpsc::channel(1);
    let shared = Shared {
        config: RwLock::new(config.clone()),
        prefix: config.prefix.clone(),
        members: Members::new(config),
        events,
        ttl_ms: AtomicU64::new(0),
        revoking: Default::default(),
        failing: Told::every(TELL),
        tally: super::Tally::default(),
    };
    let mut keepers = JoinSet::new();
    for keeper in Arc::clone(&shared.members).keepers() {
        keepers.spawn(keeper);
    }
    let who = Who { node: node.to_owned(), version: version.to_owned() };
    repeat(&shared, old, &who, bound).await
}

/// The same over the daemon's connections, told to people.
pub(super) async fn in_background(shared: &Shared, old: LeaseId, who: &Who) {
    match repeat(shared, old, who, BACKGROUND).await {
        Release::Done { released } => {
            tracing::info!(lease = %old, candidates = released.len(), "released what a predecessor left in etcd");
        }
        Release::Gone => tracing::debug!(lease = %old, "a predecessor's lease is gone"),
        Release::GivenUp { why } => {
            tracing::warn!(lease = %old, "could not release a predecessor's lease, it ends by itself: {why}");
        }
    }
}

async fn repeat(shared: &Shared, old: LeaseId, who: &Who, bound: Duration) -> Release {
    let mut why = format!("no answer within {bound:?}");
    let tries = async {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match once(shared, old, who).await {
                Ok(done) => return done,
                Err(failure) => why = shared.in_words(&failure),
            }
            backoff.pause().await;
        }
    };
    let result = timeout(bound, tries).await;
    result.unwrap_or(Release::GivenUp { why })
}

async fn once(shared: &Shared, old: LeaseId, who: &Who) -> Result<Release, Failure> {
    // Lease 0 means "none": every key without a lease would be ours.
    if old.0 == 0 {
        return Ok(Release::Gone);
    }
    let members = &shared.members;
    let read = |link: Arc<Link>| async move { answer::read_all(&mut link.kv.clone(), &shared.prefix).await };
    let picture = members.ask_in_turn(members.count(), BOUND, read).await?;
    let words = words(&picture.entries, old);
    let record = (!words.is_empty()).then(|| NodeRecord {
        node: who.node.clone(),
        version: who.version.clone(),
        leaving: true,
        released: words.clone(),
        passed: Vec::new(),
    });
    orders::say_and_revoke(shared, old, record.as_ref()).await?;
    Ok(if words.is_empty() { Release::Gone } else { Release::Done { released: words } })
}

/// The owner's words to say: those it said already, and one for each of its candidates.
fn words(entries: &[Entry], old: LeaseId) -> Vec<Released> {
    let mut words = Vec::new();
    for entry in entries {
        match &entry.record {
            Record::Candidate { lease, .. } if *lease == old => {
                words.push(Released { key: entry.key.clone(), create: entry.create });
            }
            Record::Node { lease, record } if *lease == old => words.extend(record.released.iter().cloned()),
            Record::Candidate { .. } | Record::Node { .. } | Record::Ignored(_) => {}
        }
    }
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::record::Key;

    #[test]
    fn only_the_old_leases_candidates_are_released_and_earlier_words_are_kept() {
        let candidate = |k: &str, create, lease| Entry {
            key: Key(k.into()),
            create,
            modified: create,
            record: Record::Candidate { lease: LeaseId(lease), addresses: vec![], who: String::new() },
        };
        let word = |k: &str, create| Released { key: Key(k.into()), create };
        let said = NodeRecord { released: vec![word("x", 3)], ..Default::default() };
        let node = Entry { record: Record::Node { lease: LeaseId(1), record: said }, ..candidate("n", 4, 1) };
        let entries = [candidate("a", 5, 1), candidate("b", 6, 2), node];
        assert_eq!(words(&entries, LeaseId(1)), [word("a", 5), word("x", 3)]);
    }
}
