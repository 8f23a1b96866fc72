//! Reading: does this frame say that somebody else has the VIP?
//!
//! Bytes come from anybody on the segment. Lengths are checked before a field is read, and no count in a frame is
//! believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmpv6::Icmpv6Types;
use pnet::packet::icmpv6::ndp::{NdpOptionPacket, NdpOptionTypes, NeighborAdvertPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::util::MacAddr;

use super::{IPV6, LINK_OPTION, NEIGHBOUR, ON_LINK};

/// The MAC address that this frame says has `vip`, if it says so of anybody but `own`.
///
/// That is an ARP request or reply whose sender has the VIP (RFC 5227, 2.1.1), or a neighbour advertisement whose
/// target it is (RFC 4862, 5.4.4). Somebody who only asks, as another prober does, has not said that he has it.
pub fn answer_in(frame: &[u8], vip: IpAddr, own: MacAddr) -> Option<MacAddr> {
    claim_in(frame, own).filter(|(claimed, _)| *claimed == vip).map(|(_, by)| by)
}

/// Which address this frame says is at which MAC address, if it says so of anybody but `own`.
pub fn claim_in(frame: &[u8], own: MacAddr) -> Option<(IpAddr, MacAddr)> {
    let frame = EthernetPacket::new(frame)?;
    let claim = match frame.get_ethertype() {
        EtherTypes::Arp => arp_sender(frame.payload()).map(|(ip, mac)| (ip.into(), mac)),
        EtherTypes::Ipv6 => advertiser(frame.payload(), frame.get_source()).map(|(ip, mac)| (ip.into(), mac)),
        _ => None,
    };
    claim.filter(|(_, mac)| *mac != own)
}

fn arp_sender(packet: &[u8]) -> Option<(Ipv4Addr, MacAddr)> {
    let arp = ArpPacket::new(packet)?;
    let of_our_kind = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && arp.get_hw_addr_len() == 6
        && arp.get_proto_addr_len() == 4
        && matches!(arp.get_operation(), ArpOperations::Request | ArpOperations::Reply);
    of_our_kind.then(|| (arp.get_sender_proto_addr(), arp.get_sender_hw_addr()))
}

/// The rules of RFC 4861, 7.1.2, but for the checksum: Ethernet's own drops damaged frames, a host on the segment can
/// forge it anyway, and a claim missed costs more here than one believed too easily.
fn advertiser(packet: &[u8], source: MacAddr) -> Option<(Ipv6Addr, MacAddr)> {
    let ip = Ipv6Packet::new(packet)?;
    let advert = NeighborAdvertPacket::new(packet.get(IPV6..)?)?;
    let valid = ip.get_version() == 6
        && ip.get_next_header() == IpNextHeaderProtocols::Icmpv6
        && ip.get_hop_limit() == ON_LINK
        && usize::from(ip.get_payload_length()) >= NEIGHBOUR
        && advert.get_icmpv6_type() == Icmpv6Types::NeighborAdvert
        && advert.get_icmpv6_code().0 == 0;
    let owner = || target_link_address(&packet[IPV6 + NEIGHBOUR..]).unwrap_or(source);
    valid.then(|| (advert.get_target_addr(), owner()))
}

/// What the target link-layer address option says (RFC 4861, 4.6.1), if there is one before the options go wrong.
///
/// pnet reads an option's type and length; its data is cut out here, as pnet multiplies that length in eight bits.
fn target_link_address(mut options: &[u8]) -> Option<MacAddr> {
    loop {
        let option = NdpOptionPacket::new(options)?;
        let (this, rest) = options.split_at_checked(usize::from(option.get_length()) * 8)?;
        match (option.get_option_type(), this) {
            (_, []) => return None,
            (NdpOptionTypes::TargetLLAddr, &[_, _, a, b, c, d, e, f]) => return Some(MacAddr::new(a, b, c, d, e, f)),
            _ => options = rest,
        }
    }
}

const _: () = assert!(LINK_OPTION == 8, "the pattern above is this long");

#[cfg(test)]
mod tests {
    use super::super::*;

    const OWN: MacAddr = MacAddr(0x02, 0, 0, 0, 0, 1);
    const HIS: MacAddr = MacAddr(0x02, 0, 0, 0, 0, 2);
    const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

    fn answer(frame: &[u8], vip: impl Into<IpAddr>) -> Option<MacAddr> {
        answer_in(frame, vip.into(), OWN)
    }

    #[test]
    fn claims_of_others_are_answers() {
        assert_eq!(answer(&gratuitous_arp(V4, HIS, ArpForm::Request), V4), Some(HIS));
        assert_eq!(answer(&gratuitous_arp(V4, HIS, ArpForm::Reply), V4), Some(HIS));
        assert_eq!(answer(&neighbour_advertisement(V6, HIS), V6), Some(HIS));
    }

    #[test]
    fn own_claims_other_addresses_and_questions_are_not() {
        for frame in [gratuitous_arp(V4, OWN, ArpForm::Reply), arp_probe(V4, HIS), neighbour_advertisement(V6, HIS)] {
            assert_eq!(answer(&frame, V4), None);
        }
        for frame in [neighbour_advertisement(V6, OWN), neighbour_solicitation(V6, HIS)] {
            assert_eq!(answer(&frame, V6), None);
        }
        assert_eq!(answer(&gratuitous_arp(V4, HIS, ArpForm::Reply), Ipv4Addr::new(10, 0, 0, 2)), None);
        assert_eq!(answer(&neighbour_advertisement(V6, HIS), Ipv6Addr::LOCALHOST), None);
    }

    #[test]
    fn an_advertisement_without_the_option_is_its_senders() {
        let mut frame = neighbour_advertisement(V6, HIS);
        frame.truncate(ETHERNET + IPV6 + NEIGHBOUR);
        assert_eq!(answer(&frame, V6), Some(HIS));
    }

    #[test]
    fn the_option_names_the_owner_wherever_it_stands() {
        let other = MacAddr(0x02, 0, 0, 0, 0, 3);
        let mut frame = neighbour_advertisement(V6, other);
        frame[6..12].copy_from_slice(&HIS.octets());
        let nonce = [14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let at = ETHERNET + IPV6 + NEIGHBOUR;
        frame.splice(at..at, nonce);
        assert_eq!(answer(&frame, V6), Some(other));
    }

    #[test]
    fn a_routed_advertisement_is_not_believed() {
        let mut frame = neighbour_advertisement(V6, HIS);
        frame[ETHERNET + 7] = 254;
        assert_eq!(answer(&frame, V6), None);
    }

    #[test]
    fn options_that_lie_about_their_length_do_no_harm() {
        for length in [0, 2, 31, 32, 33, 255] {
            let mut frame = neighbour_advertisement(V6, HIS);
            frame[ETHERNET + IPV6 + NEIGHBOUR + 1] = length;
            assert_eq!(answer(&frame, V6), Some(HIS), "length {length}");
        }
    }

    fn real_frames() -> Vec<Vec<u8>> {
        vec![
            gratuitous_arp(V4, HIS, ArpForm::Request),
            gratuitous_arp(V4, HIS, ArpForm::Reply),
            arp_probe(V4, HIS),
            neighbour_advertisement(V6, HIS),
            neighbour_solicitation(V6, HIS),
        ]
    }

    #[test]
    fn no_truncated_frame_panics() {
        for frame in real_frames() {
            for end in 0..=frame.len() {
                answer(&frame[..end], V4);
                answer(&frame[..end], V6);
            }
        }
    }

    #[test]
    fn no_random_or_mutated_frame_panics() {
        // xorshift64: the same frames in every run, so that a failure can be looked at.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for round in 0..200_000 {
            let mut frame = match real_frames().get(round % 6) {
                Some(real) => real.clone(),
                None => (0..random() % 120).map(|_| random() as u8).collect(),
            };
            for _ in 0..random() % 8 {
                let at = random() % frame.len().max(1);
                if let Some(byte) = frame.get_mut(at) {
                    *byte = random() as u8;
                }
            }
            frame.truncate(frame.len() - random() % 4 * (random() % 8).min(frame.len() / 4));
            answer(&frame, V4);
            answer(&frame, V6);
        }
    }
}
