//! `vipd check`'s look at etcd: the files, every endpoint as the daemon would connect to it, and what we may do there.
//! Changes nothing. What leaves a trace, however short, is [`super::trial`]'s.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::answer;
use super::connect::{Link, connect};
use super::credentials::{self, Access};
use super::dial::Address;
use super::discover::{alone, ask};
use super::failure::Failure;
use super::roster::{self, Known, Reach};
use super::tls::Urgency;
use super::version;
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
    let known = version::Known::default();
    let members = config.endpoints.iter().map(|url| member(config, &access, url, &known));
    let looks = join_all(members).await;
    let links: Vec<_> = looks.iter().flat_map(|look| Some((look.url, look.link.as_ref()?))).collect();
    lacks.extend(of_two_clusters(&links));
    if config.discover {
        lacks.extend(others(config, &access, &links).await);
    }
    lacks.extend(looks.into_iter().flat_map(|look| look.lacks));
    lacks
}

/// What was found at one endpoint.
struct Look<'a> {
    url: &'a str,
    link: Option<Link>,
    lacks: Vec<String>,
}

fn ends_soon(access: &Access) -> impl Iterator<Item = String> {
    let expiries = access.identity.iter().flat_map(|identity| &identity.expiries);
    let told = expiries.map(|expiry| expiry.at(clock::calendar()));
    told.filter(|(urgency, _)| *urgency != Urgency::None).map(|(_, text)| text)
}

async fn member<'a>(config: &config::Etcd, access: &Access, url: &'a str, known: &version::Known) -> Look<'a> {
    let link = match reach(url, access).await {
        Ok(link) => link,
        Err(why) => return Look { url, link: None, lacks: vec![format!("etcd at {url}: {why}")] },
    };
    let allowed = timeout(BOUND, allowed(&link, config)).await.unwrap_or(Err(Failure::Silent(BOUND)));
    let refused = allowed.err().map(|failure| format!("etcd at {url}: {}", failure.in_words(config)));
    let fault = link.status.version.and_then(|version| known.warning(version));
    let ends = link.certificate.as_ref().map(|ends| ends.at(clock::calendar()));
    let ends = ends.filter(|(urgency, _)| *urgency != Urgency::None).map(|(_, text)| format!("etcd at {url}: {text}"));
    Look { url, link: Some(link), lacks: refused.into_iter().chain(ends).chain(fault).collect() }
}

pub(super) async fn reach(url: &str, access: &Access) -> Result<Link, Arc<str>> {
    let address = Address::parse(url).ok_or("this is no endpoint")?;
    connect(&address, access, 0).await.map_err(|trouble| trouble.why)
}

fn of_two_clusters(links: &[(&str, &Link)]) -> Option<String> {
    let mut clusters = links.iter().filter_map(|(url, link)| Some((url, link.status.cluster?)));
    let (first, ours) = clusters.next()?;
    let (other, theirs) = clusters.find(|(_, cluster)| *cluster != ours)?;
    Some(format!(
        "one cluster of etcd: {first} is of cluster {ours:x}, and {other} of {theirs:x}, which will not be used; all \
         endpoints must be members of one"
    ))
}

/// Whether those whom etcd lists beside the endpoints can be reached, as they must when the endpoints die.
async fn others(config: &config::Etcd, access: &Access, links: &[(&str, &Link)]) -> Vec<String> {
    let asked = join_all(links.iter().map(|(url, link)| async { (*url, ask(link).await.ok()) })).await;
    let Some((_, listed)) = asked.iter().find_map(|(_, answer)| answer.as_ref()) else { return Vec::new() };
    let member =
        |url: &str| asked.iter().find(|(u, _)| *u == url).and_then(|(_, answer)| Some(answer.as_ref()?.0.member));
    let known = config.endpoints.iter().enumerate().map(|(place, url)| Known {
        place,
        url: url.clone(),
        configured: true,
        member: member(url),
    });
    let reach_of = Reach { tls: config.tls.is_some(), vips: config.vips.clone() };
    let others = roster::others(&reach_of, listed, &known.collect::<Vec<_>>());
    let serve = listed.iter().filter(|m| !m.learner).count();
    if others.is_empty() && serve > 1 && config.endpoints.len() == 1 {
        return vec![alone(serve)];
    }
    let tries = others.iter().map(|(_, url)| async move {
        let why = reach(url, access).await.err()?;
        Some(format!("etcd at {url}, which its member list names: {why}"))
    });
    join_all(tries).await.into_iter().flatten().collect()
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
