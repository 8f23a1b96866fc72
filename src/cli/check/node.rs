//! What `vipd check` finds of the links and addresses of this node.

use std::net::IpAddr;

use crate::link::{Base, Found, Link, LinkChoice, Selector, describe, list, taken_by, vlan_of};
use crate::node::device::Devices;
use crate::node::kernel::{Kernel, chain};
use crate::node::netlink::Address;
use crate::plan::{Plan, PlannedVip};

/// This node, as far as it can be looked at.
pub(super) struct Node {
    /// The way to the kernel, and all links; or why there is none.
    seen: Result<(Kernel, Vec<Link>), String>,
}

impl Node {
    pub(super) async fn look(plan: &Plan) -> Self {
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
    pub(super) fn chosen(&self, choice: &LinkChoice) -> Option<String> {
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

    /// The link of a choice, if it is there.
    pub(super) fn link(&self, choice: &LinkChoice) -> Option<&Link> {
        link_of(choice, &self.seen.as_ref().ok()?.1)
    }

    /// The name of the link that takes what arrives at this one, its port.
    pub(super) fn taken_by(&self, link: &Link) -> Option<&str> {
        let (_, links) = self.seen.as_ref().ok()?;
        taken_by(link, links).map(|of| of.name.as_str())
    }

    /// The other addresses of this one's family on a link; none if they cannot be seen.
    pub(super) async fn addresses_on(&mut self, link: &Link, ip: IpAddr) -> Vec<Address> {
        let Ok((kernel, _)) = &mut self.seen else { return Vec::new() };
        let all = kernel.addresses_on(link.id, &[ip]).await.unwrap_or_default();
        all.into_iter().filter(|a| a.ip.is_ipv4() == ip.is_ipv4()).collect()
    }

    /// Whether vipd has put the VIP here.
    pub(super) async fn has(&mut self, vip: &PlannedVip) -> bool {
        let Ok((kernel, _)) = &mut self.seen else { return false };
        kernel.look(&vip.addresses).await.is_ok_and(|seen| !seen.ours.is_empty())
    }

    /// The address, if somebody else has put it on this node.
    pub(super) async fn foreign(&mut self, ip: IpAddr) -> Option<String> {
        let Ok((kernel, _)) = &mut self.seen else { return None };
        kernel.look(&[ip]).await.ok()?.foreign.first().map(ToString::to_string)
    }

    /// What is missing here, a line each.
    pub(super) async fn lacks(&mut self, plan: &Plan) -> Vec<String> {
        let mut lacks = Vec::new();
        match &mut self.seen {
            Ok((kernel, links)) => {
                for vip in &plan.vips {
                    lacks.extend(of_link(&vip.link, links).map(|lack| format!("{lack}, for {}", vip.place)));
                    lacks.extend(of_ipv6(vip, links));
                    lacks.extend(of_addresses(kernel, vip).await);
                }
            }
            Err(e) => lacks.push(e.clone()),
        }
        lacks
    }
}

/// The link of a choice, if it is there.
fn link_of<'l>(choice: &LinkChoice, links: &'l [Link]) -> Option<&'l Link> {
    let Found::One(base, _) = choice.base.find(links, None) else { return None };
    choice.vlan.map_or(Some(base), |id| vlan_of(links, base.id, id))
}

fn of_link(choice: &LinkChoice, links: &[Link]) -> Option<String> {
    let by = choice.base.selector();
    let link = match choice.base.find(links, None) {
        Found::None => return Some(format!("{}; there are: {}", called(&choice.base), list(links, links, by))),
        Found::Several(all) => {
            let all = list(all, links, by);
            return Some(format!("a link that alone is {}; candidates: {all}", choice.base));
        }
        Found::One(..) => link_of(choice, links),
    };
    link.filter(|link| !link.serves).map(|link| format!("the link {:?} up, with carrier", link.name))
}

/// An IPv6 VIP on a link where the kernel takes no IPv6 address.
fn of_ipv6(vip: &PlannedVip, links: &[Link]) -> Option<String> {
    let ip = vip.addresses.iter().find(|ip| ip.is_ipv6())?;
    let link = link_of(&vip.link, links)?;
    let switch = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", link.name);
    match std::fs::read_to_string(switch).as_deref().map(str::trim) {
        Ok("0") => None,
        Ok(_) => Some(format!("IPv6 on {}, for {ip}: net.ipv6.conf.{}.disable_ipv6 is 1", link.name, link.name)),
        Err(_) => {
            Some(format!("IPv6 on {}, for {ip}: the kernel has none, or the link's MTU is below 1280", link.name))
        }
    }
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
