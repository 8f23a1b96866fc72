//! The Ethernet frames of a VIP: what says "it is here", and what asks "does anybody have it".
//!
//! Pure: addresses in, bytes out. Whoever sends or receives owns the sockets; this must not touch any, and must not
//! panic on bytes from the network, whatever they are. Frames carry no VLAN tag: the kernel puts it on and takes it
//! off where the link is a VLAN.

mod answer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    MutableNdpOptionPacket, MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOptionTypes,
    NeighborAdvertFlags,
};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::util::MacAddr;

pub use answer::{answer_in, claim_in};

/// Bytes of an Ethernet header without VLAN tag.
const ETHERNET: usize = 14;
/// Bytes of an ARP packet for IPv4 over Ethernet (RFC 826).
const ARP: usize = 28;
/// Bytes of an IPv6 header (RFC 8200).
const IPV6: usize = 40;
/// Bytes of a neighbour solicitation or advertisement without options (RFC 4861, 4.3 and 4.4).
const NEIGHBOUR: usize = 24;
/// Bytes of a link-layer address option for Ethernet (RFC 4861, 4.6.1).
const LINK_OPTION: usize = 8;
/// Neighbour discovery is valid only with this hop limit, which no router lets through (RFC 4861, 7.1).
const ON_LINK: u8 = 255;

/// A frame, ready to be sent, and what to call it in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is, for people.
    pub what: &'static str,
    /// The frame from its Ethernet destination on, without padding and without frame check sequence.
    pub bytes: Vec<u8>,
}

/// The two forms of a gratuitous ARP. Some hosts believe only one of them, so both are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpForm {
    /// A request for one's own address: the ARP announcement of RFC 5227, 1.1.
    Request,
    /// A reply that nobody asked for (RFC 5944, 4.6).
    Reply,
}

/// All frames that tell the network that `vip` is at `mac`.
pub fn announcements(vip: IpAddr, mac: MacAddr) -> Vec<Frame> {
    match vip {
        IpAddr::V4(vip) => vec![
            Frame { what: "gratuitous ARP request", bytes: gratuitous_arp(vip, mac, ArpForm::Request) },
            Frame { what: "gratuitous ARP reply", bytes: gratuitous_arp(vip, mac, ArpForm::Reply) },
        ],
        IpAddr::V6(vip) => {
            vec![Frame { what: "neighbour advertisement", bytes: neighbour_advertisement(vip, mac) }]
        }
    }
}

/// The frame that asks whether anybody has `vip`, without saying that the asker at `mac` has it.
pub fn probe(vip: IpAddr, mac: MacAddr) -> Frame {
    match vip {
        IpAddr::V4(vip) => Frame { what: "ARP probe", bytes: arp_probe(vip, mac) },
        IpAddr::V6(vip) => Frame { what: "neighbour solicitation", bytes: neighbour_solicitation(vip, mac) },
    }
}

/// A gratuitous ARP: sender and target are both the VIP, to everybody.
///
/// The target's hardware address is zero in a request (RFC 5227, 1.1) and the new one in a reply (RFC 5944, 4.6): Linux
/// takes a reply without it for an ordinary one, and does not change an entry that it changed within the last second.
pub fn gratuitous_arp(vip: Ipv4Addr, mac: MacAddr, form: ArpForm) -> Vec<u8> {
    let (operation, target_mac) = match form {
        ArpForm::Request => (ArpOperations::Request, MacAddr::zero()),
        ArpForm::Reply => (ArpOperations::Reply, mac),
    };
    arp(operation, (mac, vip), (target_mac, vip))
}

/// An ARP probe (RFC 5227, 2.1.1): a request from the address 0.0.0.0, so that nobody's cache changes.
pub fn arp_probe(vip: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    arp(ArpOperations::Request, (mac, Ipv4Addr::UNSPECIFIED), (MacAddr::zero(), vip))
}

fn arp(operation: ArpOperation, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(MacAddr::broadcast(), sender.0, EtherTypes::Arp, ARP);
    let mut arp = MutableArpPacket::new(&mut frame[ETHERNET..]).expect("the frame was made this long");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(operation);
    arp.set_sender_hw_addr(sender.0);
    arp.set_sender_proto_addr(sender.1);
    arp.set_target_hw_addr(target.0);
    arp.set_target_proto_addr(target.1);
    frame
}

/// An unsolicited neighbour advertisement (RFC 4861, 7.2.6): from the VIP to all nodes, Override set, Solicited clear,
/// with the new link-layer address.
pub fn neighbour_advertisement(vip: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut frame = neighbour(mac, vip, all_nodes, NEIGHBOUR + LINK_OPTION);
    let body = &mut frame[ETHERNET + IPV6..];
    let mut advert = MutableNeighborAdvertPacket::new(body).expect("the frame was made this long");
    advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advert.set_flags(NeighborAdvertFlags::Override);
    advert.set_target_addr(vip);
    let mut option = MutableNdpOptionPacket::new(&mut body[NEIGHBOUR..]).expect("the frame was made this long");
    option.set_option_type(NdpOptionTypes::TargetLLAddr);
    option.set_length(1);
    option.set_data(&mac.octets());
    sealed(frame, vip, all_nodes)
}

/// A neighbour solicitation as in duplicate address detection (RFC 4862, 5.4.2): from the unspecified address to the
/// VIP's solicited-node group, without an option, so that nobody's cache changes and the answer goes to all nodes.
pub fn neighbour_solicitation(vip: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let group = solicited_node(vip);
    let mut frame = neighbour(mac, Ipv6Addr::UNSPECIFIED, group, NEIGHBOUR);
    let body = &mut frame[ETHERNET + IPV6..];
    let mut solicit = MutableNeighborSolicitPacket::new(body).expect("the frame was made this long");
    solicit.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    solicit.set_target_addr(vip);
    sealed(frame, Ipv6Addr::UNSPECIFIED, group)
}

/// The multicast group in which the owner of `ip` listens for solicitations (RFC 4291, 2.7.1).
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464, 7).
fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr::new(0x33, 0x33, a, b, c, d)
}

/// A frame with Ethernet and IPv6 headers for `length` bytes of neighbour discovery, those still zero.
fn neighbour(mac: MacAddr, source: Ipv6Addr, group: Ipv6Addr, length: usize) -> Vec<u8> {
    let mut frame = ethernet(group_mac(group), mac, EtherTypes::Ipv6, IPV6 + length);
    let mut ip = MutableIpv6Packet::new(&mut frame[ETHERNET..]).expect("the frame was made this long");
    ip.set_version(6);
    ip.set_payload_length(u16::try_from(length).expect("a neighbour message has a few dozen bytes"));
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(ON_LINK);
    ip.set_source(source);
    ip.set_destination(group);
    frame
}

/// The same frame with its ICMPv6 checksum (RFC 4443, 2.3).
fn sealed(mut frame: Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let body = &mut frame[ETHERNET + IPV6..];
    let message = Icmpv6Packet::new(body).expect("the frame was made this long");
    let checksum = icmpv6::checksum(&message, &source, &destination);
    MutableIcmpv6Packet::new(body).expect("the frame was made this long").set_checksum(checksum);
    frame
}

fn ethernet(to: MacAddr, from: MacAddr, ethertype: EtherType, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET + payload];
    let mut header = MutableEthernetPacket::new(&mut frame).expect("the frame was made this long");
    header.set_destination(to);
    header.set_source(from);
    header.set_ethertype(ethertype);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr(0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
    const V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 15);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xab12, 0x3456);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn gratuitous_arp_byte_by_byte() {
        let head = "ffffffffffff 021122334455 0806 0001 0800 06 04".replace(' ', "");
        let request = "0001 021122334455 c0a8000f 000000000000 c0a8000f".replace(' ', "");
        let reply = "0002 021122334455 c0a8000f 021122334455 c0a8000f".replace(' ', "");
        assert_eq!(hex(&gratuitous_arp(V4, MAC, ArpForm::Request)), format!("{head}{request}"));
        assert_eq!(hex(&gratuitous_arp(V4, MAC, ArpForm::Reply)), format!("{head}{reply}"));
    }

    #[test]
    fn arp_probe_names_no_sender() {
        let expected =
            "ffffffffffff 021122334455 0806 0001 0800 06 04 0001 021122334455 00000000 000000000000 c0a8000f";
        assert_eq!(hex(&arp_probe(V4, MAC)), expected.replace(' ', ""));
    }

    #[test]
    fn advertisement_byte_by_byte() {
        let frame = neighbour_advertisement(V6, MAC);
        let expected = "333300000001 021122334455 86dd 60000000 0020 3a ff \
            fd0000000000000000000000ab123456 ff020000000000000000000000000001 \
            88 00 cccc 20000000 fd0000000000000000000000ab123456 0201021122334455";
        let expected = expected.replace(' ', "").replace("cccc", &hex(&frame[56..58]));
        assert_eq!(hex(&frame), expected);
        assert!(checksum_holds(&frame));
    }

    #[test]
    fn solicitation_byte_by_byte() {
        let frame = neighbour_solicitation(V6, MAC);
        let expected = "3333ff123456 021122334455 86dd 60000000 0018 3a ff \
            00000000000000000000000000000000 ff0200000000000000000001ff123456 \
            87 00 cccc 00000000 fd0000000000000000000000ab123456";
        let expected = expected.replace(' ', "").replace("cccc", &hex(&frame[56..58]));
        assert_eq!(hex(&frame), expected);
        assert!(checksum_holds(&frame));
    }

    /// Worked out without pnet: the sum over pseudo-header and message, checksum included, is all ones (RFC 4443, 2.3).
    fn checksum_holds(frame: &[u8]) -> bool {
        let message = &frame[54..];
        let pseudo = [&frame[22..54], &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], message].concat();
        let sum: u32 = pseudo.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        (sum & 0xffff) + (sum >> 16) == 0xffff
    }

    #[test]
    fn both_families_have_their_frames() {
        let names = |ip| announcements(ip, MAC).iter().map(|f| f.what).collect::<Vec<_>>();
        assert_eq!(names(V4.into()), ["gratuitous ARP request", "gratuitous ARP reply"]);
        assert_eq!(names(V6.into()), ["neighbour advertisement"]);
        assert_eq!(probe(V4.into(), MAC).bytes, arp_probe(V4, MAC));
        assert_eq!(probe(V6.into(), MAC).bytes, neighbour_solicitation(V6, MAC));
    }
}
