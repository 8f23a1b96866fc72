//! Hears on a host what others announce: who says when that an address is his, by ARP and by neighbour advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::clock::{self, At};
use crate::neighbour::Mac;
use crate::netns::NetNs;
use crate::urgent;

/// A gratuitous ARP, request or reply, or an unsolicited neighbour advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    /// When it came.
    pub(crate) at: At,
    /// The address.
    pub(crate) ip: IpAddr,
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
                writer
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(gratuitous(at, frame).or_else(|| advertised(at, frame)));
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
    sender.filter(|_| is_arp && sender == target).map(|ip| Said { at, ip: ip.into(), mac })
}

/// A neighbour advertisement to all nodes that nobody asked for, with Override and the target's link-layer address, if a
/// frame is that.
fn advertised(at: At, frame: &[u8]) -> Option<Said> {
    const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let bytes = |place: usize, length: usize| frame.get(place..place + length);
    let is_it = bytes(12, 2) == Some(&[0x86, 0xdd])
        && bytes(20, 2) == Some(&[58, 255])
        && bytes(38, 16) == Some(&ALL_NODES)
        && bytes(54, 2) == Some(&[136, 0])
        && bytes(58, 1) == Some(&[0x20])
        && bytes(78, 2) == Some(&[2, 1]);
    let target: [u8; 16] = bytes(62, 16)?.try_into().ok()?;
    let mac = bytes(80, 6)?.try_into().ok()?;
    is_it.then(|| Said { at, ip: Ipv6Addr::from(target).into(), mac })
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
        let said = Said { at: At::default(), ip: Ipv4Addr::new(10, 0, 0, 1).into(), mac: [7; 6] };
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 1])), Some(said));
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 2])), None);
        assert_eq!(gratuitous(At::default(), &arp([10, 0, 0, 1])[..41]), None);
        assert_eq!(gratuitous(At::default(), &[]), None);
    }

    #[test]
    fn an_announcement_by_neighbour_advertisement_is_told_from_an_answer() {
        let vip: Ipv6Addr = "fd00::1".parse().unwrap();
        let advert = |to: &str, flags: u8| {
            let to: Ipv6Addr = to.parse().unwrap();
            let head = [&[0x33; 6][..], &[2; 6], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255], &vip.octets()].concat();
            [&head[..], &to.octets(), &[136, 0, 0, 0, flags, 0, 0, 0], &vip.octets(), &[2, 1], &[7; 6]].concat()
        };
        let said = Said { at: At::default(), ip: vip.into(), mac: [7; 6] };
        assert_eq!(advertised(At::default(), &advert("ff02::1", 0x20)), Some(said));
        assert_eq!(advertised(At::default(), &advert("fd00::2", 0x60)), None);
        assert_eq!(advertised(At::default(), &advert("ff02::1", 0)), None);
        assert_eq!(advertised(At::default(), &advert("ff02::1", 0x20)[..85]), None);
    }
}
