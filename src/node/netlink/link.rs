//! Reads a link (network interface) out of a message of the kernel.

use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Prop, VlanProtocol,
};

use crate::election::event::LinkId;
use crate::link::Link;

impl Link {
    /// Reads a message of the kernel. What is behind the link does not stand in it.
    pub fn read(message: &LinkMessage) -> Self {
        let mut link = Self::bare(LinkId(message.header.index));
        let mut elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                other => link.take(other),
            }
        }
        if elsewhere {
            // The number is one of another namespace.
            link.parent = None;
        }
        link.ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        link.loopback = message.header.flags.contains(LinkFlags::Loopback);
        // The flags, not the operational state: that one stays "unknown" for the loopback and for links whose driver
        // never says; IFF_LOWER_UP is the carrier everywhere, and is down on a bridge without ports that are up.
        link.up = message.header.flags.contains(LinkFlags::Up);
        link.serves = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        link
    }

    fn take(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(it) => self.name.clone_from(it),
            LinkAttribute::PropList(all) => self.other_names = all.iter().filter_map(other_name).collect(),
            LinkAttribute::IfAlias(it) => self.alias.clone_from(it),
            LinkAttribute::Address(bytes) => {
                self.mac = bytes.as_slice().try_into().unwrap_or_default();
                self.hardware.clone_from(bytes);
            }
            LinkAttribute::PermAddress(bytes) => self.permanent.clone_from(bytes),
            LinkAttribute::Controller(of) => self.port_of = Some(LinkId(*of)).filter(|of| of.0 != 0),
            LinkAttribute::Link(on) => self.parent = Some(LinkId(*on)).filter(|on| on.0 != 0),
            LinkAttribute::LinkInfo(all) => all.iter().for_each(|info| self.take_info(info)),
            _ => {}
        }
    }

    fn take_info(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Vlan(all)) => self.vlan = vlan_id(all),
            _ => {}
        }
    }
}

fn other_name(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

/// One of another protocol (802.1ad) is another network, whatever its number.
fn vlan_id(all: &[InfoVlan]) -> Option<u16> {
    if all.iter().any(|one| matches!(one, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q)) {
        return None;
    }
    all.iter().find_map(|one| if let InfoVlan::Id(id) = one { Some(*id) } else { None })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    fn message(flags: LinkFlags, mac: &[u8]) -> LinkMessage {
        let mut m = LinkMessage::default();
        m.header.index = 7;
        m.header.flags = flags;
        m.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Address(mac.to_vec())];
        m
    }

    #[test]
    fn up_alone_does_not_serve_and_carrier_alone_does_not() {
        for (flags, serves) in [
            (LinkFlags::Up | LinkFlags::LowerUp, true),
            (LinkFlags::Up, false),
            (LinkFlags::LowerUp, false),
            (LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Loopback, true),
        ] {
            assert_eq!(Link::read(&message(flags, &[1; 6])).serves, serves, "{flags}");
        }
    }

    #[test]
    fn a_hardware_address_of_another_length_reads_as_no_mac() {
        let link = Link::read(&message(LinkFlags::Up, &[1; 20]));
        assert_eq!((link.id, link.name.as_str(), link.mac, link.hardware.len()), (LinkId(7), "eth0", [0; 6], 20));
    }

    #[test]
    fn a_vlan_on_a_bond_and_what_it_is_called() {
        let mut m = message(LinkFlags::Up, &[1; 6]);
        m.header.link_layer_type = LinkLayerType::Ether;
        let data = |protocol| InfoData::Vlan(vec![InfoVlan::Id(100), InfoVlan::Protocol(protocol)]);
        let info =
            |protocol| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data(protocol))]);
        m.attributes.extend([
            LinkAttribute::PropList(vec![Prop::AltIfName("front".into()), Prop::AltIfName("uplink".into())]),
            LinkAttribute::IfAlias("vipd: vlan 100 on bond0".into()),
            LinkAttribute::Link(4),
            LinkAttribute::Controller(9),
            LinkAttribute::PermAddress(vec![2; 6]),
            info(VlanProtocol::Ieee8021Q),
        ]);
        let link = Link::read(&m);
        assert_eq!((link.parent, link.port_of, link.vlan), (Some(LinkId(4)), Some(LinkId(9)), Some(100)));
        assert_eq!((link.kind.as_str(), link.other_names.len(), link.permanent.clone()), ("vlan", 2, vec![2; 6]));
        assert!(link.is_created() && !link.is_physical());

        // A service provider's tag is another network; a parent in another namespace has a number of that one.
        m.attributes.pop();
        m.attributes.extend([LinkAttribute::LinkNetNsId(0), info(VlanProtocol::Ieee8021Ad)]);
        let link = Link::read(&m);
        assert_eq!((link.parent, link.vlan), (None, None));
    }

    #[test]
    fn physical_is_ethernet_without_a_kind() {
        let mut m = message(LinkFlags::Up, &[1; 6]);
        assert!(!Link::read(&m).is_physical(), "not Ethernet");
        m.header.link_layer_type = LinkLayerType::Ether;
        assert!(Link::read(&m).is_physical());
        m.attributes.push(LinkAttribute::Controller(9));
        m.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(netlink_packet_route::link::InfoPortKind::Bond)]));
        assert!(Link::read(&m).is_physical(), "a bond's port still is");
        m.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]));
        assert!(!Link::read(&m).is_physical());
    }
}
