//! Just enough rtnetlink to listen: addresses and neighbours, as the kernel tells them.
//!
//! Written by hand and not with the daemon's libraries, so that the judge and the judged share no parser.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};

// Group bits and message types of linux/rtnetlink.h.
/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
pub(crate) const ADDRESSES: u32 = 0x10 | 0x100;
/// `RTMGRP_NEIGH`.
pub(crate) const NEIGHBOURS: u32 = 0x4;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const HEADER: usize = 16;

/// One thing the kernel said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// An address was put or its lifetime changed. `mark` is its IFA_PROTO, 0 where the kernel keeps none.
    AddressPut { ip: IpAddr, link: u32, valid: u32, mark: u8 },
    /// An address is gone, by the kernel's own doing (on IPv4: its lifetime ended) or a program's. IPv6 does not say.
    AddressGone { ip: IpAddr, link: u32, by_kernel: bool },
    /// A neighbour entry is new or changed.
    Neighbour { ip: IpAddr, mac: Option<[u8; 6]> },
    /// A neighbour entry is gone.
    NeighbourGone { ip: IpAddr },
    /// A dump has been told to its end.
    Done,
}

/// A listening socket in the calling thread's network namespace.
pub(crate) struct Listener {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Listener {
    /// Joins `groups` and, for addresses, asks for what stands there already.
    pub(crate) fn open(groups: u32) -> Result<Self> {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let fd = socket(kind.0, kind.1, kind.2, kind.3).context("open a netlink socket")?;
        // An overrun would lose events that the verdict rests on.
        let _ = setsockopt(&fd, sockopt::RcvBuf, &(4 << 20));
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).context("join netlink groups")?;
        let listener = Self { fd, buffer: vec![0; 1 << 16] };
        if groups & ADDRESSES != 0 {
            listener.ask_for_addresses()?;
        }
        Ok(listener)
    }

    /// A dump request: header and an ifaddrmsg of zeros (all families).
    fn ask_for_addresses(&self) -> Result<()> {
        let mut request = [0_u8; HEADER + 8];
        request[0..4].copy_from_slice(&24_u32.to_ne_bytes());
        request[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
        request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty()).context("ask for addresses")?;
        Ok(())
    }

    /// All addresses there are now, each with its link. For a socket that joined no group.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(IpAddr, u32)>> {
        self.ask_for_addresses()?;
        let mut known = Vec::new();
        loop {
            let news = self.next()?.context("a dump was cut short")?;
            known.extend(news.iter().filter_map(|one| match *one {
                News::AddressPut { ip, link, .. } => Some((ip, link)),
                _ => None,
            }));
            if news.contains(&News::Done) {
                return Ok(known);
            }
        }
    }

    /// Waits for the next messages. `Ok(None)`: the kernel had to drop some.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<News>>> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => return Ok(Some(parse(&self.buffer[..length]))),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Ok(None),
                Err(other) => return Err(other.into()),
            }
        }
    }
}

/// All news in one datagram; what is of another kind or cut short is passed over.
fn parse(mut data: &[u8]) -> Vec<News> {
    let mut news = Vec::new();
    while let Some(length) = u32_at(data, 0).map(|length| length as usize) {
        if length < HEADER || length > data.len() {
            break;
        }
        let kind = u16_at(data, 4).unwrap_or_default();
        // Notes of what a program asked for carry the number of its socket.
        let by_kernel = u32_at(data, 12) == Some(0);
        news.extend(message(kind, by_kernel, &data[HEADER..length]));
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    news
}

fn message(kind: u16, by_kernel: bool, body: &[u8]) -> Option<News> {
    match kind {
        RTM_NEWADDR | RTM_DELADDR => address(kind, by_kernel, body),
        RTM_NEWNEIGH | RTM_DELNEIGH => neighbour(kind, body),
        NLMSG_DONE => Some(News::Done),
        _ => None,
    }
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index (4); then attributes.
fn address(kind: u16, by_kernel: bool, body: &[u8]) -> Option<News> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_CACHEINFO: u16 = 6;
    const IFA_PROTO: u16 = 11;
    let link = u32_at(body, 4)?;
    let attributes = body.get(8..)?;
    // On IPv4 the address itself is IFA_LOCAL (IFA_ADDRESS is the peer's); IPv6 has only IFA_ADDRESS.
    let ip = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS)).and_then(to_ip)?;
    if kind == RTM_DELADDR {
        return Some(News::AddressGone { ip, link, by_kernel });
    }
    // struct ifa_cacheinfo: preferred, valid, created, changed.
    let valid = attribute(attributes, IFA_CACHEINFO).and_then(|info| u32_at(info, 4)).unwrap_or(u32::MAX);
    let mark = attribute(attributes, IFA_PROTO).and_then(|mark| mark.first()).copied().unwrap_or_default();
    Some(News::AddressPut { ip, link, valid, mark })
}

/// `struct ndmsg`: family, padding (3), index (4), state (2), flags, type; then attributes.
fn neighbour(kind: u16, body: &[u8]) -> Option<News> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    let attributes = body.get(12..)?;
    let ip = attribute(attributes, NDA_DST).and_then(to_ip)?;
    if kind == RTM_DELNEIGH {
        return Some(News::NeighbourGone { ip });
    }
    let mac = attribute(attributes, NDA_LLADDR).and_then(|mac| mac.try_into().ok());
    Some(News::Neighbour { ip, mac })
}

/// The payload of the first attribute of that type.
fn attribute(mut data: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(data, 0)?);
        let kind = u16_at(data, 2)?;
        if kind == wanted {
            return data.get(4..length);
        }
        data = data.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn to_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

fn u16_at(data: &[u8], place: usize) -> Option<u16> {
    data.get(place..place + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(data: &[u8], place: usize) -> Option<u32> {
    data.get(place..place + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a body of fixed fields and attributes.
    fn built(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = fixed.to_vec();
        for (kind, value) in attributes {
            body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut whole = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        whole.extend(kind.to_ne_bytes());
        whole.resize(HEADER, 0);
        whole.extend(body);
        whole
    }

    #[test]
    fn an_address_with_its_lifetime_is_read() {
        let mut cache = [0_u8; 16];
        cache[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        let fixed = [2, 32, 0, 0, 7, 0, 0, 0];
        let bytes = built(RTM_NEWADDR, &fixed, &[(1, &[10, 0, 0, 9]), (2, &[10, 0, 0, 1]), (6, &cache), (11, &[9])]);
        let ip = "10.0.0.1".parse().unwrap();
        assert_eq!(parse(&bytes), [News::AddressPut { ip, link: 7, valid: 3, mark: 9 }]);
    }

    #[test]
    fn two_messages_in_one_datagram_are_both_read() {
        let one = built(RTM_DELADDR, &[10, 128, 0, 0, 2, 0, 0, 0], &[(1, &Ipv6Addr::LOCALHOST.octets())]);
        let two = built(RTM_NEWNEIGH, &[0; 12], &[(1, &[10, 0, 0, 1]), (2, &[1, 2, 3, 4, 5, 6])]);
        let news = parse(&[one, two].concat());
        assert_eq!(news.len(), 2);
        assert_eq!(news[0], News::AddressGone { ip: Ipv6Addr::LOCALHOST.into(), link: 2, by_kernel: true });
    }

    #[test]
    fn what_a_program_removed_is_told_from_what_ended() {
        let mut bytes = built(RTM_DELADDR, &[2, 32, 0, 0, 7, 0, 0, 0], &[(2, &[10, 0, 0, 1])]);
        bytes[12..16].copy_from_slice(&4711_u32.to_ne_bytes());
        let ip = "10.0.0.1".parse().unwrap();
        assert_eq!(parse(&bytes), [News::AddressGone { ip, link: 7, by_kernel: false }]);
    }

    #[test]
    fn what_is_cut_short_is_passed_over() {
        let bytes = built(RTM_NEWADDR, &[2, 32, 0, 0, 7, 0, 0, 0], &[(2, &[10, 0, 0, 1])]);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), []);
        }
    }
}
