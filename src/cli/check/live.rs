//! What `vipd check --live` finds beyond what is lacking: a [`place`] that does not suit a VIP, somebody who has it already,
//! and what etcd makes of our lease.
//!
//! Each finding is one line: what, why it matters, what to do. Beside three probes and a lease of a second nothing is sent.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use super::node::Node;
use super::place;
use crate::config::{Config, Ttl};
use crate::election::event::{Entry, Record};
use crate::link::Link;
use crate::node::conflict::who_has;
use crate::node::etcd::{Trial, auto_ttl, trial};
use crate::plan::{Plan, PlannedVip};

/// The bits of `CapEff` in `/proc/self/status` (linux/capability.h) that the daemon needs.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

/// All findings, and what is worth knowing.
pub(super) async fn look(node: &mut Node, plan: &Plan, config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut facts, mut findings) = (Vec::new(), capabilities());
    let trial = trial(&config.etcd).await;
    match &trial {
        Ok(trial) => lease(config.lease.ttl, trial.least, &mut facts, &mut findings),
        Err(why) => findings.push(format!("etcd was not tried: {why}; nothing can be held without it")),
    }
    for vip in &plan.vips {
        let Some(link) = node.link(&vip.link).cloned() else {
            findings.extend(place::to_be_created(&vip.link));
            continue;
        };
        for ip in &vip.addresses {
            findings.extend(place::of(node, &link, *ip).await);
        }
        findings.extend(others(node, vip, &link, trial.as_ref().ok(), &config.node, &mut facts).await);
    }
    (facts, findings)
}

fn capabilities() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    // A kernel that does not tell is no finding: the daemon says what it may not do.
    let Some(bits) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else { return Vec::new() };
    let lacking = NEEDED.iter().filter(|(bit, _)| bits >> bit & 1 == 0).map(|(_, name)| *name).collect::<Vec<_>>();
    if lacking.is_empty() {
        return Vec::new();
    }
    let lacking = lacking.join(" and ");
    vec![format!("this user has no {lacking}: addresses cannot be put or announced; run as root, or as the unit does")]
}

/// What etcd makes of the TTL.
fn lease(ttl: Ttl, least: Duration, facts: &mut Vec<String>, findings: &mut Vec<String>) {
    let wanted = auto_ttl(least);
    match ttl {
        Ttl::Auto => facts.push(format!("etcd grants leases of {least:?} and more, so ttl auto is {wanted:?}")),
        Ttl::Fixed(ttl) if ttl < least => findings.push(format!(
            "ttl {ttl:?} is less than the {least:?} that etcd grants at least: a lost node costs clients those {least:?}; a \
             shorter --election-timeout of etcd's allows less"
        )),
        Ttl::Fixed(ttl) if ttl < wanted => findings.push(format!(
            "ttl {ttl:?} is short for an etcd that grants {least:?} at least: an election of its own may outlast the lease, and \
             the VIP goes; ttl auto would be {wanted:?}"
        )),
        Ttl::Fixed(ttl) => facts.push(format!("etcd grants leases of {least:?} and more; ttl is {ttl:?}")),
    }
}

/// Whether somebody has the VIP now, who is none of us.
async fn others(
    node: &mut Node,
    vip: &PlannedVip,
    link: &Link,
    trial: Option<&Trial>,
    this: &str,
    facts: &mut Vec<String>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let here = node.has(vip).await;
    for ip in &vip.addresses {
        if let Some(foreign) = node.foreign(*ip).await {
            findings.push(format!(
                "{foreign} is on this node and was not put by vipd, which cannot put it then; take it off"
            ));
            continue;
        }
        let first = trial.and_then(|trial| first(&trial.entries, *ip));
        let is_this = first.as_deref() == Some(this);
        let answer = match who_has(link.id, *ip).await {
            Ok(answer) => answer,
            Err(e) => {
                findings.push(format!("nobody could be asked for {ip} on {}: {e}", link.name));
                continue;
            }
        };
        match (answer, first) {
            (Some(mac), _) if here => findings.push(format!(
                "{ip} is on this node, and {mac} answers for it as well: clients reach the one or the other; find that host"
            )),
            (Some(mac), Some(_)) if is_this => findings.push(format!(
                "{ip} is answered by {mac}, though this node is first in its queue and does not have it: another host uses it; \
                 find that host, or take a free address"
            )),
            (Some(mac), None) if trial.is_none() => {
                facts.push(format!("{ip} is answered by {mac}; whether that is one of the nodes only etcd could tell"));
            }
            (Some(mac), Some(who)) => facts.push(format!("{ip} is answered by {mac}; {who} is first in its queue")),
            (Some(mac), None) => findings.push(format!(
                "{ip} is answered by {mac}, and no node stands for it in etcd: another host uses it, so no node takes it; find \
                 that host, or take a free address"
            )),
            (None, Some(who)) if here => facts.push(format!("{ip} is on this node; {who} is first in its queue")),
            (None, Some(who)) => findings.push(format!(
                "{who} is first in the queue for {ip}, but nobody answers for it on {}: it may just be moving (try again), or \
                 this link is of another network than that node's; compare them",
                link.name
            )),
            (None, None) => facts.push(format!("nobody has {ip}")),
        }
    }
    findings
}

/// Who stands first for an address.
fn first(entries: &[Entry], ip: IpAddr) -> Option<String> {
    let stands = entries.iter().filter_map(|entry| match &entry.record {
        Record::Candidate { addresses, who, .. } if addresses.contains(&ip) => Some((entry.create, who)),
        Record::Candidate { .. } | Record::Node { .. } | Record::Ignored(_) => None,
    });
    stands.min().map(|(_, who)| who.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_makes_of_the_ttl() {
        let secs = Duration::from_secs;
        for (ttl, least, found) in [
            (Ttl::Auto, 2, None),
            (Ttl::Fixed(secs(5)), 2, None),
            (Ttl::Fixed(secs(4)), 2, Some("ttl auto would be 5s")),
            (Ttl::Fixed(secs(5)), 8, Some("less than the 8s")),
            (Ttl::Fixed(secs(20)), 8, None),
        ] {
            let (mut facts, mut findings) = (Vec::new(), Vec::new());
            lease(ttl, secs(least), &mut facts, &mut findings);
            assert_eq!(facts.is_empty(), found.is_some());
            match found {
                None => assert!(findings.is_empty(), "{findings:?}"),
                Some(words) => assert!(findings[0].contains(words), "{findings:?}"),
            }
        }
    }
}
