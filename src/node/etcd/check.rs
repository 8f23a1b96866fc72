//! `vipd check`'s look at etcd: the files, every endpoint as the daemon would connect to it, and what we may do there.
//! Changes nothing.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::answer;
use super::connect::{Link, connect};
use super::credentials::{self, Access};
use super::dial::Address;
use super::failure::Failure;
use super::tls::Urgency;
use super::version::Known;
use crate::config;
use crate::node::clock;

/// For a question behind the connection: one commit.
const BOUND: Duration = Duration::from_secs(2);

/// What etcd, or the way to it, lacks now; one line each, none if all is well.
pub async fn check(config: &config::Etcd) -> Vec<String> {
    let config_there = config.clone();
    let looked = tokio::task::spawn_blocking(move || credentials::read(&config_there)).await;
    let (access, mut lacks) = match looked {
        Ok((Ok(access), remarks)) => (access, remarks),
        Ok((Err(lack), _)) => return vec![lack.text],
        Err(e) => return vec![format!("a look at the files for etcd: {e}")],
    };
    if let Some(endpoint) = &config.password_in_the_clear {
        lacks.push(format!("TLS: the password of etcd's user goes over the network to {endpoint} for all to read"));
    }
    lacks.extend(ends_soon(&access));
    let known = Known::default();
    let members = config.endpoints.iter().map(|url| member(config, &access, url, &known));
    lacks.extend(join_all(members).await.into_iter().flatten());
    lacks
}

fn ends_soon(access: &Access) -> impl Iterator<Item = String> {
    let expiries = access.identity.iter().flat_map(|identity| &identity.expiries);
    let told = expiries.map(|expiry| expiry.at(clock::calendar()));
    told.filter(|(urgency, _)| *urgency != Urgency::None).map(|(_, text)| text)
}

async fn member(config: &config::Etcd, access: &Access, url: &str, known: &Known) -> Vec<String> {
    let Some(address) = Address::parse(url) else { return vec![format!("etcd at {url}: this is no endpoint")] };
    let link = match connect(&address, access, 0).await {
        Ok(link) => link,
        Err(trouble) => return vec![format!("etcd at {url}: {}", trouble.why)],
    };
    let allowed = timeout(BOUND, allowed(&link, config)).await.unwrap_or(Err(Failure::Silent(BOUND)));
    let refused = allowed.err().map(|failure| format!("etcd at {url}: {}", failure.in_words(config)));
    let fault = link.status.version.and_then(|version| known.warning(version));
    refused.into_iter().chain(fault).collect()
}

/// Asks for what the daemon does. The condition of the transaction is never true, so it writes nothing; etcd checks
/// permissions for it all the same.
async fn allowed(link: &Link, config: &config::Etcd) -> Result<(), Failure> {
    answer::read_short(&mut link.kv.clone(), &config.prefix).await?;
    let key = answer::range(&config.prefix);
    let never = Compare::create_revision(key.clone(), CompareOp::Less, 0);
    link.kv.clone().txn(Txn::new().when([never]).and_then([TxnOp::put(key, "", None)])).await?;
    Ok(())
}
