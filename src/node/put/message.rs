//! The bytes of a put, built ahead, so that between reading the clock and sending only four of them are written.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::election::event::LinkId;
use crate::node::netlink::{MARK, host_prefix};

/// Where the life (`ifa_valid`) stands: behind the netlink header (16 bytes), the address header (8), the head of the
/// first attribute (4) and the preferred life (4). `IFA_CACHEINFO` goes first so that this is the same for both families.
const LIFE: std::ops::Range<usize> = 32..36;

/// Where the sequence number stands.
const SEQUENCE: std::ops::Range<usize> = 8..12;

/// A request to the kernel, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// Puts `ip` on `link`, for a life that is still to be written in.
    ///
    /// `fresh`: it must not be there yet. Without that word the kernel would give an operator's own /32, put there since
    /// the last look, our lifetime, and then delete it.
    pub(super) fn put(link: LinkId, ip: IpAddr, fresh: bool) -> Self {
        let mut message = address_message(link, ip, host_prefix(ip));
        // Deprecated from the start: it serves whoever asks for it and is never chosen as a source.
        let mut life = CacheInfo::default();
        (life.ifa_preferred, life.ifa_valid) = (0, 0);
        let mut flags = AddressFlags::Noprefixroute;
        if ip.is_ipv6() {
            // Duplicates are the election's business; detection would keep the address silent for a second.
            flags |= AddressFlags::Nodad;
        }
        message.attributes.insert(0, AddressAttribute::CacheInfo(life));
        message.attributes.push(AddressAttribute::Flags(flags));
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
        let how = if fresh { NLM_F_CREATE | NLM_F_EXCL } else { NLM_F_CREATE | NLM_F_REPLACE };
        Self::build(RouteNetlinkMessage::NewAddress(message), how)
    }

    /// Takes `ip` with this mask off `link`.
    pub(super) fn take_off(link: LinkId, ip: IpAddr, prefix: u8) -> Self {
        Self::build(RouteNetlinkMessage::DelAddress(address_message(link, ip, prefix)), 0)
    }

    fn build(inner: RouteNetlinkMessage, flags: u16) -> Self {
        let mut message = NetlinkMessage::from(inner);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        Self(bytes)
    }

    /// Numbers it, so that its answer can be told from an older one.
    pub(super) fn number(&mut self, sequence: u32) {
        self.0[SEQUENCE].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Writes in how long the kernel keeps the address, in seconds.
    pub(super) fn live(&mut self, seconds: u32) {
        self.0[LIFE].copy_from_slice(&seconds.to_ne_bytes());
    }

    /// What is sent.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Both `IFA_LOCAL` and `IFA_ADDRESS`, as iproute2 says it: they differ only with a peer.
fn address_message(link: LinkId, ip: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix;
    message.header.index = link.0;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    message
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkPayload;

    use super::*;
    use crate::node::netlink::Address;

    fn parsed(bytes: &Bytes) -> (netlink_packet_core::NetlinkHeader, RouteNetlinkMessage) {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes.as_slice()).unwrap();
        let NetlinkPayload::InnerMessage(inner) = message.payload else { panic!() };
        (message.header, inner)
    }

    #[test]
    fn the_patched_bytes_parse_back() {
        for ip in ["10.0.0.9", "fd00::9"] {
            let ip: IpAddr = ip.parse().unwrap();
            for (fresh, how) in [(true, NLM_F_EXCL), (false, NLM_F_REPLACE)] {
                let mut bytes = Bytes::put(LinkId(7), ip, fresh);
                bytes.number(0x0102_0304);
                bytes.live(3);
                let (header, inner) = parsed(&bytes);
                assert_eq!(header.sequence_number, 0x0102_0304);
                assert_eq!(header.length as usize, bytes.as_slice().len());
                assert_eq!(header.flags, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | how);
                let RouteNetlinkMessage::NewAddress(message) = inner else { panic!() };
                let a = Address::read(&message).unwrap();
                assert_eq!((a.link, a.ip, a.prefix), (LinkId(7), ip, host_prefix(ip)));
                assert_eq!((a.mark, a.preferred, a.valid), (Some(MARK), 0, 3));
                assert!(a.flags.contains(AddressFlags::Noprefixroute));
                assert_eq!(a.flags.contains(AddressFlags::Nodad), ip.is_ipv6());
            }
        }
    }

    #[test]
    fn only_the_four_bytes_of_the_life_change() {
        let bare = Bytes::put(LinkId(7), "fd00::9".parse().unwrap(), true);
        let mut patched = bare.clone();
        patched.live(u32::MAX);
        let differ: Vec<usize> = (0..bare.0.len()).filter(|i| bare.0[*i] != patched.0[*i]).collect();
        assert_eq!(differ, LIFE.collect::<Vec<_>>());
    }

    #[test]
    fn taking_off_names_link_mask_and_address() {
        let (header, inner) = parsed(&Bytes::take_off(LinkId(3), "10.0.0.9".parse().unwrap(), 24));
        assert_eq!(header.flags, NLM_F_REQUEST | NLM_F_ACK);
        let RouteNetlinkMessage::DelAddress(message) = inner else { panic!() };
        assert_eq!((message.header.index, message.header.prefix_len), (3, 24));
    }
}
