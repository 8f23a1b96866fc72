//! Listens to the kernel's news about links and addresses. It carries no facts into the program: news say "look again",
//! and their kind only whether a look is worth it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::MulticastGroup;
use tokio::io::unix::AsyncFd;

use super::{Address, Link};
use crate::election::event::LinkId;
use crate::node::ready;

/// What to look at again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// A link came, went or changed: as it was told, which need not be how it is now.
    Link(Box<Link>),
    /// Something about a port of a bridge. Such news say little about the link itself.
    Port(LinkId),
    /// An address came or changed.
    AddressNew(Address),
    /// An address went.
    AddressGone(IpAddr),
    /// News were lost, or could not be read: anything may have changed.
    Anything,
}

/// The largest datagram of news that is read, in bytes: the kernel's own limit.
const LARGEST: usize = 32 * 1024;

/// A socket subscribed to the kernel's news. Only what happens after it was opened is told.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Ears>,
    buffer: Vec<u8>,
    heard: VecDeque<News>,
}

impl Monitor {
    /// Subscribes, in this thread's network namespace.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let groups = groups.iter().fold(0, |all, group| all | 1 << (*group as u32 - 1));
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket: ready::register(Ears(socket))?, buffer: Vec::with_capacity(LARGEST), heard: VecDeque::new() })
    }

    /// The next news. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// When the socket broke: open another, and look at everything.
    pub async fn next(&mut self) -> io::Result<News> {
        loop {
            if let Some(news) = self.heard.pop_front() {
                return Ok(news);
            }
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            buffer.clear();
            match ready.try_io(|ears| ears.get_ref().0.recv(buffer, 0)) {
                Ok(read) => hear(read, buffer, &mut self.heard)?,
                Err(_not_yet) => {}
            }
        }
    }

    /// The next news, if there are any by now.
    ///
    /// # Errors
    /// As [`Monitor::next`].
    pub fn try_next(&mut self) -> io::Result<Option<News>> {
        if self.heard.is_empty() {
            self.buffer.clear();
            match self.socket.get_ref().0.recv(&mut self.buffer, 0) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => hear(read, &self.buffer, &mut self.heard)?,
            }
        }
        Ok(self.heard.pop_front())
    }
}

/// What came of one read of the socket.
fn hear(read: io::Result<usize>, bytes: &[u8], heard: &mut VecDeque<News>) -> io::Result<()> {
    match read {
        Ok(_) => {}
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => heard.push_back(News::Anything),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
        Err(e) => return Err(e),
    }
    heard.extend(news_of(bytes));
    Ok(())
}

/// Takes one datagram of news apart. Pure, and any bytes will do: what cannot be read is [`News::Anything`].
pub fn news_of(mut bytes: &[u8]) -> Vec<News> {
    let mut heard = Vec::new();
    while !bytes.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
            heard.push(News::Anything);
            break;
        };
        // Messages are padded to four bytes; a length of 0 would never end.
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        heard.extend(news_in(message.payload));
        bytes = bytes.get(length..).unwrap_or_default();
    }
    heard
}

fn news_in(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<News> {
    let NetlinkPayload::InnerMessage(inner) = payload else { return Some(News::Anything) };
    match inner {
        RouteNetlinkMessage::NewLink(m) | RouteNetlinkMessage::DelLink(m) => {
            let bridge = m.header.interface_family == AddressFamily::Bridge;
            Some(if bridge { News::Port(LinkId(m.header.index)) } else { News::Link(Box::new(Link::read(&m))) })
        }
        RouteNetlinkMessage::NewAddress(m) => Address::read(&m).map(News::AddressNew),
        RouteNetlinkMessage::DelAddress(m) => Address::read(&m).map(|a| News::AddressGone(a.ip)),
        _ => None,
    }
}

/// The subscribed socket, which owns its descriptor.
#[derive(Debug)]
struct Ears(Socket);

impl ready::Owner for Ears {}

impl AsFd for Ears {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Ears {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_or_unreadable_news_mean_look_at_everything() {
        let mut heard = VecDeque::new();
        hear(Err(io::Error::from_raw_os_error(nix::errno::Errno::ENOBUFS as i32)), &[], &mut heard).unwrap();
        hear(Ok(3), &[1, 2, 3], &mut heard).unwrap();
        assert_eq!(heard, [News::Anything, News::Anything]);
        assert!(hear(Err(io::Error::from_raw_os_error(9)), &[], &mut heard).is_err());
    }
}
