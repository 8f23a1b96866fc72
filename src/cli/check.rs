//! `vipd check`: what would be done on this node, and what it lacks. Changes nothing.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Ttl};
use crate::election::timings::{Timings, least_margin};
use crate::link::{Base, Found, Link, LinkChoice, Selector, describe, list, vlan_of};
use crate::node::device::Devices;
use crate::node::kernel::{Kernel, chain};
use crate::plan::{Plan, PlannedVip};

/// How long an endpoint may take to be reached.
const REACH: Duration = Duration::from_secs(1);

/// Prints the report of a good config.
pub async fn report(config: &Config, path: &Path) -> ExitCode {
    let plan = Plan::new(config);
    println!("{}: good", path.display());
    println!("node       {}", config.node);
    println!("etcd       {}", config.etcd.endpoints.join(", "));
    println!("runtime    {}", config.runtime_dir.display());
    println!("timings    {}", timings(config));
    let node = Node::look(&plan).await;
    for vip in &plan.vips {
        println!("vip        {}", addresses(vip));
        println!("  from     {}", vip.place);
        println!("  link     {}", vip.link);
        if let Some(is) = node.chosen(&vip.link) {
            println!("  here     {is}");
        }
        println!("  key      {}/{}/<lease>", config.etcd.prefix, vip.key_address);
    }
    let lacks = node.lacks(config, &plan).await;
    if lacks.is_empty() {
        println!("this node has all it needs");
    } else {
        println!("this node lacks for now (vipd runs, says so, and waits):");
        lacks.iter().for_each(|lack| println!("  - {lack}"));
    }
    ExitCode::SUCCESS
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

/// This node, as far as it can be looked at.
struct Node {
    /// The way to the kernel, and all links; or why there is none.
    seen: Result<(Kernel, Vec<Link>), String>,
}

impl Node {
    async fn look(plan: &Plan) -> Self {
        Self { seen: Self::links(plan).await.map_err(|e| format!("a look at this node's links: {e}")) }
    }

    async fn links(plan: &Plan) -> Result<(Kernel, Vec<Link>), String> {
        let mut kernel = Kernel::open().await.map_err(|e| chain(&e))?;
        let mut links = kernel.links().await.map_err(|e| chain(&e))?;
        let selectors = plan.vips.iter().filter_map(|vip| vip.link.base.selector());
        if selectors.into_iter().any(Selector::needs_device) {
            Devices::default().fill(&mut links).await;
        }
        Ok((kernel, links))
    }

    /// The link of a choice, in words. One that is simply called what was asked for needs none.
    fn chosen(&self, choice: &LinkChoice) -> Option<String> {
        let (_, links) = self.seen.as_ref().ok()?;
        let Found::One(base, _) = choice.base.find(links, None) else { return None };
        match choice.vlan {
            None if matches!(&choice.base, Base::Named(name) if *name == base.name) => None,
            None => Some(describe(base, links, choice.base.selector())),
            Some(id) => Some(match vlan_of(links, base.id, id) {
                Some(vlan) => describe(vlan, links, None),
                None => format!("none yet; vipd creates one for VLAN {id} on {}", base.name),
            }),
        }
    }

    async fn lacks(self, config: &Config, plan: &Plan) -> Vec<String> {
        let mut lacks = Vec::new();
        match self.seen {
            Ok((mut kernel, links)) => {
                for vip in &plan.vips {
                    lacks.extend(of_link(&vip.link, &links).map(|lack| format!("{lack}, for {}", vip.place)));
                    lacks.extend(of_addresses(&mut kernel, vip).await);
                }
            }
            Err(e) => lacks.push(e),
        }
        lacks.extend(config.etcd.endpoints.iter().filter_map(|e| of_endpoint(e)));
        lacks
    }
}

fn of_link(choice: &LinkChoice, links: &[Link]) -> Option<String> {
    let by = choice.base.selector();
    let base = match choice.base.find(links, None) {
        Found::None => return Some(format!("{}; there are: {}", called(&choice.base), list(links, links, by))),
        Found::Several(all) => {
            let all = list(all, links, by);
            return Some(format!("a link that alone is {}; candidates: {all}", choice.base));
        }
        Found::One(base, _) => base,
    };
    let link = choice.vlan.map_or(Some(base), |id| vlan_of(links, base.id, id));
    link.filter(|link| !link.serves).map(|link| format!("the link {:?} up, with carrier", link.name))
}

fn called(base: &Base) -> String {
    match base {
        Base::Named(name) => format!("the link {name:?}"),
        Base::Selected(selector) => selector.to_string(),
    }
}

async fn of_addresses(kernel: &mut Kernel, vip: &PlannedVip) -> Option<String> {
    match kernel.look(&vip.addresses).await {
        Ok(seen) => seen.foreign.first().map(|a| format!("the address free: {a} is here and was not put by vipd")),
        Err(e) => Some(format!("a look at its addresses: {}", chain(&e))),
    }
}

fn of_endpoint(endpoint: &str) -> Option<String> {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let reached = host.to_socket_addrs().and_then(|mut all| {
        let first = all.next().ok_or(std::io::ErrorKind::NotFound)?;
        TcpStream::connect_timeout(&first, REACH)
    });
    reached.err().map(|e| format!("etcd at {endpoint}: {e}"))
}
