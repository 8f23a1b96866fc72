//! Reads what qemu's `filter-dump` wrote of a guest's cable: a pcap file, Ethernet frames as they went, tags and all.

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame(Vec<u8>);

const VLAN: [u8; 2] = [0x81, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];

impl Frame {
    /// The VLAN it is tagged for.
    pub(crate) fn vlan(&self) -> Option<u16> {
        let tag = self.0.get(14..16).filter(|_| self.0.get(12..14) == Some(&VLAN))?;
        Some(u16::from_be_bytes(tag.try_into().ok()?) & 0xfff)
    }

    /// It is ARP, tagged or not, in which somebody says to have `ip`: that is the sender's address in it.
    pub(crate) fn claims(&self, ip: std::net::Ipv4Addr) -> bool {
        let start = if self.vlan().is_some() { 16 } else { 12 };
        // After the type: hardware (2), protocol (2), lengths (2), operation (2), the sender's MAC (6).
        let sender = self.0.get(start + 16..start + 20);
        self.0.get(start..start + 2) == Some(&ARP) && sender == Some(&ip.octets())
    }
}

/// All whole frames of a file in this machine's byte order: a header of 24 bytes, and 16 before each frame, of which
/// the third word is the length kept.
pub(crate) fn frames(file: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = file.get(24..).unwrap_or_default();
    while let Some(length) = rest.get(8..12).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes) {
        let end = 16 + length as usize;
        let Some(frame) = rest.get(16..end) else { break };
        frames.push(Frame(frame.to_vec()));
        rest = &rest[end..];
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ARP packet that says `ip` is here, tagged with `vlan`.
    fn arp(vlan: Option<u16>, ip: [u8; 4]) -> Vec<u8> {
        let mut bytes = [[0xff; 6], [2; 6]].concat();
        if let Some(vlan) = vlan {
            bytes.extend(VLAN);
            bytes.extend((0x2000 | vlan).to_be_bytes());
        }
        bytes.extend(ARP);
        bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend([2; 6]);
        bytes.extend(ip);
        bytes
    }

    #[test]
    fn tagged_and_plain_frames_are_told_apart() {
        let ip = [10, 0, 0, 1];
        let tagged = Frame(arp(Some(100), ip));
        let plain = Frame(arp(None, ip));
        assert_eq!((tagged.vlan(), plain.vlan()), (Some(100), None));
        assert!(tagged.claims(ip.into()) && plain.claims(ip.into()));
        assert!(!plain.claims([10, 0, 0, 2].into()));
    }

    #[test]
    fn a_file_is_read_up_to_its_last_whole_frame() {
        let frame = arp(Some(7), [1, 2, 3, 4]);
        let mut file = vec![0; 24];
        for _ in 0..2 {
            file.extend([0; 8]);
            file.extend((frame.len() as u32).to_ne_bytes());
            file.extend([0; 4]);
            file.extend(&frame);
        }
        assert_eq!(frames(&file).len(), 2);
        assert_eq!(frames(&file[..file.len() - 1]), [Frame(frame)]);
        assert_eq!(frames(&[]), []);
    }
}
