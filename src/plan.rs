//! What to do on this node: the VIPs of a configuration, numbered and named as etcd names them.
//!
//! Made by the daemon at its start, and anew at every reload ([`difference`]). Pure; it does not look at the links, whose
//! state is reported as events later.

mod difference;

use std::net::IpAddr;

use crate::config::{Config, Vip};
use crate::election::event::VipId;
use crate::election::record::{naming_address, vip_name};
use crate::link::LinkChoice;
pub use difference::Difference;

/// Everything this node stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// The VIPs, in the file's order; behind them those that were taken out of it and are not given back yet.
    pub vips: Vec<PlannedVip>,
}

/// One VIP, with everything the adapters need to know of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PlannedVip {
    /// Its number.
    pub id: VipId,
    /// Its addresses, which move as one; never empty.
    pub addresses: Vec<IpAddr>,
    /// The link it belongs on.
    pub link: LinkChoice,
    /// The address that names it in etcd.
    pub key_address: IpAddr,
    /// Where it stands in the configuration.
    pub place: String,
    /// It was taken out of the configuration and is being given back.
    pub going: bool,
}

impl Plan {
    /// The plan of a checked configuration. A VIP without an address has no key to stand under, and is left out.
    pub fn new(config: &Config) -> Self {
        let named = config.vips.iter().filter_map(|vip| Some((vip, naming_address(&vip.addresses)?)));
        let vips = named.zip(0..=u32::MAX).map(|((vip, key_address), id)| PlannedVip::new(VipId(id), vip, key_address));
        Self { vips: vips.collect() }
    }

    /// The VIP of this id.
    pub fn get(&self, id: VipId) -> Option<&PlannedVip> {
        self.vips.iter().find(|v| v.id == id)
    }
}

impl PlannedVip {
    fn new(id: VipId, vip: &Vip, key_address: IpAddr) -> Self {
        let (addresses, link, place) = (vip.addresses.clone(), vip.link.clone(), vip.place.clone());
        Self { id, addresses, link, key_address, place, going: false }
    }

    /// For people: its addresses.
    pub fn name(&self) -> String {
        vip_name(&self.addresses)
    }
}

#[cfg(test)]
impl PlannedVip {
    /// A VIP of one address, for worlds that have no config.
    pub fn for_test(id: VipId, address: IpAddr) -> Self {
        Self {
            id,
            addresses: vec![address],
            link: LinkChoice::named("eth0"),
            key_address: address,
            place: String::new(),
            going: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    #[test]
    fn vips_are_numbered_in_the_files_order_and_named_by_their_first_ipv4_address() {
        let text = "machine: {network: {interfaces: [{interface: b, vip: {ip: fd00::1}}, {interface: a, vip: {ip: 10.0.0.1}}]}}";
        let mut config = parse(text, &Host { name: "cp-1".into(), runtime_directory: None }).unwrap();
        let group = ["fd00::2", "10.0.0.2"].map(|a| a.parse().unwrap()).to_vec();
        config.vips.push(Vip { addresses: Vec::new(), link: LinkChoice::named("c"), place: "nowhere".into() });
        config.vips.push(Vip { addresses: group, link: LinkChoice::named("d"), place: "group".into() });
        let plan = Plan::new(&config);
        let seen: Vec<_> = plan.vips.iter().map(|v| (v.id.0, v.link.to_string(), v.key_address.to_string())).collect();
        assert_eq!(
            seen,
            [(0, "b".into(), "fd00::1".into()), (1, "a".into(), "10.0.0.1".into()), (2, "d".into(), "10.0.0.2".into()),]
        );
        assert_eq!(plan.vips[1].place, "machine.network.interfaces[1].vip.ip");
    }
}
