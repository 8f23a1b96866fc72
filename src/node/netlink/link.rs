//! A link (network interface) as the kernel has it, and whether it can serve.

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use crate::election::event::LinkId;

/// A link of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number, which no other link of this namespace gets while it lives.
    pub id: LinkId,
    /// Its name.
    pub name: String,
    /// Its hardware address; zeros if it has none of six bytes.
    pub mac: [u8; 6],
    /// Whether it is up and carries: what is put on it can be reached.
    pub serves: bool,
}

impl Link {
    /// Reads a message of the kernel.
    pub fn read(message: &LinkMessage) -> Self {
        let (mut name, mut mac) = (String::new(), [0; 6]);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(it) => name.clone_from(it),
                LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().unwrap_or_default(),
                _ => {}
            }
        }
        // The flags, not the operational state: that one stays "unknown" for the loopback and for links whose driver
        // never says; IFF_LOWER_UP is the carrier everywhere, and is down on a bridge without ports that are up.
        let serves = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        Self { id: LinkId(message.header.index), name, mac, serves }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_hardware_address_of_another_length_reads_as_none() {
        let link = Link::read(&message(LinkFlags::Up, &[1; 20]));
        assert_eq!((link.id, link.name.as_str(), link.mac), (LinkId(7), "eth0", [0; 6]));
    }
}
