//! The kernel's own sieve: classic BPF programs that let only claims of certain addresses through to a socket.
//!
//! Pure. A segment may carry a hundred thousand frames a second; none but these may wake the daemon. What comes
//! through is still read with suspicion (`frame::answer_in`): the sieve saves work and decides nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::libc;
use socket2::SockFilter;

/// Loads four bytes of the frame, the one at the given place first.
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Loads one byte of the frame.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
/// Skips instructions, depending on whether what was loaded is the given value.
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// Skips that many instructions.
const SKIP: u32 = libc::BPF_JMP | libc::BPF_JA;
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

/// One check: load from a place and compare; the frame is dropped unless it is one of the values.
struct Check {
    load: u32,
    place: u32,
    values: BTreeSet<u32>,
}

/// The program for a socket that gets ARP only, or IPv6 only, and shall see no more of it than claims of `vips`, all of
/// that family: ARP from one of them, or neighbour advertisements about one.
///
/// IPv6 addresses are looked at word by word: of several VIPs that differ in more than one word, a mixture gets through,
/// too.
///
/// Frames for another host are dropped too. Answers to our probes never are such, and the kernel hands on frames of a
/// VLAN that this machine does not have under that name: the same IP over there is no concern of ours.
pub fn claims_of(vips: &[IpAddr]) -> Vec<SockFilter> {
    let mut code = vec![load(LOAD_WORD, PACKET_KIND), if_equal(FOR_ANOTHER_HOST), drop_frame()];
    checks(vips).iter().for_each(|check| one_of(check, &mut code));
    code.push(pass());
    code
}

fn checks(vips: &[IpAddr]) -> Vec<Check> {
    let v4 = |ip: &IpAddr| if let IpAddr::V4(ip) = ip { Some(ip.to_bits()) } else { None };
    let v6 = |ip: &IpAddr| if let IpAddr::V6(ip) = ip { Some(ip.to_bits()) } else { None };
    let senders: BTreeSet<u32> = vips.iter().filter_map(v4).collect();
    let targets: Vec<u128> = vips.iter().filter_map(v6).collect();
    if targets.is_empty() {
        return vec![Check { load: LOAD_WORD, place: ARP_SENDER, values: senders }];
    }
    let byte = |place, value| Check { load: LOAD_BYTE, place, values: BTreeSet::from([value]) };
    let word = |(place, shift)| Check {
        load: LOAD_WORD,
        place,
        values: targets.iter().map(|ip| (ip >> shift) as u32).collect(),
    };
    let mut checks = vec![byte(NEXT_HEADER, ICMPV6), byte(ICMP_TYPE, NEIGHBOUR_ADVERTISEMENT)];
    checks.extend((ADVERT_TARGET..).step_by(4).zip([96, 64, 32, 0]).map(word));
    checks
}

/// Two instructions for each value, as a comparison skips 255 at most and a plain jump any number. A load past the
/// frame's end drops it.
fn one_of(check: &Check, code: &mut Vec<SockFilter>) {
    code.push(load(check.load, check.place));
    for (i, value) in check.values.iter().enumerate() {
        code.push(if_equal(*value));
        // Behind it: two instructions for each further value, and the one that drops.
        code.push(skip((check.values.len() - 1 - i) * 2 + 1));
    }
    code.push(drop_frame());
}

fn load(how: u32, place: u32) -> SockFilter {
    SockFilter::new(how as u16, 0, 0, place)
}

/// Goes on if it is equal, else skips one instruction.
fn if_equal(value: u32) -> SockFilter {
    SockFilter::new(IF_EQUAL as u16, 0, 1, value)
}

fn skip(instructions: usize) -> SockFilter {
    SockFilter::new(SKIP as u16, 0, 0, u32::try_from(instructions).unwrap_or(u32::MAX))
}

fn pass() -> SockFilter {
    SockFilter::new(PASS as u16, 0, 0, u32::MAX)
}

fn drop_frame() -> SockFilter {
    SockFilter::new(PASS as u16, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::net::UnixDatagram;

    use pnet::util::MacAddr;
    use socket2::SockRef;

    use crate::node::frame;

    fn v4(i: u8) -> IpAddr {
        [10, 0, 0, i].into()
    }

    fn v6(i: u8) -> IpAddr {
        IpAddr::from((0xfd00_u128 << 112 | u128::from(i)).to_be_bytes())
    }

    /// As many VIPs as a config may have, less one; the kernel itself looks, on a pair of plain sockets.
    #[test]
    fn claims_of_many_vips_pass_and_those_of_another_do_not() {
        for ip in [v4, v6] {
            let (to, from) = UnixDatagram::pair().unwrap();
            from.set_nonblocking(true).unwrap();
            let vips: Vec<IpAddr> = (0..255).map(ip).collect();
            SockRef::from(&from).attach_filter(&claims_of(&vips)).unwrap();
            let passes = |ip| {
                let claim = frame::announcements(ip, MacAddr(2, 0, 0, 0, 0, 1)).remove(0).bytes;
                to.send(&claim).unwrap();
                from.recv(&mut [0; 1]).is_ok()
            };
            assert!(vips.iter().all(|ip| passes(*ip)));
            assert!(!passes(ip(255)) && !passes([10, 0, 1, 0].into()) && !passes("fd01::1".parse().unwrap()));
        }
    }
}
