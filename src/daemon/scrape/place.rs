//! Where to listen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be taken.
const WAITING: i32 = 32;

/// Listens there. The unspecified IPv6 address is every address, IPv4 too, whatever this machine's `bindv6only` says, and
/// those of IPv4 alone where there is no IPv6.
pub(super) fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let everywhere = at.ip().is_unspecified() && at.is_ipv6();
    match listen(at, everywhere) {
        Err(e) if everywhere && matches!(e.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL)) => {
            listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), at.port()), false)
        }
        result => result,
    }
}

fn listen(at: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    // Connections of an earlier life may still be ending.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(WAITING)?;
    TcpListener::from_std(socket.into())
}
