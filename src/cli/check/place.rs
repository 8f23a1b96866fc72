//! Whether a link suits an address: its networks, what it is a port of, settings of the kernel that would hurt.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::node::Node;
use crate::link::{Link, LinkChoice};
use crate::node::keeper::is_neighbour;
use crate::node::netlink::Address;

/// What does not suit an address on its link.
pub(super) async fn of(node: &mut Node, link: &Link, ip: IpAddr) -> Vec<String> {
    let name = &link.name;
    let there = node.addresses_on(link, ip).await;
    let is_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let usable: Vec<_> = there.iter().filter(|a| !is_local(a.ip)).collect();
    let is_near = usable.iter().any(|a| is_neighbour(a, ip));
    let mut findings = Vec::new();
    // An IPv6 network may be on a link whose nodes have only link-local addresses.
    if !is_near && (ip.is_ipv4() || !usable.is_empty()) {
        let has = usable.iter().map(|a| format!("{}/{}", a.ip, a.prefix)).collect::<Vec<_>>().join(", ");
        let has = if has.is_empty() { "has no address".to_owned() } else { format!("has {has}") };
        findings.push(format!(
            "{ip} is in no network of {name}, which {has}: clients there do not ask for it, and answers leave by other routes; \
             give {name} an address of its network, or put the VIP on the link that has one"
        ));
    }
    if let IpAddr::V4(vip) = ip {
        findings.extend(usable.iter().find_map(|a| edge(vip, a)));
        findings.extend(arp(name, ip, is_near));
    }
    findings.extend(node.taken_by(link).map(|of| {
        format!(
            "{name} is a port of {of}, which takes what arrives there: an IPv4 VIP is reached only while arp_ignore is 0, an \
             IPv6 one is not put there; name {of} in its place"
        )
    }));
    findings
}

/// Whether the address is that of a network itself, or its broadcast address: no host may have either (RFC 1122, 3.2.1.3).
/// In networks of 31 and 32 bits all addresses are hosts' (RFC 3021).
fn edge(vip: Ipv4Addr, near: &Address) -> Option<String> {
    let IpAddr::V4(has) = near.ip else { return None };
    let host_bits = u32::MAX.checked_shr(near.prefix.into()).filter(|bits| *bits > 1)?;
    if (vip.to_bits() ^ has.to_bits()) & !host_bits != 0 {
        return None;
    }
    let what = match vip.to_bits() & host_bits {
        0 => "the address of the network itself",
        bits if bits == host_bits => "the broadcast address",
        _ => return None,
    };
    Some(format!("{vip} is {what} of {has}/{}: no client reaches it; take another one", near.prefix))
}

/// What keeps vipd from creating the link of a VLAN.
pub(super) fn to_be_created(choice: &LinkChoice) -> Option<String> {
    let id = choice.vlan?;
    (!knows_vlans()).then(|| {
        format!(
            "there is no link for VLAN {id}, and this kernel has no 8021q to create one with; install the modules of the \
             running kernel, or another one"
        )
    })
}

/// Whether the kernel makes VLAN links, now or when its module is loaded, which it does by itself. What cannot be read is
/// no finding: the daemon says what the kernel refused.
fn knows_vlans() -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return true };
    let listed = |of: &str| fs::read_to_string(format!("/lib/modules/{}/modules.{of}", release.trim())).ok();
    let (Some(builtin), Some(modules)) = (listed("builtin"), listed("dep")) else { return true };
    builtin.contains("/8021q.ko") || modules.contains("/8021q.ko") || Path::new("/proc/net/vlan").exists()
}

/// The kernel's settings that decide whether ARP requests for a /32 are answered: the larger of `all` and the link's.
fn arp(link: &str, ip: IpAddr, is_near: bool) -> Option<String> {
    let setting = |key: &str| {
        let read = |of: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/{key}")).ok();
        let value = |of: &str| read(of).and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0);
        value("all").max(value(link))
    };
    let ignore = setting("arp_ignore");
    // 1 (kube-proxy's strictARP) and 3 are fine: the VIP is on the link where the question comes in, with global scope.
    if matches!(ignore, 2 | 8..) {
        return Some(format!(
            "net.ipv4.conf.{link}.arp_ignore is {ignore} (or that of all): the kernel does not answer for {ip}, a /32, and \
             clients lose it when they ask again; set both to 0 or 1"
        ));
    }
    let strict = [("rp_filter", setting("rp_filter") == 1), ("arp_filter", setting("arp_filter") == 1)];
    let (key, _) = strict.into_iter().find(|(_, on)| *on && !is_near)?;
    Some(format!(
        "net.ipv4.conf.{link}.{key} is 1 (or that of all) and {link} has no address of {ip}'s network: questions of clients \
         there are dropped; give it one, or set both to {}",
        if key == "rp_filter" { "2" } else { "0" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::address::AddressFlags;

    use crate::election::event::LinkId;

    #[test]
    fn no_host_has_the_address_of_a_network_or_its_broadcast_address() {
        for (vip, has, prefix, found) in [
            ("192.168.0.255", "192.168.0.11", 24, Some("broadcast")),
            ("192.168.0.0", "192.168.0.11", 24, Some("the network itself")),
            ("192.168.0.15", "192.168.0.11", 24, None),
            ("192.168.1.255", "192.168.0.11", 24, None),
            ("192.168.0.255", "192.168.0.11", 16, None),
            ("192.168.255.255", "192.168.0.11", 16, Some("broadcast")),
            ("10.0.0.1", "10.0.0.0", 31, None),
            ("10.0.0.1", "10.0.0.1", 32, None),
            ("10.0.0.7", "10.0.0.6", 30, Some("broadcast")),
        ] {
            let (flags, preferred, valid, created) = (AddressFlags::empty(), 0, 0, 0);
            let (link, ip) = (LinkId(1), has.parse().unwrap());
            let address = Address { link, ip, prefix, mark: None, flags, preferred, valid, created };
            let said = edge(vip.parse().unwrap(), &address);
            assert_eq!(said.is_some(), found.is_some(), "{vip} {said:?}");
            assert!(said.unwrap_or_default().contains(found.unwrap_or_default()));
        }
    }
}
