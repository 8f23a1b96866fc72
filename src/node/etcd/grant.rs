//! Asks etcd for the session's lease. One grant at a time; a lease whose answer came too late is revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use etcd_client::LeaseClient;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::answer;
use super::connect::Link;
use super::failure::Failure;
use super::members::Bound;
use crate::config::Ttl;
use crate::election::event::{Event, Header, LeaseId};
use crate::moment::Moment;
use crate::node::clock;

/// A grant is one commit. The last member gets longer, so that a slow etcd still gives a lease.
const BOUND: Bound = Bound { each: Duration::from_secs(1), last: Duration::from_secs(4) };
/// How long a late answer is waited for, to revoke its lease. What comes later still ends by itself.
const LATE: Duration = Duration::from_secs(10);
/// The least TTL we ask for by ourselves, in seconds.
const LEAST: i64 = 3;

/// What is known about grants.
#[derive(Default)]
pub(super) struct Granting {
    running: AtomicBool,
    /// The least TTL this etcd grants, in seconds; 0 while not known.
    least: AtomicI64,
}

struct Granted {
    lease: LeaseId,
    ttl: i64,
    sent_at: Moment,
    header: Header,
}

/// Asks for a lease, unless that is under way.
pub(super) fn spawn(shared: Arc<Shared>, ttl: Ttl, granting: &Arc<Granting>) {
    if granting.running.swap(true, SeqCst) {
        return;
    }
    let granting = Arc::clone(granting);
    tokio::spawn(async move {
        let result = grant(&shared, ttl, &granting).await;
        granting.running.store(false, SeqCst);
        match result {
            Ok(granted) => report(&shared, granted).await,
            Err(failure) => shared.tell_failed("grant a lease", &failure),
        }
    });
}

async fn report(shared: &Shared, granted: Granted) {
    let Granted { lease, ttl, sent_at, header } = granted;
    let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
    shared.learn_ttl(ttl);
    shared.report(Event::LeaseGranted { lease, ttl, sent_at, header }).await;
}

async fn grant(shared: &Shared, ttl: Ttl, granting: &Granting) -> Result<Granted, Failure> {
    let seconds = match ttl {
        Ttl::Fixed(d) => i64::try_from(d.as_millis().div_ceil(1000)).unwrap_or(i64::MAX),
        Ttl::Auto => auto(least(shared, granting).await?),
    };
    ask(shared, seconds).await
}

/// What `ttl: auto` is where etcd grants no lease under `least`.
pub fn auto_ttl(least: Duration) -> Duration {
    let seconds = auto(i64::try_from(least.as_secs()).unwrap_or(i64::MAX));
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// 2.5 times the least TTL, in whole seconds rounded up.
fn auto(least: i64) -> i64 {
    least.saturating_mul(5).saturating_add(1).saturating_div(2).max(LEAST)
}

/// The least TTL this etcd grants: it gives that to whoever asks for less.
async fn least(shared: &Shared, granting: &Granting) -> Result<i64, Failure> {
    let known = granting.least.load(SeqCst);
    if known > 0 {
        return Ok(known);
    }
    let asked = ask(shared, 1).await?;
    tracing::debug!(least = asked.ttl, "the least TTL that etcd grants, in seconds");
    granting.least.store(asked.ttl, SeqCst);
    if let Some(link) = shared.members.line(shared.members.first()).link() {
        tokio::spawn(revoke(link.lease.clone(), asked.lease.0));
    }
    Ok(asked.ttl)
}

async fn ask(shared: &Shared, seconds: i64) -> Result<Granted, Failure> {
    let members = &shared.members;
    members.ask_in_turn(members.count(), BOUND, |link| ask_one(link, seconds)).await
}

/// Asks one member. The call goes on in a task when nobody waits for it any more, so that its lease can be revoked.
async fn ask_one(link: Arc<Link>, seconds: i64) -> Result<Granted, Failure> {
    let (tell, told) = oneshot::channel();
    let mut client = link.lease.clone();
    let sent_at = clock::now();
    tokio::spawn(async move {
        let Ok(answer) = timeout(LATE, client.grant(seconds, None)).await else { return };
        if let Err(Ok(late)) = tell.send(answer) {
            revoke(client, late.id()).await;
        }
    });
    let answer = told.await.map_err(|_| Failure::Silent(LATE))??;
    if !answer.error().is_empty() {
        return Err(Failure::Refused(answer.error().to_owned()));
    }
    Ok(Granted { lease: LeaseId(answer.id()), ttl: answer.ttl(), sent_at, header: answer::header(answer.header())? })
}

/// Revokes a lease that nobody uses, once: it would end by itself.
async fn revoke(mut client: LeaseClient, lease: i64) {
    let _ends_by_itself = timeout(BOUND.each, client.revoke(lease)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_two_and_a_half_times_the_least() {
        // Plain etcd, k3s and RKE2, and one with a very short election timeout.
        assert_eq!([auto(2), auto(8), auto(1), auto(3)], [5, 20, 3, 8]);
        assert_eq!(auto(i64::MAX), i64::MAX / 2);
    }
}
