//! What the kernel means by the numbers it refuses an IPv6 address with, in words that say what to do.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::node::put::Error;

/// To be said behind a refusal; empty where there is no more to say.
pub(super) fn refused(ip: IpAddr, error: &Error) -> &'static str {
    let Error::Refused(refusal) = error else { return "" };
    match refusal.raw_os_error().map(Errno::from_raw) {
        // It says EPERM to whoever may not put addresses.
        Some(Errno::EACCES) if ip.is_ipv6() => {
            " (IPv6 is off on this link: its net.ipv6.conf setting disable_ipv6 must be 0)"
        }
        Some(Errno::EINVAL) if ip.is_ipv6() => " (is the link's MTU below 1280? IPv6 needs that much)",
        Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) if ip.is_ipv6() => " (this kernel runs without IPv6)",
        _ => "",
    }
}
