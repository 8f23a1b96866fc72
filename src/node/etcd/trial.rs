//! `vipd check --live`'s trial of etcd: the least lease, asked for and revoked at once, and who stands in the queues now.

use std::time::Duration;

use tokio::time::timeout;

use super::answer;
use super::check::reach;
use super::credentials;
use super::failure::Failure;
use crate::config;
use crate::election::event::Entry;

/// For each question: one commit.
const BOUND: Duration = Duration::from_secs(2);

/// What a trial found.
#[derive(Debug)]
pub struct Trial {
    /// The shortest lease that this etcd grants.
    pub least: Duration,
    /// Everything under the prefix.
    pub entries: Vec<Entry>,
}

/// Tries the first endpoint that serves.
///
/// # Errors
/// In words for people: why none did. `vipd check` says more about each.
pub async fn trial(config: &config::Etcd) -> Result<Trial, String> {
    let files = config.clone();
    let looked = tokio::task::spawn_blocking(move || credentials::read(&files).0);
    let access = looked.await.map_err(|e| e.to_string())?.map_err(|lack| lack.text)?;
    let mut why = "no endpoint".to_owned();
    for url in &config.endpoints {
        why = match reach(url, &access).await {
            Ok(link) => match timeout(BOUND * 3, ask(&link, config)).await {
                Ok(Ok(trial)) => return Ok(trial),
                Ok(Err(failure)) => format!("etcd at {url}: {}", failure.in_words(config)),
                Err(_) => format!("etcd at {url}: no answer within {:?}", BOUND * 3),
            },
            Err(why) => format!("etcd at {url}: {why}"),
        };
    }
    Err(why)
}

async fn ask(link: &super::connect::Link, config: &config::Etcd) -> Result<Trial, Failure> {
    let mut leases = link.lease.clone();
    let granted = leases.grant(1, None).await?;
    // It ends by itself a few seconds later.
    let _unasked_for = timeout(BOUND, leases.revoke(granted.id())).await;
    let least = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
    Ok(Trial { least, entries: answer::read_all(&mut link.kv.clone(), &config.prefix).await?.entries })
}
