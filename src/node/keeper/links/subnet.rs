//! Whether a VLAN's link has an address of the network that its VIP is in. Without one a VIP still comes and goes, but hardly
//! anybody is served, so that is said once.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{debug, warn};

use super::KeptVip;
use super::pick::Pick;
use crate::election::event::{LinkId, VipId};
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::kernel::{Kernel, chain};
use crate::node::netlink::Address;

/// How long after a link serves it is looked for: whoever else configures links has given it its address by then.
const SETTLED: Duration = Duration::from_secs(10);

/// The VIPs of VLANs and when to look at their links.
#[derive(Debug, Default)]
pub(super) struct Subnets {
    vips: Vec<OnVlan>,
}

#[derive(Debug)]
struct OnVlan {
    vip: VipId,
    addresses: Vec<IpAddr>,
    /// The link that was last seen to serve, and when to look at it, if that is still to be done.
    seen: Option<(LinkId, Option<Moment>)>,
}

impl Subnets {
    /// The plan from now on; what was seen of a VIP's link is not looked for again.
    pub(super) fn follow(&mut self, plan: &[KeptVip]) {
        let seen = |id| self.vips.iter().find(|one| one.vip == id).and_then(|one| one.seen);
        let on_vlan = plan.iter().filter(|vip| vip.link.vlan.is_some());
        let vips = on_vlan.map(|vip| OnVlan { vip: vip.id, addresses: vip.addresses.clone(), seen: seen(vip.id) });
        self.vips = vips.collect();
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.vips.iter().filter_map(|one| one.seen?.1).min()
    }

    /// Notes which links serve, and looks at those whose time has come.
    pub(super) async fn check(&mut self, kernel: &mut Kernel, picks: &[Pick], vips: &[(VipId, usize)]) {
        for one in &mut self.vips {
            let at = vips.iter().find(|(vip, _)| *vip == one.vip).map(|(_, at)| *at);
            let Some(link) = at.and_then(|at| picks[at].link()).filter(|link| link.serves) else {
                // It begins anew when there is one that serves.
                one.seen = one.seen.filter(|(_, due)| due.is_none());
                continue;
            };
            match one.seen {
                Some((id, None)) if id == link.id => {}
                Some((id, Some(due))) if id == link.id => {
                    if due <= now() {
                        one.seen = Some((id, None));
                        one.look(kernel, id, &link.name).await;
                    }
                }
                _ => one.seen = Some((link.id, Some(now() + SETTLED))),
            }
        }
    }
}

impl OnVlan {
    async fn look(&self, kernel: &mut Kernel, link: LinkId, name: &str) {
        let on_link = match kernel.addresses_on(link, &self.addresses).await {
            Ok(on_link) => on_link,
            Err(e) => return debug!(link = name, "cannot look for an address of the VIP's network: {}", chain(&e)),
        };
        for vip in self.addresses.iter().filter(|vip| !on_link.iter().any(|a| is_neighbour(a, **vip))) {
            warn!(
                %vip,
                link = name,
                "no address of the VIP's network is on its link: this node answers clients by its other routes (its default \
                 route), not over this link, and with rp_filter=1 not even their ARP; give the link an address of that \
                 network on every control-plane node"
            );
        }
    }
}

/// Whether an address makes the VIP's network one that its link leads to.
pub fn is_neighbour(address: &Address, vip: IpAddr) -> bool {
    match (address.ip, vip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32, address.prefix),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128, address.prefix),
        _ => false,
    }
}

/// Whether two addresses of so many bits are equal in the first `prefix` of them.
fn same(a: u128, b: u128, bits: u8, prefix: u8) -> bool {
    (a ^ b).checked_shr(u32::from(bits.saturating_sub(prefix))).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressFlags;

    use super::*;

    #[test]
    fn a_neighbour_is_in_the_same_network() {
        for (ip, prefix, vip, is) in [
            ("192.168.1.10", 24, "192.168.1.15", true),
            ("192.168.0.10", 24, "192.168.1.15", false),
            ("192.168.0.10", 23, "192.168.1.15", true),
            ("192.168.1.10", 32, "192.168.1.15", false),
            ("192.168.1.10", 0, "10.0.0.1", true),
            ("fd00::1", 64, "fd00::15", true),
            ("fd00::1", 128, "fd00::15", false),
            ("fd01::1", 64, "fd00::15", false),
            ("fd01::1", 0, "fd00::15", true),
            ("192.168.1.10", 24, "fd00::15", false),
        ] {
            let (flags, preferred, valid, created) = (AddressFlags::empty(), 0, 0, 0);
            let (link, ip) = (LinkId(1), ip.parse().unwrap());
            let address = Address { link, ip, prefix, mark: None, flags, preferred, valid, created };
            assert_eq!(is_neighbour(&address, vip.parse().unwrap()), is, "{address} {vip}");
        }
    }
}
