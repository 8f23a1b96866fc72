//! Hears on a host what others announce by ARP: who says when that an address is his.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::clock::{self, At};
use crate::neighbour::Mac;
use crate::netns::NetNs;
use crate::urgent;

/// A gratuitous ARP, request or reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    /// When it came.
    pub(crate) at: At,
    /// The address.
    pub(crate) ip: Ipv4Addr,
    /// Who says to have it.
    pub(crate) mac: Mac,
}

/// Everything that was announced in one namespace since it began to listen.
#[derive(Clone, Default)]
pub(crate) struct Announced(Arc<Mutex<Vec<Said>>>);

impl Announced {
    /// Begins to listen.
    pub(crate) fn hear(namespace: &NetNs) -> Result<Self> {
        let open = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let ear = namespace.run(|| open().context("open a packet socket"))?;
        let heard = Self::default();
        let writer = heard.clone();
        thread::Builder::new().name("announced".to_owned()).spawn(move || {
            urgent::this_thread();
            let mut frame = [0; 128];
            while let Ok(length) = recv(ear.as_raw_fd(), &mut frame, MsgFlags::MSG_TRUNC) {
                let at = clock::now();
                let frame = &frame[..length.min(frame.len())];
                writer.0.lock().unwrap_or_else(PoisonError::into_inner).extend(gratuitous(at, frame));
            }
        })?;
        Ok(heard)
    }

    /// What was announced by this host from then on.
    pub(crate) fn by(&self, mac: Mac, from: At) -> Vec<Said> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().copied().filter(|said| said.at >= from && said.mac == mac).collect()
    }
}

/// ARP whose sender and target are one address, if a frame is that.
fn gratuitous(at: At, frame: &[u8]) -> Option<Said> {
    let word = |place: usize| frame.get(place..place + 4)?.try_into().ok().map(<[u8; 4]>::into);
    let (sender, target): (Option<Ipv4Addr>, Option<Ipv4Addr>) = (word(28), word(38));
    let is_arp = frame.get(12..14) == Some(&[8, 6]);
    let mac = frame.get(22..28)?.try_into().ok()?;
    sender.filter(|_| is_arp && sender == target).map(|ip| Said { at, ip, mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_arp_is_told_from_a_question() {
        let arp = |target: [u8; 4]| {
            let head = [&[0xff; 6][..], &[2; 6], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
            [&head[..], &[7; 6], &[10, 0, 0, 1], &[0; 6], &target].concat()
        };
        let said = Said { at: At::default(), ip: Ipv4Addr::new(10, 0, 0, 1), mac: [7; 6] };
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 1])), Some(said));
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 2])), None);
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 1])[..41]), None);
        assert_eq!(gratuitous(At::default(), &[]), None);
    }
}
