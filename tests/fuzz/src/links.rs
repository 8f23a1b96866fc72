//! The kernel's news about links and addresses: any bytes, and what vipd makes of them is held against the bytes
//! themselves, read here by other code.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use vipd::node::netlink::{Address, Link, MARK, Marks, News, news_of};

/// A netlink message's header, and those of address and link messages behind it, in bytes.
const HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;

const IFF_UP_AND_LOWER_UP: u32 = 0x1_0001;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// One datagram.
pub fn judge(data: &[u8]) {
    let news = news_of(data);
    assert!(news.len() <= data.len() / 4 + 1, "{} news in {} bytes", news.len(), data.len());
    for news in &news {
        if let News::Link(link) = news {
            assert!(link.name.len() <= 3 * data.len(), "a name longer than what it was read from");
        }
    }
    judge_first(data, &news);
}

/// The first message, as the lists of links and addresses are read too.
fn judge_first(data: &[u8], news: &[News]) {
    let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(data) else {
        assert!(data.is_empty() || news == [News::Anything], "unreadable, and not said so");
        return;
    };
    let bytes = &data[..(message.header.length as usize).min(data.len())];
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(m)) => {
            let link = Link::read(&m);
            assert_eq!(link.id.0, word(bytes, HEADER + 4), "the link's number");
            assert_eq!(link.serves, word(bytes, HEADER + 8) & IFF_UP_AND_LOWER_UP == IFF_UP_AND_LOWER_UP);
            let port = m.header.interface_family == AddressFamily::Bridge;
            let want = if port { News::Port(link.id) } else { News::Link(Box::new(link)) };
            assert_eq!(news.first(), Some(&want));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(m)) => {
            let address = Address::read(&m);
            if let Some(address) = &address {
                judge_address(bytes, address);
                assert_eq!(news.first(), Some(&News::AddressNew(address.clone())));
            }
        }
        _ => {}
    }
}

/// Nothing is called ours that the bytes do not call ours.
fn judge_address(bytes: &[u8], address: &Address) {
    let said = Said::read(bytes);
    assert_eq!(Some(address.ip), said.local.or(said.address), "the address itself");
    assert_eq!((address.link.0, address.prefix), (said.index, said.prefix));
    assert_eq!(address.mark, said.mark);
    for marks in [Marks::Unknown, Marks::Kept, Marks::Dropped] {
        let ours = said.mark == Some(MARK) || (marks != Marks::Kept && said.mark.is_none() && said.looks_like_ours());
        assert_eq!(address.is_ours(marks), ours, "{marks:?}: {address:?} {said:?}");
        assert_eq!(marks.learn(address) == Marks::Kept, marks == Marks::Kept || said.mark.is_some());
    }
    assert!(address.to_string().len() < 128);
}

/// An address message, read without any library.
#[derive(Debug, Default)]
struct Said {
    index: u32,
    prefix: u8,
    flags: u32,
    address: Option<IpAddr>,
    local: Option<IpAddr>,
    mark: Option<u8>,
    /// Preferred and valid life.
    life: Option<(u32, u32)>,
}

impl Said {
    fn read(bytes: &[u8]) -> Self {
        let head = &bytes[HEADER..];
        let mut said =
            Self { prefix: head[1], flags: head[2].into(), index: word(bytes, HEADER + 4), ..Self::default() };
        let mut rest = &head[ADDRESS_HEADER..];
        while let Some((kind, value, next)) = attribute(rest) {
            match kind {
                IFA_ADDRESS => said.address = ip(value),
                IFA_LOCAL => said.local = ip(value),
                IFA_FLAGS => said.flags = word(value, 0),
                IFA_PROTO => said.mark = value.first().copied(),
                IFA_CACHEINFO => said.life = Some((word(value, 0), word(value, 4))),
                _ => {}
            }
            rest = next;
        }
        said
    }

    fn looks_like_ours(&self) -> bool {
        let host = match self.local.or(self.address) {
            Some(IpAddr::V4(_)) => 32,
            Some(IpAddr::V6(_)) => 128,
            None => return false,
        };
        self.prefix == host
            && self.life.is_some_and(|(preferred, valid)| preferred == 0 && valid != u32::MAX)
            && self.flags & IFA_F_PERMANENT == 0
            && self.flags & IFA_F_NOPREFIXROUTE != 0
    }
}

/// The first attribute of these: kind, value, and what is behind it.
fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let head = bytes.get(..4)?;
    let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
    let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
    let value = bytes.get(4..length)?;
    Some((kind, value, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}
