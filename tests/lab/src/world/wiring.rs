//! Bridge, cables, addresses.

use std::fs;

use anyhow::{Context, Result};

use crate::netns::NetNs;
use crate::shell;

/// The bridge that the lab's entry made gets an address of the lab's own, so that `etcdctl` can reach the members.
pub(super) fn lay_bridge() -> Result<()> {
    shell::run("ip addr add 10.77.0.1/24 dev br0")?;
    shell::run("ip addr add fd77::1/64 dev br0 nodad")?;
    shell::run("ip link set br0 up")
}

/// A namespace on the bridge with `eth0` and the addresses that end in `number`, plus `links` beside `eth0`.
pub(super) fn attach(name: &str, number: u8, links: &[String]) -> Result<NetNs> {
    let ns = NetNs::create(name)?;
    // Without this every address would wait a second for duplicate address detection.
    ns.run(|| fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").context("turn off IPv6 DAD"))?;
    plug_in(&ns, number)?;
    links.iter().try_for_each(|link| add_link(&ns, link))?;
    Ok(ns)
}

/// `eth0`, its cable to the bridge, its addresses.
pub(super) fn plug_in(ns: &NetNs, number: u8) -> Result<()> {
    cable(ns, "eth0", &format!("p-{}", ns.name()))?;
    ns.ip(&format!("addr add 10.77.0.{number}/24 dev eth0"))?;
    ns.ip(&format!("addr add fd77::{number}/64 dev eth0 nodad"))
}

/// A link beside `eth0`, with a cable of its own to the bridge (`p-n1-eth1`).
pub(super) fn add_link(ns: &NetNs, link: &str) -> Result<()> {
    // Else `eth0` would answer for an address on `eth1`, which is on the same bridge.
    ns.run(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").context("set arp_ignore"))?;
    cable(ns, link, &format!("p-{}-{link}", ns.name()))
}

fn cable(ns: &NetNs, link: &str, port: &str) -> Result<()> {
    shell::run(&format!("ip link add {port} type veth peer name {link} netns {}", ns.name()))?;
    shell::run(&format!("ip link set {port} master br0 up"))?;
    ns.ip(&format!("link set {link} up"))
}

/// The link-layer address of a link in a namespace.
pub(super) fn mac(ns: &NetNs, link: &str) -> Result<[u8; 6]> {
    let shown = shell::output(std::process::Command::new("ip").args(["-n", ns.name(), "-o", "link", "show", link]))?;
    let text = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    let bytes = text.context("no link/ether")?.split(':').map(|part| u8::from_str_radix(part, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a link-layer address of six bytes")
}
