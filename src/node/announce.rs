//! Tells the network that a VIP is here: gratuitous ARP in both forms, unsolicited neighbour advertisements.
//!
//! Owned by the driver, which calls it from its loop: everything slow is done in [`Announcer::prepare`], and
//! [`Announcer::announce`] is a few system calls, microseconds. When and how often to announce is for the election to
//! say; this must not announce on its own, and must not wait.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use nix::libc;
use pnet::util::MacAddr;
use tracing::{debug, warn};

use super::frame::{self, Frame};
use super::packet::PacketSocket;
use crate::election::event::{LinkId, VipId};

/// Why nothing was announced, or not all of it, and saying it again will not help by itself.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// `announce` before any `prepare`.
    #[error("nothing was prepared to announce this VIP")]
    NotPrepared,
    /// No way to send on the link.
    #[error("opening a packet socket on link {} to announce from failed", link.0)]
    Open {
        /// The link.
        link: LinkId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a frame. The other frames were sent if it took them.
    #[error("sending a {what} for {address} on link {} failed", link.0)]
    Send {
        /// Which frame.
        what: &'static str,
        /// For which address of the VIP.
        address: IpAddr,
        /// The link.
        link: LinkId,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl AnnounceError {
    /// Whether the next announcement may well succeed: the link is down, congested, or gone and perhaps coming back.
    /// Those who watch links and addresses report that themselves.
    fn may_pass(&self) -> bool {
        let (Self::Open { source, .. } | Self::Send { source, .. }) = self else { return false };
        let code = source.raw_os_error();
        code.is_some_and(|c| [libc::ENETDOWN, libc::ENOBUFS, libc::ENXIO, libc::ENODEV, libc::EAGAIN].contains(&c))
    }
}

/// Announces VIPs that were prepared before.
#[derive(Debug, Default)]
pub struct Announcer {
    prepared: BTreeMap<VipId, Prepared>,
}

/// What is ready for one VIP.
#[derive(Debug, Default)]
struct Prepared {
    addresses: Vec<IpAddr>,
    line: Option<Line>,
}

/// An open way to a link, and the frames as they must be while the link has this MAC address.
#[derive(Debug)]
struct Line {
    link: LinkId,
    mac: MacAddr,
    socket: PacketSocket,
    frames: Vec<(IpAddr, Frame)>,
}

impl Announcer {
    /// An announcer that has nothing prepared.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the socket and builds the frames, so that announcing `addresses` on `link` is quick. To be called when the
    /// link is known and whenever it changed (number or MAC address); costs little if nothing did.
    ///
    /// # Errors
    /// [`AnnounceError::Open`] when the link is gone, is not Ethernet, or CAP_NET_RAW is missing. What was prepared
    /// before is then forgotten, and the announcement tries again.
    pub fn prepare(&mut self, vip: VipId, link: LinkId, addresses: &[IpAddr]) -> Result<(), AnnounceError> {
        let prepared = self.prepared.entry(vip).or_default();
        if prepared.addresses != addresses {
            *prepared = Prepared { addresses: addresses.to_vec(), line: None };
        }
        prepared.line_to(link).map(drop)
    }

    /// Forgets a VIP and closes its socket.
    pub fn forget(&mut self, vip: VipId) {
        self.prepared.remove(&vip);
    }

    /// Sends every frame of the VIP on `link`, once, without waiting, and says how many the kernel took.
    ///
    /// A link that was created anew, or has another MAC address, is noticed here: the socket is opened and the frames
    /// are built again first. One frame's failure does not keep the others back. Failures that may pass are logged and
    /// are no error.
    ///
    /// # Errors
    /// The first failure of those that will not pass by themselves.
    pub fn announce(&mut self, vip: VipId, link: LinkId) -> Result<usize, AnnounceError> {
        let prepared = self.prepared.get_mut(&vip).ok_or(AnnounceError::NotPrepared)?;
        let line = match prepared.line_to(link) {
            Err(error) if error.may_pass() => {
                warn_of(vip, &error);
                return Ok(0);
            }
            line => line?,
        };
        let failures = line.send_all();
        let sent = line.frames.len() - failures.len();
        let (passing, lasting): (Vec<_>, Vec<_>) = failures.into_iter().partition(AnnounceError::may_pass);
        passing.iter().for_each(|error| warn_of(vip, error));
        lasting.into_iter().next().map_or(Ok(sent), Err)
    }
}

impl Prepared {
    /// The line to `link`: the one there is, if it still leads there under the same MAC address, else a new one.
    fn line_to(&mut self, link: LinkId) -> Result<&Line, AnnounceError> {
        let line = match self.line.take().filter(|line| line.leads_to(link)) {
            Some(line) => line,
            None => Line::open(link, &self.addresses).map_err(|source| AnnounceError::Open { link, source })?,
        };
        Ok(self.line.insert(line))
    }
}

impl Line {
    fn open(link: LinkId, addresses: &[IpAddr]) -> io::Result<Self> {
        let socket = PacketSocket::sender(link)?;
        let mac = socket.mac()?;
        let frames_of = |&address| frame::announcements(address, mac).into_iter().map(move |frame| (address, frame));
        debug!(link = link.0, %mac, "ready to announce");
        Ok(Self { link, mac, socket, frames: addresses.iter().flat_map(frames_of).collect() })
    }

    fn leads_to(&self, link: LinkId) -> bool {
        self.link == link && self.socket.mac().is_ok_and(|mac| mac == self.mac)
    }

    /// Sends all frames and gives back what failed.
    fn send_all(&self) -> Vec<AnnounceError> {
        let send = |(address, frame): &(IpAddr, Frame)| {
            let source = self.socket.send(&frame.bytes).err()?;
            Some(AnnounceError::Send { what: frame.what, address: *address, link: self.link, source })
        };
        self.frames.iter().filter_map(send).collect()
    }
}

fn warn_of(vip: VipId, error: &AnnounceError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    warn!(vip = vip.0, cause, "{error}");
}
