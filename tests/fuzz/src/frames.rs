//! Frames from the segment: anything may come, and only a claim of our own VIP by somebody else is an answer.
//!
//! The bytes are one frame as it comes, and what builds our own frames: a MAC address, an address, padding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;
use std::sync::LazyLock;

use pnet::util::MacAddr;
use socket2::SockRef;
use vipd::node::filter;
use vipd::node::frame::{announcements, answer_in, claim_in, probe};

use crate::bytes::Bytes;

const OWN: MacAddr = MacAddr(0x02, 0, 0, 0, 0, 1);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

/// Where the address that is claimed stands in a frame without VLAN tag: ARP's sender, an advertisement's target.
const ARP_SENDER: usize = 28;
const ADVERT_TARGET: usize = 62;

/// One frame that came, and the frames that we would build of the same bytes.
pub fn judge(data: &[u8]) {
    for vip in [V4, V6] {
        came(data, vip);
    }
    built(Bytes(data));
}

fn came(frame: &[u8], vip: IpAddr) {
    assert_eq!(answer_in(&tagged(frame), vip, OWN), None, "a VLAN's frame is no answer");
    let Some(by) = answer_in(frame, vip, OWN) else { return };
    assert_ne!(by, OWN, "we answer ourselves");
    assert_eq!(claim_in(frame, OWN), Some((vip, by)), "heard otherwise than it was answered");
    let claimed = match vip {
        IpAddr::V4(_) => frame[ARP_SENDER..].starts_with(&octets(vip)),
        IpAddr::V6(_) => frame[ADVERT_TARGET..].starts_with(&octets(vip)),
    };
    assert!(claimed, "an answer about another address");
    assert_eq!(answer_in(frame, neighbour_of(vip), OWN), None, "an answer about two addresses");
    assert_eq!(answer_in(frame, vip, by), None, "whoever answers is not told of himself");
    assert!(passes(frame, vip), "the kernel's sieve drops an answer");
}

fn built(mut bytes: Bytes<'_>) {
    let mac = MacAddr::from(bytes.array::<6>());
    let v4 = IpAddr::from(bytes.array::<4>());
    let v6 = IpAddr::from(bytes.array::<16>());
    let other = MacAddr(mac.0, mac.1, mac.2, mac.3, mac.4, mac.5 ^ 1);
    for ip in [v4, v6].into_iter().filter(|ip| !ip.is_unspecified()) {
        for mut frame in announcements(ip, mac).into_iter().map(|frame| frame.bytes) {
            frame.extend(bytes.0);
            assert_eq!(answer_in(&frame, ip, other), Some(mac), "an announcement is an answer");
            assert_eq!(answer_in(&frame, ip, mac), None, "our own is none");
            assert_eq!(answer_in(&frame, neighbour_of(ip), other), None, "nor one about another address");
        }
        let mut frame = probe(ip, mac).bytes;
        frame.extend(bytes.0);
        assert_eq!(answer_in(&frame, ip, other), None, "who asks has not said that he has it");
    }
}

/// The frame as it would be with an 802.1Q tag behind its addresses.
fn tagged(frame: &[u8]) -> Vec<u8> {
    let (head, rest) = frame.split_at(frame.len().min(12));
    [head, &[0x81, 0, 0, 7], rest].concat()
}

/// Another address of the same family.
fn neighbour_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1).into(),
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// Whether the kernel itself lets this frame through the sieve of `vip` and another one: the same program, on a pair of plain sockets.
fn passes(frame: &[u8], vip: IpAddr) -> bool {
    static SIEVES: LazyLock<[(UnixDatagram, UnixDatagram); 2]> = LazyLock::new(|| [V4, V6].map(sieve));
    let (to, from) = &SIEVES[usize::from(vip.is_ipv6())];
    to.send(frame).expect("a frame fits");
    from.recv(&mut [0; 1]).is_ok()
}

fn sieve(vip: IpAddr) -> (UnixDatagram, UnixDatagram) {
    let (to, from) = UnixDatagram::pair().expect("there are sockets");
    SockRef::from(&from)
        .attach_filter(&filter::claims_of(&[neighbour_of(vip), vip]))
        .expect("the kernel takes the program");
    from.set_nonblocking(true).expect("a socket can be told not to block");
    (to, from)
}
