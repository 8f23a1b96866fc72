//! The kernel's own sieve: classic BPF programs that let only claims of one address through to a socket.
//!
//! Pure. A segment may carry a hundred thousand frames a second; none but these may wake the daemon. What comes
//! through is still read with suspicion (`frame::answer_in`): the sieve saves work and decides nothing.

use std::net::IpAddr;

use nix::libc;
use socket2::SockFilter;

/// Loads four bytes of the frame, the one at the given place first.
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Loads one byte of the frame.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
/// Skips instructions, depending on whether what was loaded is the given value.
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// Ends with how many bytes of the frame to let through.
const PASS: u32 = libc::BPF_RET | libc::BPF_K;

/// Where the kernel answers what kind of packet this is, instead of a byte of it.
const PACKET_KIND: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
/// The kind `PACKET_OTHERHOST` of `linux/if_packet.h`.
const FOR_ANOTHER_HOST: u32 = 3;

/// Places in a frame without VLAN tag, in bytes from its start.
const ARP_SENDER: u32 = 28;
const NEXT_HEADER: u32 = 20;
const ICMP_TYPE: u32 = 54;
const ADVERT_TARGET: u32 = 62;

const ICMPV6: u32 = 58;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

/// One check: load from a place and compare. The frame is dropped if they are equal, or if they are not, by `drop_if`.
struct Check {
    load: u32,
    place: u32,
    value: u32,
    drop_if: bool,
}

/// The program for a socket that gets ARP only (IPv4), or IPv6 only, and shall see no more of it than claims of `vip`:
/// ARP from it, or neighbour advertisements about it.
///
/// Frames for another host are dropped too. Answers to our probes never are such, and the kernel hands on frames of a
/// VLAN that this machine does not have under that name: the same IP over there is no concern of ours.
pub fn claims_of(vip: IpAddr) -> Vec<SockFilter> {
    let mut checks = vec![Check { load: LOAD_WORD, place: PACKET_KIND, value: FOR_ANOTHER_HOST, drop_if: true }];
    match vip {
        IpAddr::V4(vip) => checks.push(must_be(LOAD_WORD, ARP_SENDER, vip.to_bits())),
        IpAddr::V6(vip) => {
            checks.push(must_be(LOAD_BYTE, NEXT_HEADER, ICMPV6));
            checks.push(must_be(LOAD_BYTE, ICMP_TYPE, NEIGHBOUR_ADVERTISEMENT));
            let words = [96, 64, 32, 0].map(|shift| (vip.to_bits() >> shift) as u32);
            checks.extend((ADVERT_TARGET..).step_by(4).zip(words).map(|(at, word)| must_be(LOAD_WORD, at, word)));
        }
    }
    program(&checks)
}

fn must_be(load: u32, place: u32, value: u32) -> Check {
    Check { load, place, value, drop_if: false }
}

/// Two instructions for each check, then "all of it" and "none of it". A load past the frame's end drops it.
fn program(checks: &[Check]) -> Vec<SockFilter> {
    let mut code = Vec::new();
    for (i, check) in checks.iter().enumerate() {
        // From behind this comparison: the loads and comparisons still to come, and the one that passes.
        let to_drop = u8::try_from((checks.len() - 1 - i) * 2 + 1).expect("there are at most seven checks");
        let (if_equal, if_not) = if check.drop_if { (to_drop, 0) } else { (0, to_drop) };
        code.push(SockFilter::new(check.load as u16, 0, 0, check.place));
        code.push(SockFilter::new(IF_EQUAL as u16, if_equal, if_not, check.value));
    }
    code.push(SockFilter::new(PASS as u16, 0, 0, u32::MAX));
    code.push(SockFilter::new(PASS as u16, 0, 0, 0));
    code
}
