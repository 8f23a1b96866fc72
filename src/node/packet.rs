//! Sockets that send and receive whole Ethernet frames on one link (`AF_PACKET`, packet(7)).
//!
//! Owned by whoever opened them: the announcer, the prober and the lookout. They need CAP_NET_RAW, never turn on promiscuous mode,
//! and never block, not even when they are closed.

use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::thread;

use nix::libc;
use pnet::util::MacAddr;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{filter, ready};
use crate::election::event::LinkId;

/// A packet socket on one link.
#[derive(Debug)]
pub struct PacketSocket {
    /// There until it is dropped.
    socket: Option<Socket>,
}

impl PacketSocket {
    /// A socket that only sends: no frame is ever queued on it.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; ENODEV if there is no such link.
    pub fn sender(link: LinkId) -> io::Result<Self> {
        let this = Self::unbound()?;
        this.socket().bind(&address(link, 0)?)?;
        Ok(this)
    }

    /// A socket that hears nothing but claims of `vips`, all of one family, by hosts on the link, and can send as well.
    ///
    /// A packet socket hears nothing before it is bound, so with the filter first nothing else slips in.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; ENODEV if there is no such link.
    pub fn listener(link: LinkId, vips: &[IpAddr]) -> io::Result<Self> {
        let this = Self::unbound()?;
        this.listen_for(vips)?;
        let protocol = if vips.iter().all(IpAddr::is_ipv4) { libc::ETH_P_ARP } else { libc::ETH_P_IPV6 };
        this.socket().bind(&address(link, protocol as u16)?)?;
        Ok(this)
    }

    /// Hears claims of these from now on, and of no others. What came before is still there to be read.
    ///
    /// # Errors
    /// When the kernel has no memory for it.
    pub fn listen_for(&self, vips: &[IpAddr]) -> io::Result<()> {
        self.socket().attach_filter(&filter::claims_of(vips))
    }

    /// The MAC address that the link has now, from the kernel.
    ///
    /// # Errors
    /// ENODEV when the link is gone, also if another came under its name or number; `Unsupported` when it is not
    /// Ethernet.
    pub fn mac(&self) -> io::Result<MacAddr> {
        let link = link_part(&self.socket().local_addr()?);
        match (link.sll_hatype, link.sll_halen, link.sll_addr) {
            (libc::ARPHRD_ETHER, 6, [a, b, c, d, e, f, ..]) => Ok(MacAddr::new(a, b, c, d, e, f)),
            (0, 0, _) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
            (kind, ..) => {
                let why = format!("the link is not Ethernet (hardware type {kind})");
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    /// Sends one frame, now or not at all.
    ///
    /// # Errors
    /// ENETDOWN when the link is down, ENOBUFS or `WouldBlock` when there is no room, ENXIO when the link is gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket().send(frame).map(drop)
    }

    /// Takes one frame that came, cut to the buffer, and says how many bytes it has.
    ///
    /// # Errors
    /// `WouldBlock` if none is there; ENETDOWN once after the link went down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().read(buffer)
    }

    /// What went wrong with the link since this was last asked.
    ///
    /// # Errors
    /// That: ENETDOWN after it went down.
    pub fn trouble(&self) -> io::Result<()> {
        self.socket().take_error()?.map_or(Ok(()), Err)
    }

    /// A socket of its own kind from the start, so that it is closed elsewhere also if binding it fails.
    fn unbound() -> io::Result<Self> {
        Ok(Self { socket: Some(Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?) })
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("it is taken only when dropped")
    }
}

/// Closing a packet socket waits until no processor still delivers to it: 8 to 16 ms, measured on an idle machine. The
/// loop that holds the fence must not wait for that, so a thread does.
impl Drop for PacketSocket {
    fn drop(&mut self) {
        let socket = self.socket.take();
        // If no thread is to be had, the socket is closed here: late, but closed.
        let _ = thread::Builder::new().name("vipd-close".into()).spawn(move || drop(socket));
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl ready::Owner for PacketSocket {}

/// A link, and the Ethernet protocol to hear from it (0: none), as an address to bind to.
fn address(link: LinkId, protocol: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(link.0).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let link = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    #[expect(unsafe_code, reason = "neither std nor socket2 nor nix makes link-layer addresses")]
    // SAFETY: the storage is large and aligned enough for every kind of address; family, content and length all say
    // `sockaddr_ll`.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(link);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

/// What the kernel said where a packet socket is bound.
fn link_part(address: &SockAddr) -> libc::sockaddr_ll {
    let mut storage = address.clone().as_storage();
    #[expect(
        unsafe_code,
        reason = "neither std nor socket2 nor nix reads link-layer addresses as short as the kernel's"
    )]
    // SAFETY: `sockaddr_ll` is one of the kinds that the storage is for, and any bytes are a valid one; where the
    // kernel wrote less than all of it, the storage was zeroed.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    *link
}
