//! Echo requests and replies of ICMP and ICMPv6, as bytes. Pure.

/// Distinguishes this lab's probe from anybody else's on the same raw socket.
const IDENTIFIER: u16 = 0x7669;
/// Header (8) and the number of the request (8).
const LENGTH: usize = 16;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// ICMP over IPv4: the checksum is ours to make, a received packet has its IP header in front.
    V4,
    /// ICMPv6: the kernel makes the checksum, a received packet has no IP header.
    V6,
}

/// An echo request that carries `number`.
pub(crate) fn request(version: Version, number: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = if version == Version::V4 { 8 } else { 128 };
    packet[4..6].copy_from_slice(&IDENTIFIER.to_be_bytes());
    packet[8..16].copy_from_slice(&number.to_be_bytes());
    if version == Version::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The number in an echo reply to one of our requests; `None` for anything else.
pub(crate) fn reply(version: Version, packet: &[u8]) -> Option<u64> {
    let (icmp, kind) = match version {
        Version::V4 => (packet.get(usize::from(*packet.first()? & 0x0f) * 4..)?, 0),
        Version::V6 => (packet, 129),
    };
    let ours = *icmp.first()? == kind && icmp.get(4..6)? == IDENTIFIER.to_be_bytes();
    let number = icmp.get(8..16)?.try_into().ok().map(u64::from_be_bytes)?;
    ours.then_some(number)
}

/// The internet checksum (RFC 1071) over an even number of bytes.
fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_nothing() {
        assert_eq!(checksum(&request(Version::V4, 123_456_789)), 0);
    }

    #[test]
    fn the_number_comes_back() {
        let mut answer = request(Version::V6, 42);
        answer[0] = 129;
        assert_eq!(reply(Version::V6, &answer), Some(42));
        assert_eq!(reply(Version::V6, &request(Version::V6, 42)), None);
        let mut four = vec![0x45; 20];
        four.extend([0, 0, 0, 0, 0x76, 0x69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(reply(Version::V4, &four), Some(7));
        assert_eq!(reply(Version::V4, &[]), None);
    }
}
