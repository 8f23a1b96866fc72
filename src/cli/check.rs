//! `vipd check`: what would be done on this node, and what it lacks. Changes nothing.

mod live;
mod node;
mod place;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Etcd, Ttl};
use crate::election::timings::{Timings, least_margin};
use crate::node::etcd::check;
use crate::plan::{Plan, PlannedVip};
use node::Node;

/// Prints the report of a good config; `live`: also what asking the network and etcd tells.
pub async fn report(config: &Config, path: &Path, live: bool) -> ExitCode {
    let plan = Plan::new(config);
    println!("{}: good", path.display());
    println!("node       {}", config.node);
    etcd(&config.etcd);
    println!("runtime    {}", config.runtime_dir.display());
    println!("metrics    {}", config.metrics.map_or("nowhere".into(), |at| format!("http://{at}/metrics")));
    println!("timings    {}", timings(config));
    let mut node = Node::look(&plan).await;
    for vip in &plan.vips {
        println!("vip        {}", addresses(vip));
        println!("  from     {}", vip.place);
        println!("  link     {}", vip.link);
        if let Some(here) = node.chosen(&vip.link) {
            println!("  here     {here}");
        }
        println!("  key      {}/{}/<lease>", config.etcd.prefix, vip.key_address);
    }
    let mut lacks = node.lacks(&plan).await;
    lacks.extend(check(&config.etcd).await);
    if lacks.is_empty() {
        println!("this node has all it needs");
    } else {
        println!("this node lacks for now (vipd runs, says so, and waits):");
        lacks.iter().for_each(|lack| println!("  - {lack}"));
    }
    if live {
        let (facts, findings) = live::look(&mut node, &plan, config).await;
        facts.iter().for_each(|fact| println!("seen       {fact}"));
        println!(
            "{}",
            match (findings.is_empty(), lacks.is_empty()) {
                (true, true) => "nothing was found that would hurt",
                (true, false) => "nothing else was found that would hurt",
                (false, _) => "found:",
            }
        );
        findings.iter().for_each(|finding| println!("  - {finding}"));
    }
    ExitCode::SUCCESS
}

fn etcd(etcd: &Etcd) {
    println!("etcd       {}", etcd.endpoints.join(", "));
    println!("  members  {}", if etcd.discover { "these, and those in etcd's own list" } else { "these alone" });
    if let Some(tls) = &etcd.tls {
        println!("  ca       {}", tls.ca.display());
        if let Some(client) = &tls.client {
            println!("  cert     {}, key {}", client.cert.display(), client.key.display());
        }
        if let Some(name) = &tls.server_name {
            println!("  name     {name}");
        }
    }
    if let Some(user) = &etcd.user {
        println!("  user     {}, password in {}", user.name, user.password_file.display());
    }
}

fn addresses(vip: &PlannedVip) -> String {
    vip.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

fn timings(config: &Config) -> String {
    match config.lease.ttl {
        Ttl::Auto => {
            let five = Duration::from_secs(5);
            let margin = config.lease.margin.map_or("1.15s + ttl/100".into(), |m| format!("{m:?}"));
            format!(
                "ttl auto: 2.5 times the least that etcd grants ({five:?} on plain etcd, 20s on k3s and RKE2), margin {margin}"
            )
        }
        Ttl::Fixed(ttl) => {
            let t = Timings::new(ttl, config.lease.margin);
            let (fence, renew) = (ttl.saturating_sub(t.margin), t.renew_every);
            let least = least_margin(ttl);
            format!(
                "ttl {ttl:?}, renewed every {renew:?}, fence {fence:?} after a renewal (margin {:?}, at least {least:?})",
                t.margin
            )
        }
    }
}
