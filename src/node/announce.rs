//! Tells the network that a VIP is here: gratuitous ARP in both forms, unsolicited neighbour advertisements.
//!
//! Owned by the driver, which calls it from its loop: everything slow is done in [`Announcer::prepare`], and
//! [`Announcer::announce`] is a few system calls, microseconds. When and how often to announce is for the election to
//! say; this must not announce on its own, and must not wait. Only if so many VIPs are announced at once that it would
//! be a flood, the rest waits in the [`queue`] until [`Announcer::go_on`] is called.

pub mod queue;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use nix::libc;
use pnet::util::MacAddr;
use tracing::{debug, warn};

use super::frame::{self, Frame};
use super::packet::PacketSocket;
use crate::election::action::Occasion;
use crate::election::event::{LinkId, VipId};
use crate::election::record::vip_name;
use crate::moment::Moment;
use queue::{FRESH, Queue, Turn};

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
    queue: Queue,
    counts: Counts,
}

/// What became of frames since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Taken by the kernel.
    pub sent: u64,
    /// Refused for want of room, and tried again.
    pub no_room: u64,
    /// Refused for another reason.
    pub failed: u64,
    /// Announcements that were not made, or not in full, because they had waited for too long.
    pub too_old: u64,
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
        self.hush(vip);
        self.prepared.remove(&vip);
    }

    /// The VIP is let go: what was still to be said of it is not said any more.
    pub fn hush(&mut self, vip: VipId) {
        self.queue.forget(vip);
    }

    /// Sends every frame of the VIP on `link`, once, without waiting, as was ordered at `now`; says how many frames the
    /// kernel took, those of other VIPs that waited included. What would be too many at once is left to
    /// [`Announcer::go_on`].
    ///
    /// A link that was created anew, or has another MAC address, is noticed here: the socket is opened and the frames
    /// are built again first. One frame's failure does not keep the others back. Failures to send are logged and are no
    /// error.
    ///
    /// # Errors
    /// When there is nothing to send, or no way to, and saying it again will not help by itself.
    pub fn announce(
        &mut self,
        vip: VipId,
        link: LinkId,
        occasion: Occasion,
        now: Moment,
    ) -> Result<usize, AnnounceError> {
        let prepared = self.prepared.get_mut(&vip).ok_or(AnnounceError::NotPrepared)?;
        match prepared.line_to(link) {
            Err(error) if error.may_pass() => warn_of(&prepared.addresses, &error),
            line => {
                line?;
                self.queue.add(vip, link, occasion, now);
            }
        }
        Ok(self.go_on(now))
    }

    /// Sends what waited and may leave by now; how many frames the kernel took.
    pub fn go_on(&mut self, now: Moment) -> usize {
        self.drop_old(now);
        let before = self.counts.sent;
        while let Some(turn) = self.queue.next(now) {
            self.send(&turn, now);
        }
        usize::try_from(self.counts.sent - before).unwrap_or(usize::MAX)
    }

    /// When it wants to go on; none: nothing waits.
    pub fn deadline(&self) -> Option<Moment> {
        self.queue.deadline()
    }

    /// What became of frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn drop_old(&mut self, now: Moment) {
        let dropped = self.queue.drop_old(now);
        if let Some(first) = dropped.first() {
            self.counts.too_old += dropped.len() as u64;
            let (announcements, vip) = (dropped.len(), first.0);
            warn!(announcements, vip, "not announced any more: they waited longer than {FRESH:?}");
        }
    }

    fn send(&mut self, turn: &Turn, now: Moment) {
        let Some(prepared) = self.prepared.get_mut(&turn.vip) else { return self.queue.end(turn) };
        let line = match prepared.line_to(turn.link) {
            Ok(line) => line,
            Err(error) => {
                warn_of(&prepared.addresses, &error);
                return self.queue.end(turn);
            }
        };
        let Some((address, frame)) = line.frames.get(turn.frame) else { return self.queue.end(turn) };
        let last = turn.frame + 1 == line.frames.len();
        match line.socket.send(&frame.bytes) {
            Ok(()) => {
                self.counts.sent += 1;
                self.queue.left(turn, now);
            }
            Err(error) if is_full(&error) => {
                self.counts.no_room += 1;
                debug!(vip = turn.vip.0, link = turn.link.0, "no room for a {} for now: {error}", frame.what);
                return self.queue.no_room(turn, now);
            }
            Err(source) => {
                self.counts.failed += 1;
                warn_of(
                    &[*address],
                    &AnnounceError::Send { what: frame.what, address: *address, link: turn.link, source },
                );
                self.queue.pass(turn);
            }
        }
        if last {
            self.queue.end(turn);
        }
    }
}

/// Whether the kernel or the card had no room for a frame.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [libc::ENOBUFS, libc::EAGAIN].contains(&code))
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
}

fn warn_of(addresses: &[IpAddr], error: &AnnounceError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    warn!(vip = vip_name(addresses), cause, "{error}");
}
