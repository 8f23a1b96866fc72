//! An address as the kernel has it, and whether it is ours.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};

use crate::election::event::LinkId;
use crate::node::guards::{self, Guard};

/// The mark of our addresses: the value of their `IFA_PROTO` ("who put it", shown by `ip address` as `proto 0x56`).
///
/// `V` for VIP. 1, 2 and 3 are the kernel's own, 18 is keepalived's; a person who wants to put an address that vipd
/// takes for its own has to say this number.
pub const MARK: u8 = 0x56;

/// What the kernel shows as "for ever".
const FOR_EVER: u32 = u32::MAX;

/// An address on a link of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The link it is on.
    pub link: LinkId,
    /// The address.
    pub ip: IpAddr,
    /// The length of its mask, in bits.
    pub prefix: u8,
    /// Who put it (`IFA_PROTO`), if the kernel knows.
    pub mark: Option<u8>,
    /// The kernel's flags.
    pub flags: AddressFlags,
    /// How long it is preferred as a source, in seconds; 0: deprecated.
    pub preferred: u32,
    /// How long the kernel keeps it, in seconds; `u32::MAX`: for ever.
    pub valid: u32,
    /// When it was put, in hundredths of a second since boot. Whatever is changed about an address, this is not.
    pub created: u32,
}

impl Address {
    /// Reads a message of the kernel; `None` if there is no address in it.
    pub fn read(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut named, mut mark, mut cache) = (None, None, None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => named = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                AddressAttribute::Protocol(who) => mark = Some(u8::from(*who)),
                AddressAttribute::CacheInfo(info) => cache = Some(*info),
                _ => {}
            }
        }
        // With a peer, `IFA_ADDRESS` is the peer's; `IFA_LOCAL`, if there is one, is always this node's.
        let ip = local.or(named)?;
        let link = LinkId(message.header.index);
        let prefix = message.header.prefix_len;
        let cache = cache.unwrap_or_else(|| {
            let mut none = CacheInfo::default();
            (none.ifa_preferred, none.ifa_valid) = (FOR_EVER, FOR_EVER);
            none
        });
        let (preferred, valid, created) = (cache.ifa_preferred, cache.ifa_valid, cache.cstamp);
        Some(Self { link, ip, prefix, mark, flags, preferred, valid, created })
    }

    /// Whether its mask covers this one address only.
    pub fn is_host(&self) -> bool {
        self.prefix == host_prefix(self.ip)
    }

    /// Whether the kernel will take it off by itself.
    pub fn is_finite(&self) -> bool {
        self.valid != FOR_EVER && !self.flags.contains(AddressFlags::Permanent)
    }

    /// Whether we put it. Whether the IP is one of ours to put is for the caller to say.
    pub fn is_ours(&self, marks: Marks) -> bool {
        if !guards::on(Guard::Mark) {
            return true;
        }
        match marks {
            Marks::Kept => self.is_marked(),
            Marks::Unknown | Marks::Dropped => self.is_marked() || self.looks_like_ours(),
        }
    }

    /// Whether the kernel made it by itself: for the loopback, from a router's advertisement, or of the link-local kind.
    pub fn is_the_kernels(&self) -> bool {
        matches!(self.mark, Some(1..=3))
    }

    fn is_marked(&self) -> bool {
        self.mark == Some(MARK)
    }

    /// Without a mark: all four signs together, which nobody gives an address by accident.
    fn looks_like_ours(&self) -> bool {
        self.mark.is_none()
            && self.is_host()
            && self.is_finite()
            && self.preferred == 0
            && self.flags.contains(AddressFlags::Noprefixroute)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on link {}", self.ip, self.prefix, self.link.0)?;
        match self.mark {
            Some(mark) => write!(f, " (proto {mark:#x})"),
            None => Ok(()),
        }
    }
}

/// The mask that covers one address only, in bits.
pub const fn host_prefix(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Whether this kernel keeps the mark. Linux does since 5.18; before, it takes it and drops it without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Marks {
    /// Not seen yet: what is marked is ours, and what looks like ours.
    #[default]
    Unknown,
    /// It keeps them: what is not marked is not ours.
    Kept,
    /// It drops them: what looks like ours is ours.
    Dropped,
}

impl Marks {
    /// What an address says about the kernel: any mark on it, the kernel's own too, says that marks are kept.
    pub fn learn(self, seen: &Address) -> Self {
        if seen.mark.is_some() { Self::Kept } else { self }
    }

    /// What the address that was put first says, read back.
    pub fn learn_from_put(self, back: &Address) -> Self {
        match self.learn(back) {
            Self::Unknown => Self::Dropped,
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours_unmarked() -> Address {
        Address {
            link: LinkId(2),
            ip: "10.0.0.9".parse().unwrap(),
            prefix: 32,
            mark: None,
            flags: AddressFlags::Noprefixroute | AddressFlags::Deprecated,
            preferred: 0,
            valid: 3,
            created: 0,
        }
    }

    #[test]
    fn a_mark_is_enough_where_marks_are_kept_and_nothing_else_is() {
        let marked = Address { mark: Some(MARK), prefix: 24, valid: FOR_EVER, ..ours_unmarked() };
        assert!(marked.is_ours(Marks::Kept) && marked.is_ours(Marks::Unknown));
        assert!(!ours_unmarked().is_ours(Marks::Kept));
        assert!(!Address { mark: Some(18), ..ours_unmarked() }.is_ours(Marks::Unknown), "keepalived's");
    }

    #[test]
    fn without_marks_all_four_signs_are_wanted() {
        let a = ours_unmarked();
        assert!(a.is_ours(Marks::Dropped) && a.is_ours(Marks::Unknown));
        for other in [
            Address { prefix: 24, ..a.clone() },
            Address { valid: FOR_EVER, ..a.clone() },
            Address { preferred: 3, ..a.clone() },
            Address { flags: AddressFlags::Deprecated, ..a.clone() },
            Address { flags: a.flags | AddressFlags::Permanent, ..a.clone() },
        ] {
            assert!(!other.is_ours(Marks::Dropped), "{other:?}");
        }
    }

    #[test]
    fn any_mark_says_that_marks_are_kept_and_only_a_put_says_that_they_are_dropped() {
        let plain = ours_unmarked();
        let marked = Address { mark: Some(1), ..plain.clone() };
        assert_eq!(Marks::Unknown.learn(&plain), Marks::Unknown);
        assert_eq!(Marks::Unknown.learn(&marked), Marks::Kept);
        assert_eq!(Marks::Unknown.learn_from_put(&plain), Marks::Dropped);
        assert_eq!(Marks::Kept.learn_from_put(&plain), Marks::Kept);
    }
}
